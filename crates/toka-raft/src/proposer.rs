//! Gathers concurrent commits into entries, so that one sync and one round trip serve many clients.
//!
//! Group commit: with nothing under way commits go out at once, alone if need be; those that come while an entry is
//! on its way to a quorum form the next one, which goes out when that is committed, and while it is applied. An entry
//! costs each node the same however many commits it has, so few of them are under way: under load they grow, and nobody
//! waits for company that does not come. Everything is bounded, and full means an error.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
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
use crate::type_config::TypeConfig;
use crate::vitals::Vitals;

mod entry;
mod judged;

use entry::{Answering, Committing, Entry, gathered};
use judged::{Judged, check_level};

/// When to try again if too much is queued: about the time in which a full queue drains.
const RETRY_AFTER_MS: u64 = 50;
/// Items ([`Command::items`]) after which an entry takes no further commands: each is work to apply, whatever its bytes.
const ENTRY_ITEMS_MAX: usize = 8_192;
/// For so long after a commit that was quick, one that is not is taken for held up by load, and not by its way.
const QUICK_FOR: Duration = Duration::from_secs(10);
/// What [`Proposing::gather_max`] is multiplied with then.
const GATHER_FACTOR: u32 = 4;
/// Room for the length before a command and for the entry's header.
const ENTRY_OVERHEAD_BYTES: u64 = 1 << 10;

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
    /// Whether the last entry took no more, while there may be more.
    was_full: bool,
    /// When an entry was committed last within [`Proposing::gather_max`].
    last_quick: Option<Instant>,
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
            was_full: false,
            last_quick: None,
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

    /// As [`Proposer::propose_together`], commits, which all get the time `unix_ms`. Those that may not be proposed have
    /// an error of their own, and the others are proposed all the same.
    pub(crate) async fn propose_commits(
        &self,
        commits: &[Commit],
        unix_ms: u64,
    ) -> Result<Vec<Result<Outcome, CommitError>>, CommitError> {
        let judged = Judged::of(commits, || self.level());
        let judged = judged.inspect_err(|error| {
            self.tally.begin().answered(&Err(error.clone()));
        })?;
        let sound = judged.sound();
        let outcomes = if sound.is_empty() {
            Vec::new()
        } else {
            let encoded = || {
                Ok(Encoded {
                    batch: Batch::of_commits(sound, unix_ms),
                    items: sound.iter().map(Commit::items).sum(),
                })
            };
            self.propose_encoded(encoded).await?
        };
        // Not before the others have an outcome: else all of them come again.
        for error in judged.refusals() {
            self.tally.begin().answered(&Err(error.clone()));
        }
        Ok(judged.answers(outcomes))
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
    /// Whether commands that need the level `needed`, if there are any, may be proposed.
    fn check_level(&self, needed: Option<u32>) -> Result<(), CommitError> {
        match needed {
            None | Some(FEATURE_LEVEL_MIN) => Ok(()),
            Some(needed) => check_level(needed, self.level()?),
        }
    }

    /// The vault's feature level. It never falls, and what raised it stands before in the log: the level as applied here
    /// is enough to go by.
    fn level(&self) -> Result<u32, CommitError> {
        let settings = self.judge.reader.settings();
        let settings = settings.map_err(|error| CommitError::Settings {
            reason: error.to_string(),
        })?;
        Ok(settings.map_or(FEATURE_LEVEL_MIN, |settings| settings.feature_level))
    }
}

impl Batcher {
    /// Proposes until it is told to stop; then waits for what is in flight.
    pub(crate) async fn run(mut self) {
        let mut committing: FuturesUnordered<Committing> = FuturesUnordered::new();
        let mut answering: FuturesUnordered<Answering> = FuturesUnordered::new();
        loop {
            // While it may not, the queue is not looked at: commits that come in wake nobody.
            let may_follow = may_follow(
                &self.limits,
                committing.len(),
                answering.len(),
                self.was_full,
            );
            tokio::select! {
                biased;
                Some(left) = committing.next(), if !committing.is_empty() => {
                    if left.was_quick {
                        self.last_quick = Some(Instant::now());
                    }
                    answering.extend(left.answering);
                }
                Some(()) = answering.next(), if !answering.is_empty() => {}
                () = self.stopping.cancelled() => break,
                first = self.queue.recv(), if may_follow => match first {
                    Some(first) => committing.push(self.send(first)),
                    None => break,
                },
            }
        }
        self.queue.close();
        while let Ok(late) = self.queue.try_recv() {
            let _ = late.answer.send(Err(CommitError::Stopped));
        }
        while let Some(left) = committing.next().await {
            answering.extend(left.answering);
        }
        while answering.next().await.is_some() {}
    }

    /// Makes an entry of `first` and of what else is queued, and proposes it.
    fn send(&mut self, first: Proposal) -> Committing {
        let mut waiting = Vec::new();
        let (mut commands, mut bytes, mut items) = (0, 0, 0_usize);
        let mut next = Some(first);
        self.was_full = false;
        while let Some(proposal) = next {
            commands += proposal.commands;
            bytes += proposal.batch.bytes();
            items = items.saturating_add(proposal.items);
            waiting.push(proposal);
            self.was_full = commands >= self.limits.entry_commits
                || bytes >= self.limits.entry_bytes
                || items >= ENTRY_ITEMS_MAX;
            next = if self.was_full {
                None
            } else {
                self.queue.try_recv().ok()
            };
        }
        let batch = gathered(&mut waiting, bytes);
        let commits = waiting.iter_mut().filter_map(|of| of.traced.take());
        let commits = commits.collect();
        let traced = TracedEntry::of(commits, &self.durable, batch.commands(), batch.bytes());
        let entry = Entry {
            waiting,
            batch,
            traced,
        };
        match self.refusal() {
            Some(refusal) => entry.refuse(refusal),
            None => {
                let gather = gather_max(&self.limits, self.last_quick, Instant::now());
                let tally = Arc::clone(&self.tally);
                entry.propose(self.raft.clone(), &self.limits, gather, tally)
            }
        }
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

/// Whether the next entry may follow: with `committing` entries that are not committed yet, `answering` that are and
/// have no outcome yet, and the last one full or not. What a full one left behind does not wait for it: the link may be
/// long, and this its throughput.
fn may_follow(limits: &Proposing, committing: usize, answering: usize, was_full: bool) -> bool {
    let must_gather = committing >= limits.entries_uncommitted.max(1) && !was_full;
    !must_gather && committing + answering < limits.entries_in_flight.max(1)
}

/// How long the next entry waits for one that is on its way. On a long link each takes longer than
/// [`Proposing::gather_max`], and to go on waiting would be to wait for two round trips. Where one was quick a moment ago,
/// those that take longer are held up by load, to which entries that are cut short only add.
fn gather_max(limits: &Proposing, last_quick: Option<Instant>, now: Instant) -> Duration {
    let is_short =
        last_quick.is_some_and(|quick| now.saturating_duration_since(quick) <= QUICK_FOR);
    let factor = if is_short { GATHER_FACTOR } else { 1 };
    limits.gather_max.saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_that_is_held_up_by_load_is_waited_for_longer_than_a_long_link() {
        let (limits, now) = (Proposing::default(), Instant::now());
        let held_up = limits.gather_max * GATHER_FACTOR;
        assert_eq!(gather_max(&limits, None, now), limits.gather_max);
        assert_eq!(gather_max(&limits, Some(now), now), held_up);
        assert_eq!(gather_max(&limits, Some(now), now + QUICK_FOR), held_up);
        let later = now + 2 * QUICK_FOR;
        assert_eq!(gather_max(&limits, Some(now), later), limits.gather_max);
    }

    #[test]
    fn entry_waits_for_the_one_before_to_be_committed_and_not_for_it_to_be_applied() {
        let limits = Proposing::default();
        assert!(may_follow(&limits, 0, 0, false));
        assert!(!may_follow(&limits, 1, 0, false));
        assert!(may_follow(&limits, 0, 1, false));
    }

    #[test]
    fn what_a_full_entry_left_behind_follows_at_once() {
        assert!(may_follow(&Proposing::default(), 1, 0, true));
    }

    #[test]
    fn entries_in_flight_are_bounded() {
        let limits = Proposing::default();
        let most = limits.entries_in_flight;
        assert!(!may_follow(&limits, 0, most, false));
        assert!(!may_follow(&limits, most, 0, true));
        assert!(!may_follow(&limits, 1, most - 1, true));
    }
}
