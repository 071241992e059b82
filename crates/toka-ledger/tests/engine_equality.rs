//! RocksDB and memory give the same results for the same operations, crashes included.
#![cfg(feature = "storage")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use toka_ledger::disk::{MemoryDisk, SystemDisk};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{AtHand, Batch, Direction, Durability, Engine, Table};

const TABLES: [Table; 4] = [Table::Headers, Table::Events, Table::Kinds, Table::Meta];

type Key = Vec<u8>;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Table, Key, Option<Vec<u8>>)>, Durability),
    MultiGet(Table, Vec<Key>),
    Scan(Table, Key, Option<Key>, Direction),
    Flush,
    Verify,
    CheckpointAndReopen,
    CrashAndReopen,
}

/// Short keys over few bytes, so that they collide, nest and touch both ends of the order.
fn key() -> impl Strategy<Value = Key> {
    vec(prop::sample::select(vec![0u8, 1, b'a', 0xff]), 0..4)
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..40).prop_map(Some),
        1 => Just(None),
        1 => any::<u8>().prop_map(|byte| Some(vec![byte; 5000])),
    ]
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(TABLES.to_vec())
}

fn step(durability: &'static [Durability]) -> impl Strategy<Value = Step> {
    let durability = prop::sample::select(durability);
    let direction = prop::sample::select(&[Direction::Forward, Direction::Backward][..]);
    prop_oneof![
        8 => (vec((table(), key(), value()), 0..8), durability)
            .prop_map(|(ops, durability)| Step::Write(ops, durability)),
        2 => (table(), vec(key(), 0..6)).prop_map(|(table, keys)| Step::MultiGet(table, keys)),
        4 => (table(), key(), prop::option::of(key()), direction)
            .prop_map(|(table, lower, upper, direction)| Step::Scan(table, lower, upper, direction)),
        2 => Just(Step::Flush),
        1 => Just(Step::Verify),
        1 => Just(Step::CheckpointAndReopen),
        1 => Just(Step::CrashAndReopen),
    ]
}

struct Pair {
    dir: TempDir,
    copies: u32,
    options: RocksOptions,
    rocks: RocksEngine,
    memory: MemoryEngine,
    filed: Filed,
}

/// A memory store whose flushes are files, on a disk in memory.
struct Filed {
    disk: MemoryDisk,
    dir: PathBuf,
    engine: MemoryEngine,
}

impl Filed {
    fn open(disk: MemoryDisk, dir: PathBuf) -> Self {
        let engine = MemoryEngine::open(Arc::new(disk.clone()), &dir).expect("open");
        Self { disk, dir, engine }
    }
}

impl Pair {
    fn new(wal: bool) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = RocksOptions {
            wal,
            ..RocksOptions::default()
        };
        let rocks = RocksEngine::open(&dir.path().join("0"), &options).expect("create");
        Self {
            dir,
            copies: 0,
            options,
            rocks,
            memory: MemoryEngine::on(Arc::new(SystemDisk)),
            filed: Filed::open(MemoryDisk::new(), PathBuf::from("0")),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write(ops, durability) => {
                let mut batch = Batch::new();
                for (table, key, value) in ops {
                    match value {
                        Some(value) => batch.put(table, key, value),
                        None => batch.delete(table, key),
                    }
                }
                self.rocks.write(batch.clone(), durability).expect("write");
                let filed = &self.filed.engine;
                filed.write(batch.clone(), durability).expect("write");
                self.memory.write(batch, durability).expect("write");
            }
            Step::MultiGet(table, keys) => {
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let rocks = self.rocks.multi_get(table, &keys).expect("multi_get");
                let expected = self.memory.multi_get(table, &keys).expect("multi_get");
                assert_eq!(rocks, expected);
                for (key, expected) in keys.iter().zip(expected) {
                    let at_hand = self.rocks.get_at_hand(table, key).expect("get_at_hand");
                    // The disk may have to be asked; what is said without it is the same.
                    assert!([AtHand::Known(expected), AtHand::Unknown].contains(&at_hand));
                }
            }
            Step::Scan(table, lower, upper, direction) => {
                let upper = upper.as_deref();
                assert_eq!(
                    scan(&self.rocks, table, &lower, upper, direction),
                    scan(&self.memory, table, &lower, upper, direction),
                );
            }
            Step::Flush => {
                self.rocks.flush().expect("flush");
                self.memory.flush().expect("flush");
                self.filed.engine.flush().expect("flush");
            }
            Step::Verify => {
                self.rocks.verify_checksums().expect("intact");
                self.filed.engine.verify_checksums().expect("intact");
            }
            Step::CheckpointAndReopen => {
                let (rocks, memory) = (self.new_dir(), self.new_dir());
                self.rocks.checkpoint(&rocks).expect("checkpoint");
                self.memory.checkpoint(&memory).expect("checkpoint");
                let filed = PathBuf::from(self.copies.to_string());
                self.filed.engine.checkpoint(&filed).expect("checkpoint");
                self.assert_equal();
                self.rocks = RocksEngine::open(&rocks, &self.options).expect("reopen");
                self.memory =
                    MemoryEngine::open_checkpoint(Arc::new(SystemDisk), &memory).expect("reopen");
                self.filed = Filed::open(self.filed.disk.clone(), filed);
            }
            Step::CrashAndReopen => {
                let rocks = self.new_dir();
                self.rocks.crash_image(&rocks).expect("crash image");
                self.rocks = RocksEngine::open(&rocks, &self.options).expect("reopen");
                self.memory = self.memory.crash_image();
                let crashed = self.filed.disk.crash(|| false);
                self.filed = Filed::open(crashed, self.filed.dir.clone());
            }
        }
        self.assert_equal();
    }

    fn new_dir(&mut self) -> PathBuf {
        self.copies += 1;
        self.dir.path().join(self.copies.to_string())
    }

    /// Every row, live and flushed, is the same in all.
    fn assert_equal(&self) {
        for table in TABLES {
            let rows = scan(&self.rocks, table, &[], None, Direction::Forward);
            let expected = scan(&self.memory, table, &[], None, Direction::Forward);
            assert_eq!(rows, expected, "{table}");
            let filed = scan(&self.filed.engine, table, &[], None, Direction::Forward);
            assert_eq!(filed, expected, "{table}");
            for (key, value) in rows {
                assert_eq!(self.rocks.get(table, &key).expect("get"), Some(value));
                let flushed = self.rocks.get_flushed(table, &key).expect("get_flushed");
                let expected = self.memory.get_flushed(table, &key).expect("get_flushed");
                assert_eq!(flushed, expected, "{table} {key:?}");
                let filed = self.filed.engine.get_flushed(table, &key);
                assert_eq!(filed.expect("get_flushed"), expected, "{table} {key:?}");
            }
        }
    }
}

fn scan(
    engine: &dyn Engine,
    table: Table,
    lower: &[u8],
    upper: Option<&[u8]>,
    direction: Direction,
) -> Vec<(Bytes, Bytes)> {
    engine
        .scan(table, lower, upper, direction)
        .collect::<Result<_, _>>()
        .expect("scan")
}

fn run(wal: bool, steps: Vec<Step>) {
    let mut pair = Pair::new(wal);
    for step in steps {
        pair.run(step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(16),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn equal_with_synced_writes(steps in vec(step(&[Durability::Synced]), 1..30)) {
        run(true, steps);
    }

    #[test]
    fn equal_with_volatile_writes(steps in vec(step(&[Durability::Volatile]), 1..30)) {
        run(false, steps);
    }

    #[test]
    fn equal_with_both_kinds_and_no_log(
        steps in vec(step(&[Durability::Volatile, Durability::Synced]), 1..30),
    ) {
        run(false, steps);
    }
}

#[test]
fn a_scan_sees_the_moment_it_began() {
    let pair = Pair::new(true);
    let engines: [&dyn Engine; 2] = [&pair.rocks, &pair.memory];
    for engine in engines {
        let put = |key: u8, value: u8| {
            let mut batch = Batch::new();
            batch.put(Table::Meta, [key], [value]);
            engine.write(batch, Durability::Synced).expect("write");
        };
        put(1, 1);
        put(2, 1);
        for direction in [Direction::Forward, Direction::Backward] {
            let before = scan(engine, Table::Meta, &[], None, direction);
            let mut rows = engine.scan(Table::Meta, &[], None, direction);
            let first = rows.next().expect("a row").expect("read");
            put(1, 9);
            put(2, 9);
            put(3, 9);
            let seen: Vec<_> = std::iter::once(Ok(first))
                .chain(rows)
                .collect::<Result<_, _>>()
                .expect("scan");
            assert_eq!(seen, before, "{engine:?}");
        }
    }
}
