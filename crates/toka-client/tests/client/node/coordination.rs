//! Cursors and consumer groups of a server that fails as it is told.

use toka_proto::v1;
use toka_proto::v1::cursor_service_server::CursorService;
use toka_proto::v1::group_service_server::GroupService;
use tonic::{Request, Response, Status};

use super::{Service, push};

type Answer<T> = Result<Response<T>, Status>;

fn unscripted<T>() -> Answer<T> {
    Err(Status::unimplemented("not in the script"))
}

#[tonic::async_trait]
impl CursorService for Service {
    async fn save_cursor(
        &self,
        request: Request<v1::SaveCursorRequest>,
    ) -> Answer<v1::SaveCursorResponse> {
        self.check_cluster(&request)?;
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.cursor_saves, request.clone()));
        self.reply(call, &self.script.save_cursor, request).await
    }

    async fn get_cursor(
        &self,
        request: Request<v1::GetCursorRequest>,
    ) -> Answer<v1::GetCursorResponse> {
        self.reply(0, &self.script.get_cursor, request.into_inner())
            .await
    }

    async fn list_cursors(
        &self,
        request: Request<v1::ListCursorsRequest>,
    ) -> Answer<v1::ListCursorsResponse> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.cursor_lists, request.clone()));
        self.reply(call, &self.script.list_cursors, request).await
    }

    async fn delete_cursor(
        &self,
        _: Request<v1::DeleteCursorRequest>,
    ) -> Answer<v1::DeleteCursorResponse> {
        unscripted()
    }
}

#[tonic::async_trait]
impl GroupService for Service {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Answer<v1::CreateGroupResponse> {
        self.check_cluster(&request)?;
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.group_creations, request.clone()));
        self.reply(call, &self.script.create_group, request).await
    }

    async fn get_group(
        &self,
        request: Request<v1::GetGroupRequest>,
    ) -> Answer<v1::GetGroupResponse> {
        self.reply(0, &self.script.get_group, request.into_inner())
            .await
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Answer<v1::ListGroupsResponse> {
        unscripted()
    }

    async fn delete_group(
        &self,
        _: Request<v1::DeleteGroupRequest>,
    ) -> Answer<v1::DeleteGroupResponse> {
        unscripted()
    }

    async fn update_group(
        &self,
        _: Request<v1::UpdateGroupRequest>,
    ) -> Answer<v1::UpdateGroupResponse> {
        unscripted()
    }

    async fn list_outstanding(
        &self,
        _: Request<v1::ListOutstandingRequest>,
    ) -> Answer<v1::ListOutstandingResponse> {
        unscripted()
    }

    async fn pull(&self, request: Request<v1::PullRequest>) -> Answer<v1::PullResponse> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.pulls, request.clone()));
        self.reply(call, &self.script.pull, request).await
    }

    async fn settle(&self, request: Request<v1::SettleRequest>) -> Answer<v1::SettleResponse> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.settles, request.clone()));
        self.reply(call, &self.script.settle, request).await
    }

    async fn list_parked(
        &self,
        request: Request<v1::ListParkedRequest>,
    ) -> Answer<v1::ListParkedResponse> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.parked_lists, request.clone()));
        self.reply(call, &self.script.list_parked, request).await
    }

    async fn replay_parked(
        &self,
        request: Request<v1::ReplayParkedRequest>,
    ) -> Answer<v1::ReplayParkedResponse> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.parked_replays, request.clone()));
        self.reply(call, &self.script.replay_parked, request).await
    }

    async fn discard_parked(
        &self,
        _: Request<v1::DiscardParkedRequest>,
    ) -> Answer<v1::DiscardParkedResponse> {
        unscripted()
    }
}
