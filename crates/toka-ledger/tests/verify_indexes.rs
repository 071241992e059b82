//! What `verify` says of indexes that are not what the headers ask for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};
use toka_ledger::store::{encode_sequence, events, payload_digests};
use toka_ledger::verify::{Options, Report, verify_with};
use toka_ledger::{Ledger, VaultBus};

const EVENTS: u64 = 20;

/// A closed vault.
async fn engine() -> Arc<MemoryEngine> {
    let engine = Arc::new(MemoryEngine::new());
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    for n in 0..EVENTS {
        let event = vault.event("a").payload(&n).source("me");
        event.commit().await.expect("committed");
    }
    vault.close().await;
    engine
}

fn check(engine: Arc<dyn Engine>, threads: usize) -> Report {
    let (reader, _) = Ledger::read_only(engine).expect("opened");
    let report = verify_with(&reader, &Options::parallel(threads), &mut |_| {});
    report.expect("readable").expect("nobody ends it")
}

/// The key of the row of `table` that leads to `sequence`.
fn key_of(engine: &MemoryEngine, table: Table, sequence: u64) -> Bytes {
    let value = match table {
        Table::Events => events::encode(sequence),
        _ => payload_digests::encode(sequence),
    };
    let mut rows = engine.scan(table, &[], None, Direction::Forward);
    let found = rows.find_map(|row| {
        let (key, found) = row.expect("readable");
        (found == value[..]).then_some(key)
    });
    found.expect("there is one")
}

fn write(engine: &MemoryEngine, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    change(&mut batch);
    engine.write(batch, Durability::Synced).expect("written");
}

fn tables(report: &Report) -> BTreeSet<Option<Table>> {
    let problems = report.problems.iter();
    problems.map(|problem| problem.table).collect()
}

#[tokio::test]
async fn swapped_rows_name_both_events_and_are_not_said_to_be_nobodys() {
    let engine = engine().await;
    let (third, fifth) = (
        key_of(&engine, Table::Events, 3),
        key_of(&engine, Table::Events, 5),
    );
    write(&engine, |batch| {
        batch.put(Table::Events, &third, events::encode(5));
        batch.put(Table::Events, &fifth, events::encode(3));
    });
    let report = check(engine, 2);
    let named = report
        .problems
        .iter()
        .filter_map(|problem| problem.sequence);
    assert_eq!(named.collect::<BTreeSet<_>>(), [3, 5].into());
    let said: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    let is_nobodys = |said: &String| said.contains("belongs to no event");
    assert!(!said.iter().any(is_nobodys), "{said:?}");
}

#[tokio::test]
async fn damaged_payload_does_not_hide_that_its_index_lacks_it() {
    let engine = engine().await;
    let digest = key_of(&engine, Table::PayloadDigests, 3);
    write(&engine, |batch| {
        batch.delete(Table::PayloadDigests, &digest);
        batch.put(Table::Payloads, encode_sequence(3), b"damaged");
    });
    let report = check(engine, 2);
    let expected = [Some(Table::Payloads), Some(Table::PayloadDigests)];
    assert_eq!(tables(&report), expected.into(), "{:?}", report.problems);
}

/// Its scans of kinds lack the first row, which is found under its key.
#[derive(Debug)]
struct Hiding(Arc<MemoryEngine>);

impl Engine for Hiding {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.0.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.0.multi_get(table, keys)
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        let hidden = usize::from(table == Table::Kinds);
        Box::new(self.0.scan(table, lower, upper, direction).skip(hidden))
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        self.0.write(batch, durability)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.0.flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.0.get_flushed(table, key)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.0.verify_checksums()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.0.checkpoint(dir)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.0.disk_bytes()
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.0.unflushed_bytes()
    }
}

#[tokio::test]
async fn index_that_scans_lack_a_row_of_is_told_though_each_is_found() {
    let engine = Arc::new(Hiding(engine().await));
    for threads in [1, 3] {
        let report = check(engine.clone(), threads);
        let expected = [Some(Table::Kinds)];
        assert_eq!(tables(&report), expected.into(), "{:?}", report.problems);
        assert!(report.first_damage().is_none(), "it is no damage for sure");
    }
}
