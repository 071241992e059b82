//! From a delivery to its end.

use super::*;

#[test]
fn each_event_goes_to_one_consumer_until_its_time_is_over() {
    let mut vault = with_tasks(2, settings());
    vault.accept_event(event("note", "of no interest"));
    let (first, _) = vault.pull(NOW, "a", 1);
    let (second, _) = vault.pull(NOW, "b", 9);
    assert_eq!(
        (places(&first), places(&second)),
        (vec![(1, 1)], vec![(2, 1)])
    );
    assert_eq!(first[0].deadline_unix_ms, NOW + TIMEOUT);
    assert_eq!(vault.pull(NOW + TIMEOUT - 1, "b", 9).0, []);
    let (again, _) = vault.pull(NOW + TIMEOUT, "b", 9);
    assert_eq!(places(&again), [(1, 2), (2, 2)]);
    let acknowledged = vault.settle(
        NOW + TIMEOUT,
        [
            (1, 1, Verdict::Acknowledge),
            (1, 2, Verdict::Acknowledge),
            (1, 2, Verdict::Acknowledge),
        ],
    );
    let (stale, done) = (SettleOutcome::Stale, SettleOutcome::Done);
    assert_eq!(acknowledged, [stale, done, stale]);
    assert_eq!(vault.group().unacknowledged, 1);
}

#[test]
fn no_more_are_outstanding_than_the_settings_say() {
    let mut vault = with_tasks(5, settings());
    assert_eq!(vault.pull(NOW, "a", 9).0.len(), 3);
    assert_eq!(vault.group().position, 3);
    assert_eq!(vault.pull(NOW, "a", 9).0, []);
    vault.settle(NOW, [(2, 1, Verdict::Acknowledge)]);
    assert_eq!(places(&vault.pull(NOW, "a", 9).0), [(4, 1)]);
    // One that was planned without knowing of the bound stops before what does not fit.
    let command = Command::Deliver(Deliver {
        unix_ms: NOW,
        group: name(),
        incarnation: vault.group().incarnation,
        consumer: consumer("a"),
        from: 4,
        to: 5,
        sequences: vec![5],
    });
    assert_eq!(delivered(vault.apply(&[command]).remove(0)).0, []);
    assert_eq!(vault.group().position, 4);
}

#[test]
fn delivery_that_was_planned_for_another_position_is_refused() {
    let mut vault = with_tasks(2, settings());
    let early = vault.planned(NOW, "a", 1).expect("there is one");
    let late = vault.planned(NOW, "b", 1).expect("there is one");
    let outcomes = vault.apply(&[early, late]);
    assert!(matches!(outcomes[0], Outcome::Delivered { .. }));
    let moved = Rejection::GroupMoved {
        name: name(),
        expected: 0,
        actual: 1,
    };
    assert_eq!(refused(outcomes[1].clone()), moved);
}

#[test]
fn delivery_is_settled_once() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    vault.settle(NOW, [(1, 1, reject(50))]);
    let (stale, reason) = (SettleOutcome::Stale, String::new);
    for verdict in [
        Verdict::Acknowledge,
        reject(0),
        Verdict::Release,
        Verdict::Park { reason: reason() },
        Verdict::Extend,
    ] {
        assert_eq!(vault.settle(NOW, [(1, 1, verdict)]), [stale]);
    }
    // Nor does a token outlive what was parked and replayed.
    vault.pull(NOW + 50, "a", 1);
    vault.settle(NOW + 50, [(1, 2, Verdict::Park { reason: reason() })]);
    vault.moved(NOW + 50, vec![1], ParkedAction::Replay);
    let late = vault.settle(NOW + 50, [(1, 2, Verdict::Acknowledge)]);
    assert_eq!(late, [stale]);
    assert_eq!(vault.group().unacknowledged, 1);
}

#[test]
fn delivery_that_is_released_does_not_count() {
    let mut vault = with_tasks(1, settings());
    for delivery in 1..=5 {
        assert_eq!(places(&vault.pull(NOW, "a", 1).0), [(1, delivery)]);
        let released = vault.settle(NOW, [(1, delivery, Verdict::Release)]);
        assert_eq!(released, [SettleOutcome::Done]);
    }
    // Two that count are what the group gives.
    vault.pull(NOW, "a", 1);
    assert_eq!(places(&vault.pull(NOW + TIMEOUT, "a", 1).0), [(1, 7)]);
    assert_eq!(vault.pull(NOW + 2 * TIMEOUT, "a", 1), (vec![], 1));
    assert_eq!(problems(&vault.ledger.reader()), []);
}

#[test]
fn rejected_event_waits_and_is_parked_after_its_last_delivery() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    vault.settle(NOW, [(1, 1, reject(50))]);
    assert_eq!(vault.pull(NOW + 49, "a", 1).0, []);
    assert_eq!(places(&vault.pull(NOW + 50, "a", 1).0), [(1, 2)]);
    let done = vault.settle(NOW + 60, [(1, 2, reject(0))]);
    assert_eq!(done, [SettleOutcome::Done]);
    let group = vault.group();
    assert_eq!((group.unacknowledged, group.parked), (0, 1));
    let parked = vault.ledger.reader().group_parked(&name(), 0, 9);
    let parked = parked.expect("readable").remove(0);
    assert_eq!((parked.deliveries, &*parked.reason), (2, "no water"));
    assert_eq!(parked.parked_unix_ms, NOW + 60);
}

#[test]
fn event_whose_consumers_say_nothing_is_parked_too() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    vault.pull(NOW + TIMEOUT, "a", 1);
    assert_eq!(vault.pull(NOW + 2 * TIMEOUT, "a", 1), (vec![], 1));
    assert_eq!(vault.group().parked, 1);
}

#[test]
fn lease_is_extended_from_now_on() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    let extended = vault.settle(NOW + 900, [(1, 1, Verdict::Extend)]);
    assert_eq!(extended, [SettleOutcome::Done]);
    assert_eq!(vault.pull(NOW + 900 + TIMEOUT - 1, "b", 1).0, []);
    assert_eq!(vault.pull(NOW + 900 + TIMEOUT, "b", 1).0.len(), 1);
    vault.settle(NOW + 2_000, [(1, 2, reject(0))]);
    // Nobody has it any more.
    let extended = vault.settle(NOW + 2_000, [(1, 2, Verdict::Extend)]);
    assert_eq!(extended, [SettleOutcome::Stale]);
}

#[test]
fn replayed_event_has_all_deliveries_again_and_no_number_twice() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    let reason = "later".to_owned();
    vault.settle(NOW, [(1, 1, Verdict::Park { reason })]);
    assert_eq!(vault.moved(NOW, vec![], ParkedAction::Replay), 0);
    assert_eq!(vault.moved(NOW, vec![1], ParkedAction::Replay), 1);
    assert_eq!(places(&vault.pull(NOW, "b", 1).0), [(1, 2)]);
    // What was said of its first life is of no account.
    let stale = vault.settle(NOW, [(1, 1, Verdict::Acknowledge)]);
    assert_eq!(stale, [SettleOutcome::Stale]);
    assert_eq!(places(&vault.pull(NOW + TIMEOUT, "b", 1).0), [(1, 3)]);
    assert_eq!(vault.pull(NOW + 2 * TIMEOUT, "b", 1), (vec![], 1));
    assert_eq!(vault.moved(NOW, vec![7], ParkedAction::Discard), 0);
    assert_eq!(vault.moved(NOW, vec![1], ParkedAction::Discard), 1);
    let group = vault.group();
    assert_eq!((group.unacknowledged, group.parked), (0, 0));
}

#[test]
fn replay_has_room_in_a_busy_group_and_new_events_wait() {
    let mut vault = with_tasks(5, settings());
    for sequences in [1..=3_u64, 4..=5] {
        vault.pull(NOW, "a", 9);
        let reason = String::new;
        let park = sequences.map(|at| (at, 1, Verdict::Park { reason: reason() }));
        vault.settle(NOW, park.collect::<Vec<_>>());
    }
    assert_eq!(vault.group().parked, 5);
    let parked = vault.parked();
    assert_eq!(vault.moved(NOW, parked, ParkedAction::Replay), 5);
    let group = vault.group();
    assert_eq!((group.unacknowledged, group.parked), (5, 0));
    vault.accept_event(event("task", "new"));
    assert_eq!(vault.pull(NOW, "a", 9).0.len(), 5);
    let done = (1..=3).map(|sequence| (sequence, 2, Verdict::Acknowledge));
    vault.settle(NOW, done.collect::<Vec<_>>());
    assert_eq!(places(&vault.pull(NOW, "a", 9).0), [(6, 1)]);
}
