//! Tokens and roles of the vault, as authorization takes them.

use toka_auth::{Action, Grant, Limits, SecretHash};
use toka_ledger::credentials;
use toka_ledger::credentials::{AuthView, TokenId};

use crate::auth::Directory;

/// Tokens and roles as this node has them.
#[derive(Clone, Debug)]
pub(crate) struct VaultDirectory(pub(crate) AuthView);

impl Directory for VaultDirectory {
    fn token(&self, id: toka_auth::TokenId) -> Option<toka_auth::StoredToken> {
        let id = TokenId(id.0.to_be_bytes());
        self.0.by_id(id).map(|token| stored_token(&token))
    }

    fn role(&self, name: &str) -> Option<toka_auth::Role> {
        self.0.role(name).map(|role| toka_auth::Role {
            name: role.name.to_string(),
            grants: role.grants.iter().map(grant).collect(),
        })
    }
}

fn stored_token(token: &credentials::StoredToken) -> toka_auth::StoredToken {
    toka_auth::StoredToken {
        id: toka_auth::TokenId(u64::from_be_bytes(token.id.0)),
        name: token.principal.to_string(),
        secret: SecretHash {
            salt: token.verifier.salt,
            hash: token.verifier.hash,
        },
        // A rotated token is one under another id.
        previous: None,
        roles: token.roles.iter().map(ToString::to_string).collect(),
        grants: token.grants.iter().map(grant).collect(),
        limits: limits(token.limits),
        created_unix_ms: token.created_unix_ms,
        expires_unix_ms: token.expires_unix_ms,
        revoked_unix_ms: token.revoked_unix_ms,
    }
}

fn grant(grant: &credentials::Grant) -> Grant {
    let action = match grant.action {
        credentials::Action::Read => Action::Read,
        credentials::Action::Write => Action::Write,
        credentials::Action::Admin => Action::Admin,
    };
    Grant {
        action,
        kind_prefixes: grant.kind_prefixes.clone(),
    }
}

fn limits(limits: credentials::Limits) -> Limits {
    let some = |limit: u32| Some(limit).filter(|limit| *limit > 0);
    Limits {
        requests_per_second: some(limits.requests_per_second),
        bytes_per_second: Some(limits.bytes_per_second).filter(|limit| *limit > 0),
        subscriptions: some(limits.subscriptions),
    }
}
