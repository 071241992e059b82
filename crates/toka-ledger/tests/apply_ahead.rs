//! What a call of many commits asks the engine for, it asks for at once.

mod apply_support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apply_support::*;
use bytes::Bytes;
use toka_ledger::command::{Command, ParentName};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};
use toka_ledger::seam::SystemThreads;
use toka_ledger::{Ledger, LogMark};

/// A store that counts the look-ups in the two tables that are looked up by digest.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryEngine,
    looks: AtomicUsize,
}

impl Counting {
    fn count(&self, table: Table) {
        if matches!(table, Table::Events | Table::PayloadDigests) {
            self.looks.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn take(&self) -> usize {
        self.looks.swap(0, Ordering::SeqCst)
    }
}

impl Engine for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.count(table);
        self.inner.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.count(table);
        self.inner.multi_get(table, keys)
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        self.inner.scan(table, lower, upper, direction)
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

#[test]
fn a_call_looks_once_for_all_its_events_and_once_for_all_payloads() {
    let engine = Arc::new(Counting::default());
    let mut ledger = Ledger::open(
        Arc::clone(&engine) as Arc<dyn Engine>,
        Arc::new(SystemThreads),
    )
    .expect("opens");
    let mut apply = |commands: &[Command]| {
        ledger
            .apply(commands, LogMark::default(), Durability::Volatile)
            .expect("applies")
    };
    let first = event("a", "first");
    apply(&[create(), Command::Commit(commit([first.clone()]))]);
    let mut commands = vec![Command::Commit(commit([first]))];
    for n in 0..100 {
        let parent = event("a", &format!("parent {n}"));
        let child = event("a", &format!("child {n}")).child_of([ParentName::Batch(0)]);
        commands.push(Command::Commit(commit([parent, child])));
    }
    engine.take();
    let outcomes = apply(&commands);
    assert_eq!(engine.take(), 2);
    let mut headers = outcomes.into_iter().flat_map(accepted);
    assert!(headers.next().expect("the repeat").deduplicated);
    assert!(headers.all(|header| !header.deduplicated));
}
