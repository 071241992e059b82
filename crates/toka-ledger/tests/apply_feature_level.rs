//! The feature level is raised by a command, is a part of the history, and never falls.
//!
//! Level 0, which no release has, stands for an older level than the build's.

mod apply_support;

use std::sync::Arc;

use apply_support::*;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL, SetFeatureLevel};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Durability, Engine, Table};
use toka_ledger::restore::repeat;
use toka_ledger::seam::{SystemThreads, Threads};
use toka_ledger::store::{Settings, checksum, meta};
use toka_ledger::verify::verify;
use toka_ledger::{Error, Ledger, LogMark, Outcome, Position, Rejection};

fn raise(level: u32) -> Command {
    Command::SetFeatureLevel(SetFeatureLevel {
        unix_ms: NOW,
        level,
    })
}

/// A vault of an older level.
fn older() -> Vault {
    let Command::Create(create) = create() else {
        unreachable!("made by the function of that name")
    };
    let mut vault = Vault::pristine();
    vault.apply(&[Command::Create(Create {
        feature_level: 0,
        ..create
    })]);
    vault
}

fn settings(vault: &Vault) -> Settings {
    let settings = vault.ledger.reader().settings().expect("readable");
    settings.expect("created")
}

#[test]
fn level_rises_once_and_never_falls() {
    let mut vault = older();
    let outcomes = vault.apply(&[raise(0), raise(1), raise(1), raise(0)]);
    let levels: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Raised { level, .. } => *level,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(levels, [0, 1, 1, 1]);
    let settings = settings(&vault);
    assert_eq!((settings.created_level, settings.feature_level), (0, 1));
}

#[test]
fn rise_before_the_creation_is_refused() {
    let mut vault = Vault::pristine();
    let outcome = vault.apply(&[raise(1)]).remove(0);
    assert_eq!(refused(outcome), Rejection::NotCreated);
}

#[test]
fn state_digest_has_the_rise_and_nothing_of_one_that_changes_nothing() {
    let digest = |commands: &[Command]| {
        let mut vault = older();
        vault.accept_event(event("a", "1"));
        vault.apply(commands);
        vault.ledger.position().state_digest
    };
    assert_ne!(digest(&[raise(1)]), digest(&[]));
    assert_eq!(digest(&[raise(0)]), digest(&[]));
    assert_eq!(digest(&[raise(1), raise(1)]), digest(&[raise(1)]));
}

#[test]
fn rise_beyond_the_build_stops_the_ledger_and_writes_nothing() {
    let mut vault = Vault::new();
    vault.accept_event(event("a", "1"));
    let before = contents(&*vault.engine);
    let commands = [
        Command::Commit(commit([event("a", "2")])),
        raise(FEATURE_LEVEL + 1),
    ];
    let mark = LogMark::default();
    let applied = vault.ledger.apply(&commands, mark, Durability::Volatile);
    let Err(error @ Error::FeatureLevel { found, supported }) = applied else {
        panic!("applied: {applied:?}");
    };
    assert_eq!((found, supported), (FEATURE_LEVEL + 1, FEATURE_LEVEL));
    let said = error.to_string();
    assert!(said.contains(&format!("feature level {found}")), "{said}");
    assert!(said.contains(&format!("up to {supported}")), "{said}");
    assert_eq!(contents(&*vault.engine), before);
}

/// They say the level, so the level cannot say beforehand whether they can be read.
#[test]
fn settings_of_a_newer_version_are_no_damage() {
    let vault = Vault::new();
    let row = vault.engine.get(Table::Meta, meta::SETTINGS);
    let row = row.expect("readable").expect("there are some");
    let mut value = checksum::unseal(meta::SETTINGS, row)
        .expect("intact")
        .to_vec();
    value[0] = 9;
    checksum::seal(meta::SETTINGS, &mut value);
    let mut batch = Batch::new();
    batch.put(Table::Meta, meta::SETTINGS, value);
    let written = vault.engine.write(batch, Durability::Volatile);
    written.expect("written");
    let opened = Ledger::open(vault.engine, Arc::new(SystemThreads));
    let error = opened.expect_err("not known");
    assert!(
        matches!(error, Error::NewerFormat { found: 9, .. }),
        "{error}"
    );
    assert!(error.is_beyond_build() && !error.is_damage());
}

/// A ledger opened again, verified, and applied again up to any event, has the level that it had there.
#[test]
fn rise_is_verified_and_repeated() {
    let mut vault = older();
    let mut positions: Vec<Position> = Vec::new();
    for number in 0..600_u32 {
        vault.accept_event(event("a", &number.to_string()));
        positions.push(vault.ledger.position());
        if number == 300 {
            vault.apply(&[raise(1)]);
        }
    }
    let source = vault.ledger.reader();
    let report = verify(&source, &mut |_| {}).expect("readable");
    assert_eq!(report.problems, []);
    let threads: Arc<dyn Threads> = Arc::new(SystemThreads);
    // Right behind the event before the rise, which is not there yet, and later.
    for (until, level) in [(256, 0), (301, 0), (302, 1), (600, 1)] {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        repeat(&engine, &source, until, &threads, &mut |_| {}).expect("repeated");
        let (reader, _) = Ledger::read_only(engine).expect("opens");
        let found = reader.settings().expect("readable").expect("created");
        assert_eq!(found.feature_level, level, "behind {until}");
        let expected = positions[usize::try_from(until).expect("small") - 1];
        assert_eq!(reader.position().state_digest, expected.state_digest);
        let report = verify(&reader, &mut |_| {}).expect("readable");
        assert_eq!(report.problems, [], "behind {until}");
    }
}

/// As an upgrade does it that comes right after the vault was made.
#[test]
fn rise_before_the_first_event_is_verified() {
    let mut vault = older();
    vault.apply(&[raise(1)]);
    for number in 0..2_u32 {
        let report = verify(&vault.ledger.reader(), &mut |_| {}).expect("readable");
        assert_eq!(report.problems, [], "behind {number}");
        vault.accept_event(event("a", &number.to_string()));
    }
}
