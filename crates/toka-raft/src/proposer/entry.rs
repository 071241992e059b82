//! One entry on its way: proposed, committed, applied, its commits answered.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use toka_ledger::Outcome;
use toka_ledger::command::Batch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{NodeRaft, Proposal};
use crate::config::Proposing;
use crate::error::CommitError;
use crate::stages::TracedEntry;
use crate::tally::Tally;
use crate::type_config::{Applied, Commands, Leader, TypeConfig};

/// What is said of an entry in its trace of which nobody knows whether it was applied.
const NO_OUTCOME: &str = "no outcome in time";

/// An entry until it is committed, or is not waited for any more.
pub(super) type Committing = BoxFuture<'static, Left>;
/// An entry until its commits are answered.
pub(super) type Answering = BoxFuture<'static, ()>;

/// What is left of an entry that is committed, or is not waited for any more.
#[derive(Default)]
pub(super) struct Left {
    /// What remains to be done.
    pub(super) answering: Option<Answering>,
    /// It was committed within [`Proposing::gather_max`].
    pub(super) was_quick: bool,
}

/// Commits that were gathered, and those who wait for them.
pub(super) struct Entry {
    pub(super) waiting: Vec<Proposal>,
    pub(super) batch: Batch,
    pub(super) traced: Option<TracedEntry>,
}

/// The commands of all proposals, which have so many bytes. Those of the first one are not copied: an entry of a commit
/// stream often has no others.
pub(super) fn gathered(waiting: &mut [Proposal], bytes: usize) -> Batch {
    let mut proposals = waiting.iter_mut().map(|of| std::mem::take(&mut of.batch));
    let mut batch = proposals.next().unwrap_or_default();
    batch.reserve(bytes.saturating_sub(batch.bytes()));
    for later in proposals {
        batch.append(&later);
    }
    batch
}

impl Entry {
    /// It is not proposed.
    pub(super) fn refuse(self, refusal: CommitError) -> Committing {
        let Self {
            waiting, traced, ..
        } = self;
        async move {
            answer_all(waiting, &refusal);
            if let Some(mut traced) = traced {
                traced.failed("the ledger is far behind what is committed");
                traced.record();
            }
            Left::default()
        }
        .boxed()
    }

    /// Has it agreed on and applied, and hands out what came of it. Committed is what a quorum has on its disks:
    /// openraft says so, and it decides nothing here but when the next entry may follow, which waits for this one for
    /// `gather` at most.
    pub(super) fn propose(
        self,
        raft: NodeRaft,
        limits: &Proposing,
        gather: Duration,
        tally: Arc<Tally>,
    ) -> Committing {
        let (outcome_max, gather_max) = (limits.timeout, limits.gather_max);
        let Self {
            waiting,
            batch,
            mut traced,
        } = self;
        async move {
            let began = Instant::now();
            for proposal in &waiting {
                let queued = began.saturating_duration_since(proposal.queued);
                tally.queue.record(queued);
            }
            let (responder, mut committed, result) = ProgressResponder::new();
            if let Some(traced) = &mut traced {
                traced.proposed();
            }
            let entry = Commands(batch.finish());
            if raft.client_write_ff(entry, Some(responder)).await.is_err() {
                answer_all(waiting, &CommitError::Unknown);
                if let Some(mut traced) = traced {
                    traced.failed(NO_OUTCOME);
                    traced.record();
                }
                return Left::default();
            }
            // Fails of an entry that is never committed, at the same time as its result.
            let known = timeout(gather, &mut committed).await;
            let was_quick = matches!(known, Ok(Ok(_))) && began.elapsed() <= gather_max;
            if let (Some(traced), Ok(Ok(log_id))) = (&mut traced, &known) {
                traced.committed(*log_id);
            }
            let rest = async move {
                let agreed = async {
                    if let (Some(traced), Err(_)) = (&mut traced, &known)
                        && let Ok(log_id) = committed.await
                    {
                        traced.committed(log_id);
                    }
                    result.await
                };
                let result = timeout_at(began + outcome_max, agreed).await;
                let result = result.ok().and_then(Result::ok);
                let applied = handed_out(&raft, waiting, result, traced);
                if let Some((applied, _)) = applied {
                    let took = Instant::from_std(applied).saturating_duration_since(began);
                    tally.replicate.record(took);
                }
            };
            Left {
                answering: Some(rest.boxed()),
                was_quick,
            }
        }
        .boxed()
    }
}

/// From when to when an entry was applied here; `None` if it was not, as far as is known.
type Applying = Option<(std::time::Instant, std::time::Instant)>;

fn applying(result: &ClientWriteResult<TypeConfig>) -> Applying {
    result
        .as_ref()
        .ok()
        .and_then(|response| response.data.during)
}

/// Answers those who wait, and notes it in the trace. Without a `result` openraft has stopped, or a quorum is out of
/// reach: nobody can know.
fn handed_out(
    raft: &NodeRaft,
    waiting: Vec<Proposal>,
    result: Option<ClientWriteResult<TypeConfig>>,
    traced: Option<TracedEntry>,
) -> Applying {
    let applied = result.as_ref().and_then(applying);
    let outcome = match &result {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err("this node does not lead, or no longer"),
        None => Err(NO_OUTCOME),
    };
    match result {
        Some(result) => {
            let term = raft.metrics().borrow_watched().current_term;
            answer(waiting, result, term);
        }
        None => answer_all(waiting, &CommitError::Unknown),
    }
    // After the answers: nobody waits for this.
    if let Some(mut traced) = traced {
        match outcome {
            Ok(()) => traced.applied(applied),
            Err(reason) => traced.failed(reason),
        }
        traced.record();
    }
    applied
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
