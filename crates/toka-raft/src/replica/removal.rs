//! Whether this node was removed from its cluster.
//!
//! Nobody tells it: the leader stops sending before the entry that removes it is committed. It finds the
//! entry in its own log, or asks the others once it hears of no leader.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use toka_ledger::dir::DataDir;
use toka_proto::raft_v1 as pb;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Leader;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::membership::{Membership, effective};
use crate::network::{PeerNetworks, is_removed, other_cluster};
use crate::roster::Roster;
use crate::ticker::ticker;

const INTERVAL: Duration = Duration::from_millis(250);
/// So long after it has lost its leader. Most elections are over by then.
const ASK_AFTER: Duration = Duration::from_millis(250);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// The task.
pub(super) struct Removal {
    pub(super) membership: Arc<Membership>,
    pub(super) networks: PeerNetworks,
    pub(super) roster: Arc<Roster>,
    pub(super) leader: watch::Receiver<Option<Leader>>,
    pub(super) fatal: Fatal,
}

impl Removal {
    pub(super) async fn run(self, cancelled: CancellationToken) {
        tokio::select! {
            () = cancelled.cancelled() => return,
            () = self.removed() => {}
        }
        let node_id = self.membership.identity.node_id();
        if let Err(error) = self.membership.note(DataDir::set_removed).await {
            // It is found out again at the next start.
            tracing::warn!(node_id, %error, "that this node was removed could not be noted");
        }
        if !cancelled.is_cancelled() {
            self.fatal.report(FatalError::Removed { node_id });
        }
    }

    /// Returns when this node is known to have been removed.
    async fn removed(&self) {
        let node_id = self.membership.identity.node_id();
        let mut interval = ticker(INTERVAL);
        let mut leaderless_since = None;
        loop {
            interval.tick().await;
            if self.roster.has_removed(node_id) {
                return;
            }
            if self.leader.borrow().is_some() {
                leaderless_since = None;
                continue;
            }
            let since = *leaderless_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= ASK_AFTER && self.ask().await {
                return;
            }
        }
    }

    /// Whether a member says so.
    async fn ask(&self) -> bool {
        let stored = effective(&self.membership.raft);
        let identity = &self.membership.identity;
        let strangers = &self.networks.strangers;
        let asked = stored.membership().nodes().filter_map(|(id, member)| {
            if strangers.resting(*id).is_some() {
                return None;
            }
            let mut client = self.networks.control(&member.raft_endpoint).ok()?;
            let request = pb::GetNodeStatusRequest {
                peer: Some(identity.peer(*id)),
            };
            let id = *id;
            let asked = async move { (id, client.get_node_status(request).await) };
            (id != identity.node_id()).then(|| timeout(ASK_TIMEOUT, asked))
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        while let Some(answer) = answers.next().await {
            let Ok((id, Err(status))) = answer else {
                continue;
            };
            if is_removed(&status) {
                return true;
            }
            if let Some(cluster_id) = other_cluster(&status) {
                strangers.found(id, cluster_id);
            }
        }
        false
    }
}
