//! Roles that are put and deleted.

use toka_ledger::command::{CREDENTIALS_LEVEL, Command, DeleteRole, PutRole};
use toka_ledger::credentials::Role;
use toka_ledger::{Invalid, Outcome, RoleName};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use super::actor::actor;
use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, leader_header, propose};
use crate::routing::Call;

fn role(request: &v1::PutRoleRequest) -> Result<Role, Status> {
    read_role(request).map_err(|error| status::invalid(&error))
}

fn read_role(request: &v1::PutRoleRequest) -> Result<Role, Invalid> {
    check_vault(&request.vault)?;
    let message = request.role.clone();
    let message = message.ok_or(Invalid::Empty { field: "role" })?;
    let role = Role::try_from(message)?;
    role.check()?;
    Ok(role)
}

fn role_name(request: &v1::DeleteRoleRequest) -> Result<RoleName, Status> {
    check_vault(&request.vault)
        .and_then(|()| RoleName::new(&request.name))
        .map_err(|error| status::invalid(&error))
}

#[tonic::async_trait]
impl Coordinate for v1::PutRoleRequest {
    type Response = v1::PutRoleResponse;

    const LEVEL: u32 = CREDENTIALS_LEVEL;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        role(self).map(drop)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let role = role(self).map_err(Refused::Final)?;
        let actor = actor(&call.access);
        let put = propose(shared, call, "role", |unix_ms| {
            Command::PutRole(PutRole {
                unix_ms,
                actor,
                role,
            })
        });
        match put.await? {
            Outcome::RolePut { revision, role } => Ok(v1::PutRoleResponse {
                header: leader_header(shared, revision),
                revision,
                role: Some((&*role).into()),
            }),
            other => unreachable!("a role was to be put: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.auth(leader)?.put_role(request).await
    }
}

#[tonic::async_trait]
impl Coordinate for v1::DeleteRoleRequest {
    type Response = v1::DeleteRoleResponse;

    const LEVEL: u32 = CREDENTIALS_LEVEL;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        role_name(self).map(drop)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let name = role_name(self).map_err(Refused::Final)?;
        let actor = actor(&call.access);
        let deleted = propose(shared, call, "deletion", |unix_ms| {
            Command::DeleteRole(DeleteRole {
                unix_ms,
                actor,
                name,
            })
        });
        match deleted.await? {
            Outcome::RoleDeleted { revision } => Ok(v1::DeleteRoleResponse {
                header: leader_header(shared, revision),
                revision,
            }),
            other => unreachable!("a role was to be deleted: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.auth(leader)?.delete_role(request).await
    }
}
