//! What a node says of its cluster.

use std::pin::Pin;

use futures::Stream;
use toka_proto::v1;
use toka_proto::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use super::{Service, header_of};

type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

fn not_in_the_script<A>() -> Result<Response<A>, Status> {
    Err(Status::unimplemented("not in the script"))
}

#[tonic::async_trait]
impl ClusterService for Service {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let Some(status) = self.script.status else {
            return not_in_the_script();
        };
        self.note(|seen| {
            seen.statuses += 1;
            seen.statuses
        });
        Ok(Response::new(v1::GetStatusResponse {
            header: header_of(status.cluster_id, 0),
            leader_id: status.leader_id,
            ..Default::default()
        }))
    }

    async fn transfer_leadership(
        &self,
        _: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        not_in_the_script()
    }

    type CreateBackupStream = Answers<v1::CreateBackupResponse>;

    async fn create_backup(
        &self,
        _: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        not_in_the_script()
    }

    type VerifyStream = Answers<v1::VerifyResponse>;

    async fn verify(
        &self,
        _: Request<v1::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        not_in_the_script()
    }

    async fn add_node(
        &self,
        _: Request<v1::AddNodeRequest>,
    ) -> Result<Response<v1::AddNodeResponse>, Status> {
        not_in_the_script()
    }

    async fn remove_node(
        &self,
        _: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        not_in_the_script()
    }

    async fn promote_node(
        &self,
        _: Request<v1::PromoteNodeRequest>,
    ) -> Result<Response<v1::PromoteNodeResponse>, Status> {
        not_in_the_script()
    }

    async fn replace_node(
        &self,
        _: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        not_in_the_script()
    }
}
