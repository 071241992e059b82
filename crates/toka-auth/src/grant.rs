//! Grants: an action, and the kinds of events that it is allowed for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Kind prefixes that one grant may have.
const PREFIXES_MAX: usize = 64;
/// Longest kind, and so the longest prefix of one, in bytes.
const PREFIX_BYTES_MAX: usize = 255;

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// See events, and what is derived from them.
    Read,
    /// Commit events, move cursors, work on consumer groups.
    Write,
    /// Read and write, see the audit events, and, where the grant covers all kinds, run the cluster.
    Admin,
}

impl Action {
    /// All of them, from the weakest.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name in text: `read`, `write`, `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Whether a grant of this action allows `wanted`: an admin may read and write, a writer may not read.
    pub fn covers(self, wanted: Self) -> bool {
        self == wanted || self == Self::Admin
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no action.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{word}` is no action; there are read, write and admin")]
pub struct UnknownAction {
    /// The word.
    pub word: String,
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == word)
            .ok_or_else(|| UnknownAction {
                word: word.to_owned(),
            })
    }
}

/// Why text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The action is unknown.
    #[error(transparent)]
    Action(#[from] UnknownAction),
    /// A prefix is empty, though prefixes are given.
    #[error("grant: kind prefix {index} is empty; a grant of all kinds has no prefixes")]
    EmptyPrefix {
        /// Its place, from 0.
        index: usize,
    },
    /// A prefix is longer than a kind may be.
    #[error("grant: kind prefix {index} has {bytes} bytes, at most {PREFIX_BYTES_MAX}")]
    LongPrefix {
        /// Its place, from 0.
        index: usize,
        /// Its length.
        bytes: usize,
    },
    /// No kind has control characters.
    #[error("grant: kind prefix {index} has a control character")]
    ControlCharacter {
        /// Its place, from 0.
        index: usize,
    },
    /// Too many prefixes.
    #[error("grant: {count} kind prefixes, at most {PREFIXES_MAX}")]
    TooManyPrefixes {
        /// How many there are.
        count: usize,
    },
}

/// An action, and the kinds that it is allowed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// What may be done.
    pub action: Action,
    /// With events whose kind starts with one of these; empty: with all.
    pub kind_prefixes: Vec<String>,
}

impl Grant {
    /// The action, for all kinds.
    pub fn of_all(action: Action) -> Self {
        Self {
            action,
            kind_prefixes: Vec::new(),
        }
    }

    /// The action, for the kinds that start with one of these.
    ///
    /// # Errors
    ///
    /// A prefix that no kind can start with, or too many of them.
    pub fn of_kinds(action: Action, kind_prefixes: Vec<String>) -> Result<Self, GrantError> {
        let grant = Self {
            action,
            kind_prefixes,
        };
        grant.check()?;
        Ok(grant)
    }

    /// Checks the prefixes of a grant that came from elsewhere.
    ///
    /// # Errors
    ///
    /// A prefix that no kind can start with, or too many of them.
    pub fn check(&self) -> Result<(), GrantError> {
        let count = self.kind_prefixes.len();
        if count > PREFIXES_MAX {
            return Err(GrantError::TooManyPrefixes { count });
        }
        for (index, prefix) in self.kind_prefixes.iter().enumerate() {
            let bytes = prefix.len();
            if bytes == 0 {
                return Err(GrantError::EmptyPrefix { index });
            }
            if bytes > PREFIX_BYTES_MAX {
                return Err(GrantError::LongPrefix { index, bytes });
            }
            if prefix.chars().any(char::is_control) {
                return Err(GrantError::ControlCharacter { index });
            }
        }
        Ok(())
    }

    /// Whether the grant covers every kind.
    pub fn is_of_all(&self) -> bool {
        self.kind_prefixes.is_empty()
    }

    /// Whether the grant covers events of this kind.
    pub fn covers_kind(&self, kind: &str) -> bool {
        self.is_of_all()
            || self
                .kind_prefixes
                .iter()
                .any(|prefix| kind.starts_with(prefix.as_str()))
    }
}

/// `read`, or `write:task.,chat.`: the action, and after a colon the prefixes with commas between.
impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None => Ok(Self::of_all(text.parse()?)),
            Some((action, prefixes)) => Self::of_kinds(
                action.parse()?,
                prefixes.split(',').map(str::to_owned).collect(),
            ),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_of_all() {
            write!(f, "{}", self.action)
        } else {
            write!(f, "{}:{}", self.action, self.kind_prefixes.join(","))
        }
    }
}

/// A named set of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub grants: Vec<Grant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grant_survives_text() {
        for text in ["read", "write:task.", "admin:toka.audit.,chat."] {
            let grant: Grant = text.parse().expect("a grant");
            assert_eq!(grant.to_string(), text);
        }
    }

    #[test]
    fn malformed_grants_are_refused_with_their_reason() {
        let error = |text: &str| text.parse::<Grant>().expect_err("no grant").to_string();
        assert_eq!(
            error("reed"),
            "`reed` is no action; there are read, write and admin"
        );
        assert!(error("read:").contains("prefix 0 is empty"));
        assert!(error("read:a,,b").contains("prefix 1 is empty"));
        assert!(error("read:a\n").contains("control character"));
        let long = format!("read:{}", "k".repeat(256));
        assert!(error(&long).contains("256 bytes, at most 255"));
        let many = format!("read:{}", vec!["k"; 65].join(","));
        assert!(error(&many).contains("65 kind prefixes, at most 64"));
    }

    #[test]
    fn only_admin_covers_other_actions() {
        for (has, wanted, allowed) in [
            (Action::Admin, Action::Read, true),
            (Action::Admin, Action::Write, true),
            (Action::Write, Action::Read, false),
            (Action::Read, Action::Write, false),
            (Action::Write, Action::Admin, false),
        ] {
            assert_eq!(has.covers(wanted), allowed, "{has} {wanted}");
        }
    }

    #[test]
    fn prefixes_bound_the_kinds() {
        let grant: Grant = "write:task.,chat".parse().expect("a grant");
        assert!(grant.covers_kind("task.new"));
        assert!(grant.covers_kind("chatter"));
        assert!(!grant.covers_kind("task"));
        assert!(Grant::of_all(Action::Read).covers_kind("anything"));
    }
}
