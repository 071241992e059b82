//! How a batch is written.

use rocksdb::{WriteBatch, WriteOptions};

use super::{Batch, Durability, Engine as _, EngineError, RocksEngine, Table, order};

/// What RocksDB writes beside the key and the value of a row: a tag, the table, two lengths. At most about that.
const OP_BYTES: usize = 12;

impl RocksEngine {
    /// Writes `batch`, and leaves it as it is.
    pub(super) fn write_batch(
        &self,
        batch: &Batch,
        durability: Durability,
    ) -> Result<(), EngineError> {
        self.require_writable()?;
        if self.options.wal && durability == Durability::Volatile {
            return Err(EngineError::DurabilityRefused {
                path: self.path.clone(),
            });
        }
        // Looked up once: a batch has thousands of rows, and each look-up compares names.
        let families = Table::ALL.map(|table| self.family(table));
        let reserved_bytes = batch.bytes() + batch.len() * OP_BYTES;
        let mut writes = WriteBatch::with_capacity_bytes(reserved_bytes);
        order::hand_over(batch, |op| {
            let family = families[op.table.index()];
            match op.value {
                Some(value) => writes.put_cf(family, op.key, value),
                None => writes.delete_cf(family, op.key),
            }
        });
        let mut options = WriteOptions::default();
        options.set_sync(self.options.wal);
        options.disable_wal(!self.options.wal);
        self.db
            .write_opt(writes, &options)
            .map_err(self.error("write to", None))?;
        match durability {
            Durability::Synced if !self.options.wal => self.flush(),
            Durability::Synced | Durability::Volatile => Ok(()),
        }
    }
}
