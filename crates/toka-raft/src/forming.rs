//! Making a cluster of nodes that have never been in one: safely, and only once.
//!
//! The initial member with the lowest id does it. It waits until every other one answers, is pristine
//! and was given the same members; makes a cluster id, keeps it, and gives it to each of the others,
//! who keep it; and only then initializes Raft. So when Raft begins, every member has the cluster id
//! on its disk, and a member that has none was wiped.
//!
//! Every step can be repeated: whoever crashes, the lowest node begins again and finds the id that it
//! or a peer has kept. Once a single node has a vote or an entry, nothing is formed any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal as RaftFatal, InitializeError, RaftError};
use toka_ledger::dir::DataDir;
use toka_ledger::seam::Seams;
use toka_proto::raft_v1 as pb;

use crate::blocking::Blocking;
use crate::codec::{
    decode_membership, decode_stored_membership, encode_membership, encode_stored_membership,
};
use crate::error::StartError;
use crate::identity::{Identity, decode_cluster_id};
use crate::network::PeerNetworks;
use crate::state_machine::StateMachine;
use crate::type_config::{Member, TypeConfig};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What a node knows of the cluster that it is, or is to be, a member of.
pub(crate) struct Membership {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) data_dir: Arc<Mutex<DataDir>>,
    pub(crate) members: BTreeMap<u64, Member>,
    /// `members`, encoded.
    pub(crate) encoded: Bytes,
    pub(crate) blocking: Blocking,
}

/// What a node tells a peer that asks.
pub(crate) struct State {
    pub(crate) is_pristine: bool,
    pub(crate) membership: Bytes,
}

/// Why a node does not take a cluster id.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error("this node belongs to cluster {ours:032x} already, not to {theirs:032x}")]
    Taken { ours: u128, theirs: u128 },
    #[error("this node was given other initial members: {0}")]
    MembersDiffer(String),
    #[error("this node is not pristine")]
    NotPristine,
    #[error("the cluster id cannot be kept: {0}")]
    Disk(#[from] toka_ledger::Error),
    #[error(transparent)]
    Raft(#[from] RaftFatal<TypeConfig>),
}

/// The bytes in which initial members are compared.
pub(crate) fn encode_members(members: &BTreeMap<u64, Member>) -> Bytes {
    let voters = members.keys().copied().collect();
    let membership = openraft::Membership::new(vec![voters], members.clone());
    membership.map_or_else(
        |_| Bytes::new(),
        |membership| encode_membership(&membership).into(),
    )
}

/// For messages.
fn describe(members: &BTreeMap<u64, Member>) -> String {
    let list: Vec<_> = members
        .iter()
        .map(|(id, member)| format!("{id}={},{}", member.raft_endpoint, member.client_endpoint))
        .collect();
    format!("[{}]", list.join(" "))
}

impl Membership {
    pub(crate) fn initial_members(&self) -> &Bytes {
        &self.encoded
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        describe(&self.members)
    }

    /// Neither a vote nor an entry nor a vault.
    async fn is_pristine(&self) -> Result<bool, RaftFatal<TypeConfig>> {
        Ok(!self.raft.is_initialized().await?)
    }

    pub(crate) async fn state(&self) -> Result<State, RaftFatal<TypeConfig>> {
        let is_pristine = self.is_pristine().await?;
        let metrics = self.raft.server_metrics();
        let stored = Arc::clone(&metrics.borrow_watched().membership_config);
        let membership = if stored.log_id().is_some() {
            encode_stored_membership(&stored).into()
        } else {
            Bytes::new()
        };
        Ok(State {
            is_pristine,
            membership,
        })
    }

    /// Takes a cluster id, durably, if this node has none and its peer wants the same members.
    pub(crate) async fn adopt(&self, cluster_id: u128, members: &[u8]) -> Result<(), AdoptError> {
        if members != &self.encoded[..] {
            return Err(AdoptError::MembersDiffer(self.describe()));
        }
        match self.identity.cluster_id() {
            Some(ours) if ours == cluster_id => return Ok(()),
            Some(ours) => {
                return Err(AdoptError::Taken {
                    ours,
                    theirs: cluster_id,
                });
            }
            None => {}
        }
        if !self.is_pristine().await? {
            return Err(AdoptError::NotPristine);
        }
        self.keep(cluster_id).await
    }

    /// Writes the cluster id down before anybody is told of it.
    async fn keep(&self, cluster_id: u128) -> Result<(), AdoptError> {
        let (data_dir, identity) = (Arc::clone(&self.data_dir), Arc::clone(&self.identity));
        let work = move || -> Result<(), AdoptError> {
            let mut data_dir = data_dir.lock().unwrap_or_else(PoisonError::into_inner);
            // Two peers may offer one at the same time.
            if let Some(ours) = identity.cluster_id().filter(|ours| *ours != cluster_id) {
                return Err(AdoptError::Taken {
                    ours,
                    theirs: cluster_id,
                });
            }
            data_dir.set_cluster_id(cluster_id)?;
            identity.adopt(cluster_id);
            Ok(())
        };
        self.blocking.run(work).await
    }
}

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
        let mut metrics = self.membership.raft.server_metrics();
        let begun = async {
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
        };
        let _ = tokio::time::timeout(time, begun).await;
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
        match self.membership.adopt(cluster_id, members).await {
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
