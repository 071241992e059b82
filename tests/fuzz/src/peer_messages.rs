//! Messages between nodes (`proto/toka/raft/v1`): what prost decodes is converted, or refused, as its receiver does it,
//! and what is taken is sent on as the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use toka_ledger::command::{AppendAudit, Batch, Command, encode};
use toka_ledger::credentials::{Actor, AuditRecord};
use toka_proto::raft_v1 as pb;
use toka_raft::codec::{encode_membership, encode_stored_membership};
use toka_raft::fuzzing;
use toka_raft::type_config::StoredMembership;

use crate::raft_codec::{log_id, memberships};
use crate::{Seed, of_kind};

/// See above. The first byte says which.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 14 {
        0 => with(bytes, |request: pb::AppendEntriesRequest| {
            fuzzing::append(request.peer.as_ref(), request.append);
        }),
        1 => with(bytes, |response: pb::AppendEntriesResponse| {
            fuzzing::append_result(response.result);
        }),
        2 => with(bytes, |request: pb::VoteRequest| fuzzing::vote(&request)),
        3 => with(bytes, |response: pb::VoteResponse| {
            fuzzing::vote_response(&response);
        }),
        4 => with(bytes, |request: pb::InstallSnapshotRequest| {
            if let Some(pb::install_snapshot_request::Part::Manifest(manifest)) = request.part {
                fuzzing::manifest(&manifest);
            }
        }),
        5 => with(bytes, |response: pb::PullLedgerResponse| {
            if let Some(pb::pull_ledger_response::Part::Manifest(manifest)) = response.part {
                fuzzing::manifest(&manifest);
            }
        }),
        6 => with(bytes, |response: pb::ProbeResponse| {
            fuzzing::probe_response(&response);
        }),
        7 => with(bytes, |request: pb::AdoptRequest| fuzzing::adopt(&request)),
        8 => with(bytes, |request: pb::TransferLeaderRequest| {
            fuzzing::transfer(&request);
        }),
        9 => with(bytes, |response: pb::TransferLeaderResponse| {
            fuzzing::transfer_response(&response);
        }),
        10 => with(bytes, |response: pb::GetStateDigestResponse| {
            fuzzing::state_digest(&response);
        }),
        11 => with(bytes, |request: pb::HeartbeatRequest| {
            fuzzing::append(request.peer.as_ref(), request.append);
        }),
        13 => with(bytes, |request: pb::AppendAuditRequest| {
            fuzzing::append_audit(&request);
        }),
        _ => {
            with(bytes, drop::<pb::GetNodeStatusResponse>);
            with(bytes, drop::<pb::GetVitalsResponse>);
            with(bytes, drop::<pb::ReadIndexResponse>);
        }
    }
}

/// Hands the message on, if it is one.
fn with<M: Message + Default>(bytes: &[u8], check: impl FnOnce(M)) {
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    let again = M::decode(message.encode_to_vec().as_slice());
    assert!(again.is_ok(), "what was read can be read again");
    check(message);
}

fn peer() -> Option<pb::Peer> {
    Some(pb::Peer {
        cluster_id: Bytes::copy_from_slice(&1_u128.to_be_bytes()),
        from: 2,
        to: 1,
        protocol: 1,
    })
}

fn message_log_id(index: u64) -> Option<pb::LogId> {
    Some(pb::LogId {
        term: 3,
        leader_node_id: 2,
        index,
    })
}

fn vote() -> Option<pb::Vote> {
    Some(pb::Vote {
        term: 3,
        node_id: 2,
        committed: true,
    })
}

fn append() -> pb::AppendEntries {
    let membership = encode_membership(&memberships()[1]);
    let entry = |index, kind: pb::EntryKind, data: Vec<u8>| pb::Entry {
        term: 3,
        leader_node_id: 2,
        index,
        kind: kind.into(),
        data: data.into(),
    };
    pb::AppendEntries {
        vote: vote(),
        prev_log_id: message_log_id(6),
        leader_commit: message_log_id(5),
        entries: vec![
            entry(7, pb::EntryKind::Blank, vec![]),
            entry(8, pb::EntryKind::Commands, b"commands".to_vec()),
            entry(9, pb::EntryKind::Membership, membership),
        ],
    }
}

fn manifest() -> pb::SnapshotManifest {
    let membership = StoredMembership::new(Some(log_id(4)), memberships().swap_remove(0));
    pb::SnapshotManifest {
        vote: vote(),
        last_log_id: message_log_id(9),
        membership: encode_stored_membership(&membership).into(),
        files: vec![
            pb::SnapshotFile {
                name: "000012.sst".to_owned(),
                size_bytes: 9,
            },
            pb::SnapshotFile {
                name: "CURRENT".to_owned(),
                size_bytes: 0,
            },
        ],
        position: position(),
        feature_level: 1,
    }
}

fn position() -> Option<pb::LedgerPosition> {
    Some(pb::LedgerPosition {
        revision: 7,
        sequence: 5,
        unix_ms: 1_700_000_000_000,
        history_root: Bytes::from_static(&[3; 32]),
        state_digest: Bytes::from_static(&[4; 32]),
    })
}

/// Records as a member sends them: a command without a time.
fn audit_entry() -> Bytes {
    let record = AuditRecord {
        action: "denied".to_owned(),
        actor: Actor::anonymous(),
        count: 3,
        fields: BTreeMap::from([("rpc".to_owned(), "Commit".to_owned())]),
    };
    let append = AppendAudit {
        unix_ms: 0,
        records: vec![record],
    };
    let mut batch = Batch::default();
    batch.push(&encode(&Command::AppendAudit(append)));
    batch.finish()
}

/// One of each.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let members = Bytes::from(encode_membership(&memberships()[0]));
    let result = |result| pb::AppendEntriesResponse {
        peer: peer(),
        result: Some(pb::AppendResult {
            result: Some(result),
        }),
    };
    use pb::append_result::Result as Outcome;
    let matched = pb::Matched {
        log_id: message_log_id(9),
    };
    let conflict = pb::Conflict {
        prev_log_id: message_log_id(6),
    };
    let request = pb::AppendEntriesRequest {
        peer: peer(),
        append: Some(append()),
    };
    let vote_request = pb::VoteRequest {
        peer: peer(),
        vote: vote(),
        last_log_id: message_log_id(9),
        leadership_transfer: true,
    };
    let install = pb::InstallSnapshotRequest {
        peer: peer(),
        part: Some(pb::install_snapshot_request::Part::Manifest(manifest())),
    };
    let probe = pb::ProbeResponse {
        peer: peer(),
        pristine: true,
        initial_members: members.clone(),
        membership: manifest().membership,
        restored: position(),
    };
    let adopt = pb::AdoptRequest {
        peer: peer(),
        initial_members: members,
        restored: position(),
    };
    let mut last = append();
    last.prev_log_id = message_log_id(u64::MAX);
    let past_the_end = pb::AppendEntriesRequest {
        peer: peer(),
        append: Some(last),
    };
    let changed = pb::TransferLeaderResponse {
        peer: peer(),
        refusal: Some(pb::transfer_leader_response::Refusal::VoteChanged(
            pb::VoteChanged {
                expected: vote(),
                actual: vote(),
            },
        )),
    };
    let digest = pb::GetStateDigestResponse {
        peer: peer(),
        history_root: Bytes::from_static(&[3; 32]),
        state_digest: Bytes::from_static(&[4; 32]),
    };
    let audit = pb::AppendAuditRequest {
        peer: peer(),
        entry: audit_entry(),
    };
    let messages = [
        ("append", 0, request.encode_to_vec()),
        ("append-past-the-end", 0, past_the_end.encode_to_vec()),
        (
            "matched",
            1,
            result(Outcome::Matched(matched)).encode_to_vec(),
        ),
        (
            "conflict",
            1,
            result(Outcome::Conflict(conflict)).encode_to_vec(),
        ),
        ("vote", 2, vote_request.encode_to_vec()),
        ("install", 4, install.encode_to_vec()),
        ("probe", 6, probe.encode_to_vec()),
        ("adopt", 7, adopt.encode_to_vec()),
        ("vote-changed", 9, changed.encode_to_vec()),
        ("digest", 10, digest.encode_to_vec()),
        ("audit", 13, audit.encode_to_vec()),
    ];
    let seed = |(name, kind, bytes): (&str, u8, Vec<u8>)| (name.to_owned(), of_kind(kind, bytes));
    messages.into_iter().map(seed).collect()
}
