//! What a call of many commits asks the engine for, it asks for at once.

mod apply_support;
#[path = "bus_support/hooked.rs"]
mod hooked;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apply_support::*;
use hooked::{Hooked, Hooks};
use toka_ledger::command::{Command, ParentName};
use toka_ledger::engine::{Durability, Engine, Table};
use toka_ledger::seam::SystemThreads;
use toka_ledger::{Ledger, LogMark, Outcome};

/// The look-ups in the two tables that are looked up by digest, and those of headers.
#[derive(Debug, Default)]
struct LookUps {
    digests: AtomicUsize,
    headers: AtomicUsize,
}

impl Hooks for LookUps {
    fn looked_up(&self, table: Table, _: usize) {
        match table {
            Table::Events | Table::PayloadDigests => self.digests.fetch_add(1, Ordering::SeqCst),
            Table::Headers => self.headers.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

impl LookUps {
    /// How many there were since the last time: of digests, of headers.
    fn take(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.digests), take(&self.headers))
    }
}

fn engine() -> Arc<Hooked<LookUps>> {
    Arc::default()
}

fn open(engine: &Arc<Hooked<LookUps>>) -> Ledger {
    let engine = Arc::clone(engine) as Arc<dyn Engine>;
    Ledger::open(engine, Arc::new(SystemThreads)).expect("opens")
}

fn apply(ledger: &mut Ledger, commands: &[Command]) -> Vec<Outcome> {
    ledger
        .apply(commands, LogMark::default(), Durability::Volatile)
        .expect("applies")
}

#[test]
fn a_call_looks_once_for_all_its_events_and_once_for_all_payloads() {
    let engine = engine();
    let mut ledger = open(&engine);
    let first = event("a", "first");
    let begin = [create(), Command::Commit(commit([first.clone()]))];
    apply(&mut ledger, &begin);
    let mut commands = vec![Command::Commit(commit([first]))];
    for n in 0..100 {
        let parent = event("a", &format!("parent {n}"));
        let child = event("a", &format!("child {n}")).child_of([ParentName::Batch(0)]);
        commands.push(Command::Commit(commit([parent, child])));
    }
    engine.hooks.take();
    let outcomes = apply(&mut ledger, &commands);
    assert_eq!(engine.hooks.take(), (2, 1), "the repeat's header");
    let mut headers = outcomes.into_iter().flat_map(accepted);
    assert!(headers.next().expect("the repeat").deduplicated);
    assert!(headers.all(|header| !header.deduplicated));
}

#[test]
fn parents_that_are_new_are_not_read_and_others_are_read_at_once() {
    let engine = engine();
    let mut ledger = open(&engine);
    apply(&mut ledger, &[create()]);
    let parents = (0..100).map(|n| event("a", &format!("parent {n}")));
    let parents = apply(&mut ledger, &[Command::Commit(commit(parents))]);
    let parents: Vec<_> = parents.into_iter().flat_map(accepted).collect();
    let children = |kind: &str| -> Vec<Command> {
        let children = parents.iter().map(|parent| {
            let child = event(kind, "child").child_of([by_id(parent)]);
            Command::Commit(commit([child]))
        });
        children.collect()
    };
    engine.hooks.take();
    let first = apply(&mut ledger, &children("b"));
    assert_eq!(engine.hooks.take(), (2, 0));
    drop(ledger);
    let mut ledger = open(&engine);
    engine.hooks.take();
    let second = apply(&mut ledger, &children("c"));
    assert_eq!(engine.hooks.take(), (2, 1), "it knows no event as new");
    for outcomes in [first, second] {
        let found = outcomes.into_iter().flat_map(accepted);
        let found: Vec<_> = found.map(|header| header.parents[0].id).collect();
        let expected: Vec<_> = parents.iter().map(|parent| parent.id).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_commit_of_one_event_comes_to_the_same_alone_and_among_others() {
    let events = [
        event("a", "one"),
        event("a", "two"),
        event("b", "two"),
        event("a", "one"),
        event("a", "one").salted(b"again"),
    ];
    let commands = events.map(|event| Command::Commit(commit([event])));
    let (mut together, mut apart) = (Vault::new(), Vault::new());
    let outcomes = together.apply(&commands);
    let of_each = commands.chunks(1).flat_map(|command| apart.apply(command));
    assert_eq!(outcomes, of_each.collect::<Vec<_>>());
    assert_eq!(contents(&*together.engine), contents(&*apart.engine));
    let headers = outcomes.into_iter().flat_map(accepted);
    let places = headers.map(|of| (of.sequence, of.payload_sequence, of.deduplicated));
    let expected = [
        (1, 1, false),
        (2, 2, false),
        (3, 2, false),
        (1, 1, true),
        (4, 1, false),
    ];
    assert_eq!(places.collect::<Vec<_>>(), expected);
}
