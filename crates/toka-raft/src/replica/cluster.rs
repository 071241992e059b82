//! The cluster around a node: what its members say of themselves, and changes of the membership.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use toka_proto::v1::AlarmKind;
use toka_proto::{raft_v1 as pb, v1};
use tokio::sync::watch;

use super::{MemberStatus, Replica};
use crate::change::NewMember;
use crate::error::ChangeError;
use crate::network::{is_removed, other_cluster};
use crate::type_config::Member;

/// What the members of a cluster say of themselves.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// State of every member; of one that does not answer, why.
    pub nodes: Vec<v1::NodeStatus>,
    /// Who takes part, as the leader knows it; else as this node does.
    pub membership: v1::Membership,
    /// What needs an operator.
    pub alarms: Vec<v1::Alarm>,
}

/// A member's answer.
struct Answer {
    node: v1::NodeStatus,
    /// Of the leader.
    membership: Option<v1::Membership>,
    alarms: Vec<v1::Alarm>,
    is_there: bool,
    /// Why there is no answer, if there is none.
    silence: Silence,
}

/// Why a member has not answered, where that says more than that it has not.
#[derive(Clone, Debug, Default)]
struct Silence {
    /// In words.
    reason: String,
    /// It says that this node was removed.
    says_removed: bool,
    /// It is not the member, but a node of this cluster.
    stranger_of: Option<u128>,
}

impl From<String> for Silence {
    fn from(reason: String) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }
}

impl From<tonic::Status> for Silence {
    fn from(status: tonic::Status) -> Self {
        let stranger_of = other_cluster(&status);
        Self {
            reason: stranger_of.map_or_else(
                || status.message().to_owned(),
                |cluster_id| format!("a node of cluster {cluster_id:032x} is at its address"),
            ),
            says_removed: is_removed(&status),
            stranger_of,
        }
    }
}

impl Replica {
    /// Follows who takes part, by node id.
    #[must_use]
    pub fn members_watch(&self) -> watch::Receiver<Arc<[Member]>> {
        self.inner.node.members.subscribe()
    }

    /// Raises this node's alarm about certificates, or lowers it where there is no `message`: what is wrong, and the way
    /// out. Raft itself knows nothing of them.
    pub fn set_certificate_alarm(&self, message: Option<String>) {
        self.inner.node.alarms.set(AlarmKind::Certificate, message);
    }

    /// What this node knows by itself, without asking the others.
    #[must_use]
    pub fn own_survey(&self) -> Survey {
        Survey {
            nodes: vec![self.node_status()],
            ..self.own_report()
        }
    }

    /// Asks every member for its state; those that do not answer within `timeout` are reported with
    /// what this node knows of them.
    pub async fn survey(&self, timeout: Duration) -> Survey {
        let members = self.status().members;
        if members.is_empty() {
            return self.own_survey();
        }
        let asked = members.into_iter().map(|member| self.ask(member, timeout));
        let answers = join_all(asked).await;
        let leader = answers.iter().find(|answer| answer.membership.is_some());
        let was_removed = answers.iter().any(|answer| answer.silence.says_removed);
        let (mut membership, mut alarms) = match leader {
            Some(leader) => (
                leader.membership.clone().unwrap_or_default(),
                leader.alarms.clone(),
            ),
            // It has not heard how the change has ended that has removed it, and counts for nothing any more.
            None if was_removed => (self.inner.node.reporter.report().removed(), Vec::new()),
            None => {
                let there = answers.iter().filter(|answer| answer.is_there);
                let there = there.map(|answer| answer.node.node_id).collect();
                let report = self.inner.node.reporter.report().seen(there);
                (report.membership(), report.alarms())
            }
        };
        let own = answers.iter().flat_map(|answer| &answer.node.alarms);
        alarms.extend(own.cloned());
        membership.advice.extend(strangers(&answers));
        let mut nodes: Vec<_> = answers.into_iter().map(|answer| answer.node).collect();
        if was_removed {
            let this = self.inner.config.node_id;
            for own in nodes.iter_mut().filter(|node| node.node_id == this) {
                own.healthy = false;
                "it was removed from its cluster, for good".clone_into(&mut own.reason);
            }
        }
        let ahead = nodes
            .iter()
            .find(|status| status.role() == v1::Role::Leader);
        if let Some(last) = ahead.map(|leader| leader.last_log_index) {
            for status in nodes.iter_mut().filter(|status| status.term > 0) {
                status.lag_entries = Some(last.saturating_sub(status.last_log_index));
            }
        }
        Survey {
            nodes,
            membership,
            alarms,
        }
    }

    async fn ask(&self, member: MemberStatus, timeout: Duration) -> Answer {
        let inner = &self.inner;
        if member.node_id == inner.config.node_id {
            let report = Some(inner.node.reporter.report()).filter(|report| report.is_leaders());
            return Answer {
                node: self.node_status(),
                membership: report.as_ref().map(|report| report.membership()),
                alarms: report.map(|report| report.alarms()).unwrap_or_default(),
                is_there: true,
                silence: Silence::default(),
            };
        }
        let networks = inner.node.networks.clone();
        let (node_id, endpoint) = (member.node_id, member.member.raft_endpoint.clone());
        // On Raft's runtime, where the connections live.
        let asked = inner.handle.spawn(async move {
            let mut client = networks
                .control(&endpoint)
                .map_err(|error| Silence::from(error.to_string()))?;
            let request = pb::GetNodeStatusRequest {
                peer: Some(networks.identity.peer(node_id)),
            };
            match tokio::time::timeout(timeout, client.get_node_status(request)).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(Silence::from(status)),
                Err(_) => Err(format!("no answer within {timeout:?}").into()),
            }
        });
        let silence: Silence = match asked.await {
            Ok(Ok(pb::GetNodeStatusResponse {
                node: Some(node),
                membership,
                alarms,
                ..
            })) => {
                return Answer {
                    node,
                    membership,
                    alarms,
                    is_there: true,
                    silence: Silence::default(),
                };
            }
            Ok(Ok(_)) => "the answer is empty".to_owned().into(),
            Ok(Err(silence)) => silence,
            Err(stopped) => stopped.to_string().into(),
        };
        Answer {
            node: v1::NodeStatus {
                node_id: member.node_id,
                client_endpoint: member.member.client_endpoint,
                raft_endpoint: member.member.raft_endpoint,
                reason: silence.reason.clone(),
                ..v1::NodeStatus::default()
            },
            membership: None,
            alarms: Vec::new(),
            is_there: false,
            silence,
        }
    }

    /// Adds a node to the cluster, as a learner; returns its id, which no node has ever had. If it is to
    /// vote it is promoted once it has caught up. Only the leader can.
    ///
    /// # Errors
    /// [`ChangeError`]. It can be repeated with the same token, and gives the same id.
    pub async fn add_node(&self, new: NewMember) -> Result<u64, ChangeError> {
        self.inner.node.changes.add(new).await
    }

    /// Removes a member from the cluster, for good, and returns when it is done. `force`: also if those
    /// that are left could not agree on anything. A leader that is to remove itself hands over first,
    /// and fails with [`ChangeError::NotLeader`]. Only the leader can.
    ///
    /// # Errors
    /// [`ChangeError`]. It can be repeated.
    pub async fn remove_node(&self, node_id: u64, force: bool) -> Result<(), ChangeError> {
        self.inner.node.changes.remove(node_id, force).await
    }

    /// Lets a read replica become a voter, once it has caught up. Only the leader can.
    ///
    /// # Errors
    /// [`ChangeError`]. It can be repeated.
    pub async fn promote_node(&self, node_id: u64) -> Result<(), ChangeError> {
        self.inner.node.changes.promote(node_id).await
    }

    /// Lets the learner `by` take the place and the role of member `node_id`, once it has caught up.
    /// Only the leader can.
    ///
    /// # Errors
    /// [`ChangeError`]. It can be repeated.
    pub async fn replace_node(&self, node_id: u64, by: u64) -> Result<(), ChangeError> {
        self.inner.node.changes.replace(node_id, by).await
    }
}

/// What to do about nodes of another cluster at members' addresses.
fn strangers(answers: &[Answer]) -> impl Iterator<Item = String> {
    answers.iter().filter_map(|answer| {
        let cluster_id = answer.silence.stranger_of?;
        Some(format!(
            "a node of cluster {cluster_id:032x} is at the address of node {}: if this cluster was recovered or \
             restored as that one, stop the nodes of this one, empty their data directories, and let them join that one",
            answer.node.node_id
        ))
    })
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn member_that_is_just_not_there_says_nothing_else() {
        let silence = Silence::from(Status::unavailable("it stops"));
        assert_eq!(silence.reason, "it stops");
        assert!(!silence.says_removed);
        assert_eq!(silence.stranger_of, None);
    }
}
