//! The disk, the ledger's engine, and the intents.

use toka_raft::{Replica, Status};

use super::count;
use super::page::Page;
use super::table;

/// Puts on the page what was measured before.
pub(super) fn write(page: &mut Page, replica: &Replica, status: &Status) {
    let tally = replica.tally();
    page.set(&table::DISK_FREE, tally.disk_free_bytes.get());
    page.set(&table::DISK_SIZE, tally.disk_bytes.get());
    page.set(&table::DISK_RESERVE, tally.disk_reserve_bytes.get());
    page.set(&table::LEDGER_DISK, status.disk_bytes);
}

/// Puts on the page what is measured now. Blocks for as long as `apply` changes the intents, and longer where the disk
/// hangs.
pub(super) fn measure(page: &mut Page, replica: &Replica) {
    engine(page, replica);
    let usage = replica.reader().intent_usage();
    page.set(&table::INTENTS, count(usage.intents));
    page.set(&table::MICRO_CLUSTERS, count(usage.micro_clusters));
    page.set(&table::INTENTS_TABLE, count(usage.table_bytes));
    page.set(&table::INTENTS_OTHER, count(usage.other_bytes));
}

/// Nothing where the engine cannot tell, which the log says elsewhere.
fn engine(page: &mut Page, replica: &Replica) {
    let Ok(usage) = replica.engine_usage() else {
        return;
    };
    for (metric, value) in [
        (&table::CACHE, usage.cache_bytes),
        (&table::CACHE_PINNED, usage.cache_pinned_bytes),
        (&table::CACHE_CAPACITY, usage.cache_capacity_bytes),
        (&table::CACHE_HITS, usage.cache_hits),
        (&table::CACHE_MISSES, usage.cache_misses),
        (&table::MEMTABLE, usage.memtable_bytes),
        (&table::MEMTABLES_IMMUTABLE, usage.memtables_immutable),
        (&table::FILES, usage.files),
        (&table::FILE_BYTES, usage.file_bytes),
        (&table::FLUSHES_RUNNING, usage.flushes_running),
        (&table::COMPACTIONS_RUNNING, usage.compactions_running),
        (&table::COMPACTIONS_PENDING, usage.compactions_pending),
        (&table::COMPACTION_PENDING, usage.compaction_pending_bytes),
        (&table::WRITE_STOPPED, u64::from(usage.is_write_stopped)),
        (&table::BACKGROUND_ERRORS, usage.background_errors),
        (&table::WRITTEN, usage.written_bytes),
        (&table::FLUSHED, usage.flushed_bytes),
        (&table::COMPACTED, usage.compacted_bytes),
        (&table::COMPACTION_READ, usage.compaction_read_bytes),
    ] {
        page.set(metric, value);
    }
    page.set(&table::STALLED, usage.stalled.as_secs_f64());
}
