//! A node's stores on its disk: RocksDB and segment files.

use std::path::Path;
use std::sync::Arc;

use toka_ledger::disk::{Disk, SystemDisk};
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::Seams;

use super::{Storage, start_segments};
use crate::log_store::{LogError, LogOptions, RaftLog, SegmentOptions};

/// RocksDB and segment files on the node's disk.
#[derive(Clone, Debug, Default)]
pub struct DiskStorage {
    /// RocksDB's settings; whether there is a write-ahead log and the like is decided here.
    pub rocks: RocksOptions,
    /// How the Raft log lies on disk.
    pub segments: SegmentOptions,
    /// How much of the Raft log stays in memory.
    pub log: LogOptions,
}

impl DiskStorage {
    fn open_or_create(&self, dir: &Path, create: bool) -> Result<Arc<dyn Engine>, EngineError> {
        // Two logs would mean two syncs for every commit. What is lost of the ledger in a crash is
        // applied again from the Raft log (docs/openraft.md, section 4).
        let options = RocksOptions {
            wal: false,
            create,
            read_only: false,
            ..self.rocks.clone()
        };
        Ok(Arc::new(RocksEngine::open(dir, &options)?))
    }
}

/// Memory of an engine that only checks a copy, or reads its position.
const COPY_BYTES: usize = 8 << 20;

impl Storage for DiskStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(SystemDisk)
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.open_or_create(dir, true)
    }

    fn open_existing(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.open_or_create(dir, false)
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        let options = RocksOptions {
            wal: false,
            create: false,
            read_only: true,
            block_cache_bytes: COPY_BYTES,
            write_buffer_bytes: COPY_BYTES,
            ..self.rocks.clone()
        };
        Ok(Arc::new(RocksEngine::open(dir, &options)?))
    }

    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        start_segments(self.disk(), self.segments, self.log, dir, may_create, seams)
    }
}
