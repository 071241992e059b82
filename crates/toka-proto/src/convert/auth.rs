//! Tokens, roles and grants.

use toka_ledger::credentials::{Action, Grant, Limits, Role, StoredToken, TokenId};
use toka_ledger::{Invalid, PrincipalName, RoleName};

use crate::v1;

/// A token as it is told: without what its secret is checked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name; no secret.
    pub id: TokenId,
    /// Whoever holds it is this one.
    pub principal: PrincipalName,
    /// Its roles, ascending.
    pub roles: Vec<RoleName>,
    /// Grants of its own.
    pub grants: Vec<Grant>,
    /// How much its holder may do.
    pub limits: Limits,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// From when on it counts for nothing; absent: never.
    pub expires_unix_ms: Option<u64>,
    /// When it was revoked; absent: it was not.
    pub revoked_unix_ms: Option<u64>,
    /// The token that it was rotated to.
    pub replaced_by: Option<TokenId>,
}

/// What a new token is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Whoever holds it is this one.
    pub principal: PrincipalName,
    /// Its roles; in any order, repeats make no difference.
    pub roles: Vec<RoleName>,
    /// Grants beside them.
    pub grants: Vec<Grant>,
    /// How much its holder may do.
    pub limits: Limits,
    /// From when on it counts for nothing, milliseconds since the Unix epoch; absent: never.
    pub expires_unix_ms: Option<u64>,
}

impl From<&StoredToken> for v1::TokenInfo {
    fn from(token: &StoredToken) -> Self {
        Self {
            id: token.id.to_string(),
            principal: token.principal.to_string(),
            roles: token.roles.iter().map(ToString::to_string).collect(),
            grants: token.grants.iter().map(v1::Grant::from).collect(),
            limits: limits_message(token.limits),
            created_unix_ms: token.created_unix_ms,
            expires_unix_ms: token.expires_unix_ms,
            revoked_unix_ms: token.revoked_unix_ms,
            replaced_by: token
                .replaced_by
                .map_or_else(String::new, |id| id.to_string()),
        }
    }
}

impl TryFrom<v1::TokenInfo> for TokenInfo {
    type Error = Invalid;

    fn try_from(token: v1::TokenInfo) -> Result<Self, Invalid> {
        let replaced_by = Some(token.replaced_by).filter(|id| !id.is_empty());
        Ok(Self {
            id: token.id.parse()?,
            principal: PrincipalName::new(&token.principal)?,
            roles: role_names(&token.roles)?,
            grants: grants(token.grants)?,
            limits: limits(token.limits)?,
            created_unix_ms: token.created_unix_ms,
            expires_unix_ms: token.expires_unix_ms,
            revoked_unix_ms: token.revoked_unix_ms,
            replaced_by: replaced_by.map(|id| id.parse::<TokenId>()).transpose()?,
        })
    }
}

impl From<&NewToken> for v1::CreateTokenRequest {
    fn from(new: &NewToken) -> Self {
        Self {
            vault: String::new(),
            principal: new.principal.to_string(),
            roles: new.roles.iter().map(ToString::to_string).collect(),
            grants: new.grants.iter().map(v1::Grant::from).collect(),
            limits: limits_message(new.limits),
            expires_unix_ms: new.expires_unix_ms,
        }
    }
}

impl TryFrom<v1::CreateTokenRequest> for NewToken {
    type Error = Invalid;

    fn try_from(request: v1::CreateTokenRequest) -> Result<Self, Invalid> {
        let mut roles = role_names(&request.roles)?;
        roles.sort();
        roles.dedup();
        Ok(Self {
            principal: PrincipalName::new(&request.principal)?,
            roles,
            grants: grants(request.grants)?,
            limits: limits(request.limits)?,
            expires_unix_ms: request.expires_unix_ms,
        })
    }
}

impl From<&Grant> for v1::Grant {
    fn from(grant: &Grant) -> Self {
        let action = match grant.action {
            Action::Read => v1::GrantAction::Read,
            Action::Write => v1::GrantAction::Write,
            Action::Admin => v1::GrantAction::Admin,
        };
        Self {
            action: action.into(),
            kind_prefixes: grant.kind_prefixes.clone(),
        }
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = Invalid;

    fn try_from(grant: v1::Grant) -> Result<Self, Invalid> {
        let action = match grant.action() {
            v1::GrantAction::Read => Action::Read,
            v1::GrantAction::Write => Action::Write,
            v1::GrantAction::Admin => Action::Admin,
            v1::GrantAction::Unspecified => {
                return Err(Invalid::Syntax {
                    field: "action",
                    expected: "read, write or admin",
                });
            }
        };
        Ok(Self {
            action,
            kind_prefixes: grant.kind_prefixes,
        })
    }
}

impl From<&Role> for v1::AuthRole {
    fn from(role: &Role) -> Self {
        Self {
            name: role.name.to_string(),
            grants: role.grants.iter().map(v1::Grant::from).collect(),
            is_built_in: role.is_built_in(),
        }
    }
}

impl TryFrom<v1::AuthRole> for Role {
    type Error = Invalid;

    fn try_from(role: v1::AuthRole) -> Result<Self, Invalid> {
        Ok(Self {
            name: RoleName::new(&role.name)?,
            grants: grants(role.grants)?,
        })
    }
}

/// The grants of a message.
///
/// # Errors
/// [`Invalid::Syntax`] for an action that is none.
pub fn grants(grants: Vec<v1::Grant>) -> Result<Vec<Grant>, Invalid> {
    grants.into_iter().map(Grant::try_from).collect()
}

fn role_names(names: &[String]) -> Result<Vec<RoleName>, Invalid> {
    names.iter().map(|name| RoleName::new(name)).collect()
}

/// Limits as they are told; absent where there are none.
#[must_use]
pub fn limits_message(limits: Limits) -> Option<v1::TokenLimits> {
    let some = |limit: u32| Some(limit).filter(|limit| *limit > 0);
    (limits != Limits::default()).then(|| v1::TokenLimits {
        requests_per_second: some(limits.requests_per_second),
        bytes_per_second: Some(limits.bytes_per_second).filter(|limit| *limit > 0),
        subscriptions: some(limits.subscriptions),
    })
}

/// The limits of a message.
///
/// # Errors
/// [`Invalid::OutOfRange`] for a limit of nothing at all.
pub fn limits(limits: Option<v1::TokenLimits>) -> Result<Limits, Invalid> {
    let Some(limits) = limits else {
        return Ok(Limits::default());
    };
    let checked = |field, limit: Option<u64>| match limit {
        Some(0) => Err(Invalid::OutOfRange {
            field,
            min: 1,
            max: toka_ledger::core::limits::TOKEN_RATE_MAX,
            actual: 0,
        }),
        _ => Ok(()),
    };
    checked(
        "requests_per_second",
        limits.requests_per_second.map(u64::from),
    )?;
    checked("bytes_per_second", limits.bytes_per_second)?;
    checked("subscriptions", limits.subscriptions.map(u64::from))?;
    Ok(Limits {
        requests_per_second: limits.requests_per_second.unwrap_or(0),
        bytes_per_second: limits.bytes_per_second.unwrap_or(0),
        subscriptions: limits.subscriptions.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use toka_ledger::credentials::Verifier;

    use super::*;

    fn stored() -> StoredToken {
        StoredToken {
            id: TokenId([7; 8]),
            principal: PrincipalName::new("robot").expect("valid"),
            verifier: Verifier {
                salt: [0xab; 16],
                hash: [0xcd; 32],
            },
            roles: vec![RoleName::new("reader").expect("valid")],
            grants: vec![Grant {
                action: Action::Write,
                kind_prefixes: vec!["task.".to_owned()],
            }],
            limits: Limits {
                requests_per_second: 5,
                ..Limits::default()
            },
            created_unix_ms: 1,
            expires_unix_ms: Some(2),
            revoked_unix_ms: None,
            replaced_by: Some(TokenId([8; 8])),
        }
    }

    #[test]
    fn a_token_is_told_without_its_hash() {
        use prost::Message as _;
        let stored = stored();
        let message = v1::TokenInfo::from(&stored);
        let bytes = message.encode_to_vec();
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(!has(&stored.verifier.hash) && !has(&stored.verifier.salt));
        let told = TokenInfo::try_from(message).expect("valid");
        assert_eq!((told.id, &told.principal), (stored.id, &stored.principal));
        assert_eq!((told.roles, told.grants), (stored.roles, stored.grants));
        assert_eq!(
            (told.limits, told.replaced_by),
            (stored.limits, stored.replaced_by)
        );
    }

    #[test]
    fn roles_of_a_new_token_come_in_any_order() {
        let request = v1::CreateTokenRequest {
            principal: "robot".to_owned(),
            roles: ["writer", "reader", "writer"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let new = NewToken::try_from(request).expect("valid");
        let names: Vec<_> = new.roles.iter().map(RoleName::as_str).collect();
        assert_eq!(names, ["reader", "writer"]);
    }

    #[test]
    fn an_action_and_a_limit_must_be_something() {
        assert!(Grant::try_from(v1::Grant::default()).is_err());
        let nothing = v1::TokenLimits {
            subscriptions: Some(0),
            ..Default::default()
        };
        let refused = limits(Some(nothing)).expect_err("nothing");
        assert_eq!(refused.field(), "subscriptions");
        assert_eq!(limits(None), Ok(Limits::default()));
    }
}
