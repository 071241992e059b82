//! Who leads.

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state_machine::StateMachine;
use crate::type_config::{Leader, TypeConfig};

/// The leader according to openraft.
fn leader_of(metrics: &RaftServerMetrics<TypeConfig>) -> Option<Leader> {
    let node_id = metrics.current_leader?;
    let membership = metrics.membership_config.membership();
    Some(Leader {
        node_id,
        member: membership.get_node(&node_id)?.clone(),
        term: metrics.vote.leader_id.term,
    })
}

/// Keeps `leader` up to date.
pub(super) async fn follow(
    raft: Raft<TypeConfig, StateMachine>,
    leader: watch::Sender<Option<Leader>>,
    cancelled: CancellationToken,
) {
    // Not all metrics: those change with every entry.
    let mut metrics = raft.server_metrics();
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
