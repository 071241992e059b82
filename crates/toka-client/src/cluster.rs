//! State of the cluster.

use toka_proto::convert::cluster::ClusterStatus;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;

use crate::call::request;
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

    async fn status(&self, this_node_only: bool) -> Result<ClusterStatus, Error> {
        let answer = self
            .shared
            .call(Route::Any, self.deadline(), |channel, time| {
                let request = request(v1::GetStatusRequest { this_node_only }, time);
                async move { ClusterServiceClient::new(channel).get_status(request).await }
            })
            .await?;
        answer
            .message
            .try_into()
            .map_err(|error| Error::reply(&answer.endpoint, error))
    }

    /// Hands leadership to another voter, the one that is most up to date if none is named. Returns
    /// the node id of the new leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not come about before the deadline.
    pub async fn transfer_leadership(&self, to_node_id: Option<u64>) -> Result<u64, Error> {
        let answer = self
            .shared
            .call(Route::Leader, self.deadline(), |channel, time| {
                let request = request(v1::TransferLeadershipRequest { to_node_id }, time);
                async move {
                    ClusterServiceClient::new(channel)
                        .transfer_leadership(request)
                        .await
                }
            })
            .await?;
        Ok(answer.message.leader_id)
    }
}
