use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::type_config::{Joined, Member, Membership, StoredMembership};

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(term, node, index)| LogId::new(LeaderId::new(term, node), index))
}

fn vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| Vote {
        leader_id: LeaderId::new(term, node),
        committed,
    })
}

fn joined() -> impl Strategy<Value = Joined> {
    (any::<u128>(), any::<bool>(), any::<Option<u64>>()).prop_map(|(token, votes, replaces)| {
        Joined {
            token,
            votes,
            replaces,
        }
    })
}

fn member() -> impl Strategy<Value = Member> {
    let joined = prop::option::of(joined());
    ("\\PC{0,20}", "\\PC{0,20}", joined).prop_map(|(raft_endpoint, client_endpoint, joined)| {
        Member {
            raft_endpoint,
            client_endpoint,
            joined,
        }
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let nodes = prop::collection::btree_map(any::<u64>(), member(), 1..8);
    (nodes, prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(nodes, picks)| {
        let configs: Vec<BTreeSet<u64>> = picks
            .iter()
            .map(|pick| {
                nodes
                    .keys()
                    .take(1 + *pick as usize % nodes.len())
                    .copied()
                    .collect()
            })
            .collect();
        Membership::new(configs, nodes).expect("voters are nodes and no set is empty")
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        Just(EntryPayload::Blank),
        prop::collection::vec(any::<u8>(), 0..200)
            .prop_map(|bytes| EntryPayload::Normal(Commands(Bytes::from(bytes)))),
        membership().prop_map(EntryPayload::Membership),
    ];
    (log_id(), payload).prop_map(|(log_id, payload)| Entry { log_id, payload })
}

proptest! {
    #[test]
    fn log_id_round_trips(log_id in log_id()) {
        prop_assert_eq!(decode_log_id(&encode_log_id(&log_id)), Ok(log_id));
    }

    #[test]
    fn vote_round_trips(vote in vote()) {
        prop_assert_eq!(decode_vote(&encode_vote(&vote)), Ok(vote));
    }

    #[test]
    fn membership_round_trips(membership in membership()) {
        prop_assert_eq!(decode_membership(&encode_membership(&membership)), Ok(membership));
    }

    #[test]
    fn stored_membership_round_trips(log_id in prop::option::of(log_id()), membership in membership()) {
        let stored = StoredMembership::new(log_id, membership);
        prop_assert_eq!(decode_stored_membership(&encode_stored_membership(&stored)), Ok(stored));
    }

    #[test]
    fn entry_round_trips(entry in entry()) {
        let decoded = decode_entry(&encode_entry_header(&entry), entry_body(&entry));
        prop_assert_eq!(decoded, Ok(entry));
    }

    #[test]
    fn decoders_are_total(bytes in prop::collection::vec(any::<u8>(), 0..120), first in 0u8..3) {
        // A known first byte gets past the version check often enough to reach the rest.
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        let _ = decode_log_id(&bytes);
        let _ = decode_vote(&bytes);
        let _ = decode_stored_membership(&bytes);
        if let Ok(membership) = decode_membership(&bytes) {
            prop_assert_eq!(encode_membership(&membership), bytes.clone());
        }
        let (header, body) = bytes.split_at(bytes.len().min(ENTRY_HEADER_LEN));
        let _ = decode_entry(header, Bytes::copy_from_slice(body));
    }

    #[test]
    fn damaged_membership_never_panics(membership in membership(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = encode_membership(&membership);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode_membership(&bytes);
        let _ = decode_membership(&bytes[..at]);
    }
}

#[test]
fn entry_bytes_are_pinned() {
    let entry = Entry {
        log_id: LogId::new(LeaderId::new(3, 7), 258),
        payload: EntryPayload::Normal(Commands(Bytes::from_static(b"abc"))),
    };
    let expected = [
        1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2,
    ];
    assert_eq!(encode_entry_header(&entry), expected);
    assert_eq!(entry_body(&entry), Bytes::from_static(b"abc"));
}

#[test]
fn membership_bytes_are_pinned() {
    let member = Member::new("a:1", "b");
    let membership =
        Membership::new(vec![BTreeSet::from([5])], BTreeMap::from([(5, member)])).expect("valid");
    let mut expected = vec![1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
    expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]);
    expected.extend([0, 0, 0, 3, b'a', b':', b'1', 0, 0, 0, 1, b'b']);
    assert_eq!(encode_membership(&membership), expected);
}

#[test]
fn bytes_of_a_membership_with_a_node_that_joined_are_pinned() {
    let member = Member {
        joined: Some(Joined {
            token: 258,
            votes: true,
            replaces: Some(3),
        }),
        ..Member::new("a:1", "b")
    };
    let membership =
        Membership::new(vec![BTreeSet::from([5])], BTreeMap::from([(5, member)])).expect("valid");
    let mut expected = vec![2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
    expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]);
    expected.extend([0, 0, 0, 3, b'a', b':', b'1', 0, 0, 0, 1, b'b']);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    expected.extend([1, 1, 0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(encode_membership(&membership), expected);
}

fn stored(ids: &[u64]) -> StoredMembership {
    let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, Member::default())).collect();
    let membership = Membership::new(vec![ids.iter().copied().collect()], nodes).expect("valid");
    StoredMembership::new(Some(LogId::new(LeaderId::new(1, 1), 9)), membership)
}

#[test]
fn highest_node_id_outlives_the_node() {
    let applied = AppliedMembership::default()
        .followed_by(stored(&[1, 2, 7]))
        .followed_by(stored(&[1, 2]));
    assert_eq!(applied.highest_node_id, 7);
    let bytes = encode_applied_membership(&applied);
    assert_eq!(bytes[..9], [2, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(decode_applied_membership(&bytes), Ok(applied));
}

#[test]
fn what_older_releases_kept_of_a_membership_is_read() {
    let old = encode_stored_membership(&stored(&[1, 2]));
    let applied = decode_applied_membership(&old).expect("readable");
    assert_eq!(applied.highest_node_id, 2);
    assert_eq!(applied.stored, stored(&[1, 2]));
}

#[test]
fn member_above_the_highest_node_id_is_refused() {
    let wrong = AppliedMembership {
        stored: stored(&[1, 2]),
        highest_node_id: 1,
    };
    let refused = decode_applied_membership(&encode_applied_membership(&wrong));
    assert!(matches!(refused, Err(DecodeError::Invalid { .. })));
}

#[test]
fn commands_share_the_body() {
    let body = Bytes::from(vec![9; 100]);
    let header = encode_entry_header(&Entry {
        log_id: LogId::new(LeaderId::new(1, 1), 1),
        payload: EntryPayload::Normal(Commands(Bytes::new())),
    });
    let entry = decode_entry(&header, body.clone()).expect("valid");
    assert_eq!(entry_body(&entry).as_ptr(), body.as_ptr());
}

#[test]
fn a_later_version_is_refused_by_name() {
    let mut header = [0; ENTRY_HEADER_LEN];
    header[0] = 9;
    let error = decode_entry(&header, Bytes::new()).expect_err("version 9 does not exist");
    assert_eq!(
        error,
        DecodeError::UnknownVersion {
            what: "log entry",
            version: 9
        }
    );
}
