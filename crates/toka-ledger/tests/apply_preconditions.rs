//! What `apply` makes of preconditions and cursors.

mod apply_support;

use apply_support::*;
use toka_ledger::command::{Commit, ParentName, Precondition};
use toka_ledger::{CursorName, Digest, EventHeader, Outcome, Rejection, Violation};

fn no_child(parent: &EventHeader, kind: &str) -> Precondition {
    Precondition::NoChild {
        parent: by_id(parent),
        kind: apply_support::kind(kind),
    }
}

fn kind_sequence(kind: &str, sequence: u64) -> Precondition {
    Precondition::KindSequence {
        kind: apply_support::kind(kind),
        sequence,
    }
}

fn cursor() -> CursorName {
    CursorName::new("worker").expect("valid")
}

fn cursor_move(from: u64, to: u64) -> Precondition {
    Precondition::CursorMove {
        name: cursor(),
        from,
        to,
    }
}

fn violations(rejection: Rejection) -> Vec<Violation> {
    match rejection {
        Rejection::Preconditions { violations } => violations,
        other => panic!("no precondition failed: {other:?}"),
    }
}

#[test]
fn of_many_claims_in_one_entry_exactly_one_succeeds() {
    let mut vault = Vault::new();
    let task = vault.accept_event(event("task", "1"));
    let claim = |salt: &[u8]| {
        let claim = event("claim", "mine").salted(salt).child_of([by_id(&task)]);
        commit_if([no_child(&task, "claim")], [claim])
    };
    let mut outcomes = vault.commits([claim(b"a"), claim(b"b"), claim(b"a"), claim(b"c")]);
    let last = refused(outcomes.remove(3));
    let won = accepted(outcomes.remove(0)).remove(0);
    let expected = [Violation::HasChild {
        parent: task.id,
        kind: kind("claim"),
        child: won.id,
    }];
    assert_eq!(violations(refused(outcomes.remove(0))), expected);
    assert_eq!(violations(last), expected);
    // The winner's retry succeeds, in this entry and later.
    assert_eq!(accepted(outcomes.remove(0))[0].id, won.id);
    assert!(vault.accept(claim(b"a"))[0].deduplicated);
    assert_eq!(violations(vault.refuse(claim(b"d"))), expected);
}

#[test]
fn a_child_of_another_kind_does_not_hinder_a_claim() {
    let mut vault = Vault::new();
    let task = vault.accept_event(event("task", "1"));
    vault.accept_event(event("claim.note", "x").child_of([by_id(&task)]));
    vault.accept_event(event("clai", "x").child_of([by_id(&task)]));
    let claim = event("claim", "mine")
        .salted(b"a")
        .child_of([by_digest(&task)]);
    vault.accept(commit_if([no_child(&task, "claim")], [claim]));
}

#[test]
fn preconditions_see_the_vault_before_the_batch() {
    let mut vault = Vault::new();
    let task = vault.accept_event(event("task", "1"));
    let claim = |salt: &[u8]| event("claim", "mine").salted(salt).child_of([by_id(&task)]);
    let preconditions = [no_child(&task, "claim"), kind_sequence("claim", 0)];
    let headers = vault.accept(commit_if(preconditions, [claim(b"a"), claim(b"b")]));
    assert_eq!(headers.len(), 2);
}

#[test]
fn the_last_sequence_of_a_kind_is_compared() {
    let mut vault = Vault::new();
    vault.accept(commit_if([kind_sequence("a", 0)], [event("a", "1")]));
    vault.accept(commit_if(
        [kind_sequence("a", 1)],
        [event("ab", "2"), event("a", "3")],
    ));
    let outcomes = vault.commits([
        commit_if([kind_sequence("a", 3)], [event("a", "4")]),
        commit_if([kind_sequence("a", 3)], [event("a", "5")]),
    ]);
    assert_eq!(
        violations(refused(outcomes[1].clone())),
        [Violation::KindSequence {
            kind: kind("a"),
            expected: 3,
            actual: 4
        }]
    );
}

#[test]
fn the_time_that_is_compared_is_the_command_s() {
    let mut vault = Vault::new();
    let at = |unix_ms, needed, payload| Commit {
        unix_ms,
        ..commit_if(
            [Precondition::TimePassed { unix_ms: needed }],
            [event("a", payload)],
        )
    };
    assert_eq!(
        violations(vault.refuse(at(NOW + 9, NOW + 10, "1"))),
        [Violation::TooEarly {
            expected: NOW + 10,
            actual: NOW + 9
        }]
    );
    vault.accept(at(NOW + 10, NOW + 10, "1"));
    // The vault's time stays where it was.
    vault.accept(at(NOW, NOW + 10, "2"));
}

#[test]
fn all_violations_are_reported_in_order() {
    let mut vault = Vault::new();
    let task = vault.accept_event(event("task", "1"));
    let child = vault.accept_event(event("claim", "x").child_of([by_id(&task)]));
    let rejection = vault.refuse(commit_if(
        [
            cursor_move(5, 6),
            kind_sequence("task", 1),
            no_child(&task, "claim"),
            kind_sequence("task", 0),
        ],
        [event("a", "1")],
    ));
    assert_eq!(
        violations(rejection),
        [
            Violation::Cursor {
                name: cursor(),
                expected: 5,
                actual: 0
            },
            Violation::HasChild {
                parent: task.id,
                kind: kind("claim"),
                child: child.id
            },
            Violation::KindSequence {
                kind: kind("task"),
                expected: 0,
                actual: 1
            },
        ]
    );
}

#[test]
fn a_precondition_on_an_unknown_event_hides_no_other() {
    let mut vault = Vault::new();
    let parent = ParentName::Digest(Digest([1; 32]));
    let claim = Precondition::NoChild {
        parent,
        kind: kind("claim"),
    };
    let preconditions = [claim, kind_sequence("a", 5)];
    let rejection = vault.refuse(commit_if(preconditions, [event("a", "1")]));
    let expected = [
        Violation::UnknownEvent {
            precondition: 0,
            parent,
        },
        Violation::KindSequence {
            kind: kind("a"),
            expected: 5,
            actual: 0,
        },
    ];
    assert_eq!(violations(rejection), expected);
}

#[test]
fn in_a_vault_of_level_1_a_precondition_on_an_unknown_event_is_refused() {
    let mut vault = Vault::of_level(1);
    for parent in [ParentName::Digest(Digest([1; 32])), ParentName::Batch(0)] {
        let precondition = Precondition::NoChild {
            parent,
            kind: kind("claim"),
        };
        let rejection = vault.refuse(commit_if([precondition], [event("a", "1")]));
        assert_eq!(
            rejection,
            Rejection::UnknownPreconditionParent {
                precondition: 0,
                parent
            }
        );
    }
}

#[test]
fn a_partly_new_commit_is_checked() {
    let mut vault = Vault::new();
    vault.accept_event(event("a", "1"));
    let both = [event("a", "1"), event("a", "2")];
    let rejection = vault.refuse(commit_if([kind_sequence("a", 0)], both));
    assert_eq!(violations(rejection).len(), 1);
}

#[test]
fn a_cursor_moves_with_the_commit_and_only_once() {
    let mut vault = Vault::new();
    let reader = vault.ledger.reader();
    let position = || reader.cursor(&cursor()).expect("readable");
    let step = |from, to, payload| commit_if([cursor_move(from, to)], [event("out", payload)]);
    assert_eq!(position(), None);
    let outcomes = vault.commits([step(0, 3, "1"), step(3, 7, "2"), step(0, 9, "3")]);
    assert_eq!(
        violations(refused(outcomes[2].clone())),
        [Violation::Cursor {
            name: cursor(),
            expected: 0,
            actual: 7
        }]
    );
    assert_eq!(position(), Some(7));
    // A retry of the first step changes nothing.
    assert!(vault.accept(step(0, 3, "1"))[0].deduplicated);
    assert_eq!(position(), Some(7));
    vault.accept(step(7, 2, "4"));
    assert_eq!(position(), Some(2));
}

#[test]
fn a_cursor_s_move_is_in_the_state_digest() {
    let state_digest = |to| {
        let mut vault = Vault::new();
        vault.accept(commit_if([cursor_move(0, to)], [event("a", "1")]));
        vault.ledger.position().state_digest
    };
    assert_ne!(state_digest(1), state_digest(2));
}

#[test]
fn a_refused_commit_changes_revision_and_time_only() {
    let mut vault = Vault::new();
    let before = vault.ledger.position();
    let commit = commit_if([cursor_move(1, 2)], [event("a", "1").embedded(&[1.0])]);
    let outcome = vault
        .commits([Commit {
            unix_ms: NOW + 1,
            ..commit
        }])
        .remove(0);
    let after = vault.ledger.position();
    assert!(matches!(outcome, Outcome::Rejected { revision: 2, .. }));
    assert_eq!(after.revision, before.revision + 1);
    assert_eq!(after.unix_ms, before.unix_ms + 1);
    assert_eq!(after.state_digest, before.state_digest);
    assert_eq!(
        vault.ledger.reader().cursor(&cursor()).expect("readable"),
        None
    );
    let settings = vault
        .ledger
        .reader()
        .settings()
        .expect("readable")
        .expect("created");
    assert_eq!(settings.dimension, None);
}
