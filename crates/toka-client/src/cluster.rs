//! State of the cluster, its leader and its members.

use toka_proto::convert::cluster::ClusterStatus;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;

use crate::call::Repeats;
use crate::client::Client;
use crate::error::Error;

impl Client {
    /// State of the cluster and of each node, as one of them knows it.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no node answers.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        self.status(false).await
    }

    /// As [`Client::cluster_status`], of the node that answers alone: settings and position of the vault,
    /// without waiting for nodes that are down.
    ///
    /// # Errors
    /// As [`Client::cluster_status`].
    pub async fn node_status(&self) -> Result<ClusterStatus, Error> {
        self.status(true).await
    }

    async fn status(&self, this_node_only: bool) -> Result<ClusterStatus, Error> {
        let deadline = self.deadline();
        let answer = self.shared.ask_status(this_node_only, deadline).await?;
        ClusterStatus::try_from(answer.message)
            .map_err(|error| Error::reply(&answer.endpoint, error))
    }

    /// Hands leadership to another voter, the one that is most up to date if none is named. Returns
    /// the node id of the new leader.
    ///
    /// # Errors
    /// [`Error::NodeNotFound`]; [`Error::MembershipRefused`] if the node does not vote, or cannot be reached;
    /// [`Error::Unavailable`] if it does not take over before the deadline.
    pub async fn transfer_leadership(&self, to_node_id: Option<u64>) -> Result<u64, Error> {
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self
                    .shared
                    .request(v1::TransferLeadershipRequest { to_node_id }, time);
                async move {
                    ClusterServiceClient::new(channel)
                        .transfer_leadership(request)
                        .await
                }
            })
            .await?;
        Ok(answer.message.leader_id)
    }

    /// Removes a node from the cluster, for good: its id is not used again. Waits until it is done.
    /// `force`: also if those that are left could not agree on anything until others come back. What was
    /// removed before stays removed.
    ///
    /// # Errors
    /// [`Error::NodeNotFound`], [`Error::MembershipRefused`]; [`Error::ChangeInProgress`] and
    /// [`Error::Unavailable`], after which it can be repeated.
    pub async fn remove_node(&self, node_id: u64, force: bool) -> Result<(), Error> {
        self.shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self
                    .shared
                    .request(v1::RemoveNodeRequest { node_id, force }, time);
                async move {
                    ClusterServiceClient::new(channel)
                        .remove_node(request)
                        .await
                }
            })
            .await
            .map(drop)
    }

    /// Lets a read replica become a voter, as soon as it has caught up. Does not wait for that.
    ///
    /// # Errors
    /// As [`Client::remove_node`], and [`Error::LimitReached`].
    pub async fn promote_node(&self, node_id: u64) -> Result<(), Error> {
        self.shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self
                    .shared
                    .request(v1::PromoteNodeRequest { node_id }, time);
                async move {
                    ClusterServiceClient::new(channel)
                        .promote_node(request)
                        .await
                }
            })
            .await
            .map(drop)
    }

    /// Lets the learner `with_node_id` take the place and the role of node `node_id`, as soon as it has
    /// caught up. Does not wait for that.
    ///
    /// # Errors
    /// As [`Client::remove_node`].
    pub async fn replace_node(&self, node_id: u64, with_node_id: u64) -> Result<(), Error> {
        self.shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let message = v1::ReplaceNodeRequest {
                    node_id,
                    with_node_id,
                };
                let request = self.shared.request(message, time);
                async move {
                    ClusterServiceClient::new(channel)
                        .replace_node(request)
                        .await
                }
            })
            .await
            .map(drop)
    }
}
