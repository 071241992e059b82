//! What a leader does for the membership by itself: it looks who answers, promotes learners that have
//! caught up, lets new members take the place of old ones, and finishes what an interrupted change has
//! left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Instant as _, RaftMetrics};
use toka_ledger::seam::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{Step, View};
use super::{Changes, Parts};
use crate::error::ChangeError;
use crate::reach::Turned;
use crate::ticker::ticker;
use crate::type_config::TypeConfig;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Pause after a step that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The task.
pub(crate) struct Steward {
    pub(crate) changes: Changes,
    pub(crate) clock: Arc<dyn Clock>,
    /// A member that is silent for this long is unreachable.
    pub(crate) unreachable_after: Duration,
}

impl Steward {
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let mut interval = ticker(INTERVAL);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = interval.tick() => {}
            }
            let parts = &self.changes.parts;
            if parts.check_leader().is_err() {
                parts.reach.clear();
                continue;
            }
            let metrics = parts.raft.metrics().borrow_watched().clone();
            self.listen(&metrics);
            let Some(step) = self.next(&metrics) else {
                continue;
            };
            if let Err(error) = self.take(&step).await {
                tracing::debug!(?step, %error, "the membership could not be changed yet");
                tokio::select! {
                    () = cancelled.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    /// Notes who has answered, and says who does not any more.
    fn listen(&self, metrics: &RaftMetrics<TypeConfig>) {
        let parts = &self.changes.parts;
        let Some(heartbeat) = &metrics.heartbeat else {
            return;
        };
        let members = metrics.membership_config.membership();
        let others = members.nodes().filter(|(id, _)| **id != parts.node_id);
        let answered: BTreeMap<_, _> = others
            .map(|(id, _)| {
                let at = heartbeat.get(id).copied().flatten();
                (*id, at.map(|at| at.elapsed()))
            })
            .collect();
        let turned = parts.reach.update(
            &answered,
            self.unreachable_after,
            Instant::now(),
            self.clock.unix_ms(),
        );
        for turned in turned {
            match turned {
                Turned::Silent {
                    node_id,
                    silent_for,
                } => {
                    let endpoint = members.get_node(&node_id).map(|node| &node.raft_endpoint);
                    tracing::warn!(
                        node_id,
                        endpoint,
                        ?silent_for,
                        "a member is unreachable; `toka cluster status` says how to replace it"
                    );
                }
                Turned::Back { node_id } => {
                    tracing::info!(node_id, "a member that was unreachable answers again");
                }
            }
        }
    }

    fn next(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<Step> {
        let stored = &metrics.membership_config;
        if stored.log_id() != metrics.committed_membership_config.log_id() {
            return None;
        }
        self.changes.parts.view(metrics).next()
    }

    async fn take(&self, step: &Step) -> Result<(), ChangeError> {
        let wanted = step.clone();
        self.changes
            .make(step.to_string(), |parts| take(parts, wanted))
            .await
    }
}

/// Takes a step, if it is still the next one.
async fn take(parts: Arc<Parts>, wanted: Step) -> Result<(), ChangeError> {
    let metrics = parts.raft.metrics().borrow_watched().clone();
    if parts.view(&metrics).next() != Some(wanted.clone()) {
        return Ok(());
    }
    let observed = &metrics.membership_config;
    tracing::info!(change = %wanted, "the membership is changed");
    match wanted {
        Step::LeaveJoint => parts.leave_joint(observed).await,
        Step::HandOver { to } => match parts.handed_over(Some(to)).await {
            ChangeError::NotLeader { .. } => Ok(()),
            failed => Err(failed),
        },
        Step::Promote(nodes) => {
            answer(&parts, &nodes).await?;
            parts
                .change(observed, ChangeMembers::AddVoterIds(nodes))
                .await
        }
        Step::Swap { old, new } => {
            answer(&parts, &BTreeSet::from([new])).await?;
            let mut voters = parts.view(&metrics).voters();
            voters.remove(&old);
            voters.insert(new);
            parts
                .change(observed, ChangeMembers::ReplaceAllVoters(voters))
                .await
        }
        Step::Remove(node_id) => {
            let gone = BTreeSet::from([node_id]);
            let change = if parts.view(&metrics).voters().contains(&node_id) {
                ChangeMembers::RemoveVoters(gone)
            } else {
                ChangeMembers::RemoveNodes(gone)
            };
            parts.change(observed, change).await
        }
        Step::Move(member) => parts.move_to(observed, member).await,
    }
}

/// Makes sure that nodes which are to vote are there.
async fn answer(parts: &Parts, nodes: &BTreeSet<u64>) -> Result<(), ChangeError> {
    let all = |reachable: BTreeSet<u64>| match nodes.difference(&reachable).next() {
        None => Ok(()),
        Some(silent) => Err(ChangeError::Interrupted {
            reason: format!("node {silent} does not answer"),
        }),
    };
    parts.answer_now(all).await
}

impl Parts {
    /// Everything that this leader knows of the members.
    pub(super) fn view(&self, metrics: &RaftMetrics<TypeConfig>) -> View {
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics.replication.iter().flatten();
        let lags = matched.filter_map(|(id, matched)| {
            let matched = matched.as_ref()?;
            Some((*id, last.saturating_sub(matched.index)))
        });
        View {
            lags: lags.collect(),
            reachable: self.reachable(),
            advertised: self.advertised.clone(),
            ..View::of(self.node_id, &metrics.membership_config)
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LeaveJoint => f.write_str("an interrupted change is finished"),
            Self::HandOver { to } => write!(f, "node {to} is to lead"),
            Self::Promote(nodes) => {
                let nodes: Vec<_> = nodes.iter().map(u64::to_string).collect();
                write!(f, "{} can vote from now on", nodes.join(", "))
            }
            Self::Swap { old, new } => write!(f, "node {new} takes the place of node {old}"),
            Self::Move(member) => write!(f, "the only voter is known at {member} from now on"),
            Self::Remove(node_id) => write!(f, "node {node_id}, which was replaced, is removed"),
        }
    }
}
