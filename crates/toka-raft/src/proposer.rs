//! Gathers concurrent commits into entries, so that one sync and one round trip serve many clients.
//!
//! There is no waiting for company: the first commits go out alone, and those that come while entries
//! are in flight form the next batch. Everything is bounded, and full means an error.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use toka_ledger::command::{Batch, Command, Commit, FEATURE_LEVEL_MIN};
use toka_ledger::{Outcome, Reader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Proposing;
use crate::error::CommitError;
use crate::log_store::{DurableTimes, ENTRY_BYTES_MAX};
use crate::room::Room;
use crate::stages::{Traced, TracedEntry};
use crate::state_machine::StateMachine;
use crate::tally::Tally;
use crate::type_config::{Applied, Commands, Leader, TypeConfig};
use crate::vitals::Vitals;

/// When to try again if too much is queued: about the time in which a full queue drains.
const RETRY_AFTER_MS: u64 = 50;
/// Items ([`Command::items`]) after which an entry takes no further commands: each is work to apply, whatever its bytes.
const ENTRY_ITEMS_MAX: usize = 8_192;
/// Room for the length before a command and for the entry's header.
const ENTRY_OVERHEAD_BYTES: u64 = 1 << 10;
/// What is said of an entry in its trace of which nobody knows whether it was applied.
const NO_OUTCOME: &str = "no outcome in time";

type NodeRaft = Raft<TypeConfig, StateMachine>;
type Answers = Result<Vec<Outcome>, CommitError>;

/// Commands as an entry has them.
struct Encoded {
    batch: Batch,
    /// How many items they have.
    items: usize,
}

/// Commands that wait for their outcomes, and are never split between entries.
struct Proposal {
    /// Empty once they are in an entry.
    batch: Batch,
    commands: usize,
    /// How many items they have.
    items: usize,
    queued: Instant,
    answer: oneshot::Sender<Answers>,
    /// Absent of most: nobody traces their call.
    traced: Option<Traced>,
    /// Its share of the queue's bytes, until there is an outcome.
    _room: OwnedSemaphorePermit,
}

/// What a command is judged by before it is proposed.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) disk: watch::Receiver<Room>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) reader: Reader,
}

/// Takes commands from any task. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    room: Arc<Semaphore>,
    judge: Judge,
    stopping: CancellationToken,
    limits: Proposing,
    tally: Arc<Tally>,
}

/// The task behind it.
pub(crate) struct Batcher {
    queue: mpsc::Receiver<Proposal>,
    raft: NodeRaft,
    durable: DurableTimes,
    stopping: CancellationToken,
    limits: Proposing,
    tally: Arc<Tally>,
}

/// The two halves. The batcher runs until `stopping` is cancelled and what was in flight then has an
/// outcome.
pub(crate) fn proposer(
    raft: NodeRaft,
    judge: Judge,
    durable: DurableTimes,
    limits: Proposing,
    stopping: CancellationToken,
    tally: Arc<Tally>,
) -> (Proposer, Batcher) {
    let (sender, receiver) = mpsc::channel(limits.queue_commits);
    let room = Arc::new(Semaphore::new(room_permits(&limits) as usize));
    let proposer = Proposer {
        queue: sender,
        room,
        judge,
        stopping: stopping.clone(),
        limits,
        tally: Arc::clone(&tally),
    };
    (
        proposer,
        Batcher {
            queue: receiver,
            raft,
            durable,
            stopping,
            limits,
            tally,
        },
    )
}

/// A permit is a byte in the queue.
fn room_permits(limits: &Proposing) -> u32 {
    u32::try_from(limits.queue_bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX)
}

impl Proposer {
    /// Waits until nothing is queued or in flight, but not longer than `limit`.
    pub(crate) async fn drained(&self, limit: Duration) {
        let all = self.room.acquire_many(room_permits(&self.limits));
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// Proposes `command` and waits for its outcome.
    pub(crate) async fn propose(&self, command: &Command) -> Result<Outcome, CommitError> {
        let outcomes = self.propose_together(std::slice::from_ref(command)).await?;
        outcomes.into_iter().next().ok_or(CommitError::Unknown)
    }

    /// Proposes `commands` in one entry, in their order, and waits for their outcomes. Encoded here,
    /// once, and by the caller's task: log and network pass the bytes on.
    pub(crate) async fn propose_together(&self, commands: &[Command]) -> Answers {
        self.propose_encoded(|| {
            // What no node can decode would stop every one of them.
            commands.iter().try_for_each(Command::check)?;
            self.check_level(commands.iter().map(Command::level_needed).max())?;
            Ok(Encoded {
                batch: Batch::of_commands(commands),
                items: commands.iter().map(Command::items).sum(),
            })
        })
        .await
    }

    /// As [`Proposer::propose_together`], commits, which all get the time `unix_ms`.
    pub(crate) async fn propose_commits(&self, commits: &[Commit], unix_ms: u64) -> Answers {
        self.propose_encoded(|| {
            commits.iter().try_for_each(Commit::check)?;
            self.check_level(commits.iter().map(Commit::level_needed).max())?;
            Ok(Encoded {
                batch: Batch::of_commits(commits, unix_ms),
                items: commits.iter().map(Commit::items).sum(),
            })
        })
        .await
    }

    async fn propose_encoded(
        &self,
        encode: impl FnOnce() -> Result<Encoded, CommitError>,
    ) -> Answers {
        let waiting = self.tally.begin();
        let answer = self.try_encoded(encode).await;
        waiting.answered(&answer);
        answer
    }

    async fn try_encoded(&self, encode: impl FnOnce() -> Result<Encoded, CommitError>) -> Answers {
        if self.stopping.is_cancelled() {
            return Err(CommitError::Stopped);
        }
        if let Some((free_bytes, reserve_bytes)) = self.judge.disk.borrow().shortage() {
            return Err(CommitError::DiskFull {
                free_bytes,
                reserve_bytes,
            });
        }
        if let Some(nodes) = self.judge.vitals.disks_full() {
            return Err(CommitError::DisksFull { nodes });
        }
        let Encoded { batch, items } = encode()?;
        let (commands, bytes) = (batch.commands(), batch.command_bytes());
        // Each command stands behind its length, of at most eight bytes.
        let overhead_bytes = ENTRY_OVERHEAD_BYTES + 8 * commands as u64;
        let bytes_max = usize::try_from(ENTRY_BYTES_MAX.saturating_sub(overhead_bytes))
            .unwrap_or(usize::MAX)
            .min(self.limits.queue_bytes);
        if bytes > bytes_max {
            return Err(CommitError::TooLarge { bytes, bytes_max });
        }
        let overloaded = CommitError::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        };
        let permits = u32::try_from(bytes).expect("checked against the entry's limit");
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        let room = room.map_err(|_| overloaded.clone())?;
        let (answer, outcome) = oneshot::channel();
        self.queue
            .try_send(Proposal {
                batch,
                commands,
                items,
                queued: Instant::now(),
                answer,
                traced: Traced::current(),
                _room: room,
            })
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => overloaded,
                mpsc::error::TrySendError::Closed(_) => CommitError::Stopped,
            })?;
        // A batcher that is gone may have proposed it before.
        outcome.await.unwrap_or(Err(CommitError::Unknown))
    }
}

impl Proposer {
    /// What a member of an older build cannot decode would stop it. The level never falls, and what raised it
    /// stands before in the log: the level as applied here is enough to go by. `needed` is that of the commands, if
    /// there are any.
    fn check_level(&self, needed: Option<u32>) -> Result<(), CommitError> {
        let needed = needed.unwrap_or(FEATURE_LEVEL_MIN);
        if needed == FEATURE_LEVEL_MIN {
            return Ok(());
        }
        let settings = self.judge.reader.settings();
        let settings = settings.map_err(|error| CommitError::Settings {
            reason: error.to_string(),
        })?;
        let level = settings.map_or(FEATURE_LEVEL_MIN, |settings| settings.feature_level);
        if needed > level {
            return Err(CommitError::FeatureLevel { needed, level });
        }
        Ok(())
    }
}

impl Batcher {
    /// Proposes until it is told to stop; then waits for what is in flight.
    pub(crate) async fn run(mut self) {
        let mut in_flight: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        loop {
            let has_room = in_flight.len() < self.limits.entries_in_flight;
            tokio::select! {
                biased;
                Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
                () = self.stopping.cancelled() => break,
                first = self.queue.recv(), if has_room => match first {
                    Some(first) => in_flight.push(self.send(first)),
                    None => break,
                },
            }
        }
        self.queue.close();
        while let Ok(late) = self.queue.try_recv() {
            let _ = late.answer.send(Err(CommitError::Stopped));
        }
        while in_flight.next().await.is_some() {}
    }

    /// Makes an entry of `first` and of what else is queued, and proposes it.
    fn send(&mut self, first: Proposal) -> BoxFuture<'static, ()> {
        let mut waiting = Vec::new();
        let (mut commands, mut bytes, mut items) = (0, 0, 0_usize);
        let mut next = Some(first);
        while let Some(proposal) = next {
            commands += proposal.commands;
            bytes += proposal.batch.bytes();
            items = items.saturating_add(proposal.items);
            waiting.push(proposal);
            let is_full = commands >= self.limits.entry_commits
                || bytes >= self.limits.entry_bytes
                || items >= ENTRY_ITEMS_MAX;
            next = if is_full {
                None
            } else {
                self.queue.try_recv().ok()
            };
        }
        let batch = gathered(&mut waiting, bytes);
        let commits = waiting.iter_mut().filter_map(|of| of.traced.take());
        let commits = commits.collect();
        let traced = TracedEntry::of(commits, &self.durable, batch.commands(), batch.bytes());
        let refusal = self.refusal();
        let (raft, tally) = (self.raft.clone(), Arc::clone(&self.tally));
        let timeout = self.limits.timeout;
        async move {
            if let Some(refusal) = refusal {
                answer_all(waiting, &refusal);
                return not_proposed(traced);
            }
            let began = Instant::now();
            for proposal in &waiting {
                let queued = began.saturating_duration_since(proposal.queued);
                tally.queue.record(queued);
            }
            let entry = Commands(batch.finish());
            let proposed = match traced {
                Some(traced) => propose_traced(&raft, entry, waiting, timeout, traced).await,
                None => propose(&raft, entry, waiting, timeout).await,
            };
            if let Some((applied, _)) = proposed {
                let took = Instant::from_std(applied).saturating_duration_since(began);
                tally.replicate.record(took);
            }
        }
        .boxed()
    }

    /// Why nothing must be proposed now: the ledger is far behind what is committed (it happens after
    /// a change of leader), and openraft's queue towards it must not fill (docs/openraft.md, section 8,
    /// point 1).
    fn refusal(&self) -> Option<CommitError> {
        let metrics = self.raft.data_metrics();
        let (committed, applied) = {
            let now = metrics.borrow_watched();
            (now.local_committed, now.last_applied)
        };
        let index = |log_id: Option<crate::type_config::LogId>| log_id.map_or(0, |id| id.index);
        let lag = index(committed).saturating_sub(index(applied));
        (lag > self.limits.apply_lag_entries).then_some(CommitError::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        })
    }
}

/// The commands of all proposals, which have so many bytes. Those of the first one are not copied: an entry of a commit
/// stream often has no others.
fn gathered(waiting: &mut [Proposal], bytes: usize) -> Batch {
    let mut proposals = waiting.iter_mut().map(|of| std::mem::take(&mut of.batch));
    let mut batch = proposals.next().unwrap_or_default();
    batch.reserve(bytes.saturating_sub(batch.bytes()));
    for later in proposals {
        batch.append(&later);
    }
    batch
}

/// From when to when an entry was applied here; `None` if it was not, as far as is known.
type Applying = Option<(std::time::Instant, std::time::Instant)>;

fn applying(result: &ClientWriteResult<TypeConfig>) -> Applying {
    result
        .as_ref()
        .ok()
        .and_then(|response| response.data.during)
}

/// Has an entry agreed on and applied, and hands out what came of it.
async fn propose(
    raft: &NodeRaft,
    entry: Commands,
    waiting: Vec<Proposal>,
    timeout: Duration,
) -> Applying {
    let (responder, result) = ProgressResponder::complete_only();
    if raft.client_write_ff(entry, Some(responder)).await.is_err() {
        answer_all(waiting, &CommitError::Unknown);
        return None;
    }
    match tokio::time::timeout(timeout, result).await {
        Ok(Ok(result)) => {
            let term = raft.metrics().borrow_watched().current_term;
            let applied = applying(&result);
            answer(waiting, result, term);
            applied
        }
        // openraft has stopped, or a quorum is out of reach: nobody can know.
        Ok(Err(_)) | Err(_) => {
            answer_all(waiting, &CommitError::Unknown);
            None
        }
    }
}

/// As [`propose`], and notes when what has happened.
async fn propose_traced(
    raft: &NodeRaft,
    entry: Commands,
    waiting: Vec<Proposal>,
    timeout: Duration,
    mut traced: TracedEntry,
) -> Applying {
    let (responder, committed, result) = ProgressResponder::new();
    traced.proposed();
    if raft.client_write_ff(entry, Some(responder)).await.is_err() {
        answer_all(waiting, &CommitError::Unknown);
        traced.failed(NO_OUTCOME);
        traced.record();
        return None;
    }
    let agreed = async {
        // Fails of an entry that is never committed, at the same time as its result.
        if let Ok(log_id) = committed.await {
            traced.committed(log_id);
        }
        result.await
    };
    let applied = match tokio::time::timeout(timeout, agreed).await {
        Ok(Ok(result)) => {
            let applied = applying(&result);
            match &result {
                Ok(_) => traced.applied(applied),
                Err(_) => traced.failed("this node does not lead, or no longer"),
            }
            let term = raft.metrics().borrow_watched().current_term;
            answer(waiting, result, term);
            applied
        }
        Ok(Err(_)) | Err(_) => {
            answer_all(waiting, &CommitError::Unknown);
            traced.failed(NO_OUTCOME);
            None
        }
    };
    traced.record();
    applied
}

fn not_proposed(traced: Option<TracedEntry>) {
    if let Some(mut traced) = traced {
        traced.failed("the ledger is far behind what is committed");
        traced.record();
    }
}

fn answer_all(waiting: Vec<Proposal>, error: &CommitError) {
    for proposal in waiting {
        let _ = proposal.answer.send(Err(error.clone()));
    }
}

/// Hands each proposal its outcomes.
fn answer(waiting: Vec<Proposal>, result: ClientWriteResult<TypeConfig>, term: u64) {
    let applied: Applied = match result {
        Ok(response) => response.data,
        Err(error) => return answer_all(waiting, &commit_error(&error, term)),
    };
    let mut outcomes = applied.outcomes.into_iter();
    for proposal in waiting {
        // One outcome per command, in their order: apply's promise.
        let count = proposal.commands;
        let own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
        let is_whole = own.len() == count;
        let _ = proposal.answer.send(if is_whole {
            Ok(own)
        } else {
            Err(CommitError::Unknown)
        });
    }
}

/// What openraft's answer means for a commit.
fn commit_error(error: &ClientWriteError<TypeConfig>, term: u64) -> CommitError {
    match error {
        // Refused before it was appended.
        ClientWriteError::ForwardToLeader(forward) => CommitError::NotLeader {
            leader: leader(forward, term),
        },
        // It may have been committed by the next leader, or still be.
        ClientWriteError::LogEntryDiscarded(_) => CommitError::Unknown,
        // Not for commands; if it ever is, nothing is known.
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            CommitError::Unknown
        }
    }
}

/// The leader that openraft points to. A leader whose lease has expired points to nobody.
fn leader(forward: &ForwardToLeader<TypeConfig>, term: u64) -> Option<Leader> {
    let (node_id, member) = (forward.leader_id?, forward.leader_node.clone()?);
    Some(Leader {
        node_id,
        member: Arc::new(member),
        term,
    })
}
