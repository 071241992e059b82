//! What RocksDB says of itself.

use std::time::Duration;

use rocksdb::properties::{self, PropName};
use rocksdb::statistics::Ticker;

use super::{EngineError, RocksEngine, Table, Usage};

impl RocksEngine {
    /// Properties are told at any time; counts only where the options want them.
    pub(super) fn measure(&self) -> Result<Usage, EngineError> {
        let files = self.db.live_files().map_err(self.error("measure", None))?;
        let file_bytes: usize = files.iter().map(|file| file.size).sum();
        let count = |ticker: Ticker| match self.options.statistics {
            true => self.database.get_ticker_count(ticker),
            false => 0,
        };
        Ok(Usage {
            cache_bytes: wide(self.block_cache.get_usage()),
            cache_pinned_bytes: wide(self.block_cache.get_pinned_usage()),
            cache_capacity_bytes: wide(self.options.block_cache_bytes),
            cache_hits: count(Ticker::BlockCacheHit),
            cache_misses: count(Ticker::BlockCacheMiss),
            memtable_bytes: self.sum(properties::CUR_SIZE_ALL_MEM_TABLES)?,
            memtables_immutable: self.sum(properties::NUM_IMMUTABLE_MEM_TABLE)?,
            files: wide(files.len()),
            file_bytes: wide(file_bytes),
            compactions_pending: self.sum(properties::COMPACTION_PENDING)?,
            compactions_running: self.whole(properties::NUM_RUNNING_COMPACTIONS)?,
            compaction_pending_bytes: self.sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES)?,
            flushes_running: self.whole(properties::NUM_RUNNING_FLUSHES)?,
            is_write_stopped: self.whole(properties::IS_WRITE_STOPPED)? > 0,
            delayed_write_bytes: self.whole(properties::ACTUAL_DELAYED_WRITE_RATE)?,
            stalled: Duration::from_micros(count(Ticker::StallMicros)),
            background_errors: self.whole(properties::BACKGROUND_ERRORS)?,
            written_bytes: count(Ticker::BytesWritten),
            flushed_bytes: count(Ticker::FlushWriteBytes),
            compacted_bytes: count(Ticker::CompactWriteBytes),
            compaction_read_bytes: count(Ticker::CompactReadBytes),
        })
    }

    /// A property of the database as a whole.
    fn whole(&self, name: &PropName) -> Result<u64, EngineError> {
        let value = self.db.property_int_value(name);
        Ok(value.map_err(self.error("measure", None))?.unwrap_or(0))
    }

    /// A property that each table has, over all tables.
    fn sum(&self, name: &PropName) -> Result<u64, EngineError> {
        let mut total = 0;
        for table in Table::ALL {
            let value = self.db.property_int_value_cf(self.family(table), name);
            let value = value.map_err(self.error("measure", Some(table)))?;
            total += value.unwrap_or(0);
        }
        Ok(total)
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
