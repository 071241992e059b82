//! Consumer groups: what each command does to a group.

#[path = "../apply_support/mod.rs"]
mod apply_support;
mod checked;
mod commits;
mod deliveries;
#[path = "../apply_support/groups.rs"]
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
