//! Consumer groups: what each command does to a group.

mod apply_support;
#[path = "apply_support/groups.rs"]
mod groups;

use std::sync::Arc;

use apply_support::*;
use groups::*;
use toka_ledger::command::{Command, Deliver, ParkedAction, Precondition, Verdict};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Durability, Engine, Table};
use toka_ledger::group::{self, ItemState, SettleOutcome};
use toka_ledger::restore::repeat;
use toka_ledger::seam::{InlineThreads, Threads};
use toka_ledger::verify::verify;
use toka_ledger::{Ledger, Outcome, Reader, Rejection, Violation};

/// A vault with a group and tasks at the sequences 1 to `tasks`.
fn with_tasks(tasks: u32, settings: group::Settings) -> Vault {
    let (mut vault, _) = Vault::with_group(NOW, settings);
    for number in 0..tasks {
        vault.accept_event(event("task", &number.to_string()));
    }
    vault
}

fn reject(delay_ms: u32) -> Verdict {
    Verdict::Reject {
        delay_ms,
        reason: "no water".to_owned(),
    }
}

fn problems(reader: &Reader) -> Vec<toka_ledger::verify::Problem> {
    verify(reader, &mut |_| {}).expect("readable").problems
}

fn repeated(source: &Reader, until: u64) -> (Reader, Arc<dyn Engine>) {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let threads: Arc<dyn Threads> = Arc::new(InlineThreads);
    repeat(&engine, source, until, &threads, &mut |_| {}).expect("repeated");
    let (reader, _) = Ledger::read_only(Arc::clone(&engine)).expect("opens");
    (reader, engine)
}

#[test]
fn group_is_created_once_and_is_another_one_after_its_deletion() {
    let (mut vault, first) = Vault::with_group(NOW, settings());
    assert_eq!((first.incarnation, first.position), (2, 0));
    assert_eq!(vault.created(create_group(NOW, settings(), 0)), first);
    let other = create_group(NOW, group::Settings::default(), 0);
    let refusal = refused(vault.apply(&[other]).remove(0));
    let Rejection::GroupExists { reason, .. } = &refusal else {
        panic!("{refusal:?}")
    };
    let reason = reason.as_deref().expect("it is said");
    assert!(
        reason.contains("ack_timeout_ms is 1000, not 30000"),
        "{reason}"
    );
    vault.apply(&[delete_group(NOW, first.incarnation)]);
    assert_eq!(vault.ledger.reader().groups().expect("readable"), []);
    let second = vault.created(create_group(NOW, group::Settings::default(), 0));
    assert!(second.incarnation > first.incarnation);
    // A deletion that is repeated does not take the group that was made since.
    let repeated = vault.apply(&[delete_group(NOW, first.incarnation)]);
    let unknown = Rejection::UnknownGroup { name: name() };
    assert_eq!(refused(repeated[0].clone()), unknown);
    assert_eq!(vault.group(), second);
    let outdated = settle(NOW, first.incarnation, []);
    let refusal = refused(vault.apply(&[outdated]).remove(0));
    assert_eq!(refusal, Rejection::UnknownGroup { name: name() });
}

#[test]
fn group_needs_its_level_and_a_position_that_there_is() {
    let mut old = Vault::of_level(1);
    let refusal = refused(old.apply(&[create_group(NOW, settings(), 0)]).remove(0));
    let expected = Rejection::FeatureLevel {
        needed: 2,
        level: 1,
    };
    assert_eq!(refusal, expected);
    let mut vault = Vault::new();
    let refusal = refused(vault.apply(&[create_group(NOW, settings(), 1)]).remove(0));
    let expected = Rejection::PositionAhead {
        position: 1,
        last: 0,
    };
    assert_eq!(refusal, expected);
}

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

#[test]
fn group_of_many_events_is_deleted_bit_by_bit() {
    let settings = group::Settings {
        unacknowledged_max: 10_000,
        ..settings()
    };
    let (mut vault, group) = Vault::with_group(NOW, settings.clone());
    for from in [0, 1_000, 2_000] {
        let tasks = (from..from + 1_000).map(|number| event("task", &number.to_string()));
        vault.accept(commit(tasks.collect::<Vec<_>>()));
        assert_eq!(vault.pull(NOW, "a", 1_000).0.len(), 1_000);
    }
    let rows_left = |outcome: Outcome| match outcome {
        Outcome::GroupDeleted { rows_left, .. } => rows_left,
        other => panic!("not deleted: {other:?}"),
    };
    let delete = delete_group(NOW, group.incarnation);
    let first = vault.apply(std::slice::from_ref(&delete)).remove(0);
    assert_eq!(rows_left(first), 1_000);
    let reader = vault.ledger.reader();
    assert!(vault.group().is_ending);
    assert_eq!(problems(&reader), []);
    // It does nothing any more, and is in the way of another one.
    assert!(group::plan_delivery(&reader, &name(), NOW + TIMEOUT, 9).is_err());
    let settled = settle(NOW, group.incarnation, [(3_000, 1, Verdict::Acknowledge)]);
    let again = create_group(NOW, settings, 0);
    let outcomes = vault.apply(&[settled, again.clone()]);
    let unknown = Rejection::UnknownGroup { name: name() };
    assert_eq!(refused(outcomes[0].clone()), unknown);
    let exists = Rejection::GroupExists {
        name: name(),
        reason: Some("that is being deleted".to_owned()),
    };
    assert_eq!(refused(outcomes[1].clone()), exists);
    let mut outcomes = vault.apply(&[delete, again]);
    assert_eq!(rows_left(outcomes.remove(0)), 0);
    assert!(matches!(outcomes[0], Outcome::GroupCreated { .. }));
    assert_eq!(vault.group().unacknowledged, 0);
    assert_eq!(problems(&reader), []);
}

#[test]
fn settings_change_and_the_group_stays_where_it_is() {
    let mut vault = with_tasks(5, settings());
    vault.pull(NOW, "a", 9);
    let before = vault.group();
    let changes = group::Changes {
        ack_timeout_ms: Some(200),
        unacknowledged_max: Some(4),
        deliveries_max: None,
    };
    let update = update_group(NOW, before.incarnation, changes);
    let outcomes = vault.apply(&[update.clone(), update]);
    let after = vault.group();
    for outcome in outcomes {
        let is_updated = matches!(&outcome, Outcome::GroupUpdated { group, .. } if *group == after);
        assert!(is_updated, "{outcome:?}");
    }
    assert_eq!((after.position, after.unacknowledged), (3, 3));
    assert_eq!(after.settings, changes.of(&settings()));
    assert_eq!(after.version, before.version + 1);
    let (deliveries, _) = vault.pull(NOW, "a", 9);
    assert_eq!(places(&deliveries), [(4, 1)]);
    assert_eq!(deliveries[0].deadline_unix_ms, NOW + 200);
    let other = update_group(NOW, before.incarnation + 1, changes);
    let refusal = refused(vault.apply(&[other]).remove(0));
    assert_eq!(refusal, Rejection::UnknownGroup { name: name() });
}

#[test]
fn what_is_known_not_to_be_due_is_not_looked_at_until_the_group_changes() {
    let mut vault = with_tasks(2, settings());
    vault.pull(NOW, "a", 2);
    let reader = vault.ledger.reader();
    let plan = |now, known| {
        let planned = group::plan_delivery_after(&reader, &name(), now, 9, known);
        planned.expect("readable")
    };
    let known = plan(NOW, None).not_due;
    assert_eq!(known.map(|known| known.before_unix_ms), Some(NOW + TIMEOUT));
    let later = known.map(|known| group::NotDue {
        before_unix_ms: NOW + 9 * TIMEOUT,
        ..known
    });
    assert_eq!(plan(NOW + TIMEOUT, later).plan, None, "it was looked at");
    assert_eq!(
        plan(NOW + TIMEOUT, known)
            .not_due
            .map(|due| due.before_unix_ms),
        Some(u64::MAX)
    );
    vault.settle(NOW, [(1, 1, reject(0))]);
    let plan = plan(NOW, later).plan.expect("the group has changed");
    assert_eq!(plan.sequences, [1]);
}

#[test]
fn sums_are_kept_at_every_256th_revision() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    let incarnation = vault.group().incarnation;
    let extends = (0..600).map(|ms| settle(NOW + ms, incarnation, [(1, 1, Verdict::Extend)]));
    let extends: Vec<_> = extends.collect();
    let (before, rest) = extends.split_at(300);
    vault.apply(before);
    let kept = vault.ledger.reader().group_sums();
    assert_eq!(kept.iter().map(|sum| sum.0).collect::<Vec<_>>(), [256]);
    vault.apply(rest);
    let kept = vault.ledger.reader().group_sums();
    assert_eq!(kept.iter().map(|sum| sum.0).collect::<Vec<_>>(), [512, 256]);
    assert_ne!(kept[0].1, kept[1].1);
}

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

#[test]
fn position_passes_what_the_group_does_not_want_without_a_command_for_each() {
    let (mut vault, _) = Vault::with_group(NOW, settings());
    let note = |number: usize| event("note", &number.to_string());
    vault.accept(commit((0..999).map(note)));
    assert_eq!(vault.planned(NOW, "a", 9), None);
    vault.accept(commit([note(999)]));
    assert_eq!(vault.pull(NOW, "a", 9), (vec![], 0));
    assert_eq!(vault.group().position, 1_000);
}

#[test]
fn what_is_due_next_is_known() {
    let mut vault = with_tasks(3, settings());
    vault.pull(NOW, "a", 2);
    vault.settle(NOW, [(2, 1, reject(300))]);
    let due = |now, limit| {
        let due = vault.ledger.reader().group_due(&name(), now, limit);
        let due = due.expect("readable");
        (due.sequences, due.next_unix_ms)
    };
    assert_eq!(due(NOW, 9), (vec![], Some(NOW + 300)));
    assert_eq!(due(NOW + 300, 9), (vec![2], Some(NOW + TIMEOUT)));
    assert_eq!(due(NOW + TIMEOUT, 9), (vec![1, 2], None));
    assert_eq!(due(NOW + TIMEOUT, 1), (vec![1], None));
}

/// A vault with two tasks outstanding, one parked and one acknowledged.
fn busy() -> Vault {
    let mut vault = with_tasks(6, settings());
    vault.pull(NOW, "a", 3);
    let reason = "broken".to_owned();
    let verdicts = [
        (1, 1, Verdict::Acknowledge),
        (2, 1, Verdict::Park { reason }),
    ];
    vault.settle(NOW, verdicts);
    vault.pull(NOW, "b", 1);
    vault
}

#[test]
fn restore_to_an_event_keeps_groups_up_to_it_and_no_lease() {
    let vault = busy();
    let source = vault.ledger.reader();
    let before = vault.group();
    assert_eq!((before.position, before.unacknowledged), (4, 2));
    let (restored, engine) = repeated(&source, 3);
    assert_eq!(problems(&restored), []);
    let group = restored.group(&name()).expect("readable").expect("kept");
    assert_eq!((group.position, group.unacknowledged), (3, 1));
    assert_eq!((group.parked, &group.settings), (1, &before.settings));
    assert_eq!(group.incarnation, restored.position().revision);
    let items = restored.group_items(&name(), 0, 9).expect("readable");
    assert_eq!((items[0].sequence, items[0].deliveries), (3, 1));
    assert!(matches!(items[0].state, ItemState::Waiting { .. }));
    // Again, over what is there: the groups of then go.
    let threads: Arc<dyn Threads> = Arc::new(InlineThreads);
    repeat(&engine, &source, 6, &threads, &mut |_| {}).expect("repeated");
    let (restored, _) = Ledger::read_only(engine).expect("opens");
    assert_eq!(problems(&restored), []);
    let group = restored.group(&name()).expect("readable").expect("kept");
    assert_eq!((group.position, group.unacknowledged), (4, 2));
}

#[test]
fn damaged_row_of_a_group_is_found() {
    let vault = busy();
    let rows = contents(&*vault.engine);
    let is_group = |key: &[u8]| key.starts_with(b"group");
    let rows = rows.into_iter().filter(|(_, key, _)| is_group(key));
    let rows: Vec<_> = rows.collect();
    // The group, two that are outstanding, one that is parked, the sum.
    assert_eq!(rows.len(), 5);
    for (_, key, row) in rows {
        let mut damaged = row.to_vec();
        damaged[1] ^= 4;
        for changed in [Some(damaged), None] {
            let mut batch = Batch::new();
            match changed {
                Some(row) => batch.put(Table::Meta, &key, row),
                None => batch.delete(Table::Meta, &key),
            }
            let engine = &vault.engine;
            engine.write(batch, Durability::Volatile).expect("written");
            let problems = problems(&vault.ledger.reader());
            assert!(!problems.is_empty(), "{key:?}");
        }
        let mut batch = Batch::new();
        batch.put(Table::Meta, &key, &row);
        let engine = &vault.engine;
        engine.write(batch, Durability::Volatile).expect("written");
    }
    assert_eq!(problems(&vault.ledger.reader()), []);
}

#[test]
fn digest_says_whether_two_vaults_have_the_same_groups() {
    let digest = |vault: &Vault| {
        let digest = vault.ledger.reader().groups_digest();
        digest.expect("readable")
    };
    let (mut one, other) = (busy(), busy());
    assert_eq!(digest(&one), digest(&other));
    let revision = one.ledger.position().revision;
    assert_eq!(digest(&one).0, revision);
    one.settle(NOW, [(3, 1, Verdict::Acknowledge)]);
    assert_ne!(digest(&one).1, digest(&other).1);
    let incarnation = one.group().incarnation;
    one.apply(&[delete_group(NOW, incarnation)]);
    assert_eq!(digest(&one).1, digest(&Vault::new()).1);
}
