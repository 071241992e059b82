//! The small store under the ledger: twelve ordered tables of byte strings, written atomically.
//!
//! Two implementations are kept equal by a property test: [`rocks::RocksEngine`] on disk, and
//! [`memory::MemoryEngine`] for tests and simulation, which loses what was not flushed.
//!
//! Invariants of every implementation:
//! - a [`Batch`] is applied whole, over all tables, or not at all;
//! - writes become durable in the order they were made: what survives a crash is the state after
//!   some number of batches, never a later batch without an earlier one;
//! - damaged data is an error ([`EngineError::is_corruption`]), never a missing row.
//!
//! The engine does not know what the rows mean. All calls but [`Engine::get_at_hand`] block: keep them off the reactor.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

mod batch;
mod error;
pub mod memory;
#[cfg(feature = "storage")]
pub mod rocks;
mod usage;

pub use batch::{Batch, Op};
pub use error::EngineError;
pub use usage::Usage;

/// A table of the vault; keys are ordered bytewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Sequence to event header.
    Headers,
    /// Sequence of the first event with a payload, to the payload.
    Payloads,
    /// Payload digest to that sequence.
    PayloadDigests,
    /// Event digest to sequence.
    Events,
    /// Sequence to embedding.
    Embeddings,
    /// Index of events by kind.
    Kinds,
    /// Index of events by attribute.
    Attributes,
    /// Index of events by parent and kind.
    Children,
    /// Index of events by micro-cluster.
    Micros,
    /// Roots of full subtrees of the history tree.
    History,
    /// Clustering state.
    Clusters,
    /// Positions, membership, settings, cursors.
    Meta,
}

impl Table {
    /// Every table, in order.
    pub const ALL: [Self; 12] = [
        Self::Headers,
        Self::Payloads,
        Self::PayloadDigests,
        Self::Events,
        Self::Embeddings,
        Self::Kinds,
        Self::Attributes,
        Self::Children,
        Self::Micros,
        Self::History,
        Self::Clusters,
        Self::Meta,
    ];

    /// The table's name on disk; never changed, never reused.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Payloads => "payloads",
            Self::PayloadDigests => "payload_digests",
            Self::Events => "events",
            Self::Embeddings => "embeddings",
            Self::Kinds => "kinds",
            Self::Attributes => "attributes",
            Self::Children => "children",
            Self::Micros => "micros",
            Self::History => "history",
            Self::Clusters => "clusters",
            Self::Meta => "meta",
        }
    }

    /// Position in [`Table::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a write is on stable storage.
///
/// An engine with a write-ahead log takes `Synced` only; one without takes both, and there a
/// `Synced` write costs a flush of all tables. In both, a `Synced` write makes every earlier write
/// durable too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On stable storage before the call returns. Grouping concurrent commits is the caller's.
    Synced,
    /// Write-ahead log off: survives a crash only once a flush has covered it.
    Volatile,
}

/// What a look that does not go to the disk has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtHand<T> {
    /// What the disk would say too.
    Known(T),
    /// Only the disk can say.
    Unknown,
}

/// Order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// Rows of a scan, as (key, value). It ends after its first error.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + 'a>;

/// What [`Engine::verify_rows`] tells of each row: table, key, value.
pub type EachRow<'a> = dyn FnMut(Table, &[u8], &[u8]) -> ControlFlow<()> + 'a;

/// What [`Engine::visit`] tells of each row: key, value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered, atomic, crash-safe store of [`Table`]s.
pub trait Engine: Send + Sync + fmt::Debug + 'static {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`EngineError::Corruption`] where a stored block is damaged, [`EngineError::Io`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// As [`Engine::get`], if memory has the answer. Alone of all calls it does not block, so that it needs no thread
    /// that may. An engine that cannot tell always says [`AtHand::Unknown`].
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn get_at_hand(
        &self,
        _table: Table,
        _key: &[u8],
    ) -> Result<AtHand<Option<Bytes>>, EngineError> {
        Ok(AtHand::Unknown)
    }

    /// The values under `keys`, in the same order, all as of one moment.
    ///
    /// # Errors
    /// As [`Engine::get`]; one bad row fails the call.
    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError>;

    /// Rows with `lower <= key < upper` (`None`: to the end), a consistent view as of the call.
    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_>;

    /// Hands the rows of `table` from `lower` on to `each`, in ascending order, which may end it: a scan for passes over a
    /// whole table. Rows are lent and not copied, it may read far ahead, and nothing is kept in memory for it.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn visit(&self, table: Table, lower: &[u8], each: &mut Visit<'_>) -> Result<(), EngineError> {
        for row in self.scan(table, lower, None, Direction::Forward) {
            let (key, value) = row?;
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Applies `batch` atomically over all tables.
    ///
    /// # Errors
    /// [`EngineError::Io`], also for an earlier background failure (disk full, I/O): from then on
    /// every write fails until the engine is opened again or the cause is gone.
    /// [`EngineError::DurabilityRefused`] for a volatile write to an engine with a write-ahead log.
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError>;

    /// As [`Engine::write`], and empties `batch`, which keeps its memory if the engine does not need it.
    ///
    /// # Errors
    /// As [`Engine::write`].
    fn write_out(&self, batch: &mut Batch, durability: Durability) -> Result<(), EngineError> {
        self.write(std::mem::take(batch), durability)
    }

    /// Makes everything written so far durable, all tables atomically.
    ///
    /// # Errors
    /// As [`Engine::write`].
    fn flush(&self) -> Result<(), EngineError>;

    /// The value under `key` that a crash would leave.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Reads every row of every table from storage, past all caches, with checksums on.
    ///
    /// # Errors
    /// [`EngineError::Corruption`] for the first damaged block, [`EngineError::Io`].
    fn verify_checksums(&self) -> Result<(), EngineError>;

    /// As [`Engine::verify_checksums`], and hands each row to `each` (table, key, value), which may take its
    /// time and may end the pass.
    ///
    /// # Errors
    /// As [`Engine::verify_checksums`].
    fn verify_rows(&self, each: &mut EachRow<'_>) -> Result<(), EngineError> {
        self.verify_checksums()?;
        for table in Table::ALL {
            for row in self.scan(table, &[], None, Direction::Forward) {
                let (key, value) = row?;
                if each(table, &key, &value).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Checks the files of the store as wholes, with what no row is read from: filters, properties, the list of
    /// files. In one go, and as fast as it goes. An engine without such files has nothing to check.
    ///
    /// # Errors
    /// [`EngineError::Corruption`] for the first damage, [`EngineError::Io`].
    fn verify_files(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Makes a consistent copy of everything written so far in `dir`, which must not exist and
    /// whose parent must, and syncs it. Flushes. `dir` with `.tmp` appended is overwritten on the
    /// way.
    ///
    /// # Errors
    /// [`EngineError::AlreadyExists`], [`EngineError::Io`].
    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError>;

    /// Bytes that the store takes on disk (in memory: of keys and values).
    ///
    /// # Errors
    /// [`EngineError::Io`].
    fn disk_bytes(&self) -> Result<u64, EngineError>;

    /// About how many bytes are in memory only, and wait to be flushed.
    ///
    /// # Errors
    /// [`EngineError::Io`].
    fn unflushed_bytes(&self) -> Result<u64, EngineError>;

    /// What it uses and has done, for metrics. An engine that has nothing to say of it says nothing.
    ///
    /// # Errors
    /// [`EngineError::Io`].
    fn usage(&self) -> Result<Usage, EngineError> {
        Ok(Usage::default())
    }
}

/// Whether no key can lie in `lower..upper`.
fn is_empty_range(lower: &[u8], upper: Option<&[u8]>) -> bool {
    upper.is_some_and(|upper| upper <= lower)
}
