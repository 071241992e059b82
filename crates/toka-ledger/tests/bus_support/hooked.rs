//! The engine of tests that look at what is asked of it, or come between.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};

/// What a test has to do with reads and writes.
pub(crate) trait Hooks: fmt::Debug + Send + Sync + 'static {
    /// So many keys of a table are looked up together.
    fn looked_up(&self, _table: Table, _keys: usize) {}

    /// A table is scanned, which comes to these rows.
    fn scanned<'a>(&'a self, _table: Table, rows: Scan<'a>) -> Scan<'a> {
        rows
    }

    /// Before a write, which is made if this is well.
    fn writing(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// An engine in memory, and what a test has to do with it.
#[derive(Debug, Default)]
pub(crate) struct Hooked<H> {
    pub(crate) inner: MemoryEngine,
    pub(crate) hooks: H,
}

impl<H: Hooks> Engine for Hooked<H> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.hooks.looked_up(table, 1);
        self.inner.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.hooks.looked_up(table, keys.len());
        self.inner.multi_get(table, keys)
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        let rows = self.inner.scan(table, lower, upper, direction);
        self.hooks.scanned(table, rows)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        self.hooks.writing()?;
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
