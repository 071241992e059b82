//! What holds a node's ledger and its Raft log: a disk, or something else in a simulation.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toka_ledger::disk::{Disk, SystemDisk};
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::Seams;

use crate::log_store::{LogError, LogOptions, RaftLog, SegmentLog, SegmentOptions};

mod looked_at;
mod memory;

pub(crate) use looked_at::LookedAt;
pub use memory::MemoryStorage;

/// Opens stores. Blocking.
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// What the data directory is on: its marker, the pointer to the current ledger, snapshots. The
    /// engine's copies must be on it too.
    fn disk(&self) -> Arc<dyn Disk>;

    /// Opens the ledger's store in `dir` for writing, without a write-ahead log (the Raft log is
    /// one), or creates it.
    ///
    /// # Errors
    /// The engine's.
    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError>;

    /// As [`Storage::open`], but creates nothing.
    ///
    /// # Errors
    /// The engine's; [`EngineError::NotFound`] if there is none.
    fn open_existing(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.open(dir)
    }

    /// Opens a finished copy of a ledger's store for reading.
    ///
    /// # Errors
    /// The engine's.
    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError>;

    /// Opens the Raft log in `dir` and starts what writes it; creates a log only if it `may_create`
    /// one.
    ///
    /// # Errors
    /// The log's.
    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError>;
}

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

fn start_segments(
    disk: Arc<dyn Disk>,
    segments: SegmentOptions,
    log: LogOptions,
    dir: &Path,
    may_create: bool,
    seams: &Seams,
) -> Result<RaftLog, LogError> {
    let options = SegmentOptions {
        create: may_create,
        ..segments
    };
    let engine = SegmentLog::open(disk, Arc::clone(&seams.entropy), dir, options)?;
    RaftLog::start(engine, log, &*seams.threads).map_err(|source| LogError::Io {
        doing: "start the thread for",
        path: dir.to_owned(),
        source: Arc::new(source),
    })
}
