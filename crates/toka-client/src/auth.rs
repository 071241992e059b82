//! Tokens and roles: who may use the vault, and for what.

use std::fmt;

use toka_ledger::RoleName;
use toka_ledger::credentials::{Grant, Limits, Role, TokenId};
use toka_proto::convert::auth::{NewToken, TokenInfo, grants, limits};
use toka_proto::v1;
use toka_proto::v1::auth_service_client::AuthServiceClient;

use crate::call::Repeats;
use crate::channel::Connection;
use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::read::{Consistency, route};
use crate::routes::Route;

/// Tokens or roles that one call asks for.
const PAGE: u32 = 1_000;

/// A token that was made, with what its holder shows. `Debug` does not show that.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// What the vault keeps of it.
    pub token: TokenInfo,
    /// Its text, `toka_<id>_<secret>`. Nobody can be asked for it again.
    pub text: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// How a caller has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialKind {
    /// It has not, or nobody has to; or in a way that is newer than this client.
    None,
    /// By a token of the vault.
    Token(TokenId),
    /// By a client certificate.
    Certificate,
    /// By a JWT of an issuer that the node trusts.
    Jwt,
    /// By the certificate of a node.
    Node,
}

/// Who this client is to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub principal: String,
    /// How it has shown that.
    pub credential: CredentialKind,
    /// Everything that it may do.
    pub grants: Vec<Grant>,
    /// How much of it.
    pub limits: Limits,
    /// Whether the node asks callers who they are at all.
    pub is_enforced: bool,
}

impl Client {
    /// Makes a token. A repeat would make another one: there is none where it is not known whether it was made.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a role that there is not; [`Error::LimitReached`] above 10,000 tokens;
    /// [`Error::OutcomeUnknown`]; as every call.
    pub async fn create_token(&self, new: &NewToken) -> Result<Issued, Error> {
        let repeats = Repeats::IfUndone;
        let answer = self
            .shared
            .make(Route::Leader, self.deadline(), repeats, |channel, time| {
                let request = self.shared.request(v1::CreateTokenRequest::from(new), time);
                async move { service(channel).create_token(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        Ok(Issued {
            token: read_token(&endpoint, response.token)?,
            text: response.text,
        })
    }

    /// Makes a token in the place of another one, which counts for `grace_ms` more. As to repeats see
    /// [`Client::create_token`].
    ///
    /// # Errors
    /// [`Error::Rejected`] for a token that there is not, or that has ended; [`Error::OutcomeUnknown`]; as every call.
    pub async fn rotate_token(
        &self,
        id: TokenId,
        grace_ms: u32,
        expires_unix_ms: Option<u64>,
    ) -> Result<Issued, Error> {
        let repeats = Repeats::IfUndone;
        let answer = self
            .shared
            .make(Route::Leader, self.deadline(), repeats, |channel, time| {
                let message = v1::RotateTokenRequest {
                    vault: String::new(),
                    id: id.to_string(),
                    grace_ms,
                    expires_unix_ms,
                };
                let request = self.shared.request(message, time);
                async move { service(channel).rotate_token(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        Ok(Issued {
            token: read_token(&endpoint, response.token)?,
            text: response.text,
        })
    }

    /// Ends a token at once. Returns it as it is then.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a token that there is not; as every call.
    pub async fn revoke_token(&self, id: TokenId) -> Result<TokenInfo, Error> {
        let answer = self
            .shared
            .call(Route::Leader, self.deadline(), |channel, time| {
                let message = v1::RevokeTokenRequest {
                    vault: String::new(),
                    id: id.to_string(),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).revoke_token(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        read_token(&endpoint, response.token)
    }

    /// All tokens, also those that have ended, in the order of their ids.
    ///
    /// # Errors
    /// As every call.
    pub async fn tokens(&self, consistency: Consistency) -> Result<Vec<TokenInfo>, Error> {
        let deadline = self.deadline();
        let mut tokens = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = v1::ListTokensRequest {
                vault: String::new(),
                page_size: PAGE,
                page_token,
                read: Some(self.options(consistency)),
            };
            let answer = self
                .shared
                .call(route(consistency), deadline, |channel, time| {
                    let request = self.shared.request(message.clone(), time);
                    async move { service(channel).list_tokens(request).await }
                })
                .await?;
            let (endpoint, response) = (answer.endpoint, answer.message);
            self.shared.observe(&endpoint, response.header)?;
            for token in response.tokens {
                tokens.push(read_token(&endpoint, Some(token))?);
            }
            page_token = response.next_page_token;
            if page_token.is_empty() {
                return Ok(tokens);
            }
        }
    }

    /// Makes a role, or gives one that there is other grants. Returns the role.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::LimitReached`] above 256 roles; as every call.
    pub async fn put_role(&self, role: &Role) -> Result<Role, Error> {
        role.check()?;
        let answer = self
            .shared
            .call(Route::Leader, self.deadline(), |channel, time| {
                let message = v1::PutRoleRequest {
                    vault: String::new(),
                    role: Some(role.into()),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).put_role(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        read_role(&endpoint, response.role)
    }

    /// Removes a role. Returns the revision.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is none of that name, also after an earlier try of this call has removed it;
    /// [`Error::Refused`] while a valid token has it; as every call.
    pub async fn delete_role(&self, name: &RoleName) -> Result<u64, Error> {
        let answer = self
            .shared
            .call(Route::Leader, self.deadline(), |channel, time| {
                let message = v1::DeleteRoleRequest {
                    vault: String::new(),
                    name: name.to_string(),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).delete_role(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(answer.message.revision)
    }

    /// All roles: the built-in ones, and then the others by name.
    ///
    /// # Errors
    /// As every call.
    pub async fn roles(&self, consistency: Consistency) -> Result<Vec<Role>, Error> {
        let deadline = self.deadline();
        let mut roles = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = v1::ListRolesRequest {
                vault: String::new(),
                page_size: PAGE,
                page_token,
                read: Some(self.options(consistency)),
            };
            let answer = self
                .shared
                .call(route(consistency), deadline, |channel, time| {
                    let request = self.shared.request(message.clone(), time);
                    async move { service(channel).list_roles(request).await }
                })
                .await?;
            let (endpoint, response) = (answer.endpoint, answer.message);
            self.shared.observe(&endpoint, response.header)?;
            for role in response.roles {
                roles.push(read_role(&endpoint, Some(role))?);
            }
            page_token = response.next_page_token;
            if page_token.is_empty() {
                return Ok(roles);
            }
        }
    }

    /// Who this client is to the node that answers, and what it may do.
    ///
    /// # Errors
    /// As every call.
    pub async fn who_am_i(&self) -> Result<Identity, Error> {
        let answer = self
            .shared
            .call(Route::Any, self.deadline(), |channel, time| {
                let message = v1::WhoAmIRequest {
                    vault: String::new(),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).who_am_i(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header.clone())?;
        identity(response).map_err(|error| Error::reply(&endpoint, error))
    }
}

fn identity(response: v1::WhoAmIResponse) -> Result<Identity, toka_ledger::Invalid> {
    let credential = match response.credential() {
        v1::CredentialKind::Token => CredentialKind::Token(response.token_id.parse::<TokenId>()?),
        v1::CredentialKind::Certificate => CredentialKind::Certificate,
        v1::CredentialKind::Jwt => CredentialKind::Jwt,
        v1::CredentialKind::Node => CredentialKind::Node,
        v1::CredentialKind::None | v1::CredentialKind::Unspecified => CredentialKind::None,
    };
    Ok(Identity {
        principal: response.principal,
        credential,
        grants: grants(response.grants)?,
        limits: limits(response.limits)?,
        is_enforced: response.is_enforced,
    })
}

fn service(channel: Connection) -> AuthServiceClient<Connection> {
    AuthServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn read_token(endpoint: &str, token: Option<v1::TokenInfo>) -> Result<TokenInfo, Error> {
    let token = token.ok_or_else(|| Error::reply(endpoint, "it has no token"))?;
    TokenInfo::try_from(token).map_err(|error| Error::reply(endpoint, error))
}

fn read_role(endpoint: &str, role: Option<v1::AuthRole>) -> Result<Role, Error> {
    let role = role.ok_or_else(|| Error::reply(endpoint, "it has no role"))?;
    Role::try_from(role).map_err(|error| Error::reply(endpoint, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let token = v1::TokenInfo {
            id: "0123456789abcdef".to_owned(),
            principal: "robot".to_owned(),
            ..Default::default()
        };
        let issued = Issued {
            token: read_token("node", Some(token)).expect("a token"),
            text: "toka_0123456789abcdef_hunter2".to_owned(),
        };
        assert!(!format!("{issued:?}").contains("hunter2"));
    }
}
