//! All tokens and roles in memory: there are so few that nothing needs to be read when a call comes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Reader;
use crate::core::RoleName;
use crate::core::credentials::{BUILT_IN_ROLES, Grant, Role, StoredToken, TokenId, built_in_role};
use crate::core::limits::{ROLES_MAX, TOKENS_MAX};
use crate::engine::Engine;
use crate::error::Error;
use crate::store::audit::AuditHead;
use crate::store::lookup;

/// All tokens and roles as of one revision.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    tokens: BTreeMap<TokenId, Arc<StoredToken>>,
    /// Those that are stored.
    roles: BTreeMap<RoleName, Arc<Role>>,
    /// The built-in ones.
    built_in: BTreeMap<RoleName, Arc<Role>>,
    revision: u64,
}

impl Credentials {
    /// What the vault that `engine` holds has, as of `revision`.
    pub(crate) fn load(engine: &dyn Engine, revision: u64) -> Result<Self, Error> {
        let tokens = lookup::tokens(engine)?.into_iter();
        let roles = lookup::roles(engine)?.into_iter();
        let built_in = BUILT_IN_ROLES.iter().filter_map(|name| built_in_role(name));
        let by_name = |role: Role| (role.name.clone(), Arc::new(role));
        Ok(Self {
            tokens: tokens.map(|token| (token.id, Arc::new(token))).collect(),
            roles: roles.map(by_name).collect(),
            built_in: built_in.map(by_name).collect(),
            revision,
        })
    }

    /// A token.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&Arc<StoredToken>> {
        self.tokens.get(&id)
    }

    /// A role, also a built-in one.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name).or_else(|| self.built_in.get(name))
    }

    /// All tokens behind the one called `after`, in the order of their ids.
    pub fn tokens(&self, after: Option<TokenId>) -> impl Iterator<Item = &Arc<StoredToken>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.tokens
            .range((from, Bound::Unbounded))
            .map(|(_, token)| token)
    }

    /// All roles: the built-in ones, and then the others by name.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.built_in.values().chain(self.roles.values())
    }

    /// Revision of the last command that has changed a token or a role, or that of the vault when it was opened.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the vault could be administered with one of the tokens at `unix_ms`.
    #[must_use]
    pub fn has_admin(&self, unix_ms: u64) -> bool {
        let is_admin = |name: &RoleName| {
            let role = self.role(name.as_str());
            role.is_some_and(|role| role.is_admin())
        };
        self.tokens.values().any(|token| {
            let administers =
                token.grants.iter().any(Grant::is_admin) || token.roles.iter().any(is_admin);
            token.is_valid_at(unix_ms) && administers
        })
    }

    /// How many tokens that still count at `unix_ms` have a role.
    pub(crate) fn holders(&self, name: &RoleName, unix_ms: u64) -> u64 {
        let holds =
            |token: &&Arc<StoredToken>| token.is_valid_at(unix_ms) && token.roles.contains(name);
        self.tokens.values().filter(holds).count() as u64
    }

    pub(crate) fn is_full_of_tokens(&self) -> bool {
        self.tokens.len() >= TOKENS_MAX
    }

    pub(crate) fn is_full_of_roles(&self) -> bool {
        self.roles.len() >= ROLES_MAX
    }

    /// The token that has ended first, of those that count for nothing at `unix_ms`.
    pub(crate) fn first_ended(&self, unix_ms: u64) -> Option<TokenId> {
        let ended = self.tokens.values();
        let ended = ended.filter(|token| !token.is_valid_at(unix_ms));
        let when = |token: &&Arc<StoredToken>| {
            let ended = [token.revoked_unix_ms, token.expires_unix_ms];
            (ended.into_iter().flatten().min(), token.id)
        };
        ended.min_by_key(when).map(|token| token.id)
    }

    pub(crate) fn put_token(&mut self, token: Arc<StoredToken>, revision: u64) {
        self.revision = revision;
        self.tokens.insert(token.id, token);
    }

    pub(crate) fn remove_token(&mut self, id: TokenId, revision: u64) {
        self.revision = revision;
        self.tokens.remove(&id);
    }

    pub(crate) fn put_role(&mut self, role: Arc<Role>, revision: u64) {
        self.revision = revision;
        self.roles.insert(role.name.clone(), role);
    }

    pub(crate) fn remove_role(&mut self, name: &RoleName, revision: u64) {
        self.revision = revision;
        self.roles.remove(name);
    }
}

/// What there is of tokens and roles on this node, kept up to date; cheap to clone, for any thread. A look takes a lock
/// for as long as it takes to count a reference up.
#[derive(Clone, Debug, Default)]
pub struct AuthView {
    current: Arc<RwLock<Arc<Credentials>>>,
}

impl AuthView {
    /// A token; `None` if there is none of that name.
    #[must_use]
    pub fn by_id(&self, id: TokenId) -> Option<Arc<StoredToken>> {
        self.current.read().token(id).cloned()
    }

    /// A role, also a built-in one; `None` if there is none of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<Arc<Role>> {
        self.current.read().role(name).cloned()
    }

    /// As [`Credentials::revision`].
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.current.read().revision()
    }

    /// All of them, as of now.
    #[must_use]
    pub fn all(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.read())
    }

    pub(crate) fn set(&self, credentials: Arc<Credentials>) {
        *self.current.write() = credentials;
    }
}

impl Reader {
    /// What there is of tokens and roles, to look things up in at each call. It follows what is applied, also when a
    /// snapshot is installed; a clone of it does too.
    #[must_use]
    pub fn auth_view(&self) -> AuthView {
        self.auth().clone()
    }

    /// Where the chain of audit events ends.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn audit_head(&self) -> Result<AuditHead, Error> {
        Ok(lookup::audit_head(&*self.engine())?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::PrincipalName;
    use crate::core::credentials::{Limits, Verifier};

    fn token(id: u8, role: &str, expires: Option<u64>, revoked: Option<u64>) -> Arc<StoredToken> {
        Arc::new(StoredToken {
            id: TokenId([id; 8]),
            principal: PrincipalName::new("robot").expect("valid"),
            verifier: Verifier {
                salt: [0; 16],
                hash: [0; 32],
            },
            roles: vec![RoleName::new(role).expect("valid")],
            grants: Vec::new(),
            limits: Limits::default(),
            created_unix_ms: 0,
            expires_unix_ms: expires,
            revoked_unix_ms: revoked,
            replaced_by: None,
        })
    }

    fn with(tokens: &[Arc<StoredToken>]) -> Credentials {
        let engine = crate::engine::memory::MemoryEngine::new();
        let mut credentials = Credentials::load(&engine, 0).expect("empty");
        for token in tokens {
            credentials.put_token(Arc::clone(token), 1);
        }
        credentials
    }

    #[test]
    fn built_in_roles_are_there_without_being_stored() {
        let credentials = with(&[]);
        let names: Vec<_> = credentials
            .roles()
            .map(|role| role.name.to_string())
            .collect();
        assert_eq!(names, ["admin", "reader", "writer"]);
        assert!(
            credentials
                .role("admin")
                .is_some_and(|role| role.is_admin())
        );
        assert!(credentials.role("other").is_none());
    }

    #[test]
    fn an_admin_is_one_whose_token_counts() {
        assert!(!with(&[token(1, "writer", None, None)]).has_admin(5));
        assert!(with(&[token(1, "admin", Some(6), None)]).has_admin(5));
        assert!(!with(&[token(1, "admin", Some(5), None)]).has_admin(5));
        assert!(!with(&[token(1, "admin", None, Some(1))]).has_admin(5));
    }

    #[test]
    fn the_first_one_that_has_ended_is_found() {
        let credentials = with(&[
            token(1, "reader", Some(9), None),
            token(2, "reader", Some(7), None),
            token(3, "reader", None, Some(4)),
            token(4, "reader", None, None),
        ]);
        assert_eq!(credentials.first_ended(10), Some(TokenId([3; 8])));
        assert_eq!(
            with(&[token(1, "reader", Some(9), None)]).first_ended(8),
            None
        );
    }

    #[test]
    fn a_view_shows_what_was_set_last() {
        let view = AuthView::default();
        let clone = view.clone();
        view.set(Arc::new(with(&[token(1, "reader", None, None)])));
        assert!(clone.by_id(TokenId([1; 8])).is_some());
        assert!(clone.by_id(TokenId([2; 8])).is_none());
        assert_eq!(clone.revision(), 1);
    }
}
