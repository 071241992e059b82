//! Secrets: drawn here, on the node that carries a call out, and told once, in its answer. What the vault keeps is a
//! salted hash.

use toka_auth::{Secret, SecretHash, Token};
use toka_ledger::credentials::{TokenId, Verifier};
use toka_ledger::seam::Entropy;

/// Bytes of a secret, of a token's id, and of a salt.
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const SALT_BYTES: usize = 16;

/// A token that nobody has yet.
pub(super) struct Drawn {
    pub(super) token: Token,
    pub(super) verifier: Verifier,
}

impl Drawn {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let secret: [u8; SECRET_BYTES] = random(entropy);
        let id: [u8; ID_BYTES] = random(entropy);
        let token = Token {
            id: toka_auth::TokenId(u64::from_be_bytes(id)),
            secret: Secret::from_random(secret),
        };
        Self {
            verifier: verifier(&token, entropy),
            token,
        }
    }

    pub(super) fn id(&self) -> TokenId {
        TokenId(self.token.id.0.to_be_bytes())
    }

    /// What its holder is told.
    pub(super) fn text(&self) -> String {
        self.token.reveal().as_str().to_owned()
    }
}

/// What the vault checks a token's secret by, with a new salt.
pub(super) fn verifier(token: &Token, entropy: &dyn Entropy) -> Verifier {
    let salt: [u8; SALT_BYTES] = random(entropy);
    let SecretHash { salt, hash } = SecretHash::new(salt, &token.secret);
    Verifier { salt, hash }
}

fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use toka_ledger::seam::Seams;

    use super::*;

    #[test]
    fn what_is_told_is_checked_by_what_is_kept() {
        let entropy = Seams::system().entropy;
        let drawn = Drawn::new(&*entropy);
        let token: Token = drawn.text().parse().expect("a token");
        assert_eq!(token.id, drawn.token.id);
        let Verifier { salt, hash } = drawn.verifier;
        assert_eq!(
            SecretHash::new(salt, &token.secret),
            SecretHash { salt, hash }
        );
    }

    #[test]
    fn no_two_are_alike() {
        let entropy = Seams::system().entropy;
        let (one, other) = (Drawn::new(&*entropy), Drawn::new(&*entropy));
        assert_ne!(one.id(), other.id());
        assert_ne!(one.text(), other.text());
        assert_ne!(one.verifier.salt, other.verifier.salt);
    }
}
