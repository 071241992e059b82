//! The decision about each call: who is it, and may it come in.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use toka_auth::{Action, Grant, Principal, Refusal, Source, StoredToken, Token, TokenId, verify};
use toka_ledger::seam::Clock;
use toka_proto::convert::status;
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use super::Access;
use super::account::Accounts;
use super::bindings::Bindings;
use super::credential::{Credential, Hidden, shown};
use super::denials::{Denial, Denials};
use super::directory::Directory;
use super::failures::Failures;
use super::issuer::Trusted;
use super::table::{Requirement, requirement};
use crate::transport::PeerIdentity;

/// What stands for all methods that there are not.
const UNKNOWN: &str = "unknown";

/// What decides about calls, where there is authorization.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(super) directory: Arc<dyn Directory>,
    /// The token that every node is given by its configuration.
    pub(super) root: Option<StoredToken>,
    pub(super) issuer: Option<Arc<Trusted>>,
    /// Roles by the name in a client certificate.
    pub(super) certificate_roles: Arc<Bindings>,
    pub(super) accounts: Accounts,
    pub(super) failures: Failures,
    pub(super) denials: Arc<dyn Denials>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Guard {
    /// Whose JWTs are taken, if anybody's are.
    pub(super) fn issuer(&self) -> Option<Arc<Trusted>> {
        self.issuer.clone()
    }

    /// What takes over what the files say that this rests on.
    pub(crate) fn follow(&self) -> Vec<BoxFuture<'static, ()>> {
        let bindings = Arc::clone(&self.certificate_roles).follow();
        let keys = self.issuer().map(|issuer| issuer.follow().boxed());
        bindings.into_iter().chain(keys).collect()
    }

    /// Lets a call of the method at `path` in, or says why not.
    ///
    /// # Errors
    /// UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED.
    pub(super) fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        peer: Option<&PeerIdentity>,
    ) -> Result<Access, Status> {
        let requirement = requirement(path);
        // Anybody may call any name, of any length: one that there is not is told to nobody.
        let method = match requirement {
            Some(_) => path.strip_prefix('/').unwrap_or(path),
            None => UNKNOWN,
        };
        if requirement == Some(Requirement::Public) {
            return self.access(Principal::anonymous(), method);
        }
        let principal = shown(headers, peer).and_then(|shown| self.principal(shown));
        let principal = principal.inspect_err(|refused| {
            self.tell(&Principal::anonymous(), method, refused.message());
        })?;
        let access = self.access(principal.clone(), method)?;
        if let Some(account) = access.account() {
            account.call(Instant::now())?;
        }
        let missing = requirement.map(|of| missing(of, &principal));
        match missing {
            Some(None) => Ok(access),
            // Also of methods that are not there, so that nobody without credentials learns which are.
            _ if principal.source == Source::Anonymous => {
                self.tell(&principal, method, "no credentials");
                Err(status::unauthenticated(
                    "this call needs credentials: a bearer token in the metadata `authorization`, or a client certificate",
                ))
            }
            Some(Some(missing)) => {
                self.tell(&principal, method, missing);
                let name = &principal.name;
                let message = format!("{name:?} may not call {method}: {missing} is missing");
                Err(status::permission_denied(missing, message))
            }
            None => {
                self.tell(&principal, method, "unknown method");
                Err(status::permission_denied(
                    "none",
                    "this method is in no table of what calls need, and is refused to everybody",
                ))
            }
        }
    }

    fn access(&self, principal: Principal, method: &str) -> Result<Access, Status> {
        let account = match principal.source {
            // Nodes forward what others have been counted for.
            Source::Node | Source::Anonymous => None,
            Source::Token(_) | Source::Certificate | Source::Jwt => self.accounts.of(&principal)?,
        };
        let denials = Arc::clone(&self.denials);
        Ok(Access::new(principal, account, denials, method))
    }

    fn tell(&self, principal: &Principal, method: &str, missing: &str) {
        self.denials.denied(&Denial {
            principal: &principal.name,
            source: principal.source,
            method,
            missing,
        });
    }

    /// Who has shown that.
    fn principal(&self, shown: Credential<'_>) -> Result<Principal, Status> {
        match shown {
            Credential::None => Ok(Principal::anonymous()),
            Credential::Token(token) => self.by_token(&token),
            Credential::Jwt(Hidden(text)) => self.by_jwt(text),
            Credential::Certificate(names) => Ok(self.by_certificate(names)),
            Credential::OnBehalfOf(name) => Ok(self.by_certificate(&[name])),
            Credential::Node(names) => {
                let name = names.first().cloned().unwrap_or_default();
                Ok(Principal::node(name))
            }
        }
    }

    pub(super) fn by_token(&self, token: &Token) -> Result<Principal, Status> {
        let refused = |refusal: Refusal| status::unauthenticated(refusal.to_string());
        // Which tokens there are is told to nobody.
        let stored = self.stored(token.id);
        let stored = stored.ok_or_else(|| refused(Refusal::WrongSecret))?;
        verify(&token.secret, &stored, self.clock.unix_ms()).map_err(refused)?;
        Ok(Principal {
            grants: self.grants_of(&stored),
            name: stored.name,
            roles: stored.roles,
            source: Source::Token(stored.id),
            limits: stored.limits,
            expires_unix_ms: stored.expires_unix_ms,
        })
    }

    /// What is kept of a token, of the configuration or of the vault.
    fn stored(&self, id: TokenId) -> Option<StoredToken> {
        match &self.root {
            Some(root) if root.id == id => Some(root.clone()),
            _ => self.directory.token(id),
        }
    }

    /// A token's own grants, and those of its roles.
    fn grants_of(&self, stored: &StoredToken) -> Vec<Grant> {
        let mut grants = stored.grants.clone();
        grants.extend(self.grants(&stored.roles));
        grants
    }

    /// What who has called may do by now; `None`: what was shown then counts no longer.
    pub(super) fn grants_now(&self, principal: &Principal) -> Option<Vec<Grant>> {
        let now_unix_ms = self.clock.unix_ms();
        match principal.source {
            Source::Token(id) => {
                let stored = self.stored(id)?;
                let is_standing = stored.check_standing(now_unix_ms).is_ok();
                is_standing.then(|| self.grants_of(&stored))
            }
            Source::Jwt => {
                let has_ended = principal
                    .expires_unix_ms
                    .is_some_and(|at| at <= now_unix_ms);
                (!has_ended).then(|| self.grants(&principal.roles))
            }
            Source::Certificate => {
                let bound = self.certificate_roles.roles();
                let roles = bound.get(&principal.name);
                Some(roles.map(|roles| self.grants(roles)).unwrap_or_default())
            }
            Source::Node | Source::Anonymous => Some(principal.grants.clone()),
        }
    }

    fn by_jwt(&self, text: &str) -> Result<Principal, Status> {
        let Some(issuer) = &self.issuer else {
            return Err(status::unauthenticated(
                "the bearer token is none of this vault's, and no issuer of JWTs is configured",
            ));
        };
        let claims = issuer
            .verify(text, self.clock.unix_ms())
            .map_err(|error| status::unauthenticated(error.to_string()))?;
        Ok(Principal {
            grants: self.grants(&claims.roles),
            name: claims.subject,
            roles: claims.roles,
            source: Source::Jwt,
            expires_unix_ms: Some(claims.expires_unix_ms),
            ..Principal::anonymous()
        })
    }

    /// The first name that has roles; where none has, the first one, which may do nothing.
    fn by_certificate(&self, names: &[String]) -> Principal {
        let roles = self.certificate_roles.roles();
        let bound = names.iter().find_map(|name| Some((name, roles.get(name)?)));
        let (name, grants) = match bound {
            Some((name, roles)) => (Some(name), self.grants(roles)),
            None => (names.first(), Vec::new()),
        };
        Principal {
            name: name.cloned().unwrap_or_default(),
            grants,
            source: Source::Certificate,
            ..Principal::anonymous()
        }
    }

    /// What roles grant; one that does not exist grants nothing.
    fn grants(&self, roles: &[String]) -> Vec<Grant> {
        let known = roles.iter().filter_map(|name| self.directory.role(name));
        known.flat_map(|role| role.grants).collect()
    }
}

/// What the principal lacks; `None`: nothing.
fn missing(requirement: Requirement, principal: &Principal) -> Option<&'static str> {
    let is_known = principal.source != Source::Anonymous;
    let (is_met, missing) = match requirement {
        Requirement::Public | Requirement::Optional => (true, ""),
        Requirement::Known => (is_known, "a credential"),
        Requirement::Read => (principal.may_some(Action::Read), "read"),
        Requirement::ReadAll => (principal.may_all(Action::Read), "read of all kinds"),
        Requirement::Write => (principal.may_some(Action::Write), "write"),
        Requirement::WriteAll => (principal.may_all(Action::Write), "write of all kinds"),
        Requirement::Admin => (principal.may_all(Action::Admin), "admin"),
        Requirement::Node => (
            principal.source == Source::Node,
            "the certificate of a node",
        ),
    };
    (!is_met).then_some(missing)
}

#[cfg(test)]
mod tests;
