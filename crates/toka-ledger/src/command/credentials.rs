//! Commands of tokens, roles and the audit. They need feature level 3. Each commits, together with what it changes, an
//! event that says so. No secret is in any of them.

use super::check::check_count;
use crate::core::credentials::{
    Actor, AuditRecord, Grant, Limits, Role, TokenId, Verifier, check_rights, is_built_in,
};
use crate::core::limits::{AUDIT_RECORDS_MAX, TOKEN_GRACE_MS_MAX, UNIX_MS_END};
use crate::core::{PrincipalName, RoleName};
use crate::error::Invalid;

/// Makes a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateToken {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who does it.
    pub actor: Actor,
    /// Its name, which no token has had.
    pub id: TokenId,
    /// What its secret is checked by.
    pub verifier: Verifier,
    /// Whoever holds it is this one.
    pub principal: PrincipalName,
    /// What its holder may do: up to 16 roles that there are, ascending.
    pub roles: Vec<RoleName>,
    /// What its holder may do besides: up to 16 grants.
    pub grants: Vec<Grant>,
    /// How much of it.
    pub limits: Limits,
    /// From when on it counts for nothing; absent: never.
    pub expires_unix_ms: Option<u64>,
    /// Only if there is no token by which somebody could administer the vault.
    pub if_no_admin: bool,
}

/// Makes a token in the place of another one, of the same principal, rights and limits. The other one counts for a
/// time of grace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateToken {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who does it.
    pub actor: Actor,
    /// The token that there is.
    pub id: TokenId,
    /// The new one's name, which no token has had.
    pub new_id: TokenId,
    /// What the new one's secret is checked by.
    pub verifier: Verifier,
    /// How long the old one still counts, milliseconds, at most seven days.
    pub grace_ms: u32,
    /// From when on the new one counts for nothing; absent: as long as the old one was to live, or for ever.
    pub expires_unix_ms: Option<u64>,
}

/// Ends a token at once. One that was revoked before stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeToken {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who does it.
    pub actor: Actor,
    /// The token.
    pub id: TokenId,
}

/// Makes a role, or gives one that there is other grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRole {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who does it.
    pub actor: Actor,
    /// The role.
    pub role: Role,
}

/// Removes a role that no token has which still counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRole {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Who does it.
    pub actor: Actor,
    /// The role.
    pub name: RoleName,
}

/// Notes what was done, or was not allowed, where the vault does not see that by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendAudit {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// 1 to 64 records, each of which becomes an event.
    pub records: Vec<AuditRecord>,
}

impl CreateToken {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_rights(&self.roles, &self.grants)?;
        self.limits.check()?;
        check_expiry(self.expires_unix_ms)
    }
}

impl RotateToken {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_expiry(self.expires_unix_ms)?;
        if self.grace_ms > TOKEN_GRACE_MS_MAX {
            return Err(Invalid::OutOfRange {
                field: "grace_ms",
                min: 0,
                max: TOKEN_GRACE_MS_MAX.into(),
                actual: self.grace_ms.into(),
            });
        }
        Ok(())
    }
}

impl DeleteRole {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        match is_built_in(&self.name) {
            true => Err(Invalid::Syntax {
                field: "role",
                expected: "a role other than the built-in ones, which every vault has",
            }),
            false => Ok(()),
        }
    }
}

impl AppendAudit {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        const FIELD: &str = "audit_records";
        if self.records.is_empty() {
            return Err(Invalid::Empty { field: FIELD });
        }
        check_count(FIELD, AUDIT_RECORDS_MAX, self.records.len())?;
        self.records.iter().try_for_each(AuditRecord::check)
    }
}

fn check_expiry(expires_unix_ms: Option<u64>) -> Result<(), Invalid> {
    match expires_unix_ms {
        Some(actual) if actual >= UNIX_MS_END => Err(Invalid::OutOfRange {
            field: "expires_unix_ms",
            min: 1,
            max: UNIX_MS_END - 1,
            actual,
        }),
        _ => Ok(()),
    }
}
