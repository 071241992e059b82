//! The ledger's engine with a guard: damage that a read comes upon stops the node, whoever reads.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use toka_ledger::engine::{
    AtHand, Batch, Direction, Durability, EachRow, Engine, EngineError, Scan, Table, Usage, Visit,
};

use crate::error::FatalError;
use crate::fatal::Fatal;

/// See above.
#[derive(Debug)]
pub(crate) struct GuardedEngine {
    engine: Arc<dyn Engine>,
    fatal: Fatal,
    is_awake: AtomicBool,
}

impl GuardedEngine {
    pub(crate) fn over(engine: Arc<dyn Engine>, fatal: &Fatal) -> Arc<dyn Engine> {
        let guard = Self::asleep(engine, fatal);
        guard.wake();
        guard
    }

    /// A guard that sleeps while the ledger is opened: whoever opens it is told of the damage, and may put
    /// another ledger in its place, so the node need not stop.
    pub(crate) fn asleep(engine: Arc<dyn Engine>, fatal: &Fatal) -> Arc<Self> {
        Arc::new(Self {
            engine,
            fatal: fatal.clone(),
            is_awake: AtomicBool::new(false),
        })
    }

    /// From now on damage stops the node.
    pub(crate) fn wake(&self) {
        self.is_awake.store(true, Ordering::Release);
    }

    fn checked<T>(&self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn note(&self, error: &EngineError) {
        if !self.is_awake.load(Ordering::Acquire) {
            return;
        }
        if let EngineError::Corruption {
            path,
            table,
            detail,
            ..
        } = error
        {
            let damage = EngineError::Corruption {
                path: path.clone(),
                table: *table,
                detail: detail.clone(),
                source: None,
            };
            self.fatal.report(FatalError::from(damage));
        }
    }
}

impl Engine for GuardedEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.checked(self.engine.get(table, key))
    }

    fn get_at_hand(&self, table: Table, key: &[u8]) -> Result<AtHand<Option<Bytes>>, EngineError> {
        self.checked(self.engine.get_at_hand(table, key))
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.checked(self.engine.multi_get(table, keys))
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        let rows = self.engine.scan(table, lower, upper, direction);
        Box::new(rows.inspect(|row| {
            if let Err(error) = row {
                self.note(error);
            }
        }))
    }

    fn visit(&self, table: Table, lower: &[u8], each: &mut Visit<'_>) -> Result<(), EngineError> {
        self.checked(self.engine.visit(table, lower, each))
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        self.checked(self.engine.write(batch, durability))
    }

    fn write_out(&self, batch: &mut Batch, durability: Durability) -> Result<(), EngineError> {
        self.checked(self.engine.write_out(batch, durability))
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.checked(self.engine.flush())
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.checked(self.engine.get_flushed(table, key))
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.checked(self.engine.verify_checksums())
    }

    fn verify_rows(&self, each: &mut EachRow<'_>) -> Result<(), EngineError> {
        self.checked(self.engine.verify_rows(each))
    }

    fn verify_files(&self) -> Result<(), EngineError> {
        self.checked(self.engine.verify_files())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.checked(self.engine.checkpoint(dir))
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.checked(self.engine.disk_bytes())
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.checked(self.engine.unflushed_bytes())
    }

    fn usage(&self) -> Result<Usage, EngineError> {
        self.checked(self.engine.usage())
    }
}
