//! Questions about lineage cost what they visit, however large the vault is.

mod apply_support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apply_support::*;
use bytes::Bytes;
use toka_ledger::command::{Command, ParentName};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};
use toka_ledger::read::lineage::{DifferenceQuery, Heads, Query, Relation};
use toka_ledger::seam::SystemThreads;
use toka_ledger::{EventHeader, Ledger, LogMark, Outcome, Reader, Selector};

/// Each on a chain of its own.
const AGENTS: u16 = 16;
/// An agent takes over what its neighbour has after so many events of its own.
const MERGE_EVERY: u64 = 8;
/// Events of each agent, in a small vault and in one that is ten times as large. Both end alike.
const ROUNDS: [u64; 2] = [80, 800];
/// Events that a walk asks for: fewer than there are relatives in either vault.
const WALKED: u64 = 200;

/// A store that counts look-ups, scans, and the rows that these come to.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryEngine,
    reads: AtomicU64,
}

impl Counting {
    fn count(&self, reads: usize) {
        self.reads.fetch_add(reads as u64, Ordering::SeqCst);
    }
}

impl Engine for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.count(1);
        self.inner.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.count(keys.len());
        self.inner.multi_get(table, keys)
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        self.count(1);
        let rows = self.inner.scan(table, lower, upper, direction);
        Box::new(rows.inspect(move |_| self.count(1)))
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        self.inner.write(batch, durability)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.inner.flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inner.get_flushed(table, key)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.inner.verify_checksums()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.inner.checkpoint(dir)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.inner.disk_bytes()
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.inner.unflushed_bytes()
    }
}

fn apply(ledger: &mut Ledger, command: Command) -> Outcome {
    let outcomes = ledger.apply(&[command], LogMark::default(), Durability::Volatile);
    let mut outcomes = outcomes.expect("applies");
    outcomes.pop().expect("one for each command")
}

/// A vault in which agents take turns, and its store.
fn vault(rounds: u64) -> (Ledger, Arc<Counting>) {
    let engine = Arc::new(Counting::default());
    let mut ledger = Ledger::open(
        Arc::clone(&engine) as Arc<dyn Engine>,
        Arc::new(SystemThreads),
    )
    .expect("opens");
    apply(&mut ledger, create());
    // The last event of each agent.
    let mut newest: Vec<Arc<EventHeader>> = Vec::new();
    for round in 0..rounds {
        let events = (0..AGENTS).map(|agent| {
            let own = newest.get(usize::from(agent));
            let own = own.map(|header| by_digest(header));
            let neighbour = match agent {
                0 => newest.last().map(|header| by_digest(header)),
                _ => Some(ParentName::Batch(agent - 1)),
            };
            let taken = neighbour.filter(|_| round.is_multiple_of(MERGE_EVERY));
            event("work.done", &format!("{round} {agent}")).child_of(own.into_iter().chain(taken))
        });
        let events = commit(events);
        newest = accepted(apply(&mut ledger, Command::Commit(events)));
    }
    (ledger, engine)
}

/// How many events a walk comes to.
fn walked(reader: &Reader, from: u64, relation: Relation) -> usize {
    let query = Query {
        events_max: WALKED,
        ..Query::new(Selector::Sequence(from), relation)
    };
    let mut walk = reader.walk(&query).expect("the event is there");
    let mut count = 0;
    while let Some(relatives) = walk.step().expect("readable") {
        count += relatives.len();
    }
    count
}

fn difference(reader: &Reader, without: u64, of: u64) -> usize {
    let query = DifferenceQuery {
        without: Selector::Sequence(without),
        of: Selector::Sequence(of),
        until: u64::MAX,
        events_max: u64::MAX,
        kind_prefixes: Vec::new(),
    };
    let mut difference = reader.difference(&query).expect("both are there");
    let mut count = 0;
    while let Some(headers) = difference.step().expect("readable") {
        count += headers.len();
    }
    count
}

fn common(reader: &Reader, first: u64, second: u64) -> usize {
    let (first, second) = (Selector::Sequence(first), Selector::Sequence(second));
    let search = reader.common_ancestors(&first, &second, u64::MAX);
    let mut search = search.expect("both are there");
    let mut count = 0;
    while let Some(headers) = search.step().expect("readable") {
        count += headers.len();
    }
    count
}

/// The newest heads, of which each agent has one.
fn heads(reader: &Reader) -> usize {
    let heads = Heads {
        as_of: u64::MAX,
        from: u64::MAX,
        kind_prefixes: vec!["work".to_owned()],
        limit: usize::from(AGENTS / 2),
    };
    reader.heads(&heads).expect("readable").headers.len()
}

/// Of questions about the newest events: how many events each has found, and how many reads that took.
fn costs(rounds: u64) -> Vec<(&'static str, usize, u64)> {
    let (ledger, engine) = vault(rounds);
    let (reader, last) = (ledger.reader(), rounds * u64::from(AGENTS));
    let cost = |name: &'static str, question: &dyn Fn() -> usize| {
        engine.reads.store(0, Ordering::SeqCst);
        let found = question();
        (name, found, engine.reads.load(Ordering::SeqCst))
    };
    vec![
        cost("ancestors", &|| walked(&reader, last, Relation::Ancestors)),
        cost("descendants", &|| {
            walked(&reader, last - 600, Relation::Descendants)
        }),
        cost("difference", &|| difference(&reader, last - 1, last)),
        cost("common ancestors", &|| common(&reader, last - 1, last)),
        cost("heads", &|| heads(&reader)),
    ]
}

#[test]
fn questions_about_the_newest_events_read_as_much_in_a_vault_ten_times_as_large() {
    let [small, large] = ROUNDS.map(costs);
    assert_eq!(small, large);
    let found: Vec<_> = small.iter().map(|(_, found, _)| *found).collect();
    assert_eq!(found, [200, 200, 8, 1, 8]);
    for (name, found, reads) in small {
        assert!(reads >= found as u64, "{name}: {reads} reads");
    }
}
