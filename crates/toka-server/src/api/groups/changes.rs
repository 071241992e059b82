//! Groups that are made and deleted, and parked events that are moved.

use toka_ledger::command::{Command, CreateGroup, DeleteGroup, MoveParked, ParkedAction};
use toka_ledger::core::limits::PARKED_MOVES_MAX;
use toka_ledger::group::Settings;
use toka_ledger::{GroupName, Invalid, Outcome, Reader, Rejection};
use toka_proto::convert::read::{check_count, check_vault};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use super::start::Start;
use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, caught_up, leader_header, propose};
use crate::routing::Call;

/// The group that a request names.
pub(super) fn group_name(vault: &str, name: &str) -> Result<GroupName, Status> {
    check_vault(vault)
        .and_then(|()| GroupName::new(name))
        .map_err(|error| status::invalid(&error))
}

fn settings(message: Option<v1::GroupSettings>) -> Result<Settings, Status> {
    let settings = message.map(Settings::try_from).transpose();
    settings
        .map(Option::unwrap_or_default)
        .map_err(|error| status::invalid(&error))
}

#[tonic::async_trait]
impl Coordinate for v1::CreateGroupRequest {
    type Response = v1::CreateGroupResponse;

    fn check(&mut self, shared: &Shared) -> Result<(), Status> {
        group_name(&self.vault, &self.name)?;
        settings(self.settings.clone())?;
        shared.check_history("history_id", &mut self.history_id)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let name = group_name(&self.vault, &self.name).map_err(Refused::Final)?;
        let settings = settings(self.settings.clone()).map_err(Refused::Final)?;
        caught_up(shared, call).await?;
        let start = Start::of(self.start.as_ref());
        let resolve = move |reader: &Reader| start.position(reader);
        let position = shared.read(call.deadline, resolve).await;
        let position = position.map_err(Refused::Final)?;
        let created = propose(shared, call, "group", |unix_ms| {
            Command::CreateGroup(CreateGroup {
                unix_ms,
                name,
                settings,
                position,
            })
        });
        match created.await? {
            Outcome::GroupCreated { revision, group } => Ok(v1::CreateGroupResponse {
                header: leader_header(shared, revision),
                revision,
                group: Some((&group).into()),
            }),
            other => unreachable!("a group was to be created: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.groups(leader)?.create_group(request).await
    }
}

#[tonic::async_trait]
impl Coordinate for v1::DeleteGroupRequest {
    type Response = v1::DeleteGroupResponse;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        group_name(&self.vault, &self.name).map(drop)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let name = group_name(&self.vault, &self.name).map_err(Refused::Final)?;
        let deleted = propose(shared, call, "deletion", |unix_ms| {
            let name = name.clone();
            Command::DeleteGroup(DeleteGroup { unix_ms, name })
        });
        let Outcome::GroupDeleted { revision } = deleted.await? else {
            unreachable!("a group was to be deleted")
        };
        shared.dispatchers.changed(&name);
        Ok(v1::DeleteGroupResponse {
            header: leader_header(shared, revision),
            revision,
        })
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.groups(leader)?.delete_group(request).await
    }
}

/// Parked events that are to be moved.
struct Parked<'a> {
    vault: &'a str,
    group: &'a str,
    sequences: &'a [u64],
}

impl Parked<'_> {
    fn check(&self) -> Result<GroupName, Status> {
        const FIELD: &str = "sequences";
        let group = group_name(self.vault, self.group)?;
        let is_ascending = self.sequences.is_sorted_by(|a, b| a < b);
        check_count(FIELD, PARKED_MOVES_MAX, self.sequences.len())
            .and(match is_ascending {
                true => Ok(()),
                false => Err(Invalid::Syntax {
                    field: FIELD,
                    expected: "in ascending order, without repeats",
                }),
            })
            .map_err(|error| status::invalid(&error))?;
        Ok(group)
    }

    /// Moves them; returns at which revision, and how many.
    async fn carry_out(
        &self,
        shared: &Shared,
        call: &Call,
        action: ParkedAction,
    ) -> Result<(u64, u32), Refused> {
        let group = self.check().map_err(Refused::Final)?;
        caught_up(shared, call).await?;
        let wanted = group.clone();
        let known = shared.read(call.deadline, move |reader: &Reader| reader.group(&wanted));
        let Some(known) = known.await.map_err(Refused::Final)? else {
            let unknown = Rejection::UnknownGroup { name: group };
            return Err(Refused::Final(status::rejection(&unknown)));
        };
        let moved = propose(shared, call, "move", |unix_ms| {
            Command::MoveParked(MoveParked {
                unix_ms,
                group: group.clone(),
                incarnation: known.incarnation,
                sequences: self.sequences.to_vec(),
                action,
            })
        });
        let Outcome::ParkedMoved { revision, moved } = moved.await? else {
            unreachable!("parked events were to be moved")
        };
        shared.dispatchers.changed(&group);
        Ok((revision, moved))
    }
}

macro_rules! moves_parked {
    ($request:ty, $response:ident, $action:expr, $forward:ident) => {
        #[tonic::async_trait]
        impl Coordinate for $request {
            type Response = v1::$response;

            fn check(&mut self, _: &Shared) -> Result<(), Status> {
                let parked = Parked {
                    vault: &self.vault,
                    group: &self.group,
                    sequences: &self.sequences,
                };
                parked.check().map(drop)
            }

            async fn make(
                &self,
                shared: &Shared,
                call: &Call,
                _: &Leader,
            ) -> Result<Self::Response, Refused> {
                let parked = Parked {
                    vault: &self.vault,
                    group: &self.group,
                    sequences: &self.sequences,
                };
                let (revision, moved) = parked.carry_out(shared, call, $action).await?;
                Ok(v1::$response {
                    header: leader_header(shared, revision),
                    revision,
                    moved,
                })
            }

            async fn forward(
                shared: &Shared,
                leader: &Leader,
                request: Request<Self>,
            ) -> Result<Response<Self::Response>, Status> {
                shared.router.groups(leader)?.$forward(request).await
            }
        }
    };
}

moves_parked!(
    v1::ReplayParkedRequest,
    ReplayParkedResponse,
    ParkedAction::Replay,
    replay_parked
);
moves_parked!(
    v1::DiscardParkedRequest,
    DiscardParkedResponse,
    ParkedAction::Discard,
    discard_parked
);
