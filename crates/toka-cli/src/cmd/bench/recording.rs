//! An engine that remembers what it was given to write.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_ledger::engine::rocks::RocksEngine;
use toka_ledger::engine::{
    Batch, Direction, Durability, EachRow, Engine, EngineError, Scan, Table,
};

/// Remembered at most, bytes of keys and values.
const BYTES_MAX: usize = 1 << 30;

/// RocksDB, and the batches that were written to it, as they were grouped.
#[derive(Debug)]
pub(super) struct Recording {
    engine: RocksEngine,
    recorded: Mutex<Recorded>,
}

/// Batches in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) batches: Vec<Batch>,
    bytes: usize,
}

impl Recorded {
    /// Events that the batches hold.
    pub(super) fn events(&self) -> u64 {
        let ops = self.batches.iter().flat_map(Batch::ops);
        ops.filter(|op| op.table == Table::Headers).count() as u64
    }
}

impl Recording {
    pub(super) fn new(engine: RocksEngine) -> Self {
        Self {
            engine,
            recorded: Mutex::default(),
        }
    }

    /// What was written until now.
    pub(super) fn take(&self) -> Recorded {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Recording {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.engine.multi_get(table, keys)
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        self.engine.scan(table, lower, upper, direction)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        {
            let mut recorded = self.lock();
            if recorded.bytes < BYTES_MAX {
                recorded.bytes += batch.bytes();
                recorded.batches.push(batch.clone());
            }
        }
        self.engine.write(batch, durability)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.engine.flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get_flushed(table, key)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.engine.verify_checksums()
    }

    fn verify_rows(&self, each: &mut EachRow<'_>) -> Result<(), EngineError> {
        self.engine.verify_rows(each)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.engine.checkpoint(dir)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.engine.disk_bytes()
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.engine.unflushed_bytes()
    }
}
