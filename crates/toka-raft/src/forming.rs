//! Making a cluster of nodes that have never been in one: safely, and only once.
//!
//! The initial member with the lowest id does it. It waits until every other one answers, is pristine
//! and was given the same members; makes a cluster id, keeps it, and gives it to each of the others,
//! who keep it; and only then initializes Raft. So when Raft begins, every member has the cluster id
//! on its disk, and a member that has none was wiped.
//!
//! A node that has joined a cluster has its id, and no initial members: it waits for the leader.
//!
//! Every step can be repeated: whoever crashes, the lowest node begins again and finds the id that it
//! or a peer has kept. Once a single node has a vote or an entry, nothing is formed any more.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal as RaftFatal, InitializeError, RaftError};
use toka_ledger::seam::Seams;
use toka_proto::raft_v1 as pb;

use crate::codec::{decode_membership, decode_stored_membership};
use crate::error::StartError;
use crate::identity::{Identity, decode_cluster_id};
use crate::membership::{AdoptError, Membership, describe, describe_restored};
use crate::network::PeerNetworks;
use crate::type_config::{Member, TypeConfig};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What the others are, as far as they have answered.
type Answers = Vec<(u64, Option<pb::ProbeResponse>)>;

/// Forms the cluster, or waits until another node has.
pub(crate) struct Forming {
    pub(crate) membership: Arc<Membership>,
    pub(crate) networks: PeerNetworks,
    pub(crate) seams: Seams,
}

impl Forming {
    /// Returns when this node is a part of a cluster.
    pub(crate) async fn run(&self) -> Result<(), StartError> {
        let stopped = |_: RaftFatal<TypeConfig>| StartError::Stopped;
        let node_id = self.identity().node_id();
        if !self.membership.is_pristine().await.map_err(stopped)? {
            return Ok(());
        }
        let members = &self.membership.members;
        if members.is_empty() && self.identity().cluster_id().is_some() {
            tracing::info!(node_id, "waiting to be reached by the leader");
            self.begun().await;
            return Ok(());
        }
        if !members.contains_key(&node_id) {
            return Err(StartError::NotInitialMember {
                node_id,
                members: self.membership.describe(),
            });
        }
        let is_first = members
            .first_key_value()
            .is_some_and(|(id, _)| *id == node_id);
        tracing::info!(
            node_id,
            members = self.membership.describe(),
            "waiting for the cluster"
        );
        let mut retry = RETRY_MIN;
        loop {
            let answers = self.probe_all().await;
            // Another node may have formed it while this one asked.
            if !self.membership.is_pristine().await.map_err(stopped)? {
                return Ok(());
            }
            self.examine(&answers)?;
            if is_first && answers.iter().all(|(_, answer)| is_ready(answer.as_ref())) {
                let cluster_id = self.choose(&answers)?;
                if self.give(cluster_id).await? {
                    return self.initialize(cluster_id).await;
                }
            }
            self.pause(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    fn identity(&self) -> &Identity {
        &self.membership.identity
    }

    /// Waits, but no longer than until Raft has begun.
    async fn pause(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.begun()).await;
    }

    /// Waits until Raft has begun: this node has a membership.
    async fn begun(&self) {
        let mut metrics = self.membership.raft.server_metrics();
        while metrics
            .borrow_watched()
            .membership_config
            .log_id()
            .is_none()
        {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    async fn probe_all(&self) -> Answers {
        let node_id = self.identity().node_id();
        let others = self
            .membership
            .members
            .iter()
            .filter(|(id, _)| **id != node_id);
        join_all(others.map(|(id, member)| async move { (*id, self.probe(*id, member).await) }))
            .await
    }

    async fn probe(&self, id: u64, member: &Member) -> Option<pb::ProbeResponse> {
        let request = pb::ProbeRequest {
            peer: Some(self.identity().peer(id)),
            initial_members: self.membership.encoded.clone(),
        };
        let mut client = self.networks.control(&member.raft_endpoint).ok()?;
        match tokio::time::timeout(PROBE_TIMEOUT, client.probe(request)).await {
            Ok(Ok(response)) => Some(response.into_inner()),
            Ok(Err(status)) => {
                tracing::debug!(
                    peer = id,
                    reason = status.message(),
                    "no answer from a peer yet"
                );
                None
            }
            Err(_) => None,
        }
    }

    /// Looks for what makes it impossible to go on.
    fn examine(&self, answers: &Answers) -> Result<(), StartError> {
        let node_id = self.identity().node_id();
        for (peer, answer) in answers {
            let Some(answer) = answer else { continue };
            let peer = *peer;
            let theirs = cluster_id(answer);
            // Read after the answer came: a peer has a cluster only after this node has its id.
            let ours = self.identity().cluster_id();
            if let (Some(ours), Some(theirs)) = (ours, theirs)
                && ours != theirs
            {
                return Err(StartError::OtherCluster { peer, ours, theirs });
            }
            if answer.pristine {
                let restored = self.membership.restored();
                if answer.restored != restored {
                    return Err(StartError::VaultsDiffer {
                        node_id,
                        peer,
                        ours: describe_restored(restored.as_ref()),
                        theirs: describe_restored(answer.restored.as_ref()),
                    });
                }
                if answer.initial_members != self.membership.encoded {
                    let theirs = decode_membership(&answer.initial_members)
                        .map(|theirs| theirs.nodes().map(|(id, n)| (*id, n.clone())).collect());
                    return Err(StartError::MembersDiffer {
                        node_id,
                        peer,
                        ours: self.membership.describe(),
                        theirs: theirs.as_ref().map_or_else(ToString::to_string, describe),
                    });
                }
            } else if ours.is_none()
                && let Some(cluster_id) = theirs
            {
                let knows_us = decode_stored_membership(&answer.membership)
                    .is_ok_and(|stored| stored.membership().get_node(&node_id).is_some());
                return Err(if knows_us {
                    StartError::WipedVolume {
                        node_id,
                        cluster_id,
                    }
                } else {
                    StartError::NotAMember {
                        node_id,
                        peer,
                        cluster_id,
                    }
                });
            }
        }
        Ok(())
    }

    /// The cluster id that this node has kept, else the one that peers have, else a new one. Peers
    /// have one where this node has none only if it was lost here before Raft began.
    fn choose(&self, answers: &Answers) -> Result<u128, StartError> {
        let mut chosen = self.identity().cluster_id();
        for (peer, answer) in answers {
            match (chosen, answer.as_ref().and_then(cluster_id)) {
                (Some(ours), Some(theirs)) if ours != theirs => {
                    return Err(StartError::OtherCluster {
                        peer: *peer,
                        ours,
                        theirs,
                    });
                }
                (None, theirs) => chosen = theirs,
                (Some(_), _) => {}
            }
        }
        Ok(chosen.unwrap_or_else(|| self.seams.random_u128()))
    }

    /// Makes this node and all others keep the cluster id. `false`: some could not be reached.
    async fn give(&self, cluster_id: u128) -> Result<bool, StartError> {
        let members = &self.membership.encoded;
        let restored = self.membership.restored();
        let adopted = self
            .membership
            .adopt(cluster_id, members, restored.as_ref())
            .await;
        match adopted {
            Ok(()) => {}
            Err(AdoptError::Disk(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "cannot take the cluster id");
                return Ok(false);
            }
        }
        let node_id = self.identity().node_id();
        let others = self
            .membership
            .members
            .iter()
            .filter(|(id, _)| **id != node_id);
        let given = join_all(others.map(|(id, member)| self.give_to(*id, member))).await;
        Ok(given.into_iter().all(|given| given))
    }

    async fn give_to(&self, id: u64, member: &Member) -> bool {
        let request = pb::AdoptRequest {
            peer: Some(self.identity().peer(id)),
            initial_members: self.membership.encoded.clone(),
            restored: self.membership.restored(),
        };
        let Ok(mut client) = self.networks.control(&member.raft_endpoint) else {
            return false;
        };
        match tokio::time::timeout(PROBE_TIMEOUT, client.adopt(request)).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => {
                let reason = status.message();
                tracing::warn!(peer = id, reason, "a peer does not take the cluster id");
                false
            }
            Err(_) => false,
        }
    }

    async fn initialize(&self, cluster_id: u128) -> Result<(), StartError> {
        let members = self.membership.members.clone();
        match self.membership.raft.initialize(members).await {
            Ok(()) => {
                tracing::info!(
                    cluster_id = format!("{cluster_id:032x}"),
                    "the cluster has formed"
                );
                Ok(())
            }
            // Raft has begun meanwhile, with the same members.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(StartError::Raft {
                reason: error.to_string(),
            }),
        }
    }
}

fn cluster_id(answer: &pb::ProbeResponse) -> Option<u128> {
    decode_cluster_id(&answer.peer.as_ref()?.cluster_id)
}

fn is_ready(answer: Option<&pb::ProbeResponse>) -> bool {
    answer.is_some_and(|answer| answer.pristine)
}
