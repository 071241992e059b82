//! Opening a node's stores, and starting Raft over them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use openraft::Raft;
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::seam::Seams;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Leader;
use super::checks::{
    check_addresses, check_agreement, check_level, check_progress, log_damage, not_started, noted,
    restored,
};
use super::repair::{open_ledger, sound_ledger};
use crate::alarms::Alarms;
use crate::base::Base;
use crate::blocking::Blocking;
use crate::change::{Changes, InProgress, Parts, Reporter};
use crate::compaction::AppliedLog;
use crate::config::{Config, RuntimeChoice};
use crate::contact::Contact;
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::handover::HandOver;
use crate::headroom::Headroom;
use crate::identity::Identity;
use crate::layout::Layout;
use crate::ledger_host::LedgerHost;
use crate::log_store::{LogError, LogHandle, RaftLog};
use crate::membership::{Membership, encode_members};
use crate::network::PeerNetworks;
use crate::reach::Reach;
use crate::room::Room;
use crate::roster::Roster;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::status::StatusSource;
use crate::storage::Storage;
use crate::tally::Tally;
use crate::transport::{Channels, Transport};
use crate::type_config::{Member, TypeConfig};
use crate::vitals::{StampClock, Vitals};

/// A member is not counted on in a change when it has not answered for so many election timeouts.
const SILENCE_TIMEOUTS: u32 = 3;

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
    pub(super) members: watch::Sender<Arc<[Member]>>,
    pub(super) snapshots: Arc<SnapshotStore>,
    pub(super) applied: Arc<AppliedLog>,
    pub(super) networks: PeerNetworks,
    pub(super) membership: Arc<Membership>,
    pub(super) storage: Arc<dyn Storage>,
    /// On the disk.
    pub(super) room: watch::Sender<Room>,
    pub(super) headroom: Headroom,
    pub(super) status: StatusSource,
    pub(super) roster: Arc<Roster>,
    pub(super) hand_over: HandOver,
    pub(super) changes: Changes,
    pub(super) reporter: Reporter,
    pub(super) base: Base,
    pub(super) clock: StampClock,
    pub(super) vitals: Arc<Vitals>,
    pub(super) alarms: Alarms,
    pub(super) reach: Arc<Reach>,
    pub(super) blocking: Blocking,
    pub(super) fatal: Fatal,
    pub(super) tally: Arc<Tally>,
}

/// What is on the disk.
pub(super) struct Stores {
    pub(super) data_dir: DataDir,
    pub(super) cluster_id: Option<u128>,
    pub(super) layout: Layout,
    /// Or what is damaged in it.
    pub(super) ledger: Result<LedgerHost, String>,
    pub(super) snapshots: Arc<SnapshotStore>,
    pub(super) log: RaftLog,
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
    let level_known = config.level_known();
    let clock = StampClock::new(Arc::clone(&seams.clock));
    let alarms = Alarms::new(config.node_id, Arc::clone(&seams.clock));
    let vitals = Arc::<Vitals>::default();
    let fatal = Fatal::new();
    let stores = {
        let (path, storage, seams) = (config.data_dir.clone(), Arc::clone(&storage), seams.clone());
        let (node_id, fatal) = (config.node_id, fatal.clone());
        blocking
            .run(move || {
                open_stores(
                    &path,
                    node_id,
                    level_known,
                    storage,
                    &seams,
                    blocking,
                    &fatal,
                )
            })
            .await?
    };
    let identity = Arc::new(Identity::new(config.node_id, stores.cluster_id));
    let channels = Arc::new(Channels::new(transport));
    let log_handle = stores.log.handle();
    let (stores, host) = sound_ledger(
        stores, &config, &identity, &channels, &storage, &seams, &fatal,
    )
    .await
    .map_err(|error| log_damage(&log_handle).unwrap_or(error))?;
    let Stores {
        data_dir,
        cluster_id,
        snapshots,
        mut log,
        ..
    } = stores;
    let initial_members = if data_dir.is_joined() {
        BTreeMap::new()
    } else {
        config.initial_members.clone()
    };
    let checked = async {
        let last = check_agreement(&config.data_dir, cluster_id, &host, &mut log).await?;
        check_progress(&config.data_dir, &host, &snapshots, &mut log).await?;
        Ok::<_, StartError>(last)
    };
    let log_at_start = match checked.await {
        Ok(last) => last,
        Err(error) => return Err(noted(error, data_dir, blocking).await),
    };

    check_addresses(&config, &host, &snapshots, &mut log).await?;
    let restored = restored(&host)?;
    let host = Arc::new(host);
    let applied = Arc::new(AppliedLog::new(config.compaction.flush_bytes));
    let (metrics, tally) = (Arc::new(OnceLock::new()), Arc::<Tally>::default());
    let networks = PeerNetworks {
        identity: Arc::clone(&identity),
        channels,
        snapshots: Arc::clone(&snapshots),
        blocking,
        append_timeout: config.append_timeout,
        purge: Arc::default(),
        complaints: Arc::default(),
        strangers: Arc::default(),
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
        tally: Arc::clone(&tally),
    };
    let started = Raft::new(
        config.node_id,
        raft_config,
        networks.clone(),
        log,
        state_machine,
    )
    .await
    .map_err(|error| error.to_string());
    let raft = match started {
        Ok(raft) => raft,
        Err(error) => {
            let error = not_started(&fatal, &log_handle, level_known, error);
            return Err(noted(error, data_dir, blocking).await);
        }
    };
    let _ = metrics.set(raft.metrics());

    let membership = Arc::new(Membership {
        identity: Arc::clone(&identity),
        raft: raft.clone(),
        data_dir: Arc::new(Mutex::new(data_dir)),
        encoded: encode_members(&initial_members),
        members: initial_members,
        restored,
        blocking,
    });
    let (leader_known, leader) = watch::channel(None);
    let room = watch::Sender::new(Room::Enough);
    let reserve_bytes = config.disk_reserve_bytes;
    let headroom = Headroom::new(storage.disk(), config.data_dir.clone(), reserve_bytes);
    let status = StatusSource {
        identity: Arc::clone(&identity),
        raft: raft.clone(),
        reader: host.reader(),
        disk_bytes: Arc::new(AtomicU64::new(0)),
        room: room.subscribe(),
        alarms: alarms.clone(),
        scrub: Arc::default(),
        fatal: fatal.clone(),
        leader: leader.clone(),
        lost_quorum: Arc::default(),
        this: config.advertised.clone(),
    };
    let roster = Arc::clone(host.roster());
    let hand_over = HandOver {
        node_id: config.node_id,
        raft: raft.clone(),
        leader: leader.clone(),
        election: config.election,
    };
    let (reach, in_progress) = (Arc::<Reach>::default(), Arc::<InProgress>::default());
    let reporter = Reporter {
        node_id: config.node_id,
        raft: raft.clone(),
        reach: Arc::clone(&reach),
        leader: leader.clone(),
        in_progress: Arc::clone(&in_progress),
        vitals: Arc::clone(&vitals),
        alarms: alarms.clone(),
        level_known,
    };
    let base = Base {
        reader: host.reader(),
        identity: Arc::clone(&identity),
    };
    let changes = Changes::new(Parts {
        node_id: config.node_id,
        advertised: config.advertised.clone(),
        raft: raft.clone(),
        roster: Arc::clone(&roster),
        reader: host.reader(),
        reach: Arc::clone(&reach),
        base: base.clone(),
        vitals: Arc::clone(&vitals),
        leader: leader.clone(),
        hand_over: hand_over.clone(),
        silence: SILENCE_TIMEOUTS * config.election.timeout_max,
        handle: Handle::current(),
        turn: Arc::default(),
        in_progress,
    });
    Ok(Node {
        identity,
        raft,
        host,
        log: log_handle,
        log_at_start,
        contact: Arc::default(),
        leader_known,
        leader,
        members: watch::Sender::new(Arc::new([])),
        snapshots,
        applied,
        networks,
        membership,
        storage,
        room,
        headroom,
        status,
        roster,
        hand_over,
        changes,
        reporter,
        base,
        clock,
        vitals,
        alarms,
        reach,
        blocking,
        fatal,
        tally,
    })
}

pub(super) fn open_stores(
    path: &Path,
    node_id: u64,
    level_known: u32,
    storage: Arc<dyn Storage>,
    seams: &Seams,
    blocking: Blocking,
    fatal: &Fatal,
) -> Result<Stores, StartError> {
    let disk = storage.disk();
    let mode = Mode::Node {
        cluster_id: None,
        node_id,
    };
    let opened = DataDir::open_or_create(Arc::clone(&disk), path, mode);
    let mut data_dir = opened.map_err(StartError::directory)?;
    if data_dir.is_removed() {
        return Err(StartError::Removed { node_id });
    }
    if data_dir.is_diverged() {
        return Err(StartError::Diverged { node_id });
    }
    if data_dir.is_log_damaged() {
        return Err(StartError::LogDamaged { node_id });
    }
    let cluster_id = match data_dir.mode() {
        Mode::Node { cluster_id, .. } => cluster_id,
        Mode::Embedded | Mode::Joining { .. } => None,
    };
    let layout = Layout::new(Arc::clone(&disk), path.to_owned());
    // Made anew, an empty log or ledger would look like one that never held anything.
    let is_lost = |path: &Path| data_dir.is_complete() && !disk.exists(path);
    if is_lost(&layout.raft()) {
        let dir = layout.raft();
        return Err(LogError::Missing { dir }.into());
    }
    let pointer = layout.current_pointer();
    let is_pointer_lost = is_lost(&pointer);
    let opened = SnapshotStore::open(Arc::clone(&disk), layout.snapshots(), blocking);
    let snapshots = opened.map_err(StartError::snapshot)?;
    // Before the ledger: without a log there is nothing that a repaired ledger could go on from.
    let log = match storage.start_log(&layout.raft(), !data_dir.is_complete(), seams) {
        Err(error @ LogError::Damaged { .. }) => {
            if let Some(damage) = error.damage() {
                damage.note(&mut data_dir)?;
            }
            return Err(error.into());
        }
        log => log?,
    };
    let ledger = match is_pointer_lost {
        true => {
            data_dir.set_ledger_damaged()?;
            Err(format!("{} is missing", pointer.display()))
        }
        false => open_ledger(&layout, &storage, seams, fatal, &mut data_dir)?,
    };
    if let Ok(host) = &ledger {
        check_level(host, level_known)?;
    }
    disk.sync_dir(path)
        .map_err(StartError::file("sync", path))?;
    data_dir.set_complete()?;
    Ok(Stores {
        data_dir,
        cluster_id,
        layout,
        ledger,
        snapshots: Arc::new(snapshots),
        log,
    })
}

#[cfg(test)]
mod tests;
