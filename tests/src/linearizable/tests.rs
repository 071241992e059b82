use toka_ledger::Digest;

use super::order::{Effect, What};
use super::{Call, Checked, Log, Name, Operation, Outcome, VAULT, check, model};

fn name(number: u64) -> Name {
    Name { client: 1, number }
}

fn digest(number: u64) -> Digest {
    Digest([u8::try_from(number).expect("small"); 32])
}

fn root(tail: u64) -> Digest {
    digest(100 + tail)
}

/// A log of the events with these numbers, each with the digest of its number.
fn log(numbers: &[u64]) -> anyhow::Result<Log> {
    let names = numbers.iter().map(|number| name(*number)).collect();
    let digests = numbers.iter().map(|number| digest(*number)).collect();
    let roots = (0..=numbers.len() as u64).map(root).collect();
    Log::from_parts(names, digests, roots)
}

fn commit(number: u64, sequence: u64, invoked: u64, returned: u64) -> Operation {
    Operation {
        call: Call::Commit(vec![name(number)]),
        outcome: Outcome::Committed(vec![(sequence, digest(number))]),
        invoked,
        returned,
    }
}

fn unknown(numbers: &[u64], invoked: u64) -> Operation {
    Operation {
        call: Call::Commit(numbers.iter().map(|number| name(*number)).collect()),
        outcome: Outcome::Unknown,
        invoked,
        returned: invoked + 1,
    }
}

fn read(tail: u64, invoked: u64, returned: u64) -> Operation {
    Operation {
        call: Call::Read,
        outcome: Outcome::Seen {
            tail,
            newest: None,
            root: Some(root(tail)),
        },
        invoked,
        returned,
    }
}

fn fails(operations: &[Operation], numbers: &[u64], expected: &str) {
    let result = log(numbers).and_then(|log| check(operations, &log));
    let error = format!("{:#}", result.expect_err("the check fails"));
    assert!(error.contains(expected), "{error}");
}

/// What the crate's checker alone says of the same operations, with the places that they were told.
fn searched(operations: &[Operation], numbers: &[u64]) -> bool {
    let effect = |operation: &Operation| Effect {
        what: match (&operation.call, &operation.outcome) {
            (Call::Commit(names), Outcome::Committed(answer)) => What::Append {
                first: answer[0].0,
                names: names.clone(),
            },
            (Call::Read, Outcome::Seen { tail, root, .. }) => What::Read {
                tail: *tail,
                root: *root,
            },
            other => panic!("{other:?} is not for this"),
        },
        invoked: operation.invoked,
        returned: operation.returned,
    };
    let effects: Vec<Effect> = operations.iter().map(effect).collect();
    let log = log(numbers).expect("a log");
    model::is_linearizable(0, &effects, &log).expect("a history")
}

#[test]
fn history_that_has_an_order_passes() {
    // Two commits and three reads at the same time, then one after the other.
    let operations = [
        commit(1, 1, 0, 9),
        commit(2, 2, 0, 9),
        read(0, 0, 9),
        read(2, 1, 9),
        read(1, 2, 9),
        read(2, 10, 11),
        commit(3, 3, 12, 13),
        read(3, 14, 15),
    ];
    let log = log(&[1, 2, 3]).expect("a log");
    let checked = check(&operations, &log).expect("it is linearizable");
    let expected = Checked {
        acknowledged: 3,
        reads: 5,
        windows: 1,
        ..Checked::default()
    };
    assert_eq!(checked, expected);
    assert!(searched(&operations, &[1, 2, 3]));
}

#[test]
fn long_history_is_searched_in_windows() {
    let commits = (1..=60).map(|number| commit(number, number, 10 * number, 10 * number + 15));
    let reads = (1..=60).map(|number| read(number, 10 * number + 2, 10 * number + 16));
    let operations: Vec<Operation> = commits.chain(reads).collect();
    let numbers: Vec<u64> = (1..=60).collect();
    let log = log(&numbers).expect("a log");
    let checked = check(&operations, &log).expect("it is linearizable");
    assert_eq!((checked.acknowledged, checked.windows), (60, 5));
}

#[test]
fn lost_commit_is_rejected() {
    let operations = [commit(1, 1, 0, 1), commit(2, 2, 2, 3)];
    fails(&operations, &[1], "acknowledged and lost");
    fails(&operations, &[1, 3], "acknowledged and lost");
    assert!(!searched(&operations, &[1]));
}

#[test]
fn doubled_commit_is_rejected() {
    let operations = [commit(1, 1, 0, 1), commit(2, 2, 2, 3)];
    fails(&operations, &[1, 2, 1], "doubled");
    let same_place = [commit(1, 1, 0, 1), commit(2, 1, 2, 3)];
    fails(&same_place, &[1, 2], "was acknowledged at 1, and is at 2");
    assert!(!searched(&same_place, &[1, 2]));
}

#[test]
fn reordered_commits_are_rejected() {
    // The second was called when the first had been answered, and has come before it.
    let operations = [commit(1, 2, 0, 1), commit(2, 1, 2, 3)];
    fails(&operations, &[2, 1], "stale");
    assert!(!searched(&operations, &[2, 1]));
    let elsewhere = [commit(1, 1, 0, 1), commit(2, 2, 2, 3)];
    fails(&elsewhere, &[2, 1], "and is at");
    assert!(!searched(&elsewhere, &[2, 1]));
}

#[test]
fn stale_read_is_rejected() {
    let after_commit = [commit(1, 1, 0, 1), read(0, 2, 3)];
    let after_read = [commit(1, 1, 0, 9), read(1, 1, 2), read(0, 3, 4)];
    for operations in [&after_commit[..], &after_read] {
        fails(operations, &[1], "stale");
        assert!(!searched(operations, &[1]));
    }
}

#[test]
fn read_from_the_future_is_rejected() {
    let operations = [read(1, 0, 1), commit(1, 1, 2, 3)];
    fails(&operations, &[1], "stale");
    assert!(!searched(&operations, &[1]));
    fails(&[read(2, 0, 1)], &[], "the order ends at 0");
}

#[test]
fn read_of_another_history_is_rejected() {
    let mut other = read(1, 2, 3);
    other.outcome = Outcome::Seen {
        tail: 1,
        newest: None,
        root: Some(root(0)),
    };
    let operations = [commit(1, 1, 0, 1), other];
    fails(&operations, &[1], "the root up to 1");
    assert!(!searched(&operations, &[1]));
    let mut newest = read(1, 2, 3);
    newest.outcome = Outcome::Seen {
        tail: 1,
        newest: Some(digest(9)),
        root: None,
    };
    fails(&[commit(1, 1, 0, 1), newest], &[1], "another one");
}

#[test]
fn part_of_a_commit_is_rejected() {
    fails(&[unknown(&[1, 2], 0)], &[1], "torn");
    let mut both = unknown(&[1, 2], 0);
    fails(&[both.clone(), read(1, 2, 3)], &[1, 2], "a read has seen 1");
    both.outcome = Outcome::Committed(vec![(1, digest(1)), (3, digest(2))]);
    fails(&[both], &[1, 3, 2], "torn");
}

#[test]
fn unknown_outcome_counts_as_the_log_has_it() {
    // It may take effect long after it was given up, and not before it was called.
    let late = [
        unknown(&[2], 0),
        unknown(&[9], 1),
        commit(1, 1, 4, 5),
        read(1, 6, 7),
        read(2, 8, 9),
    ];
    let log = log(&[1, 2]).expect("a log");
    let checked = check(&late, &log).expect("it is linearizable");
    assert_eq!((checked.unknown_stored, checked.unknown_absent), (1, 1));
    let early = [read(1, 0, 1), unknown(&[1], 2)];
    fails(&early, &[1], "stale");
}

#[test]
fn audit_event_has_its_place_whenever_it_was_made() {
    let audit = Name {
        client: VAULT,
        number: 2,
    };
    let names = vec![name(1), audit, name(2)];
    let digests = [1, 9, 2].map(digest).to_vec();
    let log = Log::from_parts(names, digests, (0..=3).map(root).collect()).expect("a log");
    let operations = [
        commit(1, 1, 0, 1),
        read(2, 2, 3),
        commit(2, 3, 4, 5),
        read(3, 6, 7),
    ];
    let checked = check(&operations, &log).expect("it is linearizable");
    assert_eq!((checked.acknowledged, checked.audit), (2, 1));
    let stale = [commit(2, 3, 0, 1), read(2, 2, 3), commit(1, 1, 0, 9)];
    let error = check(&stale, &log).expect_err("stale").to_string();
    assert!(error.contains("stale"), "{error}");
}

#[test]
fn event_that_nobody_has_sent_is_rejected() {
    fails(&[commit(1, 1, 0, 1)], &[1, 7], "nobody has sent event 2");
    fails(&[commit(1, 2, 0, 1)], &[7, 1], "has begun at 2");
}
