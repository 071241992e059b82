//! What the Raft log and the ledger's mark are made of: entries, memberships, log ids, votes, records, headers, marks.
//! Decoded or refused, and what is decoded encodes to the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use toka_raft::codec::{
    AppliedMembership, ENTRY_HEADER_LEN, decode_applied_membership, decode_entry, decode_log_id,
    decode_membership, decode_stored_membership, decode_vote, encode_applied_membership,
    encode_entry_header, encode_log_id, encode_membership, encode_stored_membership, encode_vote,
    entry_body,
};
use toka_raft::fuzzing;
use toka_raft::type_config::{
    Commands, Entry, EntryPayload, Joined, LeaderId, LogId, Member, Membership, StoredMembership,
    Vote,
};

use crate::{Seed, of_kind};

/// Kinds of inputs that are parts of the Raft log.
const PARTS: u8 = 4;

/// See above. The first byte says which.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 10 {
        part @ 0..PARTS => fuzzing::log_part(part, bytes),
        4 => {
            let (header, body) = bytes.split_at(bytes.len().min(ENTRY_HEADER_LEN));
            if let Ok(entry) = decode_entry(header, Bytes::copy_from_slice(body)) {
                assert_eq!(encode_entry_header(&entry), header);
                assert_eq!(entry_body(&entry), body);
            }
        }
        5 => {
            if let Ok(log_id) = decode_log_id(bytes) {
                assert_eq!(encode_log_id(&log_id), bytes);
            }
        }
        6 => {
            if let Ok(vote) = decode_vote(bytes) {
                assert_eq!(encode_vote(&vote), bytes);
            }
        }
        7 => {
            if let Ok(membership) = decode_membership(bytes) {
                assert_eq!(encode_membership(&membership), bytes);
            }
        }
        8 => {
            if let Ok(stored) = decode_stored_membership(bytes) {
                assert_eq!(encode_stored_membership(&stored), bytes);
            }
        }
        _ => {
            if let Ok(applied) = decode_applied_membership(bytes) {
                // Of older releases there is a form without the highest node id.
                let again = decode_applied_membership(&encode_applied_membership(&applied));
                assert_eq!(again, Ok(applied));
            }
        }
    }
}

pub(crate) fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: 3,
            node_id: 2,
        },
        index,
    }
}

/// Memberships: of a formed cluster, with a member that joined, joint.
pub(crate) fn memberships() -> Vec<Membership> {
    let member = |id: u64| {
        let member = Member::new(format!("raft-{id}:7002"), format!("node-{id}:7001"));
        (id, member)
    };
    let formed = BTreeMap::from_iter((1..=3).map(member));
    let mut grown = formed.clone();
    let (id, mut joined) = member(4);
    joined.joined = Some(Joined {
        token: 77,
        votes: true,
        replaces: Some(2),
    });
    grown.insert(id, joined);
    let (old, new) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 3, 4]));
    let membership = |configs, nodes| Membership::new(configs, nodes).expect("valid");
    vec![
        membership(vec![old.clone()], formed),
        membership(vec![old.clone()], grown.clone()),
        membership(vec![old, new], grown),
    ]
}

fn entries() -> Vec<Entry> {
    let mut payloads = vec![
        EntryPayload::Blank,
        EntryPayload::Normal(Commands(Bytes::from_static(b"commands"))),
    ];
    payloads.extend(memberships().into_iter().map(EntryPayload::Membership));
    let entry = |(index, payload)| Entry {
        log_id: log_id(index),
        payload,
    };
    (0..).zip(payloads).map(entry).collect()
}

/// A record of the log: tag and content.
pub(crate) fn entry_record(entry: &Entry) -> Vec<u8> {
    [
        &[1][..],
        &encode_entry_header(entry)[..],
        &entry_body(entry)[..],
    ]
    .concat()
}

/// Everything that there is, encoded.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let vote = Vote {
        leader_id: LeaderId {
            term: 3,
            node_id: 2,
        },
        committed: true,
    };
    let id = encode_log_id(&log_id(9));
    let mut seeds = vec![
        ("record-truncate".to_owned(), of_kind(0, [2, 0])),
        (
            "record-purge".to_owned(),
            of_kind(0, [&[3][..], &id[..]].concat()),
        ),
        (
            "record-vote".to_owned(),
            of_kind(0, [&[4][..], &encode_vote(&vote)[..]].concat()),
        ),
        (
            "record-committed".to_owned(),
            of_kind(0, [&[5, 1][..], &id[..]].concat()),
        ),
        ("log-id".to_owned(), of_kind(5, id)),
        ("vote".to_owned(), of_kind(6, encode_vote(&vote))),
    ];
    for (kind, (name, bytes)) in (2..).zip(fuzzing::log_parts()) {
        seeds.push((name.to_owned(), of_kind(kind, bytes)));
    }
    // The rest of a first page is zeros, which the target adds.
    let page = fuzzing::segment(1, 1, &toka_raft::log_store::LogMeta::default(), &[]);
    seeds.push(("segment-header".to_owned(), of_kind(1, &page[..56])));
    for (at, entry) in entries().iter().enumerate() {
        let bytes = [&encode_entry_header(entry)[..], &entry_body(entry)[..]].concat();
        seeds.push((format!("entry-{at}"), of_kind(4, bytes)));
        seeds.push((
            format!("record-entry-{at}"),
            of_kind(0, entry_record(entry)),
        ));
    }
    for (at, membership) in memberships().into_iter().enumerate() {
        seeds.push((
            format!("membership-{at}"),
            of_kind(7, encode_membership(&membership)),
        ));
        let stored = StoredMembership::new(Some(log_id(4)), membership);
        seeds.push((
            format!("stored-{at}"),
            of_kind(8, encode_stored_membership(&stored)),
        ));
        let applied = AppliedMembership::default().followed_by(stored);
        seeds.push((
            format!("applied-{at}"),
            of_kind(9, encode_applied_membership(&applied)),
        ));
    }
    seeds
}
