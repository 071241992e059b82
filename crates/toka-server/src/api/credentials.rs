//! `toka.vault.v1.AuthService`: tokens and roles; each call's way to the file that has it.

mod actor;
mod audit;
mod bootstrap;
mod denials;
mod directory;
mod lists;
mod roles;
mod secret;
mod tokens;
mod whoami;

use std::sync::Arc;

use toka_proto::v1;
use toka_proto::v1::auth_service_server::{AuthService, AuthServiceServer};
use tonic::{Request, Response, Status};

pub(crate) use self::audit::Audit;
pub(crate) use self::bootstrap::Bootstrap;
pub(crate) use self::denials::{Audited, Denied};
pub(crate) use self::directory::{VaultDirectory, VaultTime};
use super::Shared;
use super::coordination::coordinate;
use crate::limits::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Clone)]
pub(crate) struct Auth {
    shared: Arc<Shared>,
}

impl Auth {
    pub(crate) fn server(shared: Arc<Shared>) -> AuthServiceServer<Self> {
        AuthServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl AuthService for Auth {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        lists::tokens(&self.shared, request).await
    }

    async fn rotate_token(
        &self,
        request: Request<v1::RotateTokenRequest>,
    ) -> Result<Response<v1::RotateTokenResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn put_role(
        &self,
        request: Request<v1::PutRoleRequest>,
    ) -> Result<Response<v1::PutRoleResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn delete_role(
        &self,
        request: Request<v1::DeleteRoleRequest>,
    ) -> Result<Response<v1::DeleteRoleResponse>, Status> {
        coordinate(&self.shared, request).await
    }

    async fn list_roles(
        &self,
        request: Request<v1::ListRolesRequest>,
    ) -> Result<Response<v1::ListRolesResponse>, Status> {
        lists::roles(&self.shared, request).await
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        whoami::who_am_i(&self.shared, &request)
    }
}
