//! Tokens that are made, rotated and revoked.

use toka_ledger::command::{CREDENTIALS_LEVEL, Command, CreateToken, RevokeToken, RotateToken};
use toka_ledger::core::limits::TOKEN_GRACE_MS_MAX;
use toka_ledger::credentials::TokenId;
use toka_ledger::{Invalid, Outcome};
use toka_proto::convert::auth::NewToken;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use super::actor::actor;
use super::secret::Drawn;
use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, leader_header, propose};
use crate::routing::Call;

fn token_id(vault: &str, id: &str) -> Result<TokenId, Status> {
    check_vault(vault)
        .and_then(|()| id.parse::<TokenId>())
        .map_err(|error| status::invalid(&error))
}

fn new_token(request: &v1::CreateTokenRequest) -> Result<NewToken, Status> {
    check_vault(&request.vault)
        .and_then(|()| NewToken::try_from(request.clone()))
        .map_err(|error| status::invalid(&error))
}

#[tonic::async_trait]
impl Coordinate for v1::CreateTokenRequest {
    type Response = v1::CreateTokenResponse;

    const LEVEL: u32 = CREDENTIALS_LEVEL;

    /// Each try draws another secret, and leaves a token behind.
    fn is_repeatable(&self) -> bool {
        false
    }

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        new_token(self).map(drop)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let new = new_token(self).map_err(Refused::Final)?;
        let drawn = Drawn::new(&*shared.entropy);
        let (actor, id, verifier) = (actor(&call.access), drawn.id(), drawn.verifier);
        let created = propose(shared, call, "token", |unix_ms| {
            Command::CreateToken(CreateToken {
                unix_ms,
                actor,
                id,
                verifier,
                principal: new.principal,
                roles: new.roles,
                grants: new.grants,
                limits: new.limits,
                expires_unix_ms: new.expires_unix_ms,
                if_no_admin: false,
            })
        });
        match created.await? {
            Outcome::TokenCreated { revision, token } => Ok(v1::CreateTokenResponse {
                header: leader_header(shared, revision),
                revision,
                token: Some((&*token).into()),
                text: drawn.text(),
            }),
            other => unreachable!("a token was to be created: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.auth(leader)?.create_token(request).await
    }
}

#[tonic::async_trait]
impl Coordinate for v1::RotateTokenRequest {
    type Response = v1::RotateTokenResponse;

    const LEVEL: u32 = CREDENTIALS_LEVEL;

    fn is_repeatable(&self) -> bool {
        false
    }

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        token_id(&self.vault, &self.id)?;
        if self.grace_ms > TOKEN_GRACE_MS_MAX {
            return Err(status::invalid(&Invalid::OutOfRange {
                field: "grace_ms",
                min: 0,
                max: TOKEN_GRACE_MS_MAX.into(),
                actual: self.grace_ms.into(),
            }));
        }
        Ok(())
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let id = token_id(&self.vault, &self.id).map_err(Refused::Final)?;
        let (grace_ms, expires_unix_ms) = (self.grace_ms, self.expires_unix_ms);
        let drawn = Drawn::new(&*shared.entropy);
        let (actor, new_id, verifier) = (actor(&call.access), drawn.id(), drawn.verifier);
        let rotated = propose(shared, call, "token", |unix_ms| {
            Command::RotateToken(RotateToken {
                unix_ms,
                actor,
                id,
                new_id,
                verifier,
                grace_ms,
                expires_unix_ms,
            })
        });
        match rotated.await? {
            Outcome::TokenCreated { revision, token } => Ok(v1::RotateTokenResponse {
                header: leader_header(shared, revision),
                revision,
                token: Some((&*token).into()),
                text: drawn.text(),
            }),
            other => unreachable!("a token was to be rotated: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.auth(leader)?.rotate_token(request).await
    }
}

#[tonic::async_trait]
impl Coordinate for v1::RevokeTokenRequest {
    type Response = v1::RevokeTokenResponse;

    const LEVEL: u32 = CREDENTIALS_LEVEL;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        token_id(&self.vault, &self.id).map(drop)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let id = token_id(&self.vault, &self.id).map_err(Refused::Final)?;
        let actor = actor(&call.access);
        let revoked = propose(shared, call, "revocation", |unix_ms| {
            Command::RevokeToken(RevokeToken { unix_ms, actor, id })
        });
        match revoked.await? {
            Outcome::TokenRevoked { revision, token } => Ok(v1::RevokeTokenResponse {
                header: leader_header(shared, revision),
                revision,
                token: Some((&*token).into()),
            }),
            other => unreachable!("a token was to be revoked: {other:?}"),
        }
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.auth(leader)?.revoke_token(request).await
    }
}
