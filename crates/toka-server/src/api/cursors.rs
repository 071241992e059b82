//! `toka.vault.v1.CursorService`: positions that the vault keeps under a name.

use std::sync::Arc;

use toka_ledger::command::{Command, DeleteCursor, SaveCursor};
use toka_ledger::{CursorName, Outcome, Reader, Rejection};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::cursor_service_server::{CursorService, CursorServiceServer};
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use super::Shared;
use super::commit::Refused;
use super::coordination::{Coordinate, coordinate, leader_header, page_size, propose};
use super::name_token::NameList;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::routing::Call;

/// The service.
#[derive(Clone)]
pub(crate) struct Cursors {
    shared: Arc<Shared>,
}

impl Cursors {
    pub(crate) fn server(shared: Arc<Shared>) -> CursorServiceServer<Self> {
        CursorServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl CursorService for Cursors {
    async fn save_cursor(
        &self,
        request: Request<v1::SaveCursorRequest>,
    ) -> Result<Response<v1::SaveCursorResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn get_cursor(
        &self,
        request: Request<v1::GetCursorRequest>,
    ) -> Result<Response<v1::GetCursorResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        let name = cursor_name(&request.vault, &request.name)?;
        let position = shared.barrier(&call, request.read).await?;
        let wanted = name.clone();
        let read = move |reader: &Reader| reader.cursor(&wanted);
        let Some(sequence) = shared.read(call.deadline, read).await? else {
            return Err(status::rejection(&Rejection::UnknownCursor { name }));
        };
        Ok(Response::new(v1::GetCursorResponse {
            header: Some(shared.header(&position)),
            cursor: Some(message((name, sequence))),
        }))
    }

    async fn list_cursors(
        &self,
        request: Request<v1::ListCursorsRequest>,
    ) -> Result<Response<v1::ListCursorsResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        let list = NameList {
            of: "cursors",
            history_id: shared.history_id(),
        };
        let after = check_vault(&request.vault)
            .and_then(|()| list.read(&request.page_token))
            .and_then(|after| after.as_deref().map(CursorName::new).transpose())
            .map_err(|error| status::invalid(&error))?;
        let limit = page_size(request.page_size);
        let position = shared.barrier(&call, request.read).await?;
        // One more than the page has: there is another page then.
        let read = move |reader: &Reader| reader.cursors(after.as_ref(), limit + 1);
        let mut cursors = shared.read(call.deadline, read).await?;
        let has_more = cursors.len() > limit;
        cursors.truncate(limit);
        let last = cursors.last().filter(|_| has_more);
        let next_page_token = last.map(|(name, _)| list.encode(name.as_str()));
        Ok(Response::new(v1::ListCursorsResponse {
            header: Some(shared.header(&position)),
            cursors: cursors.into_iter().map(message).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn delete_cursor(
        &self,
        request: Request<v1::DeleteCursorRequest>,
    ) -> Result<Response<v1::DeleteCursorResponse>, Status> {
        coordinate(&self.shared, request).await
    }
}

fn message((name, sequence): (CursorName, u64)) -> v1::Cursor {
    v1::Cursor {
        name: name.to_string(),
        sequence,
    }
}

fn cursor_name(vault: &str, name: &str) -> Result<CursorName, Status> {
    check_vault(vault)
        .and_then(|()| CursorName::new(name))
        .map_err(|error| status::invalid(&error))
}

/// Changes that are one command: `$command` makes it of the request, the cursor's name and the time, and `$outcome` is
/// what it comes to, with its `$revision`.
macro_rules! changes_cursor {
    ($request:ident, $response:ident, $what:literal, $forward:ident, $command:expr, $outcome:pat => $revision:ident) => {
        #[tonic::async_trait]
        impl Coordinate for v1::$request {
            type Response = v1::$response;

            /// Wherever the cursor is: a repeat might undo what somebody else has done since.
            fn is_repeatable(&self) -> bool {
                self.from_sequence.is_some()
            }

            fn check(&mut self, shared: &Shared) -> Result<(), Status> {
                cursor_name(&self.vault, &self.name)?;
                shared.check_history("history_id", &mut self.history_id)
            }

            async fn make(
                &self,
                shared: &Shared,
                call: &Call,
                _: &Leader,
            ) -> Result<Self::Response, Refused> {
                let name = cursor_name(&self.vault, &self.name).map_err(Refused::Final)?;
                let command: fn(&Self, CursorName, u64) -> Command = $command;
                let changed = propose(shared, call, $what, |unix_ms| command(self, name, unix_ms));
                match changed.await? {
                    $outcome => Ok(v1::$response {
                        header: leader_header(shared, $revision),
                        revision: $revision,
                    }),
                    other => unreachable!("a cursor was to be changed: {other:?}"),
                }
            }

            async fn forward(
                shared: &Shared,
                leader: &Leader,
                request: Request<Self>,
            ) -> Result<Response<Self::Response>, Status> {
                shared.router.cursors(leader)?.$forward(request).await
            }
        }
    };
}

changes_cursor!(
    SaveCursorRequest,
    SaveCursorResponse,
    "cursor",
    save_cursor,
    |request, name, unix_ms| {
        Command::SaveCursor(SaveCursor {
            unix_ms,
            name,
            from: request.from_sequence,
            to: request.to_sequence,
        })
    },
    Outcome::CursorSaved { revision, .. } => revision
);
changes_cursor!(
    DeleteCursorRequest,
    DeleteCursorResponse,
    "deletion",
    delete_cursor,
    |request, name, unix_ms| {
        Command::DeleteCursor(DeleteCursor {
            unix_ms,
            name,
            from: request.from_sequence,
        })
    },
    Outcome::CursorDeleted { revision } => revision
);
