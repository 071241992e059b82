//! What a node's stores lie on, and the replica over them.

use std::sync::Arc;

#[cfg(feature = "storage")]
use toka_ledger::engine::rocks::RocksOptions;
#[cfg(feature = "storage")]
use toka_raft::DiskStorage;
use toka_raft::config::{Compaction, Election, Proposing, RuntimeChoice};
use toka_raft::{Replica, Storage};

#[cfg(feature = "storage")]
use super::memory::{self, Shares};
use super::{Outside, StartError};
use crate::config::{Config, Resolved};

/// What flushes and compactions may write in a second. Far more than they have to at any rate of commits that one node can
/// apply, and less than a good disk takes, so that syncs of the Raft log find room.
#[cfg(feature = "storage")]
const BACKGROUND_RATE_BYTES: u32 = 256 << 20;

/// Opens the stores of a node.
///
/// # Errors
/// [`StartError`].
pub(super) async fn open(
    node_id: u64,
    config: &Config,
    resolved: Resolved,
    storage: Arc<dyn Storage>,
    outside: &Outside,
) -> Result<Replica, StartError> {
    let mut replica =
        toka_raft::Config::new(node_id, config.data.clone(), resolved.initial_members);
    replica.advertised = resolved.advertised;
    replica.unreachable_after = config.timing.unreachable_after;
    replica.state_check_interval = config.timing.state_check_interval;
    replica.slow_sync = config.timing.slow_sync;
    replica.scrub = config.storage.scrub;
    replica.disk_reserve_bytes = config.storage.disk_reserve_bytes;
    replica.feature_level_max = config.storage.feature_level_max;
    replica.creation = config.creation.clone();
    replica.election = Election {
        heartbeat: config.timing.heartbeat_interval,
        timeout_min: config.timing.election_timeout_min,
        timeout_max: config.timing.election_timeout_max,
    };
    replica.compaction = Compaction {
        snapshot_log_bytes: config.storage.snapshot_log_bytes,
        snapshot_log_entries: config.storage.snapshot_log_entries,
        keep_log_bytes: config.storage.keep_log_bytes,
        keep_log_entries: config.storage.keep_log_entries,
        ..replica.compaction
    };
    replica.proposing = Proposing {
        queue_commits: config.limits.proposals_max,
        queue_bytes: usize::try_from(config.limits.proposals_bytes_max).unwrap_or(usize::MAX),
        ..replica.proposing
    };
    if cfg!(simulation) {
        // It has one thread.
        replica.runtime = RuntimeChoice::Current;
    }
    let (seams, transport) = (outside.seams.clone(), Arc::clone(&outside.transport));
    Ok(Replica::start_with(replica, seams, transport, storage).await?)
}

/// What was given, or what the configuration says.
pub(super) fn storage(config: &Config, outside: &Outside) -> Arc<dyn Storage> {
    let given = outside.storage.clone();
    given.unwrap_or_else(|| disk_storage(config))
}

#[cfg(feature = "storage")]
fn disk_storage(config: &Config) -> Arc<dyn Storage> {
    let shares = Shares::of(memory::limit(), memory::machine());
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
