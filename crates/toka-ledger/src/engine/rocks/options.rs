//! How RocksDB is set up, and why.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType,
    DBRecoveryMode, LogLevel, MemtableFactory, Options, ReadOptions, SliceTransform,
    UniversalCompactOptions, WriteBufferManager, statistics::StatsLevel,
};

use super::{Table, buckets};

const MIB: usize = 1 << 20;
/// A memtable takes memory in steps of this: small, since most of the twelve tables fill slowly
/// and all of them count towards one budget.
const ARENA_BLOCK_BYTES: usize = 128 << 10;
/// About two false positives in a thousand. Each costs a read of a block, mostly from a file; with ten bits there is one in a
/// hundred, in each of about a dozen runs, which is a read for every fourth event.
const BLOOM_BITS_PER_KEY: f64 = 14.0;
/// Bytes of memtables for each bucket of a hashed one: about what two small events take in all of them, so that a bucket has
/// few rows when it is flushed. Buckets are memory that counts as the memtable's, from the beginning: eight bytes.
const BYTES_PER_BUCKET: usize = 2 << 10;
/// More would stay empty.
const BUCKETS_MAX: usize = buckets::KEYS;
/// Sorted runs of a tiered table after which some are merged. A look-up asks the filter of each; with fewer of them every
/// row is rewritten more often: at ten million events three times with 8, with levels eight times.
const RUNS: i32 = 8;
/// Sorted runs of a tiered table after which writes are slowed down, and after which they wait. While a merge of
/// gigabytes is under way flushes go on adding runs.
const RUNS_SLOW: i32 = 64;
const RUNS_MAX: i32 = 128;
/// What the newer runs of a tiered table may have of the oldest one's size before all are merged, percent. No row is ever
/// overwritten: there is no room to win. No larger: RocksDB multiplies it by the size in 64 bits.
const SIZE_AMPLIFICATION_PERCENT: i32 = 1 << 20;
/// How often what may be written is given out: often, so that a compaction is no burst that a sync of the log waits behind.
const RATE_PERIOD_US: i64 = 10_000;
/// A compaction that waits comes before a flush once in so many times.
const RATE_FAIRNESS: i32 = 10;
/// Bytes read ahead in a pass over a whole table.
const READAHEAD_BYTES: usize = 2 * MIB;
const INFO_LOG_BYTES_MAX: usize = 4 * MIB;
const INFO_LOG_FILES_MAX: usize = 4;

/// Settings of a [`RocksEngine`](super::RocksEngine).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Whether there is a write-ahead log. With one, every write is synced
    /// ([`Durability::Synced`](super::Durability)); without one, writes are durable once flushed.
    pub wal: bool,
    /// Whether to create the store where there is none.
    pub create: bool,
    /// Open without locking or changing anything; writes fail. A store that another process is
    /// writing to may be read like this, as of now.
    pub read_only: bool,
    /// Bytes of the block cache, which also holds index and filter blocks.
    pub block_cache_bytes: usize,
    /// Bytes of all memtables together; a flush of all tables starts when they are used up.
    pub write_buffer_bytes: usize,
    /// Table files held open at once.
    pub max_open_files: u32,
    /// Threads for flushes and compactions: a quarter of them flush. More than one compacts only where compaction is behind.
    pub background_jobs: u32,
    /// Bytes that flushes and compactions may write in a second, flushes before compactions; `None`: any number.
    pub background_rate_bytes: Option<u32>,
    /// Write and compact files past the system's cache, where the file system can: what is there for reads stays, and no
    /// sync of a log waits behind dirty pages of theirs.
    pub direct_io: bool,
    /// Count hits of the cache, bytes written and stalls, for [`Usage`](super::Usage). Costs some atomic additions for each
    /// read and write.
    pub statistics: bool,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            wal: true,
            create: true,
            read_only: false,
            block_cache_bytes: 64 * MIB,
            write_buffer_bytes: 64 * MIB,
            max_open_files: 512,
            background_jobs: 4,
            background_rate_bytes: None,
            direct_io: false,
            statistics: false,
        }
    }
}

/// Options of the database as a whole. `direct_io`: whether it is wanted, and the file system can.
pub(super) fn database(options: &RocksOptions, direct_io: bool) -> Options {
    let mut db = Options::default();
    db.create_if_missing(options.create);
    db.create_missing_column_families(options.create);
    // Checksums on every read, consistency checks on every flush and compaction.
    db.set_paranoid_checks(true);
    // All tables reach the disk together, with or without a log: without one nothing else would
    // keep an event whole, with one no slow table can hold old log files back.
    db.set_atomic_flush(true);
    db.set_wal_recovery_mode(recovery_mode(options));
    // A closed log file that is missing or too short is an error (its size is in the manifest).
    db.set_track_and_verify_wals_in_manifest(options.wal);
    db.set_max_total_wal_size(2 * options.write_buffer_bytes as u64);
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(
        options.write_buffer_bytes,
        false,
    ));
    db.set_max_open_files(int(options.max_open_files));
    db.set_max_background_jobs(int(options.background_jobs));
    // There is one writer at a time, and hashed memtables take no more.
    db.set_allow_concurrent_memtable_write(false);
    if let Some(bytes) = options.background_rate_bytes {
        db.set_ratelimiter(bytes.into(), RATE_PERIOD_US, RATE_FAIRNESS);
    }
    db.set_use_direct_io_for_flush_and_compaction(direct_io);
    // Hand dirty pages to the disk steadily, rather than all at the end of a flush.
    db.set_bytes_per_sync(MIB as u64);
    db.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    db.set_keep_log_file_num(INFO_LOG_FILES_MAX);
    db.set_log_level(LogLevel::Warn);
    // Nothing is deleted that such figures would make more urgent to compact, and a start opens fewer files.
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    if options.statistics {
        db.enable_statistics();
        // No clock is read. Histograms are kept all the same: the crate's number for this is that of the level above it.
        db.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    }
    db
}

/// What RocksDB's modes really do (11.8, db/log_reader.cc):
///
/// - `PointInTime`, the default, stops at the first bad record and opens without all that follows:
///   acknowledged commits would vanish in silence.
/// - `TolerateCorruptedTailRecords` reports a checksum mismatch, but takes a bad *length* in the last
///   32 KiB block for a torn tail, drops everything after it, and skips zeroed blocks anywhere; and it
///   refuses a log whose last pages never reached the disk, which is how a power loss looks.
/// - `AbsoluteConsistency` accepts no irregularity at all, except zeroed blocks.
///
/// So [`wal`](super::wal) tells damage from a torn tail first and cuts the tail, which was never
/// acknowledged; what is left must be perfect. A read-only open cuts nothing, and must bear the tail
/// that a running writer is about to complete.
fn recovery_mode(options: &RocksOptions) -> DBRecoveryMode {
    if options.read_only {
        DBRecoveryMode::TolerateCorruptedTailRecords
    } else {
        DBRecoveryMode::AbsoluteConsistency
    }
}

/// One column family per table, all on one block cache.
pub(super) fn tables(options: &RocksOptions, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    Table::ALL
        .map(|table| ColumnFamilyDescriptor::new(table.name(), self::table(table, options, cache)))
        .into()
}

fn table(table: Table, options: &RocksOptions, cache: &Cache) -> Options {
    let profile = Profile::of(table);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(profile.block_bytes);
    blocks.set_format_version(6);
    // Index and filters live in the cache, so that the cache bounds them.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if profile.by_digest {
        blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        blocks.set_whole_key_filtering(true);
    }

    let mut family = Options::default();
    family.set_block_based_table_factory(&blocks);
    // The same on every level: a file that overlaps nothing is then moved down without being read.
    family.set_compression_type(profile.compression);
    if profile.is_tiered {
        compact_by_tiers(&mut family);
    } else {
        family.set_level_compaction_dynamic_level_bytes(true);
    }
    let memtable_bytes = options.write_buffer_bytes / 2;
    family.set_write_buffer_size(memtable_bytes);
    if profile.by_digest {
        hash_in_memory(&mut family, options.write_buffer_bytes);
    }
    family.set_arena_block_size(ARENA_BLOCK_BYTES);
    family.set_max_write_buffer_number(4);
    family.set_enable_blob_files(false);
    // Nothing expires: do not rewrite old files only because they are old. Else tiers are merged as a whole every 30 days, which
    // takes as much room again as the table.
    family.set_ttl(0);
    family.set_periodic_compaction_seconds(0);
    family
}

/// For digests, which are looked up and inserted by themselves, and never scanned but for copies and checks of the whole table: a
/// skip list of a hundred thousand of them costs a dozen cache misses each time, a bucket one or two. Scans sort what there
/// is, and have to say that they want it in order.
///
/// So does a flush, bucket by bucket, into such a skip list. What follows on the row before it costs next to nothing there: a
/// bucket has all rows that begin alike, in order, and the buckets are in the order of these beginnings. Filters of files have
/// a row for each such beginning, too: 65,536 at most.
fn hash_in_memory(family: &mut Options, write_buffer_bytes: usize) {
    // Files of other builds may have the prefixes of "toka.digest", which are others. Nothing is looked for by either.
    family.set_prefix_extractor(SliceTransform::create("toka.digest.2", buckets::key, None));
    let bucket_count = (write_buffer_bytes / BYTES_PER_BUCKET).clamp(1, BUCKETS_MAX);
    family.set_memtable_factory(MemtableFactory::HashLinkList { bucket_count });
}

/// For keys that do not come in order: merges runs of about the same size, where levels would rewrite what is there for
/// whatever comes. Files of either way can be read, and are taken over, by the other.
fn compact_by_tiers(family: &mut Options) {
    let mut tiers = UniversalCompactOptions::default();
    tiers.set_max_size_amplification_percent(SIZE_AMPLIFICATION_PERCENT);
    family.set_compaction_style(DBCompactionStyle::Universal);
    family.set_universal_compaction_options(&tiers);
    family.set_level_compaction_dynamic_level_bytes(false);
    family.set_level_zero_file_num_compaction_trigger(RUNS);
    family.set_level_zero_slowdown_writes_trigger(RUNS_SLOW);
    family.set_level_zero_stop_writes_trigger(RUNS_MAX);
}

/// For scans: hashed memtables have no order unless it is asked for.
pub(super) fn in_order() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options
}

/// For passes over whole tables: nobody wants the same blocks soon.
pub(super) fn whole_table() -> ReadOptions {
    let mut options = in_order();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options
}

struct Profile {
    block_bytes: usize,
    compression: DBCompressionType,
    /// Keys are digests, and look-ups often find nothing: whole-key filters of files, and hashed memtables.
    by_digest: bool,
    /// Rows come in no order, or in as many orders as there are kinds, values, parents, so that each file has keys from
    /// everywhere. Those of events come in order: their files are moved down the levels, and hardly ever rewritten.
    is_tiered: bool,
}

impl Profile {
    const fn of(table: Table) -> Self {
        let (block_kib, compression, by_digest) = match table {
            // Looked up by digest for every commit, mostly in vain; hashes do not compress.
            Table::Events | Table::PayloadDigests => (4, DBCompressionType::None, true),
            Table::History => (4, DBCompressionType::None, false),
            Table::Payloads => (32, DBCompressionType::Lz4, false),
            Table::Headers => (16, DBCompressionType::Lz4, false),
            // Components are as good as noise: trying costs, and wins next to nothing.
            Table::Embeddings => (16, DBCompressionType::None, false),
            Table::Kinds | Table::Attributes | Table::Children | Table::Micros => {
                (16, DBCompressionType::Lz4, false)
            }
            Table::Clusters | Table::Meta => (4, DBCompressionType::Lz4, false),
        };
        Self {
            block_bytes: block_kib << 10,
            compression,
            by_digest,
            is_tiered: match table {
                Table::Events | Table::PayloadDigests => true,
                Table::Kinds | Table::Attributes | Table::Children | Table::Micros => true,
                Table::Headers | Table::Payloads | Table::Embeddings | Table::History => false,
                // Rows are overwritten and deleted, which levels clear away sooner.
                Table::Clusters | Table::Meta => false,
            },
        }
    }
}

fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
