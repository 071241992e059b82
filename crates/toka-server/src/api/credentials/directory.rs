//! Tokens and roles of the vault, as authorization takes them.

use std::sync::Arc;

use toka_auth::{Action, Grant, Limits, SecretHash};
use toka_ledger::credentials::{AuthView, TokenId};
use toka_ledger::seam::Clock;
use toka_ledger::{Reader, credentials};

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

/// The time by which credentials end: this node's, or the vault's where that is later. A clock that is behind, or was set
/// back, does not bring to life what the vault has seen the end of.
#[derive(Clone, Debug)]
pub(crate) struct VaultTime {
    clock: Arc<dyn Clock>,
    reader: Reader,
}

impl VaultTime {
    /// By the node's clock, and what it has of the vault.
    pub(crate) fn of(clock: &Arc<dyn Clock>, reader: &Reader) -> Arc<dyn Clock> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            reader: reader.clone(),
        })
    }
}

impl Clock for VaultTime {
    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms().max(self.reader.position().unix_ms)
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
