//! Changes of the membership: one at a time, each of which can be repeated after any crash.
//!
//! ```text
//! steward -> requests -> plan
//! report  -> plan
//! ```
//!
//! Invariants: a change is made by the leader, on what it read of the membership and nothing newer; a
//! caller that goes away leaves it running; what is left to be done stands in the membership itself, so
//! that the next leader goes on with it.

mod plan;
mod report;
mod requests;
mod steward;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, Fatal as RaftFatal, LinearizableReadError, RaftError,
};
use openraft::{ChangeMembers, Precondition, Raft, RaftMetrics, ReadPolicy};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use self::plan::{Step, View};
pub(crate) use self::report::{Report, Reporter};
pub use self::requests::NewMember;
pub(crate) use self::steward::Steward;
use crate::base::Base;
use crate::error::ChangeError;
use crate::handover::HandOver;
use crate::reach::{Reach, answered_within};
use crate::roster::Roster;
use crate::state_machine::StateMachine;
use crate::type_config::{Leader, Member, StoredMembership, TypeConfig};
use crate::vitals::Vitals;

/// Longest wait for another change to end.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at who has answered.
const LISTEN: Duration = Duration::from_millis(50);

type Refusal = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

/// Makes changes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Changes {
    parts: Arc<Parts>,
}

/// What changes are made with.
pub(crate) struct Parts {
    pub(crate) node_id: u64,
    /// Where this node says that it is; empty where nobody has told it.
    pub(crate) advertised: Member,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) reader: toka_ledger::Reader,
    pub(crate) reach: Arc<Reach>,
    pub(crate) base: Base,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) hand_over: HandOver,
    /// A member that has been silent for this long is not counted on.
    pub(crate) silence: Duration,
    /// Where changes run: to their end, also when whoever asked for them has gone.
    pub(crate) handle: Handle,
    /// Held by the change in progress.
    pub(crate) turn: Arc<Mutex<()>>,
    pub(crate) in_progress: Arc<InProgress>,
}

/// The change in progress, for messages.
#[derive(Debug, Default)]
pub(crate) struct InProgress(StdMutex<Option<String>>);

impl InProgress {
    pub(crate) fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, change: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = change;
    }
}

/// The right to make a change; given back when dropped.
struct Turn {
    in_progress: Arc<InProgress>,
    _held: OwnedMutexGuard<()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.in_progress.set(None);
    }
}

impl Changes {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Does something on the leader that no change of the membership may come between.
    pub(crate) async fn exclusively<T: Send + 'static>(
        &self,
        what: String,
        work: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
    ) -> Result<T, ChangeError> {
        self.make(what, |_| work).await
    }

    /// Makes the change `what`, once it is its turn.
    async fn make<T, F>(
        &self,
        what: String,
        change: impl FnOnce(Arc<Parts>) -> F,
    ) -> Result<T, ChangeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChangeError>> + Send + 'static,
    {
        let parts = Arc::clone(&self.parts);
        parts.check_leader()?;
        let turn = parts.take_turn(what).await?;
        let work = change(Arc::clone(&parts));
        let made = parts.handle.clone().spawn(async move {
            let _turn = turn;
            tokio::select! {
                biased;
                made = work => made,
                // What was proposed may still be committed; the next leader goes on from what it finds.
                () = parts.deposed() => Err(ChangeError::Interrupted {
                    reason: "this node leads no more".to_owned(),
                }),
            }
        });
        made.await.map_err(|_| ChangeError::Stopped)?
    }
}

impl Parts {
    fn check_leader(&self) -> Result<(), ChangeError> {
        let leader = self.leader.borrow().clone();
        match leader {
            Some(leader) if leader.node_id == self.node_id => Ok(()),
            leader => Err(ChangeError::NotLeader { leader }),
        }
    }

    /// Returns when this node does not lead.
    async fn deposed(&self) {
        let mut leader = self.leader.clone();
        let other = leader.wait_for(|leader| {
            leader
                .as_ref()
                .is_none_or(|leader| leader.node_id != self.node_id)
        });
        // It fails only when the node stops.
        let _ = other.await;
    }

    async fn take_turn(&self, what: String) -> Result<Turn, ChangeError> {
        let turn = timeout(TURN_TIMEOUT, Arc::clone(&self.turn).lock_owned()).await;
        let held = turn.map_err(|_| ChangeError::Busy {
            change: self
                .in_progress
                .get()
                .unwrap_or_else(|| "it has just ended".to_owned()),
        })?;
        self.in_progress.set(Some(what));
        Ok(Turn {
            in_progress: Arc::clone(&self.in_progress),
            _held: held,
        })
    }

    /// The membership, with nothing under way and applied here. A joint configuration that an interrupted
    /// change has left is left first.
    async fn settled(&self) -> Result<(Arc<StoredMembership>, View), ChangeError> {
        loop {
            let is_committed = |metrics: &RaftMetrics<TypeConfig>| {
                metrics.membership_config.log_id() == metrics.committed_membership_config.log_id()
            };
            let wait = self.raft.wait(None);
            let committed = wait.metrics(is_committed, "membership: committed").await;
            let metrics = committed.map_err(|_| ChangeError::Stopped)?;
            let view = View {
                reachable: self.reachable(),
                advertised: self.advertised.clone(),
                ..View::of(self.node_id, &metrics.membership_config)
            };
            if !view.is_joint() {
                // A new leader has everything in its log, and may not have applied it yet.
                let applied = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
                applied.map_err(|error| self.unreadable(error))?;
                return Ok((metrics.membership_config, view));
            }
            match view.next() {
                Some(Step::HandOver { to }) => return Err(self.handed_over(Some(to)).await),
                Some(_) => self.leave_joint(&metrics.membership_config).await?,
                None => {
                    return Err(ChangeError::Busy {
                        change: "an earlier change waits for members that do not answer".to_owned(),
                    });
                }
            }
        }
    }

    /// Members that have answered lately, this leader among them.
    fn reachable(&self) -> BTreeSet<u64> {
        self.answered_within(self.silence)
    }

    /// Members that have answered what was sent in the last `time`, this leader among them.
    fn answered_within(&self, time: Duration) -> BTreeSet<u64> {
        let mut reachable = answered_within(&self.raft, time);
        reachable.insert(self.node_id);
        reachable
    }

    /// Waits until those that have answered from now on are enough, but not for ever. Who has died a moment
    /// ago has answered lately: a change that counts on it may hang.
    async fn answer_now<E>(
        &self,
        is_enough: impl Fn(BTreeSet<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.answer_in(self.silence, is_enough).await
    }

    /// The same, for `time`.
    async fn answer_in<E>(
        &self,
        time: Duration,
        is_enough: impl Fn(BTreeSet<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = Instant::now();
        loop {
            match is_enough(self.answered_within(start.elapsed())) {
                Err(_) if start.elapsed() < time => sleep(LISTEN).await,
                done => return done,
            }
        }
    }

    /// Hands leadership over, after which the change is another node's to make.
    async fn handed_over(&self, to: Option<u64>) -> ChangeError {
        tracing::info!(
            to,
            "leadership is handed over for a change of the membership"
        );
        match self.hand_over.to(to).await {
            Ok(_) => ChangeError::NotLeader {
                leader: self.leader.borrow().clone(),
            },
            Err(error) => error.into(),
        }
    }

    async fn leave_joint(&self, observed: &StoredMembership) -> Result<(), ChangeError> {
        // Adds nobody: openraft goes on to the last set of voters.
        let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
        self.change(observed, nothing).await
    }

    /// This node, which is the only voter, is known where it is from now on.
    async fn move_to(
        &self,
        observed: &StoredMembership,
        member: Member,
    ) -> Result<(), ChangeError> {
        // Safe where nobody else votes: no other voter can be mistaken for this one.
        let moved = ChangeMembers::SetNodes(BTreeMap::from([(self.node_id, member)]));
        self.change(observed, moved).await
    }

    /// Makes one change, if the membership is still the one that was observed. Voters that go are no
    /// learners afterwards.
    async fn change(
        &self,
        observed: &StoredMembership,
        change: ChangeMembers<u64, Member>,
    ) -> Result<(), ChangeError> {
        let unchanged = Precondition::LastMembershipLogId {
            last_membership_log_id: *observed.log_id(),
        };
        let changed = self
            .raft
            .change_membership_if(change, false, [unchanged])
            .await;
        let changed = changed.map_err(|error| self.refused(error))?;
        tracing::info!(log_index = changed.log_id.index, "membership changed");
        Ok(())
    }

    fn refused(&self, refusal: Refusal) -> ChangeError {
        let interrupted = |error: &dyn std::fmt::Display| ChangeError::Interrupted {
            reason: error.to_string(),
        };
        match refusal {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeader {
                leader: self.leader.borrow().clone(),
            },
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(error),
            )) => ChangeError::Busy {
                change: error.to_string(),
            },
            RaftError::APIError(error) => interrupted(&error),
            RaftError::Fatal(RaftFatal::Stopped) => ChangeError::Stopped,
            RaftError::Fatal(error) => interrupted(&error),
        }
    }

    fn unreadable(
        &self,
        error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>,
    ) -> ChangeError {
        match error.into_api_error() {
            Some(LinearizableReadError::ForwardToLeader(_)) => ChangeError::NotLeader {
                leader: self.leader.borrow().clone(),
            },
            Some(error @ LinearizableReadError::QuorumNotEnough(_)) => ChangeError::Interrupted {
                reason: error.to_string(),
            },
            None => ChangeError::Stopped,
        }
    }
}
