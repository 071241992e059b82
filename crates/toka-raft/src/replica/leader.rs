//! Who leads.

use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, RaftMetrics};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state_machine::StateMachine;
use crate::type_config::{Member, TypeConfig};

/// The leader, as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its node id.
    pub node_id: u64,
    /// Its addresses.
    pub member: Member,
    /// The term in which it leads.
    pub term: u64,
}

/// The leader according to openraft.
pub(super) fn leader_of(metrics: &RaftMetrics<TypeConfig>) -> Option<Leader> {
    let node_id = metrics.current_leader?;
    let member = metrics
        .membership_config
        .membership()
        .get_node(&node_id)?
        .clone();
    Some(Leader {
        node_id,
        member,
        term: metrics.current_term,
    })
}

/// Keeps `leader` up to date.
pub(super) async fn follow(
    raft: Raft<TypeConfig, StateMachine>,
    leader: watch::Sender<Option<Leader>>,
    cancelled: CancellationToken,
) {
    let mut metrics = raft.metrics();
    loop {
        let now = leader_of(&metrics.borrow_watched());
        leader.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                let node_id = now.as_ref().map(|leader| leader.node_id);
                let term = now.as_ref().map(|leader| leader.term);
                tracing::info!(leader = node_id, term, "leader");
                *known = now;
            }
            changed
        });
        tokio::select! {
            () = cancelled.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() { return },
        }
    }
}
