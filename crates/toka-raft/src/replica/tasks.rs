//! What a node does in the background. Every task ends when the node is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::metrics::WaitError;
use openraft::{Raft, RaftMetrics};
use toka_ledger::Reader;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL_MIN};
use toka_ledger::seam::Seams;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::divergence::Divergence;
use super::leader::LeaderFollower;
use super::leader_watch::LeaderWatch;
use super::open::Node;
use super::read::{Consistency, ReadBarrier, ReadIndexer};
use super::removal::Removal;
use super::stop::note_damage;
use super::{Inner, Leader};
use crate::change::Steward;
use crate::compaction::Compactor;
use crate::config::Creation;
use crate::error::FatalError;
use crate::feature_level::{KnownLevels, LevelRaiser};
use crate::forming::Forming;
use crate::identity::Identity;
use crate::layout::Layout;
use crate::poll::{Poll, Watcher};
use crate::proposer::{Batcher, Proposer};
use crate::room::RoomKeeper;
use crate::scrub::Scrubber;
use crate::slow_disk::SlowDisk;
use crate::state_machine::StateMachine;
use crate::ticker::ticker;
use crate::tried;
use crate::type_config::{LogId, TypeConfig};
use crate::vitals::StampClock;

const FAILURE_CHECK: Duration = Duration::from_millis(100);
const CREATE_RETRY: Duration = Duration::from_millis(100);
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);
const DISK_BYTES_INTERVAL: Duration = Duration::from_secs(5);

impl Inner {
    pub(super) async fn start_tasks(
        &self,
        batcher: Batcher,
        indexer: ReadIndexer,
        is_ready: watch::Sender<bool>,
        seams: Seams,
    ) {
        let node = &self.node;
        let compactor = Compactor {
            raft: node.raft.clone(),
            host: Arc::clone(&node.host),
            snapshots: Arc::clone(&node.snapshots),
            applied: Arc::clone(&node.applied),
            policy: self.config.compaction,
            blocking: node.blocking,
            fatal: node.fatal.clone(),
            sized: None,
            base: node.base.clone(),
            headroom: node.headroom.clone(),
            purge: Arc::clone(&node.networks.purge),
            room: node.room.subscribe(),
        };
        let follower = LeaderFollower {
            raft: node.raft.clone(),
            contact: Arc::clone(&node.contact),
            election: self.config.election,
            leader: node.leader_known.clone(),
            members: node.members.clone(),
            lost_quorum: Arc::clone(&node.status.lost_quorum),
            led_since: None,
            tally: Arc::clone(&node.tally),
        };
        let leader_watch = LeaderWatch {
            raft: node.raft.clone(),
            contact: Arc::clone(&node.contact),
            networks: node.networks.clone(),
            entropy: Arc::clone(&seams.entropy),
            election: self.config.election,
        };
        let steward = Steward {
            changes: node.changes.clone(),
            clock: Arc::clone(&seams.clock),
            unreachable_after: self.config.unreachable_after,
        };
        let removal = Removal {
            membership: Arc::clone(&node.membership),
            networks: node.networks.clone(),
            roster: Arc::clone(&node.roster),
            leader: node.leader.clone(),
            fatal: node.fatal.clone(),
        };
        let keeper = RoomKeeper {
            headroom: node.headroom.clone(),
            room: node.room.clone(),
            alarms: node.alarms.clone(),
            blocking: node.blocking,
            tally: Arc::clone(&node.tally),
        };
        let poll = Poll {
            membership: Arc::clone(&node.membership),
            networks: node.networks.clone(),
            leader: node.leader.clone(),
            clock: node.clock.clone(),
            vitals: Arc::clone(&node.vitals),
            hand_over: node.hand_over.clone(),
            reach: Arc::clone(&node.reach),
            room: node.room.subscribe(),
            watcher: Watcher::new(
                self.config.unreachable_after,
                self.config.election.timeout_min / 2,
            ),
        };
        let levels = KnownLevels {
            node_id: self.config.node_id,
            own: self.config.level_known(),
            membership: Arc::clone(&node.membership),
            vitals: Arc::clone(&node.vitals),
        };
        let raiser = LevelRaiser {
            levels: levels.clone(),
            leader: node.leader.clone(),
            reader: node.host.reader(),
            clock: node.clock.clone(),
            proposer: self.proposer.clone(),
            changes: node.changes.clone(),
        };
        let slow_disk = SlowDisk {
            log: node.log.clone(),
            limit: self.config.slow_sync,
            alarms: node.alarms.clone(),
        };
        let divergence = Divergence {
            membership: Arc::clone(&node.membership),
            networks: node.networks.clone(),
            reader: node.host.reader(),
            clock: Arc::clone(&seams.clock),
            fatal: node.fatal.clone(),
            alarms: node.alarms.clone(),
            interval: self.config.state_check_interval,
        };
        let scrubber = Scrubber {
            host: Arc::clone(&node.host),
            snapshots: Arc::clone(&node.snapshots),
            log: node.log.clone(),
            layout: self.layout(),
            clock: Arc::clone(&seams.clock),
            settings: self.config.scrub,
            progress: Arc::clone(&node.status.scrub),
            headroom: node.headroom.clone(),
            room: node.room.subscribe(),
            fatal: node.fatal.clone(),
            blocking: node.blocking,
        };
        let readying = Readying {
            forming: Forming {
                membership: Arc::clone(&node.membership),
                networks: node.networks.clone(),
                seams: seams.clone(),
            },
            creator: Creator {
                proposer: self.proposer.clone(),
                clock: node.clock.clone(),
                levels,
                barrier: self.barrier.clone(),
                reader: node.host.reader(),
                leader: self.leader.clone(),
                seams,
                identity: Arc::clone(&node.identity),
                creation: self.config.creation.clone(),
            },
        };
        let mut tasks = self.tasks.lock().await;
        let cancelled = || self.cancelled.clone();
        tasks.spawn_on(batcher.run(), &self.handle);
        tasks.spawn_on(indexer.run(cancelled()), &self.handle);
        tasks.spawn_on(compactor.run(cancelled()), &self.handle);
        tasks.spawn_on(follower.run(cancelled()), &self.handle);
        tasks.spawn_on(leader_watch.run(cancelled()), &self.handle);
        tasks.spawn_on(steward.run(cancelled()), &self.handle);
        tasks.spawn_on(removal.run(cancelled()), &self.handle);
        tasks.spawn_on(divergence.run(cancelled()), &self.handle);
        tasks.spawn_on(keeper.run(cancelled()), &self.handle);
        tasks.spawn_on(poll.run(cancelled()), &self.handle);
        tasks.spawn_on(raiser.run(cancelled()), &self.handle);
        tasks.spawn_on(slow_disk.run(cancelled()), &self.handle);
        tasks.spawn_on(scrubber.run(cancelled()), &self.handle);
        tasks.spawn_on(watch_failures(node, cancelled()), &self.handle);
        tasks.spawn_on(note_early(node, cancelled()), &self.handle);
        tasks.spawn_on(measure_disk(node, cancelled()), &self.handle);
        tasks.spawn_on(
            make_ready(node, readying, is_ready, self.layout(), cancelled()),
            &self.handle,
        );
    }
}

impl Inner {
    fn layout(&self) -> Layout {
        Layout::new(self.node.storage.disk(), self.config.data_dir.clone())
    }
}

/// Reports the failures that nobody else does.
fn watch_failures(
    node: &Node,
    cancelled: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let mut log = node.log.failure();
    let mut metrics = node.raft.metrics();
    let fatal = node.fatal.clone();
    async move {
        let raft = async {
            loop {
                if let Err(error) = &metrics.borrow_watched().running_state {
                    return error.to_string();
                }
                if metrics.changed().await.is_err() {
                    return "its task has ended".to_owned();
                }
                // Metrics change with every entry.
                tokio::time::sleep(FAILURE_CHECK).await;
            }
        };
        // The log's own error says more than what openraft makes of it.
        let error = tokio::select! {
            biased;
            () = cancelled.cancelled() => return,
            error = log.wait() => FatalError::from(error),
            error = raft => log.get().map_or(FatalError::Raft(error), FatalError::from),
        };
        if !cancelled.is_cancelled() {
            fatal.report(error);
        }
    }
}

/// Notes damage as soon as it is found: who is killed before he has stopped would not know of it any more.
fn note_early(
    node: &Node,
    cancelled: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (fatal, membership) = (node.fatal.clone(), Arc::clone(&node.membership));
    async move {
        let mut first = fatal.watch();
        tokio::select! {
            // Then it is noted at the end of the stop.
            () = cancelled.cancelled() => return,
            _ = async { first.wait_for(Option::is_some).await.is_ok() } => {}
        }
        note_damage(&fatal, &membership).await;
    }
}

fn measure_disk(
    node: &Node,
    cancelled: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (host, blocking) = (Arc::clone(&node.host), node.blocking);
    let total = Arc::clone(&node.status.disk_bytes);
    async move {
        let mut interval = ticker(DISK_BYTES_INTERVAL);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = interval.tick() => {}
            }
            let host = Arc::clone(&host);
            match blocking.run(move || host.disk_bytes()).await {
                Ok(bytes) => total.store(bytes, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "cannot measure the ledger"),
            }
        }
    }
}

/// What stands between a started node and one that serves.
struct Readying {
    forming: Forming,
    creator: Creator,
}

fn make_ready(
    node: &Node,
    readying: Readying,
    is_ready: watch::Sender<bool>,
    layout: Layout,
    cancelled: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (raft, fatal) = (node.raft.clone(), node.fatal.clone());
    let (log_at_start, blocking) = (node.log_at_start, node.blocking);
    let reader = node.host.reader();
    let mut positions = reader.watch();
    async move {
        let Readying { forming, creator } = readying;
        let work = async {
            forming
                .run()
                .await
                .map_err(|error| FatalError::Start(Arc::new(error)))?;
            let creating = creator.run();
            let recovered = async {
                recover(&raft, log_at_start).await?;
                let created = positions
                    .wait_for(|_| matches!(reader.settings(), Ok(Some(_))))
                    .await;
                created
                    .map(drop)
                    .map_err(|_| FatalError::Raft("the ledger was closed".to_owned()))
            };
            tokio::select! {
                recovered = recovered => recovered?,
                () = creating => unreachable!("it runs as long as the node does"),
            }
            is_ready.send_replace(true);
            // All of the log could be applied to what a repair may have gone on from.
            blocking.run(move || tried::forget(&layout)).await;
            Ok(())
        };
        tokio::select! {
            () = cancelled.cancelled() => {}
            Err(error) = work => if !cancelled.is_cancelled() {
                fatal.report(error);
            },
            else => {}
        }
        // Kept: whoever waits for it must not take its end for readiness.
        cancelled.cancelled().await;
        drop(is_ready);
    }
}

/// Waits until the ledger has all that it may have had before a restart (docs/openraft.md, section 4, point
/// 6): everything committed of the log that this node came up with.
///
/// openraft's own `wait_for_recovery` waits until the cluster has committed the whole log, which under
/// load never happens: entries come in faster than commit positions. What counts is the log at start,
/// or what a new leader has left of it. Linearizable reads go through the leader besides.
async fn recover(
    raft: &Raft<TypeConfig, StateMachine>,
    log_at_start: Option<u64>,
) -> Result<(), FatalError> {
    let stopped = |error: WaitError| FatalError::Raft(error.to_string());
    let index = |log_id: Option<LogId>| log_id.map(|log_id| log_id.index);
    let is_known = |metrics: &RaftMetrics<TypeConfig>| {
        let committed = index(metrics.cluster_committed);
        committed.is_some() && committed >= log_at_start.min(metrics.last_log_index)
    };
    let metrics = raft
        .wait(None)
        .metrics(is_known, "recovery: commit")
        .await
        .map_err(stopped)?;
    let committed = index(metrics.cluster_committed);
    let applied = raft
        .wait(None)
        .applied_index_at_least(committed, "recovery: apply")
        .await;
    applied.map(drop).map_err(stopped)
}

/// Gives a new vault its first command, on the leader.
struct Creator {
    proposer: Proposer,
    clock: StampClock,
    levels: KnownLevels,
    barrier: ReadBarrier,
    reader: Reader,
    leader: watch::Receiver<Option<Leader>>,
    seams: Seams,
    identity: Arc<Identity>,
    creation: Creation,
}

impl Creator {
    async fn run(mut self) {
        loop {
            let leader = self.leader.borrow().clone();
            let leads = leader.filter(|leader| leader.node_id == self.identity.node_id());
            if let Some(leader) = leads
                && self.is_needed().await
            {
                self.create(&leader).await;
            }
            let _ = tokio::time::timeout(CREATE_RETRY, self.leader.changed()).await;
        }
    }

    /// Whether the vault is still empty, with all applied that is committed: an earlier leader may
    /// have created it.
    async fn is_needed(&self) -> bool {
        let deadline = Instant::now() + CREATE_TIMEOUT;
        let position = self.barrier.wait(Consistency::Linearizable, deadline).await;
        position.is_ok() && matches!(self.reader.settings(), Ok(None))
    }

    async fn create(&self, leader: &Leader) {
        let Some(cluster_id) = self.identity.cluster_id() else {
            return;
        };
        let unix_ms = match self.clock.stamp(leader, self.leader.clone()).await {
            Ok(unix_ms) => unix_ms,
            Err(error) => {
                tracing::warn!(%error, "the vault could not be created yet");
                return;
            }
        };
        let command = Command::Create(Create {
            cluster_id,
            history_id: self.seams.random_u128(),
            // What has not told its level yet may be of the oldest build; it is raised as soon as all have.
            feature_level: self.levels.common().unwrap_or(FEATURE_LEVEL_MIN),
            dimension: self.creation.dimension,
            model: self.creation.model.clone(),
            intents: self.creation.intents,
            unix_ms,
        });
        match self.proposer.propose(&command).await {
            Ok(outcome) => tracing::info!(?outcome, "the vault is created"),
            Err(error) => tracing::warn!(%error, "the vault could not be created yet"),
        }
    }
}
