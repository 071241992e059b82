//! Who calls.

use std::fmt;

use crate::grant::{Action, Grant};
use crate::limits::Limits;
use crate::token::TokenId;

/// How a caller has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// By a bearer token of this vault.
    Token(TokenId),
    /// By a client certificate.
    Certificate,
    /// By a JWT of the configured issuer.
    Jwt,
    /// By the certificate of a node of this cluster.
    Node,
    /// Not at all.
    Anonymous,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token {id}"),
            Self::Certificate => f.write_str("certificate"),
            Self::Jwt => f.write_str("jwt"),
            Self::Node => f.write_str("node"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// Who calls, and what they may do, with all roles resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's name, the certificate's, the `sub` of the JWT; empty for nobody.
    pub name: String,
    /// What they may do: a token's own grants, and those of its roles.
    pub grants: Vec<Grant>,
    /// Names of the roles that some of the grants come from, also of those that there are not.
    pub roles: Vec<String>,
    /// How they have shown who they are.
    pub source: Source,
    /// What they may use; what is absent is the node's default.
    pub limits: Limits,
    /// When what they have shown ends, milliseconds since the Unix epoch; absent: it does not say.
    pub expires_unix_ms: Option<u64>,
}

impl Principal {
    /// Who has shown nothing, and may do nothing.
    pub fn anonymous() -> Self {
        Self {
            name: String::new(),
            grants: Vec::new(),
            roles: Vec::new(),
            source: Source::Anonymous,
            limits: Limits::default(),
            expires_unix_ms: None,
        }
    }

    /// A node of this cluster.
    pub fn node(name: String) -> Self {
        Self {
            name,
            grants: vec![Grant::of_all(Action::Admin)],
            source: Source::Node,
            ..Self::anonymous()
        }
    }

    /// Whether a grant allows the action for at least some kind.
    pub fn may_some(&self, action: Action) -> bool {
        self.grants.iter().any(|grant| grant.action.covers(action))
    }

    /// Whether one grant allows the action for every kind.
    pub fn may_all(&self, action: Action) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.action.covers(action) && grant.is_of_all())
    }
}
