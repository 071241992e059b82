//! What a node says of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, ServerState};
use toka_ledger::read::{Position, Reader};
use toka_proto::v1;
use tokio::sync::watch;

use crate::alarms::Alarms;
use crate::amount::Amount;
use crate::fatal::Fatal;
use crate::identity::Identity;
use crate::room::Room;
use crate::scrub_report::ScrubProgress;
use crate::state_machine::StateMachine;
use crate::type_config::Leader;
use crate::type_config::{Member, TypeConfig};

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It orders the commits.
    Leader,
    /// It has led, and no majority of the voters has confirmed lately that it does.
    LeaderWithoutQuorum,
    /// It follows and votes.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows and has no vote, or belongs to no cluster yet.
    Learner,
    /// It is stopping.
    Stopped,
}

/// A member, as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its node id.
    pub node_id: u64,
    /// Its addresses.
    pub member: Member,
    /// Whether it votes.
    pub is_voter: bool,
    /// Index up to which its log is known to be equal to the leader's; known on the leader only.
    pub matched: Option<u64>,
}

/// State of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub node_id: u64,
    /// Its cluster, once it belongs to one.
    pub cluster_id: Option<u128>,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader, where one is known.
    pub leader: Option<Leader>,
    /// Index of the last entry of its log.
    pub last_log_index: Option<u64>,
    /// Index of the last entry that it knows to be committed.
    pub committed_index: Option<u64>,
    /// Index of the last entry that it has applied.
    pub applied_index: Option<u64>,
    /// Index of the last entry that its newest snapshot covers.
    pub snapshot_index: Option<u64>,
    /// Index of the last entry that was purged from its log.
    pub purged_index: Option<u64>,
    /// All members, by node id.
    pub members: Vec<MemberStatus>,
    /// Position of its ledger.
    pub position: Position,
    /// Bytes of its ledger on disk, as of a moment ago.
    pub disk_bytes: u64,
    /// Why it must stop, if it must.
    pub failure: Option<String>,
}

/// Where a [`Status`] comes from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StatusSource {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) reader: Reader,
    pub(crate) disk_bytes: Arc<AtomicU64>,
    pub(crate) room: watch::Receiver<Room>,
    pub(crate) alarms: Alarms,
    pub(crate) scrub: Arc<ScrubProgress>,
    pub(crate) fatal: Fatal,
    pub(crate) this: Member,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    /// This node leads, and no quorum has confirmed it for long.
    pub(crate) lost_quorum: Arc<AtomicBool>,
}

impl StatusSource {
    pub(crate) fn status(&self) -> Status {
        // Cloned at once: a guard that is held blocks the Raft task (openraft #1238).
        let metrics = self.raft.metrics().borrow_watched().clone();
        let role = role(metrics.state, self.lost_quorum.load(Ordering::Relaxed));
        let membership = metrics.membership_config.membership();
        let node_id = self.identity.node_id();
        // A new leader knows it a moment before the others of this node are told.
        let own = membership.get_node(&node_id);
        let own = own.filter(|_| role == Role::Leader).map(|member| Leader {
            node_id,
            member: Arc::new(member.clone()),
            term: metrics.current_term,
        });
        let leader = own.or_else(|| self.leader.borrow().clone());
        let voters: Vec<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| {
            let replicated = metrics.replication.as_ref()?.get(id)?;
            replicated.as_ref().map(|log_id| log_id.index)
        };
        let members = membership.nodes().map(|(id, member)| MemberStatus {
            node_id: *id,
            member: member.clone(),
            is_voter: voters.contains(id),
            matched: matched(id),
        });
        let failure = self
            .fatal
            .watch()
            .borrow()
            .as_ref()
            .map(ToString::to_string);
        Status {
            node_id: self.identity.node_id(),
            cluster_id: self.identity.cluster_id(),
            role: if failure.is_some() {
                Role::Stopped
            } else {
                role
            },
            term: metrics.current_term,
            leader,
            last_log_index: metrics.last_log_index,
            committed_index: metrics.local_committed.map(|log_id| log_id.index),
            applied_index: metrics.last_applied.map(|log_id| log_id.index),
            snapshot_index: metrics.snapshot.map(|log_id| log_id.index),
            purged_index: metrics.purged.map(|log_id| log_id.index),
            members: members.collect(),
            position: self.reader.position(),
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            failure,
        }
    }

    /// For peers and clients.
    pub(crate) fn message(&self) -> v1::NodeStatus {
        let status = self.status();
        let own = status
            .members
            .iter()
            .find(|member| member.node_id == status.node_id);
        let member = own.map_or(&self.this, |own| &own.member);
        let position = &status.position;
        let digest =
            |digest: &toka_ledger::Digest| bytes::Bytes::copy_from_slice(digest.as_bytes());
        let intents_digest = self.reader.intents_digest();
        // Two rows that every command of groups writes: they are in memory.
        let groups_digest = self.reader.groups_digest().ok();
        let (healthy, reason) = match (&status.failure, &status.leader, status.cluster_id) {
            (Some(failure), _, _) => (false, failure.clone()),
            (None, _, None) => (false, "the node belongs to no cluster yet".to_owned()),
            (None, None, Some(_)) if status.role == Role::LeaderWithoutQuorum => (
                false,
                "it has led, and no majority of the voters answers it".to_owned(),
            ),
            (None, None, Some(_)) => (false, "no leader is known".to_owned()),
            (None, Some(_), Some(_)) => match self.room.borrow().shortage() {
                Some((free_bytes, reserve_bytes)) => (
                    false,
                    format!(
                        "the disk is nearly full: {} are free, {} are kept free; no commits are taken, reads go \
                         on",
                        Amount(free_bytes),
                        Amount(reserve_bytes)
                    ),
                ),
                None => (true, String::new()),
            },
        };
        v1::NodeStatus {
            node_id: status.node_id,
            client_endpoint: member.client_endpoint.clone(),
            raft_endpoint: member.raft_endpoint.clone(),
            role: role_message(status.role, status.cluster_id).into(),
            term: status.term,
            revision: position.revision,
            sequence: position.sequence,
            unix_ms: position.unix_ms,
            history_root: digest(&position.history_root),
            state_digest: digest(&position.state_digest),
            last_log_index: status.last_log_index.unwrap_or(0),
            committed_log_index: status.committed_index.unwrap_or(0),
            applied_log_index: status.applied_index.unwrap_or(0),
            snapshot_log_index: status.snapshot_index.unwrap_or(0),
            // Of other nodes the leader knows it; the node that puts the answers together fills it in.
            lag_entries: None,
            disk_bytes: status.disk_bytes,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            healthy,
            reason,
            leader_id: status.leader.map(|leader| leader.node_id),
            alarms: self.alarms.raised(),
            intents_digest: intents_digest.map(|(sequence, made)| v1::IntentsDigest {
                sequence,
                digest: digest(&made),
            }),
            groups_digest: groups_digest.map(|(revision, sum)| v1::GroupsDigest {
                revision,
                digest: digest(&sum),
            }),
            last_scrub: self.scrub.report().last.map(|pass| pass.message()),
        }
    }
}

impl StatusSource {
    /// What was stored of consumer groups at some revisions, for peers.
    pub(crate) fn group_sums(&self) -> Vec<v1::GroupsDigest> {
        let sums = self.reader.group_sums().into_iter();
        sums.map(|(revision, sum)| v1::GroupsDigest {
            revision,
            digest: bytes::Bytes::copy_from_slice(sum.as_bytes()),
        })
        .collect()
    }
}

/// openraft calls itself a leader until it hears of another one, for ever where nobody is left.
const fn role(state: ServerState, lost_quorum: bool) -> Role {
    match state {
        ServerState::Leader if lost_quorum => Role::LeaderWithoutQuorum,
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}

fn role_message(role: Role, cluster_id: Option<u128>) -> v1::Role {
    match role {
        _ if cluster_id.is_none() => v1::Role::Idle,
        Role::Leader => v1::Role::Leader,
        Role::LeaderWithoutQuorum => v1::Role::LeaderWithoutQuorum,
        Role::Follower => v1::Role::Follower,
        Role::Candidate => v1::Role::Candidate,
        Role::Learner => v1::Role::Learner,
        Role::Stopped => v1::Role::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_leader_leads_until_it_has_had_the_time_to_be_confirmed() {
        assert_eq!(role(ServerState::Leader, false), Role::Leader);
        assert_eq!(role(ServerState::Leader, true), Role::LeaderWithoutQuorum);
        assert_eq!(role(ServerState::Follower, true), Role::Follower);
    }
}
