//! What the vault keeps of a token: everything but its secret, of which it keeps a salted hash.
//!
//! A fast hash is right here. A slow one (Argon2, scrypt) makes guessing dear where people choose the secret; ours has
//! 256 random bits, which nobody guesses however fast the hash is, and it is checked with every call. The salt keeps
//! equal secrets from having equal hashes, and a table made for one vault from serving for another.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::grant::Grant;
use crate::limits::Limits;
use crate::token::{Secret, TokenId};

/// Separates this use of BLAKE3 from every other.
const HASH_CONTEXT: &str = "toka-vault v1 token secret";

/// A salted hash of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash {
    /// Random, 16 bytes.
    pub salt: [u8; 16],
    /// `BLAKE3.derive_key("toka-vault v1 token secret", salt || secret)`.
    pub hash: [u8; 32],
}

impl SecretHash {
    /// Hashes a secret.
    pub fn new(salt: [u8; 16], secret: &Secret) -> Self {
        Self {
            salt,
            hash: *digest(&salt, secret).as_bytes(),
        }
    }

    /// Whether this is the hash of `secret`; takes as long whether it is or not.
    fn matches(&self, secret: &Secret) -> bool {
        // `blake3::Hash` compares in constant time.
        digest(&self.salt, secret) == blake3::Hash::from_bytes(self.hash)
    }
}

/// Hashes are kept to themselves too: they help who has guessed a secret, and nobody else.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(redacted)")
    }
}

fn digest(salt: &[u8; 16], secret: &Secret) -> blake3::Hash {
    let mut material = Zeroizing::new([0_u8; 48]);
    material[..16].copy_from_slice(salt);
    material[16..].copy_from_slice(secret.expose());
    blake3::Hash::from_bytes(blake3::derive_key(HASH_CONTEXT, material.as_slice()))
}

/// The secret that a token had before it was rotated; good for a while, so that its bearers can be given the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Its hash.
    pub secret: SecretHash,
    /// From this time on it is refused, milliseconds since the Unix epoch.
    pub valid_until_unix_ms: u64,
}

/// What the vault keeps of a token. Times are the vault's, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// What finds it.
    pub id: TokenId,
    /// The principal's name.
    pub name: String,
    /// Hash of its secret.
    pub secret: SecretHash,
    /// The secret before, while that is still good.
    pub previous: Option<PreviousSecret>,
    /// Names of its roles. One that does not exist grants nothing.
    pub roles: Vec<String>,
    /// Grants of its own, beside its roles.
    pub grants: Vec<Grant>,
    /// What its bearer may use.
    pub limits: Limits,
    /// When it was made.
    pub created_unix_ms: u64,
    /// From this time on it is refused; absent: never.
    pub expires_unix_ms: Option<u64>,
    /// When it was revoked; absent: it was not.
    pub revoked_unix_ms: Option<u64>,
}

impl StoredToken {
    /// Whether it counts as of `now_unix_ms`, for who has shown its secret.
    ///
    /// # Errors
    ///
    /// [`Refusal::Revoked`], [`Refusal::Expired`].
    pub fn check_standing(&self, now_unix_ms: u64) -> Result<(), Refusal> {
        if self.revoked_unix_ms.is_some() {
            return Err(Refusal::Revoked);
        }
        match self.expires_unix_ms.is_some_and(|at| at <= now_unix_ms) {
            true => Err(Refusal::Expired),
            false => Ok(()),
        }
    }
}

/// Why a token is refused. The bearer is told only whether the token is known and no longer good, after its secret was
/// found right; else just that it is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The secret is another one.
    #[error("the token is not valid")]
    WrongSecret,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It was rotated, and the old secret is good no longer.
    #[error("the token was rotated; this is its old secret")]
    Rotated,
}

/// Checks a secret against what is stored, as of `now_unix_ms`.
///
/// The secret comes first, and both hashes are always compared: who does not have it learns nothing, neither from the
/// answer nor from how long it takes.
///
/// # Errors
///
/// Says why the token is refused.
pub fn verify(secret: &Secret, stored: &StoredToken, now_unix_ms: u64) -> Result<(), Refusal> {
    // Of a token that was never rotated the same hash is compared twice.
    let previous = stored
        .previous
        .map_or(stored.secret, |previous| previous.secret);
    let is_current = stored.secret.matches(secret);
    let is_previous = previous.matches(secret);
    if !(is_current | is_previous) {
        return Err(Refusal::WrongSecret);
    }
    stored.check_standing(now_unix_ms)?;
    let is_rotated = stored
        .previous
        .is_some_and(|previous| previous.valid_until_unix_ms <= now_unix_ms);
    if !is_current && is_rotated {
        return Err(Refusal::Rotated);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::from_random([byte; 32])
    }

    fn stored() -> StoredToken {
        StoredToken {
            id: TokenId(1),
            name: "agent".to_owned(),
            secret: SecretHash::new([9; 16], &secret(1)),
            previous: None,
            roles: Vec::new(),
            grants: Vec::new(),
            limits: Limits::default(),
            created_unix_ms: 100,
            expires_unix_ms: None,
            revoked_unix_ms: None,
        }
    }

    #[test]
    fn right_secret_passes_and_another_is_refused() {
        assert_eq!(verify(&secret(1), &stored(), 200), Ok(()));
        assert_eq!(
            verify(&secret(2), &stored(), 200),
            Err(Refusal::WrongSecret)
        );
    }

    #[test]
    fn token_expires_at_its_time() {
        let token = StoredToken {
            expires_unix_ms: Some(300),
            ..stored()
        };
        assert_eq!(verify(&secret(1), &token, 299), Ok(()));
        assert_eq!(verify(&secret(1), &token, 300), Err(Refusal::Expired));
    }

    #[test]
    fn revoked_token_is_refused_only_to_who_has_its_secret() {
        let token = StoredToken {
            revoked_unix_ms: Some(150),
            ..stored()
        };
        assert_eq!(verify(&secret(1), &token, 200), Err(Refusal::Revoked));
        assert_eq!(verify(&secret(2), &token, 200), Err(Refusal::WrongSecret));
    }

    #[test]
    fn old_secret_is_good_until_its_time() {
        let token = StoredToken {
            previous: Some(PreviousSecret {
                secret: SecretHash::new([8; 16], &secret(3)),
                valid_until_unix_ms: 400,
            }),
            ..stored()
        };
        assert_eq!(verify(&secret(3), &token, 399), Ok(()));
        assert_eq!(verify(&secret(3), &token, 400), Err(Refusal::Rotated));
        assert_eq!(verify(&secret(1), &token, 400), Ok(()));
    }

    #[test]
    fn salt_makes_hashes_of_equal_secrets_differ() {
        let one = SecretHash::new([1; 16], &secret(1));
        let other = SecretHash::new([2; 16], &secret(1));
        assert_ne!(one.hash, other.hash);
    }

    #[test]
    fn debug_shows_neither_salt_nor_hash() {
        let shown = format!("{:?}", stored());
        assert!(shown.contains("secret: SecretHash(redacted)"), "{shown}");
    }
}
