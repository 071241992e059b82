//! Where tokens and roles are looked up.

use std::fmt;

#[cfg(test)]
use toka_auth::{Action, Grant};
use toka_auth::{Role, StoredToken, TokenId};

/// Tokens and roles as this node has them. Answers at once, from memory.
pub(crate) trait Directory: Send + Sync + fmt::Debug {
    /// What is kept of a token; `None`: there is none of that id.
    fn token(&self, id: TokenId) -> Option<StoredToken>;

    /// A role, also a built-in one; `None`: there is none of that name.
    fn role(&self, name: &str) -> Option<Role>;
}

/// The built-in roles, and no tokens.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct RootOnly;

#[cfg(test)]
impl Directory for RootOnly {
    fn token(&self, _: TokenId) -> Option<StoredToken> {
        None
    }

    fn role(&self, name: &str) -> Option<Role> {
        let actions: &[Action] = match name {
            "reader" => &[Action::Read],
            "writer" => &[Action::Read, Action::Write],
            "admin" => &[Action::Admin],
            _ => return None,
        };
        Some(Role {
            name: name.to_owned(),
            grants: actions.iter().copied().map(Grant::of_all).collect(),
        })
    }
}
