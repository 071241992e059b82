//! Bytes of messages between nodes, as format 1 has them.

use prost::Message as _;
use toka_proto::{raft_v1, v1};

fn peer() -> raft_v1::Peer {
    raft_v1::Peer {
        cluster_id: vec![7; 16].into(),
        from: 2,
        to: 1,
        protocol: 1,
    }
}

/// The bytes of [`peer`].
fn peer_bytes() -> Vec<u8> {
    [&[0x0a, 16][..], &[7; 16], &[0x10, 2, 0x18, 1, 0x20, 1]].concat()
}

#[test]
fn peer_says_who_speaks_to_whom_in_which_protocol() {
    assert_eq!(peer().encode_to_vec(), peer_bytes());
}

#[test]
fn request_for_a_vote() {
    let request = raft_v1::VoteRequest {
        peer: Some(peer()),
        vote: Some(raft_v1::Vote {
            term: 3,
            node_id: 2,
            committed: false,
        }),
        last_log_id: Some(raft_v1::LogId {
            term: 2,
            leader_node_id: 1,
            index: 9,
        }),
        leadership_transfer: true,
    };
    let expected = [
        &[0x0a, 24][..],
        &peer_bytes(),
        &[0x12, 4, 0x08, 3, 0x10, 2],
        &[0x1a, 6, 0x08, 2, 0x10, 1, 0x18, 9],
        &[0x20, 1],
    ];
    assert_eq!(request.encode_to_vec(), expected.concat());
}

#[test]
fn vitals_with_the_feature_level() {
    let vitals = raft_v1::GetVitalsResponse {
        peer: None,
        unix_ms: 5,
        feature_level: 1,
        takes_no_log: true,
        log_lacks_beginning: false,
    };
    assert_eq!(vitals.encode_to_vec(), [0x10, 5, 0x18, 1, 0x20, 1]);
}

#[test]
fn request_to_join_with_the_feature_level() {
    let request = v1::AddNodeRequest {
        token: vec![9; 2].into(),
        client_endpoint: "c".to_owned(),
        raft_endpoint: "r".to_owned(),
        learner: true,
        replaces_node_id: Some(3),
        feature_level: 1,
    };
    let expected = [
        0x0a, 2, 9, 9, 0x12, 1, b'c', 0x1a, 1, b'r', 0x20, 1, 0x28, 3, 0x30, 1,
    ];
    assert_eq!(request.encode_to_vec(), expected);
}

#[test]
fn state_of_a_node_with_its_last_scrub() {
    let node = v1::NodeStatus {
        node_id: 1,
        last_scrub: Some(v1::ScrubPass {
            end_unix_ms: 5,
            duration_ms: 2,
            bytes: 3,
            snapshot_rebuilt: true,
        }),
        ..v1::NodeStatus::default()
    };
    let expected = [0x08, 1, 0xba, 0x01, 8, 0x08, 5, 0x10, 2, 0x18, 3, 0x20, 1];
    assert_eq!(node.encode_to_vec(), expected);
}
