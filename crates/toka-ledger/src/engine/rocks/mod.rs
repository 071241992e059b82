//! The store on disk: one RocksDB, one column family per table.
//!
//! Notes for those who use it:
//! - Dropping the engine closes RocksDB, which then flushes volatile writes (version 11.8 does so
//!   unless told otherwise, and `rocksdb` 0.25 cannot tell it). A crash test must therefore not
//!   close: it takes [`RocksEngine::crash_image`] and opens that.
//! - RocksDB flushes by itself when the write buffers are full: always all tables together, between
//!   two batches.
//! - After a failed background write (disk full, I/O error) RocksDB refuses writes; each later
//!   [`Engine::write`] and [`Engine::flush`] returns that error.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    Cache, ColumnFamily, DB, DBRawIterator, ErrorKind, FlushOptions, Options, ReadOptions,
    ReadTier, properties,
};

use self::directory::{require_absent, sync_dir, takes_direct_io};
use self::failure::{engine_error, open_error};
use super::{
    AtHand, Batch, Direction, Durability, EachRow, Engine, EngineError, Scan, Table, Usage, Visit,
    is_empty_range,
};
use crate::disk::parent;

mod buckets;
mod directory;
mod failure;
mod files;
mod options;
mod order;
mod usage;
mod wal;
mod write;

pub use options::RocksOptions;

/// Held while the store is open. RocksDB has a lock of its own, but takes it only after the
/// write-ahead log must have been checked; and this one also excludes a second open in the same
/// process without side effects (closing a second descriptor would release a POSIX lock).
const LOCK_FILE: &str = "engine.lock";
/// RocksDB's pointer to its manifest: there is a store where this is.
const CURRENT_FILE: &str = "CURRENT";

/// A RocksDB database with the vault's tables.
pub struct RocksEngine {
    db: DB,
    path: PathBuf,
    options: RocksOptions,
    /// Has what RocksDB counts.
    database: Options,
    block_cache: Cache,
    read: ReadOptions,
    /// From memory tables and the block cache alone.
    read_at_hand: ReadOptions,
    read_flushed: ReadOptions,
    /// One pass over everything at a time: it empties the block cache.
    verifying: Mutex<()>,
    // Last, so that the lock outlives the database.
    _lock: Option<File>,
}

impl RocksEngine {
    /// Opens the store in the directory `path`, or creates it, as `options` say.
    ///
    /// A write at the end of the write-ahead log that a crash cut short, and that was therefore
    /// never acknowledged, is dropped; any other irregularity is an error.
    ///
    /// # Errors
    /// [`EngineError::Locked`], [`EngineError::NotFound`], [`EngineError::WrongFormat`],
    /// [`EngineError::Corruption`], [`EngineError::Io`].
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self, EngineError> {
        let may_create = options.create && !options.read_only;
        if !may_create && !path.join(CURRENT_FILE).exists() {
            return Err(EngineError::NotFound {
                path: path.to_owned(),
            });
        }
        let lock = if options.read_only {
            None
        } else {
            let lock = create_and_lock(path)?;
            wal::cut_torn_tail(path)?;
            Some(lock)
        };

        // RocksDB would go on without what it takes for torn, and write another list. Whatever else is the
        // matter with it, RocksDB says.
        if let Err(error) = wal::check_manifest(path)
            && error.is_corruption()
        {
            return Err(error);
        }

        let direct_io = options.direct_io && !options.read_only && takes_direct_io(path);
        let block_cache = Cache::new_lru_cache(options.block_cache_bytes);
        let database = options::database(options, direct_io);
        let tables = options::tables(options, &block_cache);
        let db = if options.read_only {
            DB::open_cf_descriptors_read_only(&database, path, tables, false)
        } else {
            DB::open_cf_descriptors(&database, path, tables)
        }
        .map_err(|error| open_error(path, error))?;

        let mut read_at_hand = ReadOptions::default();
        read_at_hand.set_read_tier(ReadTier::BlockCache);
        let mut read_flushed = ReadOptions::default();
        read_flushed.set_read_tier(ReadTier::Persisted);
        Ok(Self {
            db,
            path: path.to_owned(),
            options: options.clone(),
            database,
            block_cache,
            read: ReadOptions::default(),
            read_at_hand,
            read_flushed,
            verifying: Mutex::new(()),
            _lock: lock,
        })
    }

    /// Makes, in the new directory `dir`, the store that a crash of this process would leave now:
    /// what was flushed, and the write-ahead log. For tests.
    ///
    /// # Errors
    /// As [`Engine::checkpoint`].
    pub fn crash_image(&self, dir: &Path) -> Result<(), EngineError> {
        self.copy_to(dir, u64::MAX)
    }

    /// Copies the store, after a flush if the write-ahead log has more than `log_bytes_max`.
    fn copy_to(&self, dir: &Path, log_bytes_max: u64) -> Result<(), EngineError> {
        require_absent(dir)?;
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint_with_log_size(dir, log_bytes_max))
            .map_err(self.error("copy", None))?;
        // RocksDB syncs the files and their directory, but not the name of that directory.
        sync_dir(dir)?;
        sync_dir(parent(dir))
    }

    fn family(&self, table: Table) -> &ColumnFamily {
        self.db
            .cf_handle(table.name())
            .expect("every table was opened with the database")
    }

    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Bytes>, EngineError> {
        let value = self
            .db
            .get_pinned_cf_opt(self.family(table), key, options)
            .map_err(self.error("read", Some(table)))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// For `map_err`: an error of RocksDB while doing `action`.
    fn error(
        &self,
        action: &'static str,
        table: Option<Table>,
    ) -> impl FnOnce(rocksdb::Error) -> EngineError {
        move |error| engine_error(action, &self.path, table, error)
    }

    fn require_writable(&self) -> Result<(), EngineError> {
        if self.options.read_only {
            return Err(EngineError::ReadOnly {
                path: self.path.clone(),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksEngine")
            .field("path", &self.path)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Engine for RocksEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.get_with(table, key, &self.read)
    }

    fn get_at_hand(&self, table: Table, key: &[u8]) -> Result<AtHand<Option<Bytes>>, EngineError> {
        let found = self
            .db
            .get_pinned_cf_opt(self.family(table), key, &self.read_at_hand);
        match found {
            Ok(value) => {
                let value = value.map(|value| Bytes::copy_from_slice(&value));
                Ok(AtHand::Known(value))
            }
            // A block is not in the cache, or a file is not open.
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(AtHand::Unknown),
            Err(error) => Err(self.error("read", Some(table))(error)),
        }
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.db
            .batched_multi_get_cf_opt(
                self.family(table),
                keys.iter().copied(),
                // Else RocksDB sorts them, with a call for each comparison.
                keys.is_sorted(),
                &self.read,
            )
            .into_iter()
            .map(|value| {
                let value = value.map_err(self.error("read", Some(table)))?;
                Ok(value.map(|value| Bytes::copy_from_slice(&value)))
            })
            .collect()
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
        let mut options = options::in_order();
        options.set_iterate_lower_bound(lower);
        if let Some(upper) = upper {
            options.set_iterate_upper_bound(upper);
        }
        Box::new(RocksScan::new(self, table, options, direction))
    }

    fn visit(&self, table: Table, lower: &[u8], each: &mut Visit<'_>) -> Result<(), EngineError> {
        let mut options = options::whole_table();
        options.set_iterate_lower_bound(lower);
        let mut rows = RocksScan::new(self, table, options, Direction::Forward);
        rows.visit(each).map(drop)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        self.write_batch(&batch, durability)
    }

    fn write_out(&self, batch: &mut Batch, durability: Durability) -> Result<(), EngineError> {
        let written = self.write_batch(batch, durability);
        batch.clear();
        written
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.require_writable()?;
        let families = Table::ALL.map(|table| self.family(table));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&families.each_ref().map(|family| *family), &options)
            .map_err(self.error("flush", None))
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.get_with(table, key, &self.read_flushed)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.verify_rows(&mut |_, _, _| ControlFlow::Continue(()))
    }

    fn verify_rows(&self, each: &mut EachRow<'_>) -> Result<(), EngineError> {
        let _one_at_a_time = self
            .verifying
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A cached block was checked when it was read, which may be long ago.
        let _uncached = EmptyCache::of(&self.block_cache, self.options.block_cache_bytes);
        for table in Table::ALL {
            let mut rows = RocksScan::new(self, table, options::whole_table(), Direction::Forward);
            let visited = rows.visit(&mut |key: &[u8], value: &[u8]| each(table, key, value))?;
            if visited.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn verify_files(&self) -> Result<(), EngineError> {
        wal::check_manifest(&self.path)?;
        files::verify(&self.db, &self.path)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.copy_to(dir, 0)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        let mut total = 0;
        for entry in fs::read_dir(&self.path).map_err(EngineError::io("list", &self.path))? {
            let entry = entry.map_err(EngineError::io("list", &self.path))?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => total += metadata.len(),
                Ok(_) => {}
                // Compaction removes files at any time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(EngineError::io("look at", &entry.path())(error)),
            }
        }
        Ok(total)
    }

    /// What the memory tables take that are not flushed; some of it is room that is not used yet.
    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        let mut total = 0;
        for table in Table::ALL {
            let bytes = self
                .db
                .property_int_value_cf(self.family(table), properties::CUR_SIZE_ALL_MEM_TABLES)
                .map_err(self.error("measure", Some(table)))?;
            total += bytes.unwrap_or(0);
        }
        Ok(total)
    }

    fn usage(&self) -> Result<Usage, EngineError> {
        self.measure()
    }
}

/// Walks a table as it was when the scan began.
struct RocksScan<'a> {
    engine: &'a RocksEngine,
    table: Table,
    rows: DBRawIterator<'a>,
    direction: Direction,
    started: bool,
    ended: bool,
}

impl<'a> RocksScan<'a> {
    /// A scan within the bounds of `options`. Creating the iterator fixes the view.
    fn new(
        engine: &'a RocksEngine,
        table: Table,
        options: ReadOptions,
        direction: Direction,
    ) -> Self {
        Self {
            engine,
            table,
            rows: engine.db.raw_iterator_cf_opt(engine.family(table), options),
            direction,
            started: false,
            ended: false,
        }
    }

    /// Goes to the next row; `None` at the end.
    fn advance(&mut self) -> Option<Result<(), EngineError>> {
        if self.ended {
            return None;
        }
        match (self.direction, self.started) {
            (Direction::Forward, false) => self.rows.seek_to_first(),
            (Direction::Forward, true) => self.rows.next(),
            (Direction::Backward, false) => self.rows.seek_to_last(),
            (Direction::Backward, true) => self.rows.prev(),
        }
        self.started = true;
        if self.rows.valid() {
            return Some(Ok(()));
        }
        self.ended = true;
        let status = self.rows.status();
        status
            .err()
            .map(|error| Err(self.engine.error("read", Some(self.table))(error)))
    }

    /// Lends each row that is left to `each`, which may end it.
    fn visit(&mut self, each: &mut Visit<'_>) -> Result<ControlFlow<()>, EngineError> {
        while let Some(advanced) = self.advance() {
            advanced?;
            if let Some((key, value)) = self.rows.item()
                && each(key, value).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Iterator for RocksScan<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.advance()? {
            return Some(Err(error));
        }
        let (key, value) = self.rows.item()?;
        Some(Ok((
            Bytes::copy_from_slice(key),
            Bytes::copy_from_slice(value),
        )))
    }
}

/// Keeps a cache empty while it lives.
struct EmptyCache {
    cache: Cache,
    capacity: usize,
}

impl EmptyCache {
    fn of(cache: &Cache, capacity: usize) -> Self {
        let mut cache = cache.clone();
        cache.set_capacity(0);
        Self { cache, capacity }
    }
}

impl Drop for EmptyCache {
    fn drop(&mut self) {
        self.cache.set_capacity(self.capacity);
    }
}

fn create_and_lock(dir: &Path) -> Result<File, EngineError> {
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(EngineError::io("create", dir))?;
        sync_dir(parent(dir))?;
    }
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(EngineError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EngineError::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(EngineError::io("lock", &path)(error)),
    }
}

#[cfg(test)]
mod tests;
