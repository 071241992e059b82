//! Tokens: what is stored of them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::Grant;
use super::role::{check_each_grant, grants_bytes};
use crate::core::limits::{TOKEN_GRANT_BYTES_MAX, TOKEN_RATE_MAX, TOKEN_ROLES_MAX};
use crate::core::{PrincipalName, RoleName};
use crate::error::Invalid;

/// Names a token: 8 random bytes, written as 16 hexadecimal digits. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_id = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        let number = number.ok_or(Invalid::Syntax {
            field: "token_id",
            expected: "16 hexadecimal digits",
        })?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a secret is checked by: never the secret itself. How the hash is made is not the vault's concern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verifier {
    /// Random, so that equal secrets are not seen to be.
    pub salt: [u8; 16],
    /// Hash of salt and secret.
    pub hash: [u8; 32],
}

/// Says nothing: what is printed may end up in a log.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// How much the holder of a token may do; 0: as much as the node allows. The tokens of one principal share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls in a second.
    pub requests_per_second: u32,
    /// Bytes of requests in a second.
    pub bytes_per_second: u64,
    /// Subscriptions that are open at the same time.
    pub subscriptions: u32,
}

impl Limits {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`Invalid`], naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        let numbers = [
            ("requests_per_second", self.requests_per_second.into()),
            ("bytes_per_second", self.bytes_per_second),
            ("subscriptions", self.subscriptions.into()),
        ];
        for (field, actual) in numbers {
            if actual > TOKEN_RATE_MAX {
                return Err(Invalid::OutOfRange {
                    field,
                    min: 0,
                    max: TOKEN_RATE_MAX,
                    actual,
                });
            }
        }
        Ok(())
    }
}

/// What the vault keeps of a token. The secret is not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// Its name.
    pub id: TokenId,
    /// Whoever holds it is this one.
    pub principal: PrincipalName,
    /// What its secret is checked by.
    pub verifier: Verifier,
    /// What its holder may do: up to 16 roles, ascending.
    pub roles: Vec<RoleName>,
    /// What its holder may do besides: up to 16 grants.
    pub grants: Vec<Grant>,
    /// How much of it.
    pub limits: Limits,
    /// The vault's time at its creation, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// From when on it counts for nothing; absent: never.
    pub expires_unix_ms: Option<u64>,
    /// When it was revoked; absent: it was not.
    pub revoked_unix_ms: Option<u64>,
    /// The token that it was rotated to.
    pub replaced_by: Option<TokenId>,
}

impl StoredToken {
    /// Whether it counts at `unix_ms`: not revoked, and not expired.
    #[must_use]
    pub fn is_valid_at(&self, unix_ms: u64) -> bool {
        self.ended_unix_ms().is_none_or(|ended| unix_ms < ended)
    }

    /// From when on it counts for nothing; absent: it does without an end.
    #[must_use]
    pub fn ended_unix_ms(&self) -> Option<u64> {
        // Revoked is revoked, whatever a clock says.
        let revoked = self.revoked_unix_ms.map(|_| 0);
        revoked.or(self.expires_unix_ms)
    }
}

/// What the holder of a token may do: something, roles in order and within their number, grants within their bounds.
pub(crate) fn check_rights(roles: &[RoleName], grants: &[Grant]) -> Result<(), Invalid> {
    if roles.is_empty() && grants.is_empty() {
        return Err(Invalid::Empty { field: "roles" });
    }
    check_roles(roles)?;
    check_each_grant(grants)?;
    let bytes = grants_bytes(grants);
    if bytes > TOKEN_GRANT_BYTES_MAX {
        return Err(Invalid::TooLong {
            field: "kind_prefixes",
            max: TOKEN_GRANT_BYTES_MAX,
            actual: bytes,
        });
    }
    Ok(())
}

/// At most 16 roles, ascending, none twice.
fn check_roles(roles: &[RoleName]) -> Result<(), Invalid> {
    const FIELD: &str = "roles";
    if roles.len() > TOKEN_ROLES_MAX {
        return Err(Invalid::TooMany {
            field: FIELD,
            max: TOKEN_ROLES_MAX,
            actual: roles.len(),
        });
    }
    match roles.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(Invalid::Syntax {
            field: FIELD,
            expected: "in ascending order without repeats",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_and_read_as_sixteen_digits() {
        let id = TokenId([0, 1, 2, 0xab, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "000102ab04050607");
        assert_eq!("000102ab04050607".parse(), Ok(id));
        for wrong in [
            "",
            "000102ab0405060",
            "000102ab040506077",
            "+00102ab04050607",
            "é00102ab0405060",
        ] {
            assert!(wrong.parse::<TokenId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_verifier_is_not_printed() {
        let verifier = Verifier {
            salt: [7; 16],
            hash: [9; 32],
        };
        assert_eq!(format!("{verifier:?}"), "Verifier(..)");
    }

    #[test]
    fn a_revoked_token_never_counts() {
        let token = StoredToken {
            id: TokenId([1; 8]),
            principal: PrincipalName::new("robot").expect("valid"),
            verifier: Verifier {
                salt: [0; 16],
                hash: [0; 32],
            },
            roles: vec![RoleName::new("reader").expect("valid")],
            grants: Vec::new(),
            limits: Limits::default(),
            created_unix_ms: 5,
            expires_unix_ms: Some(10),
            revoked_unix_ms: None,
            replaced_by: None,
        };
        assert!(token.is_valid_at(9) && !token.is_valid_at(10));
        let revoked = StoredToken {
            revoked_unix_ms: Some(7),
            ..token
        };
        assert!(
            !revoked.is_valid_at(6),
            "a clock that is behind revives nothing"
        );
    }
}
