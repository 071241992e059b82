//! Cursors that are saved and deleted by commands of their own, and the precondition on a kind prefix.

mod apply_support;

use std::sync::Arc;

use apply_support::*;
use toka_ledger::command::{Command, DeleteCursor, Precondition, SaveCursor};
use toka_ledger::core::limits::CURSORS_MAX;
use toka_ledger::engine::Engine;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::restore::repeat;
use toka_ledger::seam::{InlineThreads, Threads};
use toka_ledger::verify::verify;
use toka_ledger::{CursorName, Ledger, Outcome, Position, Reader, Rejection, Violation};

fn name(name: &str) -> CursorName {
    CursorName::new(name).expect("valid")
}

fn save(cursor: &str, from: Option<u64>, to: u64) -> Command {
    Command::SaveCursor(SaveCursor {
        unix_ms: NOW,
        name: name(cursor),
        from,
        to,
    })
}

fn delete(cursor: &str, from: Option<u64>) -> Command {
    Command::DeleteCursor(DeleteCursor {
        unix_ms: NOW,
        name: name(cursor),
        from,
    })
}

fn elsewhere(cursor: &str, expected: u64, actual: u64) -> Rejection {
    Rejection::Preconditions {
        violations: vec![Violation::Cursor {
            name: name(cursor),
            expected,
            actual,
        }],
    }
}

fn cursors(reader: &Reader) -> Vec<(String, u64)> {
    let cursors = reader.cursors(None, 100).expect("readable").into_iter();
    cursors.map(|(name, at)| (name.to_string(), at)).collect()
}

fn with_events(events: u32) -> Vault {
    let mut vault = Vault::new();
    for number in 0..events {
        vault.accept_event(event("a", &number.to_string()));
    }
    vault
}

#[test]
fn cursor_is_saved_moved_and_deleted() {
    let mut vault = with_events(5);
    let outcomes = vault.apply(&[
        save("c", Some(0), 2),
        save("c", Some(1), 3),
        save("c", Some(2), 3),
        save("c", None, 1),
        delete("c", Some(3)),
        delete("c", Some(1)),
        delete("c", None),
        save("c", None, 6),
    ]);
    assert!(matches!(
        outcomes[0],
        Outcome::CursorSaved { position: 2, .. }
    ));
    assert_eq!(refused(outcomes[1].clone()), elsewhere("c", 1, 2));
    assert!(matches!(
        outcomes[2],
        Outcome::CursorSaved { position: 3, .. }
    ));
    assert!(matches!(
        outcomes[3],
        Outcome::CursorSaved { position: 1, .. }
    ));
    assert_eq!(refused(outcomes[4].clone()), elsewhere("c", 3, 1));
    assert!(matches!(outcomes[5], Outcome::CursorDeleted { .. }));
    let unknown = Rejection::UnknownCursor { name: name("c") };
    assert_eq!(refused(outcomes[6].clone()), unknown);
    let ahead = Rejection::PositionAhead {
        position: 6,
        last: 5,
    };
    assert_eq!(refused(outcomes[7].clone()), ahead);
    assert_eq!(cursors(&vault.ledger.reader()), []);
}

#[test]
fn cursor_at_its_place_costs_nothing() {
    let mut vault = with_events(1);
    vault.apply(&[save("c", None, 1)]);
    let rows = contents(&*vault.engine).len();
    let digest = vault.ledger.position().state_digest;
    vault.apply(&[save("c", None, 1), save("c", Some(1), 1)]);
    assert_eq!(contents(&*vault.engine).len(), rows);
    assert_eq!(vault.ledger.position().state_digest, digest);
}

#[test]
fn cursor_that_is_at_its_goal_is_saved_wherever_it_came_from() {
    let mut vault = with_events(3);
    vault.apply(&[save("c", Some(0), 2)]);
    let digest = vault.ledger.position().state_digest;
    // The same call again, after a lost answer.
    let outcomes = vault.apply(&[save("c", Some(0), 2), save("c", Some(0), 3)]);
    assert!(matches!(outcomes[0], Outcome::CursorSaved { .. }));
    assert_eq!(refused(outcomes[1].clone()), elsewhere("c", 0, 2));
    assert_eq!(vault.ledger.position().state_digest, digest);
}

#[test]
fn there_is_a_bound_on_cursors() {
    let mut vault = with_events(1);
    let all = 0..CURSORS_MAX - 1;
    let all: Vec<_> = all
        .map(|number| save(&format!("n{number}"), None, 1))
        .collect();
    for some in all.chunks(10_000) {
        vault.apply(some);
    }
    let moved = |number: u64, names: &[&str]| {
        let moves = names.iter().map(|cursor| Precondition::CursorMove {
            name: name(cursor),
            from: 0,
            to: 1,
        });
        commit_if(moves.collect::<Vec<_>>(), [event("b", &number.to_string())])
    };
    let full = Rejection::CursorsFull { max: CURSORS_MAX };
    assert_eq!(vault.refuse(moved(0, &["x", "y"])), full);
    vault.accept(moved(1, &["x"]));
    assert_eq!(vault.refuse(moved(2, &["y"])), full);
    let outcomes = vault.apply(&[
        save("y", None, 1),
        save("x", None, 0),
        delete("x", None),
        save("y", None, 1),
        save("z", None, 1),
    ]);
    assert_eq!(refused(outcomes[0].clone()), full);
    assert!(matches!(outcomes[1], Outcome::CursorSaved { .. }));
    assert!(matches!(outcomes[3], Outcome::CursorSaved { .. }));
    assert_eq!(refused(outcomes[4].clone()), full);
}

#[test]
fn cursors_are_listed_by_name_and_in_pages() {
    let mut vault = with_events(3);
    vault.apply(&[save("b", None, 1), save("a/b", None, 2), save("a", None, 3)]);
    let all = [("a", 3), ("a/b", 2), ("b", 1)].map(|(name, at)| (name.to_owned(), at));
    let reader = vault.ledger.reader();
    assert_eq!(cursors(&reader), all);
    let page = |after: Option<&str>, limit| {
        let page = reader.cursors(after.map(name).as_ref(), limit);
        let page = page.expect("readable").into_iter();
        page.map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 1), ["a"]);
    assert_eq!(page(Some("a"), 1), ["a/b"]);
    assert_eq!(page(Some("a/b"), 9), ["b"]);
    assert_eq!(page(Some("b"), 9), Vec::<String>::new());
}

/// Saves and deletions between events, and cursors that move with them.
#[test]
fn cursors_are_verified_and_repeated() {
    let mut vault = Vault::new();
    let mut behind: Vec<(Position, Vec<(String, u64)>)> = Vec::new();
    for number in 0..600_u64 {
        let moves = Precondition::CursorMove {
            name: name("moves"),
            from: number,
            to: number + 1,
        };
        vault.accept(commit_if([moves], [event("a", &number.to_string())]));
        let reader = vault.ledger.reader();
        behind.push((reader.position(), cursors(&reader)));
        match number % 5 {
            0 => vault.apply(&[save("saved", None, number), save("other", None, 1)]),
            1 => vault.apply(&[save("moves", None, 0), save("moves", Some(0), number + 1)]),
            2 => vault.apply(&[delete("saved", None), delete("nothing", None)]),
            _ => Vec::new(),
        };
    }
    let source = vault.ledger.reader();
    let report = verify(&source, &mut |_| {}).expect("readable");
    assert_eq!(report.problems, []);
    let threads: Arc<dyn Threads> = Arc::new(InlineThreads);
    for until in [1, 2, 3, 256, 257, 512, 600] {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        repeat(&engine, &source, until, &threads, &mut |_| {}).expect("repeated");
        let (reader, _) = Ledger::read_only(engine).expect("opens");
        let (position, expected) = &behind[usize::try_from(until).expect("small") - 1];
        assert_eq!(&cursors(&reader), expected, "behind {until}");
        let state_digest = reader.position().state_digest;
        assert_eq!(state_digest, position.state_digest, "behind {until}");
        let report = verify(&reader, &mut |_| {}).expect("readable");
        assert_eq!(report.problems, [], "behind {until}");
    }
}

fn last_of(prefix: &str, sequence: u64) -> Precondition {
    Precondition::KindPrefixSequence {
        prefix: prefix.to_owned(),
        sequence,
    }
}

#[test]
fn last_event_of_a_prefix_is_compared() {
    let mut vault = Vault::new();
    let prefixed = |sequence| commit_if([last_of("task.", sequence)], [event("note", "")]);
    let violations = vec![Violation::KindPrefixSequence {
        prefix: "task.".to_owned(),
        expected: 1,
        actual: 0,
    }];
    let refusal = vault.refuse(prefixed(1));
    assert_eq!(refusal, Rejection::Preconditions { violations });
    for kind in ["task.a", "tasks", "task.b", "task", "task.a.b"] {
        vault.accept_event(event(kind, ""));
    }
    vault.accept_event(event("task.a", "again"));
    let violations = vec![Violation::KindPrefixSequence {
        prefix: "task.".to_owned(),
        expected: 5,
        actual: 6,
    }];
    let refusal = vault.refuse(prefixed(5));
    assert_eq!(refusal, Rejection::Preconditions { violations });
    // Also of what the same entry has brought.
    let outcomes = vault.commits([
        commit([event("task.c", "")]),
        commit_if([last_of("task.", 6)], [event("note", "1")]),
        commit_if([last_of("task.", 7)], [event("note", "2")]),
    ]);
    assert!(matches!(outcomes[1], Outcome::Rejected { .. }));
    assert!(matches!(outcomes[2], Outcome::Committed { .. }));
}

#[test]
fn prefix_of_too_many_kinds_is_a_violation_however_commands_are_gathered() {
    let kinds = |from: usize, to: usize| {
        let kinds = (from..to).map(|number| event(&format!("many.{number}"), ""));
        commit(kinds.collect::<Vec<_>>())
    };
    let conditional = |payload| commit_if([last_of("many.", 1_000)], [event("note", payload)]);
    let (mut one, mut other) = (Vault::new(), Vault::new());
    one.accept(kinds(0, 1_000));
    one.accept(conditional("fits"));
    one.accept(kinds(1_000, 1_001));
    let refusal = one.refuse(conditional("does not"));
    let violations = vec![Violation::PrefixTooWide {
        prefix: "many.".to_owned(),
        max: 1_000,
    }];
    let expected = Rejection::Preconditions { violations };
    assert_eq!(refusal, expected);
    let mut outcomes = other.commits([
        kinds(0, 1_000),
        conditional("fits"),
        kinds(1_000, 1_001),
        conditional("does not"),
    ]);
    assert_eq!(refused(outcomes.remove(3)), expected);
    assert_eq!(contents(&*one.engine), contents(&*other.engine));
}
