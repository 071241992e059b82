//! What an engine says of itself, for metrics.

use std::time::Duration;

/// What an engine uses and has done. Counts begin anew when the engine is opened; what an engine has not, or does not
/// count, is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the block cache that are used,
    pub cache_bytes: u64,
    /// that cannot be given up at the moment,
    pub cache_pinned_bytes: u64,
    /// and that it may have.
    pub cache_capacity_bytes: u64,
    /// Blocks that were found in it,
    pub cache_hits: u64,
    /// and that had to be read.
    pub cache_misses: u64,
    /// Bytes of the memory tables.
    pub memtable_bytes: u64,
    /// Memory tables that are full and wait to be flushed.
    pub memtables_immutable: u64,
    /// Table files.
    pub files: u64,
    /// Bytes of the table files.
    pub file_bytes: u64,
    /// Compactions that are due: tables that wait for one.
    pub compactions_pending: u64,
    /// Compactions under way.
    pub compactions_running: u64,
    /// About how many bytes compactions have left to rewrite.
    pub compaction_pending_bytes: u64,
    /// Flushes under way.
    pub flushes_running: u64,
    /// Writes wait until flushes or compactions have caught up.
    pub is_write_stopped: bool,
    /// Bytes in a second that writes are held to; 0: they are not.
    pub delayed_write_bytes: u64,
    /// How long writes have waited for flushes and compactions.
    pub stalled: Duration,
    /// Flushes and compactions that have failed.
    pub background_errors: u64,
    /// Bytes that were written to memory tables,
    pub written_bytes: u64,
    /// by flushes,
    pub flushed_bytes: u64,
    /// and by compactions,
    pub compacted_bytes: u64,
    /// which have read so many.
    pub compaction_read_bytes: u64,
}
