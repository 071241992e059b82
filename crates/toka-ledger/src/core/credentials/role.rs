//! Roles: named sets of grants.

use crate::core::RoleName;
use crate::core::limits::{
    GRANT_PREFIXES_MAX, KIND_BYTES_MAX, ROLE_GRANTS_MAX, ROLE_PREFIX_BYTES_MAX,
};
use crate::core::text::check_controls;
use crate::error::Invalid;

const GRANTS: &str = "grants";
const PREFIXES: &str = "kind_prefixes";

/// Name of the built-in role that may read everything.
pub const READER: &str = "reader";
/// Name of the built-in role that may read and write everything.
pub const WRITER: &str = "writer";
/// Name of the built-in role that may do everything.
pub const ADMIN: &str = "admin";
/// The roles that every vault has. They are not stored, and cannot be changed.
pub const BUILT_IN_ROLES: [&str; 3] = [READER, WRITER, ADMIN];

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Read events.
    Read,
    /// Commit events.
    Write,
    /// Change the cluster, and who may do what; read what was audited.
    Admin,
}

impl Action {
    /// Its name in the interfaces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// An action that is allowed, on some kinds or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The action.
    pub action: Action,
    /// What the kinds start with that it is allowed on; empty: all kinds.
    pub kind_prefixes: Vec<String>,
}

impl Grant {
    /// An action on all kinds.
    #[must_use]
    pub const fn of_all(action: Action) -> Self {
        Self {
            action,
            kind_prefixes: Vec::new(),
        }
    }

    /// Whether it allows everything that an administrator may do.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.action == Action::Admin && self.kind_prefixes.is_empty()
    }
}

/// A named set of grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// What it allows: 1 to 16 grants.
    pub grants: Vec<Grant>,
}

impl Role {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`Invalid`], naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        if is_built_in(&self.name) {
            return Err(Invalid::Syntax {
                field: "role",
                expected: "a name other than those of the built-in roles reader, writer and admin",
            });
        }
        check_grants(&self.grants)
    }

    /// Whether it is one of those that every vault has.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        is_built_in(&self.name)
    }

    /// Whether it allows everything that an administrator may do.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.grants.iter().any(Grant::is_admin)
    }
}

fn check_grants(grants: &[Grant]) -> Result<(), Invalid> {
    if grants.is_empty() {
        return Err(Invalid::Empty { field: GRANTS });
    }
    check_each_grant(grants)?;
    let bytes = grants_bytes(grants);
    if bytes > ROLE_PREFIX_BYTES_MAX {
        return Err(Invalid::TooLong {
            field: PREFIXES,
            max: ROLE_PREFIX_BYTES_MAX,
            actual: bytes,
        });
    }
    Ok(())
}

/// At most 16 grants, each within its bounds.
pub(super) fn check_each_grant(grants: &[Grant]) -> Result<(), Invalid> {
    check_count(GRANTS, ROLE_GRANTS_MAX, grants.len())?;
    for grant in grants {
        check_count(PREFIXES, GRANT_PREFIXES_MAX, grant.kind_prefixes.len())?;
        for prefix in &grant.kind_prefixes {
            check_prefix(PREFIXES, prefix)?;
        }
    }
    Ok(())
}

/// Bytes of all prefixes together.
pub(super) fn grants_bytes(grants: &[Grant]) -> usize {
    let prefixes = grants.iter().flat_map(|grant| &grant.kind_prefixes);
    prefixes.map(String::len).sum()
}

/// A prefix obeys the rules of kinds.
fn check_prefix(field: &'static str, prefix: &str) -> Result<(), Invalid> {
    if prefix.is_empty() {
        return Err(Invalid::Empty { field });
    }
    if prefix.len() > KIND_BYTES_MAX {
        return Err(Invalid::TooLong {
            field,
            max: KIND_BYTES_MAX,
            actual: prefix.len(),
        });
    }
    check_controls(field, prefix)
}

fn check_count(field: &'static str, max: usize, actual: usize) -> Result<(), Invalid> {
    match actual > max {
        true => Err(Invalid::TooMany { field, max, actual }),
        false => Ok(()),
    }
}

/// Whether a role of that name is one of those that every vault has.
pub(crate) fn is_built_in(name: &RoleName) -> bool {
    BUILT_IN_ROLES.contains(&name.as_str())
}

/// The built-in role of that name.
#[must_use]
pub fn built_in_role(name: &str) -> Option<Role> {
    let actions: &[Action] = match name {
        READER => &[Action::Read],
        WRITER => &[Action::Read, Action::Write],
        // It stands for the others.
        ADMIN => &[Action::Admin],
        _ => return None,
    };
    Some(Role {
        name: RoleName::new(name).ok()?,
        grants: actions.iter().copied().map(Grant::of_all).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(grants: Vec<Grant>) -> Role {
        Role {
            name: RoleName::new("robots").expect("valid"),
            grants,
        }
    }

    fn grant(prefixes: Vec<String>) -> Grant {
        Grant {
            action: Action::Write,
            kind_prefixes: prefixes,
        }
    }

    #[test]
    fn every_bound_of_a_role_is_checked() {
        assert_eq!(role(vec![grant(vec!["a.".to_owned()])]).check(), Ok(()));
        let none = role(vec![]).check();
        assert_eq!(none, Err(Invalid::Empty { field: "grants" }));
        let many = role(vec![grant(vec![]); ROLE_GRANTS_MAX + 1]).check();
        assert!(
            matches!(
                many,
                Err(Invalid::TooMany {
                    field: "grants",
                    ..
                })
            ),
            "{many:?}"
        );
        let wide = role(vec![grant(vec!["a".to_owned(); GRANT_PREFIXES_MAX + 1])]).check();
        assert!(
            matches!(
                wide,
                Err(Invalid::TooMany {
                    field: "kind_prefixes",
                    ..
                })
            ),
            "{wide:?}"
        );
        let long = grant(vec!["a".repeat(KIND_BYTES_MAX); GRANT_PREFIXES_MAX]);
        let long = role(vec![long; 2]).check();
        assert!(
            matches!(
                long,
                Err(Invalid::TooLong {
                    field: "kind_prefixes",
                    ..
                })
            ),
            "{long:?}"
        );
    }

    #[test]
    fn built_in_roles_cannot_be_put() {
        for name in BUILT_IN_ROLES {
            let role = built_in_role(name).expect("built in");
            assert!(role.check().is_err(), "{name}");
            assert_eq!(check_grants(&role.grants), Ok(()));
        }
        assert!(built_in_role(ADMIN).is_some_and(|role| role.is_admin()));
        assert!(built_in_role(WRITER).is_some_and(|role| !role.is_admin()));
    }
}
