//! The store in memory, for tests and simulation.
//!
//! It keeps two states: the live one, and the one that a crash would leave. [`Engine::flush`],
//! [`Engine::checkpoint`] and a [`Durability::Synced`] write bring the second up to the first, as
//! `RocksEngine` without a write-ahead log does. (RocksDB may also flush by itself when its buffers
//! are full; this one never does, so that a simulation loses as much as can be lost.)
//!
//! The second state is in memory too ([`MemoryEngine::new`]), or in files on a [`Disk`]
//! ([`MemoryEngine::open`]), which then decides what a crash leaves.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Batch, Direction, Durability, Engine, EngineError, Scan, Table, is_empty_range};
use crate::disk::{Disk, MemoryDisk};

mod home;
mod image;
#[cfg(test)]
mod tests;

use self::home::Home;

type Rows = BTreeMap<Bytes, Bytes>;
/// Shared with running scans, and copied on the first write after one started.
type Tables = [Arc<Rows>; Table::ALL.len()];

/// One write of a batch, with memory of its own.
#[derive(Clone)]
struct Op {
    table: Table,
    key: Bytes,
    value: Option<Bytes>,
}

impl From<super::Op<'_>> for Op {
    fn from(op: super::Op<'_>) -> Self {
        Self {
            table: op.table,
            key: Bytes::copy_from_slice(op.key),
            value: op.value.map(Bytes::copy_from_slice),
        }
    }
}

/// A `BTreeMap` per table, under one lock.
pub struct MemoryEngine {
    /// For copies.
    disk: Arc<dyn Disk>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    live: Tables,
    flushed: Tables,
    /// What `live` has and `flushed` has not, in order.
    unflushed: Vec<Op>,
    /// Where `flushed` is kept, if it is not gone with the process.
    home: Option<Home>,
}

impl State {
    fn of(tables: Tables) -> Self {
        Self {
            live: tables.clone(),
            flushed: tables,
            unflushed: Vec::new(),
            home: None,
        }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        if let Some(home) = &mut self.home
            && !self.unflushed.is_empty()
        {
            home.flush(&self.unflushed, &self.live)?;
        }
        for op in self.unflushed.drain(..) {
            apply(&mut self.flushed, op);
        }
        Ok(())
    }
}

fn apply(tables: &mut Tables, op: Op) {
    let rows = Arc::make_mut(&mut tables[op.table.index()]);
    match op.value {
        Some(value) => rows.insert(op.key, value),
        None => rows.remove(&op.key),
    };
}

impl MemoryEngine {
    /// An empty store, wholly in memory: it is gone when it is dropped. Its copies go to a disk of its
    /// own.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryDisk::new()))
    }

    /// As [`MemoryEngine::new`], with copies on `disk`.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self::from_state(disk, State::default())
    }

    /// Opens the store in `dir` on `disk`, or makes an empty one there; also one of the files of a copy.
    /// What is flushed is in files there, and so as durable as the disk makes it; what is not is gone
    /// when the store is dropped. A flush that fails is the last one.
    ///
    /// # Errors
    /// [`EngineError::Locked`], [`EngineError::Corruption`], [`EngineError::WrongFormat`],
    /// [`EngineError::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, EngineError> {
        let (home, tables) = Home::open(Arc::clone(&disk), dir)?;
        let state = State {
            home: Some(home),
            ..State::of(tables)
        };
        Ok(Self::from_state(disk, state))
    }

    /// The store that a crash at this moment would leave: only what was flushed or synced. Wholly in
    /// memory; of a store in files a crash leaves what the disk's crash does.
    #[must_use]
    pub fn crash_image(&self) -> Self {
        let tables = self.read().flushed.clone();
        Self::from_state(Arc::clone(&self.disk), State::of(tables))
    }

    /// Opens a copy that [`Engine::checkpoint`] made on `disk`. Later changes stay in memory.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Corruption`], [`EngineError::WrongFormat`],
    /// [`EngineError::Io`].
    pub fn open_checkpoint(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, EngineError> {
        let state = State::of(image::read(&*disk, dir)?);
        Ok(Self::from_state(disk, state))
    }

    fn from_state(disk: Arc<dyn Disk>, state: State) -> Self {
        Self {
            disk,
            state: RwLock::new(state),
        }
    }

    // No code panics halfway through a change of the state, so a poisoned lock guards a sound one.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.read();
        let rows: usize = state.live.iter().map(|rows| rows.len()).sum();
        f.debug_struct("MemoryEngine")
            .field("rows", &rows)
            .field("unflushed", &state.unflushed.len())
            .finish()
    }
}

impl Engine for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.read().live[table.index()].get(key).cloned())
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let state = self.read();
        let rows = &state.live[table.index()];
        Ok(keys.iter().map(|key| rows.get(*key).cloned()).collect())
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        if is_empty_range(lower, upper) {
            return Box::new(std::iter::empty());
        }
        Box::new(MemoryScan {
            rows: Arc::clone(&self.read().live[table.index()]),
            lower: Bound::Included(Bytes::copy_from_slice(lower)),
            upper: upper.map_or(Bound::Unbounded, |upper| {
                Bound::Excluded(Bytes::copy_from_slice(upper))
            }),
            direction,
        })
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(home) = &state.home {
            home.check()?;
        }
        for op in batch.ops().map(Op::from) {
            state.unflushed.push(op.clone());
            apply(&mut state.live, op);
        }
        match durability {
            Durability::Synced => state.flush(),
            Durability::Volatile => Ok(()),
        }
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.lock().flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.read().flushed[table.index()].get(key).cloned())
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.read().home.as_ref().map_or(Ok(()), Home::verify)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        let tables = {
            let mut state = self.lock();
            #[cfg(simulation)]
            let is_flushed_first = !crate::simulation::Bug::PurgeBeforeSnapshot.is_on();
            #[cfg(not(simulation))]
            let is_flushed_first = true;
            if is_flushed_first {
                state.flush()?;
            }
            state.live.clone()
        };
        image::write(&*self.disk, dir, &tables)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        let state = self.read();
        let rows = state.live.iter().flat_map(|rows| rows.iter());
        Ok(rows
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum())
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        let state = self.read();
        let bytes = |op: &Op| op.key.len() + op.value.as_ref().map_or(0, Bytes::len);
        Ok(state.unflushed.iter().map(|op| bytes(op) as u64).sum())
    }
}

/// Walks a table as it was when the scan began.
struct MemoryScan {
    rows: Arc<Rows>,
    lower: Bound<Bytes>,
    upper: Bound<Bytes>,
    direction: Direction,
}

impl Iterator for MemoryScan {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bounds = (as_slice(&self.lower), as_slice(&self.upper));
        let mut rows = self.rows.range::<[u8], _>(bounds);
        let (key, value) = match self.direction {
            Direction::Forward => rows.next(),
            Direction::Backward => rows.next_back(),
        }?;
        let row = (key.clone(), value.clone());
        let passed = Bound::Excluded(key.clone());
        match self.direction {
            Direction::Forward => self.lower = passed,
            Direction::Backward => self.upper = passed,
        }
        Some(Ok(row))
    }
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    bound.as_ref().map(|bytes| &bytes[..])
}
