//! A node: its stores, Raft over them, and what commits and reads go through.
//!
//! Invariants: [`Replica::start_with`] serves nothing by itself; until [`Replica::ready`] has returned the
//! node must answer peers ([`Replica::peer_service`]) and nobody else; after [`Replica::fatal`] has a
//! value the process must exit.

mod audit;
mod backup;
mod checks;
mod cluster;
mod compare;
mod divergence;
mod leader;
mod leader_watch;
mod metered;
mod open;
mod read;
#[cfg(feature = "storage")]
pub mod recovery;
mod removal;
mod repair;
mod stop;
mod tasks;
mod verify;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use toka_ledger::command::{Command, Commit, Label};
use toka_ledger::intent::IntentId;
use toka_ledger::read::{Position, Reader};
use toka_ledger::seam::Seams;
use toka_ledger::{IntentLabel, Outcome, Rejection};
use toka_proto::raft_v1::raft_service_server::RaftServiceServer;
use toka_proto::v1;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::cluster::Survey;
pub use self::metered::MemberVital;
pub use crate::scrub_report::{ScrubPass, ScrubReport};
pub use crate::status::{MemberStatus, Role, Status};
pub use crate::type_config::Leader;
pub use read::Consistency;
pub use verify::Verified;

use crate::auditor::Auditor;
use crate::config::{Config, RuntimeChoice};
use crate::error::{CommitError, FatalError, ReadError, StartError};
use crate::network::{PeerService, ServiceParts};
use crate::proposer::{Judge, Proposer, proposer};
use crate::snapshot::{CopyDigests, Metrics};
#[cfg(feature = "storage")]
use crate::storage::DiskStorage;
use crate::storage::Storage;
use crate::transport::Transport;
use open::Node;
use read::{ReadBarrier, barrier};

/// When to repeat a commit that came before the vault was created.
const CREATION_RETRY_MS: u64 = 50;
/// Longest wait for threads to end. What they may still do is close files.
const THREADS_TIMEOUT: Duration = Duration::from_secs(10);

/// A node of a cluster. Cheap to clone; the last clone that is dropped stops it at once, without
/// handing anything over: see [`Replica::shutdown`].
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    node: Node,
    proposer: Proposer,
    barrier: ReadBarrier,
    leader: watch::Receiver<Option<Leader>>,
    /// openraft gives a copy to each who asks, whose making and end all others contend for.
    metrics: Metrics,
    /// Whether the cluster has formed and this node has caught up with what it had.
    ready: watch::Receiver<bool>,
    service: Arc<ServiceParts>,
    copy_digests: Arc<CopyDigests>,
    /// No new proposals.
    stopping: CancellationToken,
    /// No background work.
    cancelled: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    handle: Handle,
    /// Raft's own threads, if it has some and they have not been ended.
    runtime: StdMutex<Option<Runtime>>,
}

impl Inner {
    /// The time for a commit, milliseconds since the Unix epoch, if this node leads and its clock can be
    /// trusted.
    async fn stamp(&self) -> Result<u64, CommitError> {
        let term_led = {
            let leader = self.leader.borrow();
            let own = leader
                .as_ref()
                .filter(|leader| leader.node_id == self.config.node_id);
            own.map(|leader| leader.term)
        };
        if let Some(stamp) = term_led.and_then(|term| self.node.clock.stamp_at_once(term)) {
            return Ok(stamp);
        }
        let leader = self.leader.borrow().clone();
        match leader {
            Some(leader) if leader.node_id == self.config.node_id => {
                let leaders = self.leader.clone();
                self.node.clock.stamp(&leader, leaders).await
            }
            leader => Err(CommitError::NotLeader { leader }),
        }
    }
}

impl Replica {
    /// Opens the node's stores and starts Raft over them. Forming the cluster, or joining it again, goes
    /// on in the background: wait with [`Replica::ready`].
    ///
    /// # Errors
    /// If the stores cannot be opened or do not belong together, or Raft cannot recover from them.
    #[cfg(feature = "storage")]
    pub async fn start(
        config: Config,
        seams: Seams,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        Self::start_with(config, seams, transport, Arc::new(DiskStorage::default())).await
    }

    /// As `start`, on other stores.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(
        config: Config,
        seams: Seams,
        transport: Arc<dyn Transport>,
        storage: Arc<dyn Storage>,
    ) -> Result<Self, StartError> {
        let runtime = match config.runtime {
            RuntimeChoice::Own { threads } => Some(raft_runtime(threads)?),
            RuntimeChoice::Current => None,
        };
        let handle = runtime
            .as_ref()
            .map_or_else(Handle::current, |own| own.handle().clone());
        let opening = open::open(config.clone(), seams.clone(), transport, storage);
        // What Raft spawns stays on the runtime on which it is spawned.
        let node = match handle.spawn(opening).await {
            Ok(node) => node,
            Err(failed) => Err(StartError::Raft {
                reason: failed.to_string(),
            }),
        };
        let node = match node {
            Ok(node) => node,
            Err(error) => {
                end(runtime).await;
                return Err(error);
            }
        };
        Ok(Self::assemble(config, seams, node, handle, runtime).await)
    }

    async fn assemble(
        config: Config,
        seams: Seams,
        node: Node,
        handle: Handle,
        runtime: Option<Runtime>,
    ) -> Self {
        let (stopping, cancelled) = (CancellationToken::new(), CancellationToken::new());
        let raft = node.raft.clone();
        let (proposer, batcher) = proposer(
            raft.clone(),
            Judge {
                disk: node.room.subscribe(),
                vitals: Arc::clone(&node.vitals),
                reader: node.host.reader(),
            },
            node.log.durable_times(),
            config.proposing,
            stopping.clone(),
            Arc::clone(&node.tally),
        );
        let leader = node.leader.clone();
        let networks = node.networks.clone();
        let (barrier, indexer) = barrier(raft, networks, node.host.reader(), leader.clone());
        let (is_ready, ready) = watch::channel(false);
        let auditor = Auditor {
            node_id: config.node_id,
            leader: leader.clone(),
            clock: node.clock.clone(),
            proposer: proposer.clone(),
        };
        let service = Arc::new(ServiceParts {
            identity: Arc::clone(&node.identity),
            strangers: Arc::clone(&node.networks.strangers),
            contact: Arc::clone(&node.contact),
            raft: node.raft.clone(),
            membership: Arc::clone(&node.membership),
            host: Arc::clone(&node.host),
            log: node.log.clone(),
            snapshots: Arc::clone(&node.snapshots),
            storage: Arc::clone(&node.storage),
            blocking: node.blocking,
            headroom: node.headroom.clone(),
            status: node.status.clone(),
            roster: Arc::clone(&node.roster),
            reporter: node.reporter.clone(),
            clock: node.clock.clone(),
            base: node.base.clone(),
            auditor,
            level_known: config.level_known(),
        });
        let inner = Inner {
            config,
            metrics: node.raft.metrics(),
            node,
            proposer,
            barrier,
            leader,
            ready,
            service,
            copy_digests: Arc::default(),
            stopping,
            cancelled,
            tasks: Mutex::default(),
            handle,
            runtime: StdMutex::new(runtime),
        };
        inner.start_tasks(batcher, indexer, is_ready, seams).await;
        Self {
            inner: Arc::new(inner),
        }
    }

    /// `toka.raft.v1.RaftService`, for the peer listener (see [`crate::transport::peer_server`]).
    /// Serve it on [`Replica::runtime`], before [`Replica::ready`]: the cluster forms through it.
    #[must_use]
    pub fn peer_service(&self) -> RaftServiceServer<PeerService> {
        PeerService::server(Arc::clone(&self.inner.service))
    }

    /// The runtime on which Raft runs. What answers peers belongs there too: heartbeats that a node
    /// receives are worth nothing if nobody has time to read them.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.inner.handle.clone()
    }

    /// Waits until the cluster has formed, the vault is created, and this node has applied what it had
    /// before it was stopped. Not before that may clients be served.
    ///
    /// # Errors
    /// What stopped the node.
    pub async fn ready(&self) -> Result<(), FatalError> {
        let mut fatal = self.inner.node.fatal.watch();
        let mut ready = self.inner.ready.clone();
        tokio::select! {
            biased;
            failed = fatal.wait_for(Option::is_some) => {
                let error = failed.ok().and_then(|error| error.clone());
                Err(error.unwrap_or_else(|| FatalError::Raft("stopped".to_owned())))
            }
            ready = ready.wait_for(|ready| *ready) => {
                ready.map(drop).map_err(|_| FatalError::Raft("stopped".to_owned()))
            }
        }
    }

    /// Whether [`Replica::ready`] would return at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.inner.ready.borrow()
    }

    /// Commits on the leader; fails on other nodes. The commit's time is this node's clock's, whatever
    /// it says.
    ///
    /// # Errors
    /// [`CommitError`]. A commit that is refused by the vault is an outcome, not an error.
    pub async fn commit(
        &self,
        commit: impl std::borrow::Borrow<Commit>,
    ) -> Result<Outcome, CommitError> {
        // The trait is not in scope: it would hide what watches have of that name.
        let commit: &Commit = std::borrow::Borrow::borrow(&commit);
        let answers = self.commit_in_order(std::slice::from_ref(commit)).await?;
        let answer = answers.into_iter().next();
        answer.unwrap_or(Err(CommitError::Unknown))
    }

    /// As [`Replica::commit`], several in one log entry: all that may be proposed are applied, one after the other and
    /// each for itself, or none is. Whatever happens to the leader, a later one is never applied without those before.
    ///
    /// # Errors
    /// As [`Replica::commit`], of all. There is one answer per commit, in their order: of one that may not be proposed
    /// [`CommitError::FeatureLevel`] or [`CommitError::Invalid`], whatever becomes of the others.
    pub async fn commit_in_order(
        &self,
        commits: &[Commit],
    ) -> Result<Vec<Result<Outcome, CommitError>>, CommitError> {
        let unix_ms = self.inner.stamp().await?;
        let proposed = self.inner.proposer.propose_commits(commits, unix_ms);
        let answers = proposed.await?;
        check_created(answers.iter().flatten())?;
        Ok(answers)
    }

    /// As [`Replica::commit`], a label for an intent (absent: none). Applied again it changes nothing.
    ///
    /// # Errors
    /// As [`Replica::commit`].
    pub async fn label_intent(
        &self,
        intent: IntentId,
        label: Option<IntentLabel>,
    ) -> Result<Outcome, CommitError> {
        let command = Command::Label(Label {
            unix_ms: self.inner.stamp().await?,
            intent,
            label,
        });
        let outcomes = self.propose(&[command]).await?;
        outcomes.into_iter().next().ok_or(CommitError::Unknown)
    }

    /// The time for a command, if this node leads and its clock can be trusted: what is planned as of it is not too
    /// early for a command that has it.
    ///
    /// # Errors
    /// [`CommitError::NotLeader`], [`CommitError::Clock`].
    pub async fn stamp(&self) -> Result<u64, CommitError> {
        self.inner.stamp().await
    }

    /// As [`Replica::commit`], any command, which has the time that [`Replica::stamp`] gave.
    ///
    /// # Errors
    /// As [`Replica::commit`].
    pub async fn command(&self, command: Command) -> Result<Outcome, CommitError> {
        let outcomes = self.propose(&[command]).await?;
        outcomes.into_iter().next().ok_or(CommitError::Unknown)
    }

    async fn propose(&self, commands: &[Command]) -> Result<Vec<Outcome>, CommitError> {
        let outcomes = self.inner.proposer.propose_together(commands).await?;
        check_created(&outcomes)?;
        Ok(outcomes)
    }

    /// Waits until this node can serve a read at `consistency`, but not beyond `deadline`. Read with
    /// [`Replica::reader`] afterwards.
    ///
    /// # Errors
    /// [`ReadError`], with the position of this node.
    pub async fn read_barrier(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Position, ReadError> {
        self.inner.barrier.wait(consistency, deadline).await
    }

    /// Reads this node's vault, as it is here and now.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.inner.node.host.reader()
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.inner.config.node_id
    }

    /// The cluster's id, once the node belongs to one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<u128> {
        self.inner.node.identity.cluster_id()
    }

    /// The term that this node is in.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.inner.metrics.borrow_watched().current_term
    }

    /// The leader, where one is known.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        self.inner.leader.borrow().clone()
    }

    /// Follows the leader.
    #[must_use]
    pub fn leader_watch(&self) -> watch::Receiver<Option<Leader>> {
        self.inner.leader.clone()
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader()
            .is_some_and(|leader| leader.node_id == self.inner.config.node_id)
    }

    /// State of this node.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.node.status.status()
    }

    /// State of this node, as a message.
    #[must_use]
    pub fn node_status(&self) -> v1::NodeStatus {
        self.inner.node.status.message()
    }

    /// What the passes have come to that look for damage.
    #[must_use]
    pub fn scrub(&self) -> ScrubReport {
        self.inner.node.status.scrub.report()
    }

    /// Stops the node if `error` says that a row of the ledger is damaged. What storage finds by itself stops
    /// it anyway; this is for rows that a reader cannot decode.
    pub fn note_failed_read(&self, error: &toka_ledger::Error) {
        if error.is_damage() {
            self.inner.node.fatal.report(FatalError::damaged(error));
        }
    }

    /// Follows the first error after which the process must exit, with that error as its message.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<FatalError>> {
        self.inner.node.fatal.watch()
    }
}

/// Whether no command has come before the vault was created: that is no refusal to keep.
fn check_created<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Result<(), CommitError> {
    let early = Rejection::NotCreated;
    let is_early = |outcome: &Outcome| matches!(outcome, Outcome::Rejected { rejection, .. } if *rejection == early);
    match outcomes.into_iter().any(is_early) {
        true => Err(CommitError::Overloaded {
            retry_after_ms: CREATION_RETRY_MS,
        }),
        false => Ok(()),
    }
}

/// Raft's threads. Few: its tasks are short, and what blocks goes to other threads.
fn raft_runtime(threads: usize) -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("toka-raft")
        .enable_all()
        .build()
        .map_err(|source| StartError::Threads { source })
}

/// Ends threads and waits for them, not on a thread of the caller's runtime: waiting would block it.
async fn end(runtime: Option<Runtime>) {
    if let Some(runtime) = runtime {
        let ending = move || runtime.shutdown_timeout(THREADS_TIMEOUT);
        // It fails only if the caller's runtime is being ended too.
        let _ = tokio::task::spawn_blocking(ending).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.cancelled.cancel();
        let runtime = self.runtime.get_mut();
        if let Some(runtime) = runtime.unwrap_or_else(PoisonError::into_inner).take() {
            // Dropping it would wait, which must not be done in a task.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
