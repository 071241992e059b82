//! Opening a node's stores, and starting Raft over them.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use openraft::storage::RaftLogStorage;
use openraft::{Raft, RaftLogReader};
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::seam::Seams;
use tokio::sync::watch;

use super::Leader;
use crate::blocking::Blocking;
use crate::compaction::AppliedLog;
use crate::config::{Config, RuntimeChoice};
use crate::contact::Contact;
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::identity::Identity;
use crate::layout::Layout;
use crate::ledger_host::LedgerHost;
use crate::log_store::{LogHandle, RaftLog};
use crate::membership::{Membership, encode_members};
use crate::network::PeerNetworks;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::status::StatusSource;
use crate::storage::Storage;
use crate::transport::{Channels, Transport};
use crate::type_config::TypeConfig;

/// A node whose Raft runs.
pub(super) struct Node {
    pub(super) identity: Arc<Identity>,
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pub(super) host: Arc<LedgerHost>,
    pub(super) log: LogHandle,
    /// Index of the last entry that the log had at start.
    pub(super) log_at_start: Option<u64>,
    pub(super) contact: Arc<Contact>,
    pub(super) leader_known: watch::Sender<Option<Leader>>,
    pub(super) leader: watch::Receiver<Option<Leader>>,
    pub(super) snapshots: Arc<SnapshotStore>,
    pub(super) applied: Arc<AppliedLog>,
    pub(super) networks: PeerNetworks,
    pub(super) membership: Arc<Membership>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) status: StatusSource,
    pub(super) blocking: Blocking,
    pub(super) fatal: Fatal,
}

/// What is on the disk.
struct Stores {
    data_dir: DataDir,
    cluster_id: Option<u128>,
    host: LedgerHost,
    snapshots: SnapshotStore,
    log: RaftLog,
}

pub(super) fn blocking(config: &Config) -> Blocking {
    match config.runtime {
        RuntimeChoice::Own { .. } => Blocking::Pool,
        RuntimeChoice::Current => Blocking::Inline,
    }
}

/// Runs on the runtime that Raft is to use.
pub(super) async fn open(
    config: Config,
    seams: Seams,
    transport: Arc<dyn Transport>,
    storage: Arc<dyn Storage>,
) -> Result<Node, StartError> {
    let raft_config = Arc::new(config.raft()?);
    let blocking = blocking(&config);
    let fatal = Fatal::new();
    let stores = {
        let (path, storage, seams) = (config.data_dir.clone(), Arc::clone(&storage), seams);
        let node_id = config.node_id;
        blocking
            .run(move || open_stores(&path, node_id, storage, &seams, blocking))
            .await?
    };
    let Stores {
        data_dir,
        cluster_id,
        host,
        snapshots,
        mut log,
    } = stores;
    let log_handle = log.handle();
    let log_at_start = check_agreement(&config.data_dir, cluster_id, &host, &mut log).await?;
    check_progress(&config.data_dir, &host, &snapshots, &mut log).await?;

    let identity = Arc::new(Identity::new(config.node_id, cluster_id));
    let (host, snapshots) = (Arc::new(host), Arc::new(snapshots));
    let applied = Arc::new(AppliedLog::new(config.compaction.flush_bytes));
    let metrics = Arc::new(OnceLock::new());
    let networks = PeerNetworks {
        identity: Arc::clone(&identity),
        channels: Arc::new(Channels::new(transport)),
        snapshots: Arc::clone(&snapshots),
        blocking,
        append_timeout: config.append_timeout,
    };
    let state_machine = StateMachine {
        host: Arc::clone(&host),
        snapshots: Arc::clone(&snapshots),
        durable: log_handle.durable(),
        log: log_handle.clone(),
        applied: Arc::clone(&applied),
        blocking,
        metrics: Arc::clone(&metrics),
        fatal: fatal.clone(),
    };
    let started = Raft::new(
        config.node_id,
        raft_config,
        networks.clone(),
        log,
        state_machine,
    )
    .await;
    let raft = started.map_err(|error| {
        let first = fatal.watch().borrow().as_ref().map(ToString::to_string);
        StartError::Raft {
            reason: first.unwrap_or_else(|| error.to_string()),
        }
    })?;
    let _ = metrics.set(raft.metrics());

    let membership = Arc::new(Membership {
        identity: Arc::clone(&identity),
        raft: raft.clone(),
        data_dir: Arc::new(Mutex::new(data_dir)),
        encoded: encode_members(&config.initial_members),
        members: config.initial_members.clone(),
        blocking,
    });
    let (leader_known, leader) = watch::channel(None);
    let status = StatusSource {
        identity: Arc::clone(&identity),
        raft: raft.clone(),
        reader: host.reader(),
        disk_bytes: Arc::new(AtomicU64::new(0)),
        fatal: fatal.clone(),
        leader: leader.clone(),
        this: config
            .initial_members
            .get(&config.node_id)
            .cloned()
            .unwrap_or_default(),
    };
    Ok(Node {
        identity,
        raft,
        host,
        log: log_handle,
        log_at_start,
        contact: Arc::default(),
        leader_known,
        leader,
        snapshots,
        applied,
        networks,
        membership,
        storage,
        status,
        blocking,
        fatal,
    })
}

fn open_stores(
    path: &Path,
    node_id: u64,
    storage: Arc<dyn Storage>,
    seams: &Seams,
    blocking: Blocking,
) -> Result<Stores, StartError> {
    let disk = storage.disk();
    let mut data_dir = DataDir::open_or_create(
        Arc::clone(&disk),
        path,
        Mode::Node {
            cluster_id: None,
            node_id,
        },
    )?;
    let cluster_id = match data_dir.mode() {
        Mode::Node { cluster_id, .. } => cluster_id,
        Mode::Embedded => None,
    };
    let layout = Layout::new(Arc::clone(&disk), path.to_owned());
    if data_dir.is_complete() {
        // Made anew, an empty log or ledger would look like one that never held anything.
        for dir in [layout.raft(), layout.current_pointer()] {
            if !disk.exists(&dir) {
                let detail = format!("{} is missing", dir.display());
                return Err(StartError::Contradiction {
                    path: path.to_owned(),
                    detail,
                });
            }
        }
    }
    let snapshots =
        SnapshotStore::open(Arc::clone(&disk), layout.snapshots(), blocking).map_err(|error| {
            StartError::Snapshot {
                source: Box::new(error),
            }
        })?;
    let host = LedgerHost::open(
        layout.clone(),
        Arc::clone(&storage),
        Arc::clone(&seams.threads),
    )?;
    let log = storage.start_log(&layout.raft(), !data_dir.is_complete(), seams)?;
    disk.sync_dir(path)
        .map_err(StartError::file("sync", path))?;
    data_dir.set_complete()?;
    Ok(Stores {
        data_dir,
        cluster_id,
        host,
        snapshots,
        log,
    })
}

/// A node must not begin with parts that cannot have been together: it may have voted, or
/// acknowledged, what it does not remember. Returns the index of the log's last entry.
async fn check_agreement(
    path: &Path,
    cluster_id: Option<u128>,
    host: &LedgerHost,
    log: &mut RaftLog,
) -> Result<Option<u64>, StartError> {
    let raft = |error: String| StartError::Raft { reason: error };
    let state = log
        .get_log_state()
        .await
        .map_err(|error| raft(error.to_string()))?;
    let (applied, _) = host
        .applied_state()
        .map_err(|error| raft(error.to_string()))?;
    let vote = log
        .get_log_reader()
        .await
        .read_vote()
        .await
        .map_err(|error| raft(error.to_string()))?;
    // A log without entries is right on a node that has just installed its first snapshot, but even
    // that one has voted.
    let has_log = state.last_log_id.is_some() || vote.is_some();
    let detail = if has_log && cluster_id.is_none() {
        "there is a Raft log, but no cluster id".to_owned()
    } else if applied.is_some() && !has_log {
        "there is a ledger, but the Raft log is empty".to_owned()
    } else {
        return Ok(state.last_log_id.map(|log_id| log_id.index));
    };
    Err(StartError::Contradiction {
        path: path.to_owned(),
        detail,
    })
}

/// A ledger that is ahead of the log proves that the log has lost what it had acknowledged, unless a
/// snapshot brought it there: then the crash came before the log was purged.
async fn check_progress(
    path: &Path,
    host: &LedgerHost,
    snapshots: &SnapshotStore,
    log: &mut RaftLog,
) -> Result<(), StartError> {
    let raft = |error: String| StartError::Raft { reason: error };
    let state = log
        .get_log_state()
        .await
        .map_err(|error| raft(error.to_string()))?;
    let (applied, _) = host
        .applied_state()
        .map_err(|error| raft(error.to_string()))?;
    let snapshot = snapshots
        .current()
        .and_then(|snapshot| snapshot.contents().meta.last_log_id);
    if snapshot.is_some() && snapshot < state.last_purged_log_id {
        // It does not reach the log, so no follower could go on from it.
        snapshots.forget();
    }
    let Some(applied) = applied else {
        return Ok(());
    };
    if state
        .last_log_id
        .is_some_and(|last| last.index >= applied.index)
    {
        return Ok(());
    }
    if snapshot != Some(applied) {
        let detail = format!(
            "the ledger has applied entry {}, but the Raft log ends at {}: the log has lost what this \
             node acknowledged; remove the node and add it again under a new id",
            applied.index,
            state
                .last_log_id
                .map_or_else(|| "its beginning".to_owned(), |last| last.index.to_string())
        );
        return Err(StartError::Contradiction {
            path: path.to_owned(),
            detail,
        });
    }
    log.purge(applied)
        .await
        .map_err(|error| raft(error.to_string()))?;
    log.handle()
        .barrier()
        .await
        .map_err(|error| raft(error.to_string()))
}

#[cfg(test)]
mod tests;
