//! Who leads, and who takes part.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, Raft};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Election;
use crate::contact::Contact;
use crate::membership::effective;
use crate::state_machine::StateMachine;
use crate::tally::Tally;
use crate::ticker::ticker;
use crate::type_config::{Leader, Member, TypeConfig};

/// Keeps what is known of the leader up to date.
pub(super) struct LeaderFollower {
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pub(super) contact: Arc<Contact>,
    pub(super) election: Election,
    pub(super) leader: watch::Sender<Option<Leader>>,
    pub(super) members: watch::Sender<Arc<[Member]>>,
    /// This node leads, and no quorum has confirmed it for long.
    pub(super) lost_quorum: Arc<AtomicBool>,
    /// The last term that this node was seen to lead in, and since when.
    pub(super) led_since: Option<(u64, Instant)>,
    pub(super) tally: Arc<Tally>,
}

impl LeaderFollower {
    pub(super) async fn run(mut self, cancelled: CancellationToken) {
        // Not all metrics: those change with every entry.
        let mut metrics = self.raft.server_metrics();
        let mut check = ticker(self.election.heartbeat);
        loop {
            self.update();
            tokio::select! {
                () = cancelled.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
                // Silence changes no metrics.
                _ = check.tick() => {}
            }
        }
    }

    fn update(&mut self) {
        self.update_members();
        let found = self.find();
        let this = self.raft.server_metrics().borrow_watched().id;
        let is_lost = |(leader, is_alive): &(Leader, bool)| leader.node_id == this && !is_alive;
        let lost_quorum = found.as_ref().is_some_and(is_lost);
        self.lost_quorum.store(lost_quorum, Ordering::Relaxed);
        let now = found.and_then(|(leader, is_alive)| is_alive.then_some(leader));
        self.leader.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                let node_id = now.as_ref().map(|leader| leader.node_id);
                let term = now.as_ref().map(|leader| leader.term);
                tracing::info!(leader = node_id, term, "leader");
                if now.is_some() {
                    self.tally.leader_changes.increment();
                }
                *known = now;
            }
            changed
        });
    }

    fn update_members(&self) {
        let stored = effective(&self.raft);
        let members: Arc<[Member]> = stored
            .membership()
            .nodes()
            .map(|(_, member)| member.clone())
            .collect();
        self.members.send_if_modified(|known| {
            let changed = *known != members;
            if changed {
                *known = members;
            }
            changed
        });
    }

    /// The leader according to openraft, and whether there has been a sign of life lately.
    fn find(&mut self) -> Option<(Leader, bool)> {
        let (this, leader, voters) = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let node_id = metrics.current_leader?;
            let membership = metrics.membership_config.membership();
            let leader = Leader {
                node_id,
                member: Arc::new(membership.get_node(&node_id)?.clone()),
                term: metrics.vote.leader_id.term,
            };
            (metrics.id, leader, membership.voter_ids().count())
        };
        let is_alive = if leader.node_id != this {
            self.contact.is_recent(leader.term, self.silence())
        } else {
            voters <= 1 || self.has_quorum(leader.term)
        };
        Some((leader, is_alive))
    }

    /// Whether a quorum has answered this leader of `term` lately. A new one counts as alive until it has had the
    /// time for that.
    fn has_quorum(&mut self, term: u64) -> bool {
        let acked = self.raft.metrics().borrow_watched().last_quorum_acked;
        if let Some(acked) = acked {
            return acked.elapsed() <= self.silence();
        }
        let led_since = self.led_since.filter(|(known, _)| *known == term);
        let (_, since) = *self
            .led_since
            .insert(led_since.unwrap_or((term, Instant::now())));
        since.elapsed() <= self.silence()
    }

    /// After so long without a sign of life there is no leader. An election that can succeed takes less
    /// than twice the timeout.
    fn silence(&self) -> Duration {
        3 * self.election.timeout_max
    }
}
