//! Commits that acknowledge, and commands that come together.

use super::*;

fn acknowledge(vault: &Vault, sequence: u64, delivery: u32) -> Precondition {
    Precondition::Acknowledge {
        group: name(),
        incarnation: vault.group().incarnation,
        sequence,
        delivery,
    }
}

#[test]
fn commit_acknowledges_a_delivery_exactly_once() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    vault.pull(NOW + TIMEOUT, "b", 1);
    let done = |vault: &Vault, delivery, by: &str| {
        commit_if(
            [acknowledge(vault, 1, delivery)],
            [event("done", by).salted(by.as_bytes())],
        )
    };
    let late = done(&vault, 1, "a");
    let violation = Violation::Delivery {
        group: name(),
        sequence: 1,
        delivery: 1,
        actual: Some(2),
    };
    let violations = vec![violation];
    assert_eq!(vault.refuse(late), Rejection::Preconditions { violations });
    let right = done(&vault, 2, "b");
    assert_eq!(vault.accept(right.clone()).len(), 1);
    assert_eq!(vault.group().unacknowledged, 0);
    // A retry of what was stored is no second one.
    assert!(vault.accept(right)[0].deduplicated);
    let other = done(&vault, 2, "c");
    let violation = Violation::Delivery {
        group: name(),
        sequence: 1,
        delivery: 2,
        actual: None,
    };
    let violations = vec![violation];
    assert_eq!(vault.refuse(other), Rejection::Preconditions { violations });
}

/// Two tasks that come to the same event: it is stored once, and both are done with.
#[test]
fn commit_of_what_is_stored_already_acknowledges_too() {
    let mut vault = with_tasks(2, settings());
    vault.pull(NOW, "a", 2);
    for sequence in [1, 2] {
        let same = commit_if([acknowledge(&vault, sequence, 1)], [event("done", "")]);
        vault.accept(same);
    }
    assert_eq!(vault.group().unacknowledged, 0);
    assert_eq!(vault.ledger.position().sequence, 3);
}

#[test]
fn commands_of_one_entry_see_each_other() {
    let (mut vault, group) = Vault::with_group(NOW, settings());
    let deliver = |from, to, sequences: &[u64]| {
        Command::Deliver(Deliver {
            unix_ms: NOW,
            group: name(),
            incarnation: group.incarnation,
            consumer: consumer("a"),
            from,
            to,
            sequences: sequences.to_vec(),
        })
    };
    let settled = settle(NOW, group.incarnation, [(1, 1, Verdict::Acknowledge)]);
    let outcomes = vault.apply(&[
        Command::Commit(commit([event("task", "1"), event("task", "2")])),
        deliver(0, 1, &[1]),
        settled.clone(),
        settled,
        deliver(1, 2, &[2]),
        delete_group(NOW, group.incarnation),
        create_group(NOW, settings(), 2),
    ]);
    assert_eq!(delivered(outcomes[1].clone()).0.len(), 1);
    let settled = |outcome: &Outcome| match outcome {
        Outcome::Settled { outcomes, .. } => outcomes[0],
        other => panic!("{other:?}"),
    };
    assert_eq!(settled(&outcomes[2]), SettleOutcome::Done);
    assert_eq!(settled(&outcomes[3]), SettleOutcome::Stale);
    assert_eq!(delivered(outcomes[4].clone()).0.len(), 1);
    let group = vault.group();
    assert_eq!((group.position, group.unacknowledged), (2, 0));
    let items = vault.ledger.reader().group_items(&name(), 0, 9);
    assert_eq!(items.expect("readable"), []);
    assert_eq!(problems(&vault.ledger.reader()), []);
}
