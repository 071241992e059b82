//! Engines that count, fail and wait.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};

/// A memory engine whose writes can be counted, made to fail, and held back.
#[derive(Debug, Default)]
pub(crate) struct TestEngine {
    pub(crate) inner: MemoryEngine,
    pub(crate) writes: AtomicUsize,
    pub(crate) fails: AtomicBool,
    gate: Mutex<Option<Gate>>,
}

#[derive(Debug)]
struct Gate {
    entered: SyncSender<()>,
    open: Receiver<()>,
}

/// The test's side of a gate before the next write.
#[derive(Debug)]
pub(crate) struct Hold {
    entered: Receiver<()>,
    open: SyncSender<()>,
}

impl Hold {
    /// Waits until the write has begun.
    pub(crate) fn wait(&self) {
        self.entered.recv().expect("the engine lives");
    }

    /// Lets it go on.
    pub(crate) fn open(self) {
        self.open.send(()).expect("the write waits");
    }
}

impl TestEngine {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    /// Holds the next write back.
    pub(crate) fn hold_next_write(&self) -> Hold {
        let (entered, has_entered) = sync_channel(1);
        let (open, opened) = sync_channel(1);
        *self.gate.lock().expect("sound") = Some(Gate {
            entered,
            open: opened,
        });
        Hold {
            entered: has_entered,
            open,
        }
    }
}

impl Engine for TestEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inner.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
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
        let gate = self.gate.lock().expect("sound").take();
        if let Some(gate) = gate {
            gate.entered.send(()).expect("the test waits");
            gate.open.recv().expect("the test opens");
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(EngineError::Io {
                action: "write to",
                path: "test".into(),
                source: io::Error::from(io::ErrorKind::StorageFull),
            });
        }
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

/// All rows of all tables.
pub(crate) fn rows(engine: &dyn Engine) -> Vec<(Table, Bytes, Bytes)> {
    Table::ALL
        .into_iter()
        .flat_map(|table| {
            engine
                .scan(table, &[], None, Direction::Forward)
                .map(move |row| {
                    let (key, value) = row.expect("readable");
                    (table, key, value)
                })
        })
        .collect()
}
