//! Finds out that the leader's process has ended, sooner than by its silence.
//!
//! The kernel closes the sockets of a process that ends, whatever ended it. So the leader's stream of appends ends
//! within a millisecond, and who dials it again is refused: its machine says that nobody listens there. A leader
//! that has only lost a connection is heard again, or can be dialled.
//!
//! A follower that has seen both gives up the leader's lease for itself, and asks the others for a pre-vote. Those who
//! still hear the leader refuse it, as without any of this, and nothing has changed: no term, no vote. Only where a majority
//! of the voters has found by itself that the leader is gone is there an election, which then is a common one. Raft's
//! elections are safe at any time, whoever asks for one and how early. What a lease protects besides is a leader
//! from being disturbed, which takes a majority here too, and reads that trust in it without asking a quorum, of which
//! there are none: reads go by `ReadPolicy::ReadIndex` (docs/openraft.md, section 8, point 10).

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use toka_ledger::seam::Entropy;
use toka_proto::raft_v1 as pb;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Election;
use crate::contact::Contact;
use crate::network::{PeerNetworks, is_connection_refused};
use crate::state_machine::StateMachine;
use crate::type_config::{TypeConfig, Vote};

/// Between two attempts to dial a leader whose stream has ended, and how long what it sent before may still arrive.
/// A process that ends does not close its sockets all at once.
const DIAL_AGAIN: Duration = Duration::from_millis(20);
/// For so many of the longest election timeouts a leader is looked for, and its successor; silence alone has taken over
/// long before.
const TIMEOUTS: u32 = 3;

/// Watches over the leader that this node follows.
pub(super) struct LeaderWatch {
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pub(super) contact: Arc<Contact>,
    pub(super) networks: PeerNetworks,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) election: Election,
}

/// A leader that this node follows.
struct Followed {
    node_id: u64,
    vote: Vote,
    endpoint: String,
}

impl LeaderWatch {
    pub(super) async fn run(self, cancelled: CancellationToken) {
        let mut ended = self.contact.ended();
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                // The other end is this task's own.
                Ok(()) = ended.changed() => {}
            }
            let term = *ended.borrow_and_update();
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = self.look(term) => {}
            }
        }
    }

    /// The stream of the leader of `term` has ended.
    async fn look(&self, term: u64) {
        let Some(leader) = self.followed(term) else {
            return;
        };
        if self.is_gone(&leader, term).await {
            self.contact.gone(term);
            let node_id = leader.node_id;
            tracing::info!(leader = node_id, term, "the leader's process has ended");
            self.succeed(&leader, term).await;
        }
    }

    /// The leader that this node follows, if it is that of `term`.
    fn followed(&self, term: u64) -> Option<Followed> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let node_id = metrics.current_leader.filter(|id| *id != metrics.id)?;
        let vote = metrics.vote;
        let membership = metrics.membership_config.membership();
        let endpoint = membership.get_node(&node_id)?.raft_endpoint.clone();
        (vote.leader_id.term == term).then_some(Followed {
            node_id,
            vote,
            endpoint,
        })
    }

    /// Whether nobody listens where the leader was. Not, once it is heard again.
    async fn is_gone(&self, leader: &Followed, term: u64) -> bool {
        let limit = TIMEOUTS * self.election.timeout_max;
        let is_refused = move || self.is_refused(leader);
        let is_followed = move || self.followed(term).is_some();
        found_gone(&self.contact, term, limit, is_refused, is_followed).await
    }

    async fn is_refused(&self, leader: &Followed) -> bool {
        let Ok(mut client) = self.networks.dial(&leader.endpoint) else {
            return false;
        };
        let request = pb::GetVitalsRequest {
            peer: Some(self.networks.identity.peer(leader.node_id)),
        };
        let answer = timeout(self.election.heartbeat, client.get_vitals(request)).await;
        matches!(answer, Ok(Err(status)) if is_connection_refused(&status))
    }

    /// Has this node elected in the place of the leader that is gone, or another one that was faster.
    async fn succeed(&self, leader: &Followed, term: u64) {
        // What openraft does where a leader hands over to another node: the lease ends, and nothing else happens here.
        let gone = TransferLeaderRequest::new(leader.vote, leader.node_id, None);
        if self.raft.handle_transfer_leader(gone).await.is_err() {
            return;
        }
        // Not all at once. One with a shorter log gets no pre-vote and stands in nobody's way; of those with the same log
        // the highest id leads in the end, but after a vote for another one that each has synced in vain.
        sleep(self.pause()).await;
        let (began, limit) = (Instant::now(), TIMEOUTS * self.election.timeout_max);
        while began.elapsed() < limit && self.contact.is_gone(term) && self.followed(term).is_some()
        {
            // Again, until the others have seen the same. Once anybody has asked for a vote it is openraft's affair.
            if self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            sleep(self.election.heartbeat / 4 + self.pause()).await;
        }
    }

    /// Random, up to a tenth of a heartbeat: longer than a round of pre-votes in one region.
    fn pause(&self) -> Duration {
        let mut bytes = [0; 2];
        self.entropy.fill(&mut bytes);
        let fraction = f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX);
        (self.election.heartbeat / 10).mul_f64(fraction)
    }
}

/// Dials the leader of `term` until that `is_refused`, for `limit` at most. `false` if the leader is heard meanwhile, or not
/// followed any more.
async fn found_gone<D: Future<Output = bool>>(
    contact: &Contact,
    term: u64,
    limit: Duration,
    is_refused: impl Fn() -> D,
    is_followed: impl Fn() -> bool,
) -> bool {
    let began = Instant::now();
    while began.elapsed() < limit {
        let is_refused = is_refused().await;
        // A refusal too: a lease that was ended for a leader that lives is not there again before the next election.
        let since = began.elapsed().checked_sub(DIAL_AGAIN);
        if since.is_some_and(|since| contact.is_recent(term, since)) || !is_followed() {
            return false;
        }
        if is_refused {
            return true;
        }
        sleep(DIAL_AGAIN).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const TERM: u64 = 2;
    const LIMIT: Duration = Duration::from_secs(60);

    /// A leader of [`TERM`] that was heard before its stream ended.
    fn heard() -> Contact {
        let contact = Contact::default();
        contact.heard(TERM);
        contact
    }

    #[tokio::test]
    async fn leader_whose_machine_refuses_is_gone_and_one_that_is_not_followed_is_not() {
        let contact = heard();
        let refused = || ready(true);
        assert!(found_gone(&contact, TERM, LIMIT, refused, || true).await);
        assert!(!found_gone(&contact, TERM, LIMIT, refused, || false).await);
    }

    #[tokio::test]
    async fn leader_that_is_heard_before_the_refusal_comes_is_not_gone() {
        let contact = heard();
        let refused = || async {
            sleep(2 * DIAL_AGAIN).await;
            contact.heard(TERM);
            true
        };
        assert!(!found_gone(&contact, TERM, LIMIT, refused, || true).await);
    }
}
