//! What the simulation compares tokens and roles by finds what it is there to find.

#![cfg(simulation)]

#[allow(dead_code, reason = "the end of a run is another matter")]
#[path = "../src/rights.rs"]
mod rights;

use std::sync::Arc;

use toka_ledger::command::{Command, Create, CreateToken, FEATURE_LEVEL, RevokeToken};
use toka_ledger::credentials::{Actor, Credentials, Limits, READER, TokenId, Verifier};
use toka_ledger::engine::Durability;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::intent::Parameters;
use toka_ledger::seam::InlineThreads;
use toka_ledger::{Ledger, LogMark, PrincipalName, RoleName};

use rights::Rights;

const NOW: u64 = 1_700_000_000_000;
const ID: TokenId = TokenId([7; 8]);

fn create() -> Command {
    Command::Create(Create {
        cluster_id: 1,
        history_id: 2,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: NOW,
    })
}

fn token(principal: &str) -> Command {
    Command::CreateToken(CreateToken {
        unix_ms: NOW,
        actor: Actor::anonymous(),
        id: ID,
        verifier: Verifier {
            salt: [1; 16],
            hash: [2; 32],
        },
        principal: PrincipalName::new(principal).expect("valid"),
        roles: vec![RoleName::new(READER).expect("valid")],
        grants: Vec::new(),
        limits: Limits::default(),
        expires_unix_ms: None,
        if_no_admin: false,
    })
}

fn revoke() -> Command {
    Command::RevokeToken(RevokeToken {
        unix_ms: NOW,
        actor: Actor::anonymous(),
        id: ID,
    })
}

/// Where a node is that has applied these, and what it shows then.
fn after(commands: &[Command]) -> (u64, Arc<Credentials>) {
    let engine = Arc::new(MemoryEngine::new());
    let ledger = Ledger::open(engine, Arc::new(InlineThreads));
    let mut ledger = ledger.expect("an empty vault opens");
    let applied = ledger.apply(commands, LogMark::default(), Durability::Volatile);
    applied.expect("applies");
    let reader = ledger.reader();
    (reader.position().revision, reader.auth_view().all())
}

#[test]
fn nodes_that_show_the_same_pass_in_any_order() {
    let rights = Rights::default();
    let history = [create(), token("robot"), revoke()];
    for length in [1, 3, 2, 3, 1, 2] {
        let (revision, shown) = after(&history[..length]);
        assert_eq!(rights.look(revision, &shown), None);
    }
}

#[test]
fn other_tokens_at_the_same_revision_are_found() {
    let rights = Rights::default();
    let (revision, shown) = after(&[create(), token("robot")]);
    assert_eq!(rights.look(revision, &shown), None);
    let (revision, shown) = after(&[create(), token("other")]);
    assert!(rights.look(revision, &shown).is_some());
}

#[test]
fn a_revoked_token_that_counts_later_is_found_whoever_is_looked_at_first() {
    let revoked = after(&[create(), token("robot"), revoke()]);
    // As if the revocation had been forgotten: the same token, two revisions later.
    let early = create();
    let counts = after(&[early.clone(), early.clone(), early, token("robot")]);
    assert!(counts.0 > revoked.0);
    for (first, second) in [(&revoked, &counts), (&counts, &revoked)] {
        let rights = Rights::default();
        assert_eq!(rights.look(first.0, &first.1), None);
        assert!(rights.look(second.0, &second.1).is_some());
    }
}

#[test]
fn what_is_known_of_a_range_of_revisions_is_compared_within_it() {
    let rights = Rights::default();
    let (revision, shown) = after(&[create(), token("robot")]);
    assert_eq!(rights.look(revision + 5, &shown), None);
    // Another node has no token at a revision in between.
    let later = vec![create(); 4];
    let (revision, shown) = after(&later);
    assert!(rights.look(revision, &shown).is_some());
}
