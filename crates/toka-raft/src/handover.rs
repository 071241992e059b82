//! Handing leadership over.

use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, RaftMetrics};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::config::Election;
use crate::error::TransferError;
use crate::state_machine::StateMachine;
use crate::type_config::{Leader, TypeConfig};

/// A transfer takes a round trip and a vote; this many election timeouts are more than enough.
const TRANSFER_TIMEOUTS: u32 = 4;

/// Hands leadership over. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HandOver {
    pub(crate) node_id: u64,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) election: Election,
}

impl HandOver {
    /// To node `to`, or to the other voter that is most up to date; returns who leads.
    pub(crate) async fn to(&self, to: Option<u64>) -> Result<u64, TransferError> {
        self.to_fit(|id| to.is_none_or(|to| to == id)).await
    }

    /// To the voter that is most up to date of those that `is_fit`, once it has all that this node's log has
    /// now: another one would refuse, and nobody would lead for a while. Returns who leads.
    pub(crate) async fn to_fit(&self, is_fit: impl Fn(u64) -> bool) -> Result<u64, TransferError> {
        let mut metrics = self.raft.metrics();
        let wanted = metrics.borrow_watched().last_log_index;
        let deadline = Instant::now() + self.election.timeout_max;
        let to = loop {
            let (to, has) = self.heir(&metrics.borrow_watched().clone(), &is_fit)?;
            if has >= wanted {
                break to;
            }
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(TransferError::Stopped),
                Err(_) => {
                    let lacks = wanted.unwrap_or(0) - has.unwrap_or(0);
                    return Err(TransferError::Behind { to, lacks });
                }
            }
        };
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|_| TransferError::Stopped)?;
        let this = self.node_id;
        let mut leader = self.leader.clone();
        let changed =
            leader.wait_for(|leader| leader.as_ref().is_some_and(|leader| leader.node_id != this));
        let deadline = Instant::now() + self.election.timeout_max * TRANSFER_TIMEOUTS;
        match timeout_at(deadline, changed).await {
            Ok(Ok(leader)) => Ok(leader.as_ref().map_or(to, |leader| leader.node_id)),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::TimedOut { to }),
        }
    }

    /// The other voter that is most up to date of those that `is_fit`, and the last entry that it has.
    fn heir(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
        is_fit: impl Fn(u64) -> bool,
    ) -> Result<(u64, Option<u64>), TransferError> {
        let this = self.node_id;
        let not_leader = || TransferError::NotLeader {
            leader: self.leader.borrow().clone(),
        };
        if metrics.current_leader != Some(this) {
            return Err(not_leader());
        }
        let replication = metrics.replication.as_ref().ok_or_else(not_leader)?;
        let voters = metrics.membership_config.voter_ids();
        let matched = |id: u64| replication.get(&id)?.as_ref().map(|log_id| log_id.index);
        let candidates = voters.filter(|id| *id != this && is_fit(*id));
        candidates
            .map(|id| (id, matched(id)))
            .max_by_key(|(_, matched)| *matched)
            .ok_or(TransferError::NoCandidate)
    }
}
