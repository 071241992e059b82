//! A vault as it was at any of its events is to the bit the vault that was filled up to there only.
#![cfg(feature = "storage")]

mod apply_support;
#[path = "apply_support/random.rs"]
mod random;

use std::sync::Arc;

use apply_support::*;
use proptest::prelude::*;
use random::{CommandSpec, History};
use toka_ledger::command::Command;
use toka_ledger::engine::Engine;
use toka_ledger::fork::{Limits, Moment, Timeline};
use toka_ledger::seam::{SystemThreads, Threads};
use toka_ledger::verify::verify;
use toka_ledger::{Error, EventHeader, Filter, Ledger, Outcome, Position, Query, Reader};

fn threads() -> Arc<dyn Threads> {
    Arc::new(SystemThreads)
}

/// A reader of the vault that has applied these commands, with its intents.
fn vault(commands: &[Command]) -> Reader {
    let mut vault = Vault::pristine();
    vault.apply(commands);
    let engine: Arc<dyn Engine> = vault.engine.clone();
    Ledger::open(engine, threads()).expect("opens").reader()
}

/// For each commit that stored something: how many commands there were with it, and its last sequence.
fn commits(history: &History) -> Vec<(usize, u64)> {
    let mut commits = Vec::new();
    let mut last = 0;
    for (count, outcome) in (1..).zip(&history.outcomes) {
        if let Outcome::Committed { headers, .. } = outcome {
            let new = headers.iter().filter(|header| !header.deduplicated);
            if let Some(sequence) = new.map(|header| header.sequence).max() {
                last = sequence.max(last);
                commits.push((count, last));
            }
        }
    }
    commits
}

/// The place, but for the revision, and for the time, which commands that changed nothing may have moved on.
fn place(reader: &Reader) -> Position {
    Position {
        revision: 0,
        unix_ms: 0,
        ..reader.position()
    }
}

fn list(reader: &Reader, filter: Filter) -> Vec<Arc<EventHeader>> {
    let mut headers = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let filter = filter.clone();
        let page = reader.list(&Query {
            after,
            filter,
            ..Query::default()
        });
        let page = page.expect("readable");
        headers.extend(page.headers);
        next = page.next;
    }
    headers
}

fn assert_same(found: &Reader, expected: &Reader) {
    assert_eq!(place(found), place(expected));
    assert_eq!(
        found.settings().expect("read"),
        expected.settings().expect("read")
    );
    assert_eq!(found.intents(), expected.intents());
    for reader in [found, expected] {
        reader.digest_intents();
    }
    assert_eq!(found.intents_digest(), expected.intents_digest());
    let cursors = |reader: &Reader| reader.cursors(None, 100).expect("read");
    assert_eq!(cursors(found), cursors(expected));
    let selections: [&[&str]; 4] = [&[], &["task"], &["task."], &["note", "ñ"]];
    for kinds in selections {
        let filter = || Filter {
            kind_prefixes: kinds.iter().map(ToString::to_string).collect(),
            ..Filter::default()
        };
        assert_eq!(list(found, filter()), list(expected, filter()), "{kinds:?}");
    }
    let report = verify(found, &mut |_| {}).expect("readable");
    assert_eq!(report.problems, []);
}

fn specs() -> impl Strategy<Value = Vec<CommandSpec>> {
    prop::collection::vec(random::command(), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(16)))]
    #[test]
    fn past_is_what_was_there(
        specs in specs(), first: prop::sample::Index, second: prop::sample::Index,
    ) {
        let history = History::new(&specs);
        let commits = commits(&history);
        prop_assume!(!commits.is_empty());
        let timeline = Timeline::new(history.vault.ledger.reader());
        // The later of the two begins at the earlier one, which is kept.
        for moment in [first, second] {
            let (count, sequence) = commits[moment.index(commits.len())];
            let found = timeline.at(Moment::Behind(sequence)).expect("reached");
            assert_same(&found, &vault(&history.commands[..count]));
        }
        let now = timeline.at(Moment::Now).expect("reached");
        assert_same(&now, &history.vault.ledger.reader());
    }
}

#[test]
fn before_the_first_event_there_is_the_empty_vault() {
    let mut vault = Vault::new();
    vault.accept_event(event("a", "1").embedded(&[1.0, 0.0]));
    let timeline = Timeline::new(vault.ledger.reader());
    let empty = timeline.at(Moment::Behind(0)).expect("reached");
    assert_eq!(empty.position().sequence, 0);
    assert_eq!(empty.intents(), []);
    assert_eq!(list(&empty, Filter::default()), []);
}

#[test]
fn moment_behind_the_last_event_is_refused() {
    let mut vault = Vault::new();
    vault.accept_event(event("a", "1"));
    let timeline = Timeline::new(vault.ledger.reader());
    let error = timeline.at(Moment::Behind(2)).expect_err("there is none");
    let Error::OutOfRange { sequence, last } = error else {
        panic!("{error}")
    };
    assert_eq!((sequence, last), (2, 1));
}

#[test]
fn base_is_not_written_to() {
    let mut vault = Vault::new();
    for number in 0..300_u32 {
        let components = [1.0, (number % 7) as f32];
        vault.accept_event(event("a", &number.to_string()).embedded(&components));
    }
    let before = contents(&*vault.engine);
    let timeline = Timeline::new(vault.ledger.reader());
    let fork = timeline.fork(Moment::Behind(280), Limits::default());
    drop(fork.expect("forked"));
    timeline.at(Moment::Now).expect("reached");
    assert_eq!(contents(&*vault.engine), before);
}

#[test]
fn moment_is_reached_though_the_base_goes_on() {
    let mut vault = Vault::new();
    let timeline = Timeline::new(vault.ledger.reader());
    vault.accept_event(event("a", "1").embedded(&[1.0, 0.0]));
    let first = timeline.at(Moment::Behind(1)).expect("reached");
    vault.accept_event(event("a", "2").embedded(&[1.0, 0.1]));
    assert_eq!(first.intents()[0].events, 1);
    assert_eq!(list(&first, Filter::default()).len(), 1);
    let second = timeline.at(Moment::Behind(2)).expect("reached");
    assert_eq!(second.intents()[0].events, 2);
}
