//! A store over the store of another vault: what was there is read through, what is new is its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::cut::{self, Past};
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Direction, Durability, Engine, EngineError, Op, Scan, Table};
use crate::store::meta;

/// What errors name in place of a directory.
const PATH: &str = "fork";

/// A base up to some event, and rows over it, which are in memory and gone with it.
#[derive(Debug)]
pub(super) struct ForkEngine {
    base: Arc<dyn Engine>,
    /// The last event of the base that there is.
    cut: AtomicU64,
    own: MemoryEngine,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The base's history is applied again, which gives the rows that the base has overwritten since. The others are
    /// in the base, and are not kept.
    Repeating,
    /// A vault of its own.
    Forked {
        /// Bytes written, those of replaced rows too.
        bytes: AtomicU64,
        bytes_max: u64,
    },
}

impl ForkEngine {
    /// For the base's history to be applied again behind the event at `cut`, of which `own` has the rows that are not
    /// lasting.
    pub(super) fn repeating(base: Arc<dyn Engine>, cut: u64, own: MemoryEngine) -> Self {
        Self {
            base,
            cut: AtomicU64::new(cut),
            own,
            stage: Stage::Repeating,
        }
    }

    /// For a vault that goes on behind the event at `cut`.
    pub(super) fn forked(
        base: Arc<dyn Engine>,
        cut: u64,
        own: MemoryEngine,
        bytes_max: u64,
    ) -> Self {
        let stage = Stage::Forked {
            bytes: AtomicU64::new(0),
            bytes_max,
        };
        Self {
            base,
            cut: AtomicU64::new(cut),
            own,
            stage,
        }
    }

    /// A copy of its own rows, which shares their memory.
    pub(super) fn rows(&self) -> MemoryEngine {
        // Every write was synced.
        self.own.crash_image()
    }

    /// Bytes that were written since the fork.
    pub(super) fn written_bytes(&self) -> u64 {
        match &self.stage {
            Stage::Repeating => 0,
            Stage::Forked { bytes, .. } => bytes.load(Ordering::SeqCst),
        }
    }

    fn cut(&self) -> u64 {
        self.cut.load(Ordering::SeqCst)
    }

    /// Keeps the rows that are not lasting.
    fn write_repeated(&self, batch: &Batch) -> Result<(), EngineError> {
        let (mut kept, mut applied) = (Batch::new(), None);
        for op in batch.ops() {
            if cut::is_lasting(op.table) {
                self.check_same(&op)?;
                continue;
            }
            match op.value {
                Some(row) => {
                    if op.table == Table::Meta && op.key == meta::APPLIED {
                        applied = meta::decode_applied(Bytes::copy_from_slice(row)).ok();
                    }
                    kept.put(op.table, op.key, row);
                }
                None => kept.delete(op.table, op.key),
            }
        }
        self.own.write(kept, Durability::Synced)?;
        if let Some(applied) = applied {
            self.cut.store(applied.sequence, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Whoever compares roots and state digests with the base's afterwards reads the base's: so they are compared here.
    fn check_same(&self, op: &Op<'_>) -> Result<(), EngineError> {
        if op.table != Table::History || self.base.get(op.table, op.key)?.as_deref() == op.value {
            return Ok(());
        }
        Err(EngineError::Corruption {
            path: PathBuf::from(PATH),
            table: Some(op.table),
            detail: "the history that was applied again comes to other digests".to_owned(),
            source: None,
        })
    }
}

impl Engine for ForkEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let own = self.own.get(table, key)?;
        if own.is_some() || !cut::is_lasting(table) {
            return Ok(own);
        }
        let row = self.base.get(table, key)?;
        let cut = self.cut();
        Ok(row.filter(|row| cut::was_there(table, key, row, cut)))
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let mut rows = self.own.multi_get(table, keys)?;
        let places: Vec<usize> = (0..keys.len()).filter(|&at| rows[at].is_none()).collect();
        if places.is_empty() || !cut::is_lasting(table) {
            return Ok(rows);
        }
        let absent: Vec<&[u8]> = places.iter().map(|&at| keys[at]).collect();
        let cut = self.cut();
        let found = self.base.multi_get(table, &absent)?;
        for (at, row) in places.into_iter().zip(found) {
            rows[at] = row.filter(|row| cut::was_there(table, keys[at], row, cut));
        }
        Ok(rows)
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        let own = self.own.scan(table, lower, upper, direction);
        let is_empty = upper.is_some_and(|upper| upper <= lower);
        if is_empty || !cut::is_lasting(table) {
            return own;
        }
        let base = &*self.base;
        let past = Past::new(base, table, (lower, upper), direction, self.cut());
        Box::new(Merged {
            past: (Box::new(past) as Scan<'_>).peekable(),
            own: own.peekable(),
            direction,
        })
    }

    fn write(&self, batch: Batch, _: Durability) -> Result<(), EngineError> {
        let Stage::Forked { bytes, bytes_max } = &self.stage else {
            return self.write_repeated(&batch);
        };
        let more = batch.bytes() as u64;
        if bytes.fetch_add(more, Ordering::SeqCst) + more > *bytes_max {
            return Err(EngineError::ForkFull {
                bytes_max: *bytes_max,
            });
        }
        self.own.write(batch, Durability::Synced)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.own.flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.get(table, key)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.base.verify_checksums()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        Err(EngineError::Io {
            action: "copy a fork to",
            path: dir.to_owned(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.own.disk_bytes()
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.own.unflushed_bytes()
    }
}

/// Rows of the base and of the fork, in order. No key is in both.
struct Merged<'a> {
    past: std::iter::Peekable<Scan<'a>>,
    own: std::iter::Peekable<Scan<'a>>,
    direction: Direction,
}

impl Iterator for Merged<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_own = match (self.past.peek(), self.own.peek()) {
            (Some(Ok((past, _))), Some(Ok((own, _)))) => match self.direction {
                Direction::Forward => own < past,
                Direction::Backward => own > past,
            },
            (past, _) => past.is_none(),
        };
        if is_own {
            self.own.next()
        } else {
            self.past.next()
        }
    }
}
