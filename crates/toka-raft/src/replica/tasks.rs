//! What a node does in the background. Every task ends when the node is stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::metrics::WaitError;
use openraft::{Raft, RaftMetrics};
use toka_ledger::Reader;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::seam::Seams;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::leader::LeaderFollower;
use super::open::Node;
use super::read::{Consistency, ReadBarrier, ReadIndexer};
use super::{Inner, Leader};
use crate::compaction::Compactor;
use crate::config::Creation;
use crate::error::FatalError;
use crate::forming::Forming;
use crate::identity::Identity;
use crate::proposer::{Batcher, Proposer};
use crate::state_machine::StateMachine;
use crate::type_config::{LogId, TypeConfig};

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
        };
        let follower = LeaderFollower {
            raft: node.raft.clone(),
            contact: Arc::clone(&node.contact),
            election: self.config.election,
            leader: node.leader_known.clone(),
        };
        let readying = Readying {
            forming: Forming {
                membership: Arc::clone(&node.membership),
                networks: node.networks.clone(),
                seams: seams.clone(),
            },
            creator: Creator {
                proposer: self.proposer.clone(),
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
        tasks.spawn_on(watch_failures(node, cancelled()), &self.handle);
        tasks.spawn_on(measure_disk(node, cancelled()), &self.handle);
        tasks.spawn_on(
            make_ready(node, readying, is_ready, cancelled()),
            &self.handle,
        );
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
            error = log.wait() => FatalError::Log(error),
            error = raft => log.get().map_or(FatalError::Raft(error), FatalError::Log),
        };
        if !cancelled.is_cancelled() {
            fatal.report(error);
        }
    }
}

fn measure_disk(
    node: &Node,
    cancelled: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (host, blocking) = (Arc::clone(&node.host), node.blocking);
    let total = Arc::clone(&node.status.disk_bytes);
    async move {
        let mut interval = tokio::time::interval(DISK_BYTES_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
    cancelled: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (raft, fatal) = (node.raft.clone(), node.fatal.clone());
    let log_at_start = node.log_at_start;
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
            let leads = self
                .leader
                .borrow()
                .as_ref()
                .is_some_and(|l| l.node_id == self.identity.node_id());
            if leads && self.is_needed().await {
                self.create().await;
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

    async fn create(&self) {
        let Some(cluster_id) = self.identity.cluster_id() else {
            return;
        };
        let command = Command::Create(Create {
            cluster_id,
            history_id: self.seams.random_u128(),
            feature_level: FEATURE_LEVEL,
            dimension: self.creation.dimension,
            model: self.creation.model.clone(),
            intents: self.creation.intents,
            unix_ms: self.proposer.unix_ms(),
        });
        match self.proposer.propose(&command).await {
            Ok(outcome) => tracing::info!(?outcome, "the vault is created"),
            Err(error) => tracing::warn!(%error, "the vault could not be created yet"),
        }
    }
}
