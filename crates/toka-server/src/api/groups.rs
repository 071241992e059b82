//! `toka.vault.v1.GroupService`: each call's way to the file that has it.

mod changes;
mod idle;
mod parked;
mod pull;
mod reads;
mod settle;
mod start;

use std::sync::Arc;

use toka_proto::v1;
use toka_proto::v1::group_service_server::{GroupService, GroupServiceServer};
use tonic::{Request, Response, Status};

use super::Shared;
use super::coordination::coordinate;
use crate::limits::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Clone)]
pub(crate) struct Groups {
    shared: Arc<Shared>,
}

impl Groups {
    pub(crate) fn server(shared: Arc<Shared>) -> GroupServiceServer<Self> {
        GroupServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl GroupService for Groups {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Result<Response<v1::CreateGroupResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn get_group(
        &self,
        request: Request<v1::GetGroupRequest>,
    ) -> Result<Response<v1::GetGroupResponse>, Status> {
        reads::get(&self.shared, request).await
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        reads::list(&self.shared, request).await
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn update_group(
        &self,
        request: Request<v1::UpdateGroupRequest>,
    ) -> Result<Response<v1::UpdateGroupResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn pull(
        &self,
        request: Request<v1::PullRequest>,
    ) -> Result<Response<v1::PullResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn list_parked(
        &self,
        request: Request<v1::ListParkedRequest>,
    ) -> Result<Response<v1::ListParkedResponse>, Status> {
        reads::list_parked(&self.shared, request).await
    }

    async fn list_outstanding(
        &self,
        request: Request<v1::ListOutstandingRequest>,
    ) -> Result<Response<v1::ListOutstandingResponse>, Status> {
        reads::list_outstanding(&self.shared, request).await
    }

    async fn replay_parked(
        &self,
        request: Request<v1::ReplayParkedRequest>,
    ) -> Result<Response<v1::ReplayParkedResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn discard_parked(
        &self,
        request: Request<v1::DiscardParkedRequest>,
    ) -> Result<Response<v1::DiscardParkedResponse>, Status> {
        coordinate(&self.shared, request).await
    }
}
