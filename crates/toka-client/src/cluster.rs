//! State of the cluster, its leader and its members.

use toka_proto::convert::cluster::ClusterStatus;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::Error;
use crate::routes::Route;

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

    /// Asks for the cluster before the first change, if nothing has named it yet: two changes that went out at the same
    /// time could otherwise be made in two clusters. Without an answer of a node that knows a leader it stays open.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`] after `deadline`: nothing was sent.
    pub(crate) async fn know_cluster(&self, deadline: Instant) -> Result<(), Error> {
        if self.shared.pin.get().is_some() {
            return Ok(());
        }
        self.ask_cluster(deadline).await
    }

    async fn ask_cluster(&self, deadline: Instant) -> Result<(), Error> {
        let pin = &self.shared.pin;
        let asking = pin.asked().get_or_try_init(|| async move {
            // Rarely run, and no small future.
            match Box::pin(self.status_until(true, deadline)).await {
                Ok(_) if pin.get().is_none() => Err(None),
                Err(error) if error.is_retryable() => Err(Some(error)),
                // One that does not say is not asked again.
                Ok(_) | Err(_) => Ok(()),
            }
        });
        let asked = timeout_at(deadline, asking).await;
        if pin.get().is_some() {
            return Ok(());
        }
        match asked {
            Ok(Ok(()) | Err(None)) => Ok(()),
            Ok(Err(Some(error))) => Err(error),
            Err(_) => Err(Error::Unreachable {
                endpoints: self.endpoints().to_vec(),
                reason: "the deadline came first".to_owned(),
            }),
        }
    }

    async fn status(&self, this_node_only: bool) -> Result<ClusterStatus, Error> {
        self.status_until(this_node_only, self.deadline()).await
    }

    async fn status_until(
        &self,
        this_node_only: bool,
        deadline: Instant,
    ) -> Result<ClusterStatus, Error> {
        let answer = self
            .shared
            .call(Route::Any, deadline, |channel, time| {
                let request = self
                    .shared
                    .request(v1::GetStatusRequest { this_node_only }, time);
                async move { ClusterServiceClient::new(channel).get_status(request).await }
            })
            .await?;
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
        let deadline = self.deadline();
        self.know_cluster(deadline).await?;
        let answer = self
            .shared
            .call(Route::Leader, deadline, |channel, time| {
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
        let deadline = self.deadline();
        self.know_cluster(deadline).await?;
        self.shared
            .call(Route::Leader, deadline, |channel, time| {
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
        let deadline = self.deadline();
        self.know_cluster(deadline).await?;
        self.shared
            .call(Route::Leader, deadline, |channel, time| {
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
        let deadline = self.deadline();
        self.know_cluster(deadline).await?;
        self.shared
            .call(Route::Leader, deadline, |channel, time| {
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
