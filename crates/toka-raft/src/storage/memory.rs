//! A node's stores in memory, which lose in a crash what a disk would.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use toka_ledger::disk::{Disk, MemoryDisk};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::Seams;

use super::{Storage, start_segments};
use crate::log_store::{LogError, LogOptions, RaftLog, SegmentOptions};

/// Everything that a node keeps, on one [`MemoryDisk`]: the data directory, the Raft log in the
/// segments that it also has on a real disk, snapshots, and the ledger in a [`MemoryEngine`], whose
/// flushes are files there. For tests and simulation. Clones share the disk.
///
/// The ledger loses in a crash all that was not flushed: the most that can be lost.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    /// What everything is on.
    pub disk: MemoryDisk,
    /// How the Raft log lies on it.
    pub segments: SegmentOptions,
    /// How much of the Raft log is kept decoded as well.
    pub log: LogOptions,
}

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power, and returns what is there when it is back: what was synced, and of the rest what
    /// `keep` says (see [`MemoryDisk::crash`]). On this storage every change fails from now on, so that
    /// a node that still runs on it acknowledges nothing that is not in the returned one.
    #[must_use]
    pub fn crash(&self, keep: impl FnMut() -> bool) -> Self {
        self.disk.fail_after(0);
        Self {
            disk: self.disk.crash(keep),
            ..self.clone()
        }
    }
}

impl MemoryStorage {
    /// Whether `dir` is that of a store, which is read as a copy is while nobody has it open; such a one has files of
    /// its own beside those of the copy that it began with, if it did.
    fn is_store(&self, dir: &Path) -> bool {
        let is_of_copy = |name: &OsString| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "table")
        };
        let names = self.disk.list(dir);
        names.is_ok_and(|names| names.is_empty() || !names.iter().all(is_of_copy))
    }
}

impl Storage for MemoryStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(MemoryEngine::open(self.disk(), dir)?))
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        if self.is_store(dir) {
            return self.open(dir);
        }
        Ok(Arc::new(MemoryEngine::open_checkpoint(self.disk(), dir)?))
    }

    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        start_segments(self.disk(), self.segments, self.log, dir, may_create, seams)
    }
}
