//! Groups that are made, changed and deleted.

use toka_ledger::command::{Command, CreateGroup, DeleteGroup, UpdateGroup};
use toka_ledger::group::{Changes, Group, Settings};
use toka_ledger::{GroupName, Outcome, Reader, Rejection};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::{Consistency, Leader};
use tonic::{Request, Response, Status};

use super::start::Start;
use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, caught_up, leader_header, propose};
use crate::auth::Access;
use crate::refusal;
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

    fn check_access(&self, access: &Access) -> Result<(), Status> {
        access.check_delivered(&settings(self.settings.clone())?.filter)
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
        // One whose deletion was not brought to its end is in the way.
        let known = find(shared, call, &name).await.map_err(Refused::Final)?;
        if let Some(ending) = known.filter(|group| group.is_ending) {
            delete_all(shared, call, &name, ending.incarnation).await?;
        }
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

    fn group(&self) -> Option<&str> {
        Some(&self.name)
    }

    /// One that is made since with that name must not be deleted by a second try.
    async fn resolve(
        &mut self,
        shared: &Shared,
        call: &Call,
    ) -> Result<Option<Self::Response>, Status> {
        let name = group_name(&self.vault, &self.name)?;
        name_incarnation(shared, call, &name, &mut self.incarnation).await?;
        Ok(None)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let name = group_name(&self.vault, &self.name).map_err(Refused::Final)?;
        let revision = delete_all(shared, call, &name, self.incarnation).await?;
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

#[tonic::async_trait]
impl Coordinate for v1::UpdateGroupRequest {
    type Response = v1::UpdateGroupResponse;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        group_name(&self.vault, &self.name)?;
        changes(self)
            .check()
            .map_err(|error| status::invalid(&error))
    }

    fn group(&self) -> Option<&str> {
        Some(&self.name)
    }

    async fn resolve(
        &mut self,
        shared: &Shared,
        call: &Call,
    ) -> Result<Option<Self::Response>, Status> {
        let name = group_name(&self.vault, &self.name)?;
        name_incarnation(shared, call, &name, &mut self.incarnation).await?;
        Ok(None)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let name = group_name(&self.vault, &self.name).map_err(Refused::Final)?;
        let (incarnation, changes) = (self.incarnation, changes(self));
        let updated = propose(shared, call, "change", |unix_ms| {
            Command::UpdateGroup(UpdateGroup {
                unix_ms,
                name: name.clone(),
                incarnation,
                changes,
            })
        });
        match updated.await? {
            Outcome::GroupUpdated { revision, group } => {
                shared.dispatchers.changed(&name);
                Ok(v1::UpdateGroupResponse {
                    header: leader_header(shared, revision),
                    revision,
                    group: Some((&group).into()),
                })
            }
            other => unreachable!("a group was to be changed: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.groups(leader)?.update_group(request).await
    }
}

fn changes(request: &v1::UpdateGroupRequest) -> Changes {
    Changes {
        ack_timeout_ms: request.ack_timeout_ms,
        unacknowledged_max: request.unacknowledged_max,
        deliveries_max: request.deliveries_max,
    }
}

/// Deletes a group by as many commands as it takes. Returns the revision of the last one.
async fn delete_all(
    shared: &Shared,
    call: &Call,
    name: &GroupName,
    incarnation: u64,
) -> Result<u64, Refused> {
    loop {
        let deleted = propose(shared, call, "deletion", |unix_ms| {
            Command::DeleteGroup(DeleteGroup {
                unix_ms,
                name: name.clone(),
                incarnation,
            })
        });
        let Outcome::GroupDeleted {
            revision,
            rows_left,
        } = deleted.await?
        else {
            unreachable!("a group was to be deleted")
        };
        shared.dispatchers.changed(name);
        if rows_left == 0 {
            return Ok(revision);
        }
    }
}

async fn find(shared: &Shared, call: &Call, name: &GroupName) -> Result<Option<Group>, Status> {
    let wanted = name.clone();
    let read = move |reader: &Reader| reader.group(&wanted);
    shared.read(call.deadline, read).await
}

/// The group of that name as it was when the call came, or later.
pub(super) async fn found(shared: &Shared, call: &Call, name: &GroupName) -> Result<Group, Status> {
    let barrier = shared
        .replica
        .read_barrier(Consistency::Linearizable, call.deadline);
    barrier.await.map_err(|error| refusal::read(&error, 0))?;
    let group = find(shared, call, name).await?;
    group.ok_or_else(|| status::rejection(&Rejection::UnknownGroup { name: name.clone() }))
}

/// Says which group of that name is meant, where the request does not.
pub(super) async fn name_incarnation(
    shared: &Shared,
    call: &Call,
    name: &GroupName,
    incarnation: &mut u64,
) -> Result<(), Status> {
    if *incarnation == 0 {
        *incarnation = found(shared, call, name).await?.incarnation;
    }
    Ok(())
}
