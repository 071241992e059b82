//! What a node's stores lie on.

use std::sync::Arc;

#[cfg(feature = "storage")]
use toka_ledger::engine::rocks::RocksOptions;
#[cfg(feature = "storage")]
use toka_raft::DiskStorage;
use toka_raft::Storage;

use super::Outside;
#[cfg(feature = "storage")]
use super::memory::{self, Shares};
use crate::config::Config;

/// What flushes and compactions may write in a second. Far more than they have to at any rate of commits that one node can
/// apply, and less than a good disk takes, so that syncs of the Raft log find room.
#[cfg(feature = "storage")]
const BACKGROUND_RATE_BYTES: u32 = 256 << 20;

/// What was given, or what the configuration says.
pub(super) fn storage(config: &Config, outside: &Outside) -> Arc<dyn Storage> {
    let given = outside.storage.clone();
    given.unwrap_or_else(|| disk_storage(config))
}

#[cfg(feature = "storage")]
fn disk_storage(config: &Config) -> Arc<dyn Storage> {
    let shares = Shares::of(memory::limit());
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let rocks = RocksOptions {
        block_cache_bytes: size(config.storage.cache_bytes.unwrap_or(shares.cache)),
        write_buffer_bytes: size(shares.write_buffer),
        background_rate_bytes: Some(BACKGROUND_RATE_BYTES),
        direct_io: true,
        statistics: true,
        ..RocksOptions::default()
    };
    Arc::new(DiskStorage {
        rocks,
        ..DiskStorage::default()
    })
}

#[cfg(not(feature = "storage"))]
fn disk_storage(_: &Config) -> Arc<dyn Storage> {
    Arc::new(toka_raft::MemoryStorage::new())
}
