//! A history that is applied again, up to any of its events, is the vault as it was there.
#![cfg(feature = "storage")]

mod apply_support;
#[path = "apply_support/random.rs"]
mod random;

use std::sync::Arc;

use apply_support::*;
use bytes::Bytes;
use proptest::prelude::*;
use random::{CommandSpec, History};
use toka_ledger::command::Command;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Direction, Durability, Engine, Table};
use toka_ledger::restore::{is_beginning, repeat, sequence_at};
use toka_ledger::seam::{SystemThreads, Threads};
use toka_ledger::store::{Settings, journal, meta};
use toka_ledger::verify::verify;
use toka_ledger::{Ledger, LogMark, Outcome, Position, Reader};

fn threads() -> Arc<dyn Threads> {
    Arc::new(SystemThreads)
}

fn empty() -> Arc<dyn Engine> {
    Arc::new(MemoryEngine::new())
}

/// A vault that has applied these commands.
fn vault(commands: &[Command]) -> Arc<dyn Engine> {
    let engine = empty();
    let mut ledger = Ledger::open(Arc::clone(&engine), threads()).expect("opens");
    let mark = LogMark::default();
    let applied = ledger.apply(commands, mark, Durability::Volatile);
    applied.expect("applies");
    engine
}

fn reader(engine: &Arc<dyn Engine>) -> Reader {
    Ledger::read_only(Arc::clone(engine)).expect("opens").0
}

/// All rows but for revisions, and for consumer groups, which are in no history (`apply_groups_model.rs` has them).
fn rows(engine: &dyn Engine) -> Vec<(Table, Bytes, Bytes)> {
    let mut rows = Vec::new();
    for (table, key, value) in contents(engine) {
        if key[..] == *meta::APPLIED || table == Table::Meta && key.starts_with(b"group") {
            continue;
        }
        match journal::decode_key(&key) {
            Ok(Some(place)) if table == Table::Meta => {
                let change = journal::decode(place, value).expect("a row");
                let place = journal::Place {
                    revision: 0,
                    ..place
                };
                let value = journal::encode(place, &change);
                rows.push((table, journal::key(place).into(), value.into()));
            }
            _ => rows.push((table, key, value)),
        }
    }
    rows
}

/// The place, but for the revision.
fn place(position: Position) -> Position {
    Position {
        revision: 0,
        ..position
    }
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

fn specs() -> impl Strategy<Value = Vec<CommandSpec>> {
    prop::collection::vec(random::command(), 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(16)))]
    #[test]
    fn vault_is_as_it_was_behind_any_commit(
        specs in specs(), from: prop::sample::Index, to: prop::sample::Index,
    ) {
        let history = History::new(&specs);
        let commits = commits(&history);
        prop_assume!(!commits.is_empty());
        let source = history.vault.ledger.reader();
        let to = to.index(commits.len());
        let (count, sequence) = commits[to];
        let expected = vault(&history.commands[..count]);

        // From the beginning, and from an earlier copy.
        let copy = vault(&history.commands[..commits[from.index(to + 1)].0]);
        prop_assert!(is_beginning(&reader(&copy), &source).expect("readable"));
        for engine in [empty(), copy] {
            repeat(&engine, &source, sequence, &threads(), &mut |_| {}).expect("repeated");
            prop_assert_eq!(rows(&*engine), rows(&*expected));
            let (found, wanted) = (reader(&engine).position(), reader(&expected).position());
            prop_assert_eq!(place(found), place(wanted));
            let report = verify(&reader(&engine), &mut |_| {}).expect("readable");
            prop_assert_eq!(report.problems, []);
        }
        let unix_ms = history.stored[usize::try_from(sequence).expect("small") - 1].unix_ms;
        let at = sequence_at(&source, unix_ms).expect("readable");
        let counted = history.stored.iter().filter(|header| header.unix_ms <= unix_ms).count();
        prop_assert_eq!(at, counted as u64);
    }
}

#[test]
fn what_the_creation_fixed_is_found_again() {
    let Command::Create(open) = create() else {
        unreachable!("made by the function of that name")
    };
    let model = || Some(toka_ledger::EmbeddingModel::new("model").expect("valid"));
    for dimension in [None, Some(2)] {
        for model in [None, model()] {
            let create = Command::Create(toka_ledger::command::Create {
                dimension,
                model,
                ..open.clone()
            });
            let events = (0..300).map(|number: u32| {
                let event = event("some", &number.to_string());
                let event = event.embedded(&[1.0, number as f32]).of_model("model");
                Command::Commit(commit([event]))
            });
            let commands: Vec<_> = std::iter::once(create).chain(events).collect();
            let source = vault(&commands);
            let engine = empty();
            repeat(&engine, &reader(&source), 299, &threads(), &mut |_| {}).expect("repeated");
            assert_eq!(rows(&*engine), rows(&*vault(&commands[..300])));
            let settings: Settings = reader(&engine).settings().expect("read").expect("created");
            assert_eq!(Some(settings), reader(&source).settings().expect("read"));
        }
    }
}

#[test]
fn another_vault_s_copy_is_no_beginning() {
    let one = vault(&[create(), Command::Commit(commit([event("a", "1")]))]);
    let other = vault(&[create(), Command::Commit(commit([event("a", "2")]))]);
    let longer = vault(&[
        create(),
        Command::Commit(commit([event("a", "1"), event("a", "2")])),
    ]);
    let is_beginning = |base, of| is_beginning(&reader(base), &reader(of)).expect("readable");
    assert!(is_beginning(&one, &longer));
    assert!(!is_beginning(&longer, &one));
    assert!(!is_beginning(&other, &longer));
    let rows = one.scan(Table::Headers, &[], None, Direction::Forward);
    assert_eq!(rows.count(), 1);
}
