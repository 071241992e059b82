//! What holds a node's ledger and its Raft log: a disk, or something else in a simulation.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toka_ledger::disk::Disk;
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::Seams;

use crate::log_store::{LogError, LogOptions, RaftLog, SegmentLog, SegmentOptions};

#[cfg(feature = "storage")]
mod disk;
#[cfg(feature = "storage")]
mod looked_at;
mod memory;

#[cfg(feature = "storage")]
pub use disk::DiskStorage;
#[cfg(feature = "storage")]
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
