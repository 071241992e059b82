use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

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

fn member() -> impl Strategy<Value = Member> {
    ("\\PC{0,20}", "\\PC{0,20}").prop_map(|(raft_endpoint, client_endpoint)| Member {
        raft_endpoint,
        client_endpoint,
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
    let member = Member {
        raft_endpoint: "a:1".into(),
        client_endpoint: "b".into(),
    };
    let membership =
        Membership::new(vec![BTreeSet::from([5])], BTreeMap::from([(5, member)])).expect("valid");
    let mut expected = vec![1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
    expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]);
    expected.extend([0, 0, 0, 3, b'a', b':', b'1', 0, 0, 0, 1, b'b']);
    assert_eq!(encode_membership(&membership), expected);
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
