use std::time::Instant;

use toka_client::EventHeader;
use toka_ledger::{Attributes, Digest, EventId, Kind, Parent, Salt};

use super::{Ack, check_acks, check_log};

fn header(sequence: u64) -> EventHeader {
    let digest = Digest([u8::try_from(sequence).expect("small"); 32]);
    EventHeader {
        id: EventId::new(sequence, sequence, &digest),
        sequence,
        unix_ms: sequence,
        kind: Kind::new("a").expect("valid"),
        digest,
        payload_digest: digest,
        payload_bytes: 0,
        payload_sequence: sequence,
        salt: Salt::default(),
        parents: Vec::new(),
        embedding: None,
        attributes: Attributes::default(),
        micro_cluster: None,
        intent: None,
        deduplicated: false,
    }
}

fn log(length: u64) -> Vec<EventHeader> {
    (1..=length).map(header).collect()
}

fn ack(writer: u64, sequence: u64) -> Ack {
    let EventHeader { id, digest, .. } = header(sequence);
    Ack {
        writer,
        id,
        sequence,
        digest,
        at: Instant::now(),
    }
}

fn fails(result: anyhow::Result<()>, expected: &str) {
    let error = format!("{:#}", result.expect_err("the check fails"));
    assert!(error.contains(expected), "{error}");
}

#[test]
fn whole_history_passes() {
    check_log(&log(3)).expect("it is whole");
    check_acks(&log(3), &[ack(1, 1), ack(2, 3), ack(1, 2)]).expect("all is there");
}

#[test]
fn gap_in_a_log_is_found() {
    let mut gap = log(3);
    gap.remove(1);
    fails(check_log(&gap), "sequence 3 where 2 should be");
}

#[test]
fn event_that_is_stored_twice_is_found() {
    let mut doubled = log(3);
    doubled[2].digest = doubled[0].digest;
    fails(check_log(&doubled), "is at 1 and at 3");
}

#[test]
fn child_before_its_parent_is_found() {
    let mut early = log(3);
    let EventHeader { id, digest, .. } = early[2];
    early[1].parents = vec![Parent { digest, id }];
    fails(check_log(&early), "names parent");
}

#[test]
fn acknowledged_event_that_is_missing_is_found() {
    fails(check_acks(&log(1), &[ack(1, 1), ack(1, 2)]), "missing");
}

#[test]
fn acknowledged_event_whose_place_another_one_has_is_found() {
    let mut other = log(2);
    other[1].digest = Digest([9; 32]);
    fails(check_acks(&other, &[ack(1, 1), ack(1, 2)]), "at its place");
}

#[test]
fn answers_out_of_a_writers_order_are_found() {
    fails(
        check_acks(&log(2), &[ack(1, 2), ack(1, 1)]),
        "1 was acknowledged after 2",
    );
}

#[test]
fn two_answers_with_the_same_place_are_found() {
    fails(
        check_acks(&log(1), &[ack(1, 1), ack(2, 1)]),
        "acknowledged twice",
    );
}

#[test]
fn event_that_nobody_was_told_of_is_found() {
    fails(check_acks(&log(2), &[ack(1, 1)]), "nobody was told");
}
