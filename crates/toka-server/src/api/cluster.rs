//! `toka.vault.v1.ClusterService`.

use std::sync::Arc;

use toka_proto::convert::{ident, status};
use toka_proto::v1;
use toka_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use super::vault::Answers;
use super::{Shared, backup, membership, verify};
use crate::limits::{MESSAGE_BYTES_MAX, STATUS_TIMEOUT};
use crate::refusal;
use crate::routing::{self, Route};

/// The service.
#[derive(Clone)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
}

impl Cluster {
    pub(crate) fn server(shared: Arc<Shared>) -> ClusterServiceServer<Self> {
        ClusterServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    /// Answers also while the cluster forms, or has no leader: that is when it is asked for.
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let shared = &self.shared;
        let call = shared.call(&request)?;
        let survey = if request.get_ref().this_node_only {
            shared.replica.own_survey()
        } else {
            shared.replica.survey(STATUS_TIMEOUT).await
        };
        let settings = shared
            .read(call.deadline, |reader| reader.settings())
            .await?;
        let recovered = shared
            .read(call.deadline, |reader| reader.recovered())
            .await?;
        Ok(Response::new(v1::GetStatusResponse {
            header: Some(shared.header(&shared.reader.position())),
            leader_id: shared.router.leader().map(|leader| leader.node_id),
            settings: settings.as_ref().map(Into::into),
            nodes: survey.nodes,
            membership: Some(survey.membership),
            alarms: survey.alarms,
            recovered_from: recovered.map(|recovered| v1::RecoveredFrom {
                cluster_id: ident::u128_bytes(recovered.cluster_id),
                history_id: ident::u128_bytes(recovered.history_id),
                sequence: recovered.sequence,
                unix_ms: recovered.unix_ms,
            }),
        }))
    }

    type CreateBackupStream = Answers<v1::CreateBackupResponse>;

    async fn create_backup(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        backup::open(&self.shared, request).await
    }

    type VerifyStream = Answers<v1::VerifyResponse>;

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        verify::open(&self.shared, request).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        match shared.router.route(&call).await? {
            Route::Here(leader) => {
                let leader_id = if request.to_node_id == Some(leader.node_id) {
                    leader.node_id
                } else {
                    let handed_over = shared.replica.transfer_leadership(request.to_node_id);
                    handed_over
                        .await
                        .map_err(|error| refusal::transfer(&error))?
                };
                let to = leader_id.to_string();
                let fields = [("to", &*to)];
                shared
                    .audit
                    .note_of(&call.access, "leadership.transferred", &fields);
                let header = Some(shared.header(&shared.reader.position()));
                Ok(Response::new(v1::TransferLeadershipResponse {
                    header,
                    leader_id,
                }))
            }
            Route::There(leader) => {
                let mut client = shared.router.cluster(&leader)?;
                let request = shared.router.timed_request(&call, request);
                match timeout_at(call.deadline, client.transfer_leadership(request)).await {
                    Ok(Ok(reply)) => Ok(routing::relay(reply)),
                    Ok(Err(refusal)) => Err(routing::relay_status(&refusal)),
                    Err(_) => Err(status::no_leader("the leader did not answer in time")),
                }
            }
        }
    }

    async fn add_node(
        &self,
        request: Request<v1::AddNodeRequest>,
    ) -> Result<Response<v1::AddNodeResponse>, Status> {
        membership::change(&self.shared, request).await
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        membership::change(&self.shared, request).await
    }

    async fn promote_node(
        &self,
        request: Request<v1::PromoteNodeRequest>,
    ) -> Result<Response<v1::PromoteNodeResponse>, Status> {
        membership::change(&self.shared, request).await
    }

    async fn replace_node(
        &self,
        request: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        membership::change(&self.shared, request).await
    }
}
