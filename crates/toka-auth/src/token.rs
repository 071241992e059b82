//! Bearer tokens as text: `toka_<id>_<secret>`.
//!
//! The id, 16 hexadecimal digits, finds what is stored of the token and is no secret. The secret is 32 random bytes in
//! base64url without padding, 43 characters. The prefix lets scanners for leaked secrets find tokens.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use zeroize::Zeroizing;

const PREFIX: &str = "toka_";
const ID_DIGITS: usize = 16;
/// 32 bytes in base64 without padding.
const SECRET_CHARACTERS: usize = 43;
/// Bytes of a token as text.
const TEXT_BYTES: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_CHARACTERS;

/// Names a token; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` would also take a sign and upper case: one token has one text.
        let is_digits = text.len() == ID_DIGITS
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digits {
            return Err(TokenError::Id);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| TokenError::Id)
    }
}

/// The secret part of a token: 32 random bytes. Overwritten when it is dropped, and not shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// From bytes of a cryptographic random generator.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Why text is no token. Never says anything of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It does not begin as tokens do.
    #[error("a token begins with `toka_`")]
    Prefix,
    /// It is too short or too long.
    #[error("a token has {TEXT_BYTES} characters")]
    Length,
    /// Its id is malformed.
    #[error("a token's id is 16 hexadecimal digits, in lower case")]
    Id,
    /// Its secret is malformed.
    #[error("a token's secret is 32 bytes in base64url, after an underscore")]
    Secret,
}

/// A token as its bearer has it.
#[derive(Debug, Clone)]
pub struct Token {
    /// What finds it.
    pub id: TokenId,
    /// What proves that the bearer was given it.
    pub secret: Secret,
}

impl Token {
    /// Whether text is meant to be such a token, and not, for example, a JWT.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The text to give to the bearer, once. Overwritten when it is dropped.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES));
        text.push_str(PREFIX);
        text.push_str(&self.id.to_string());
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(self.secret.expose(), &mut text);
        text
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if text.len() != TEXT_BYTES {
            return Err(TokenError::Length);
        }
        // Split by the bytes' number, since base64url has underscores of its own.
        let (id, secret) = rest.split_at_checked(ID_DIGITS).ok_or(TokenError::Id)?;
        let id = id.parse()?;
        let secret = secret.strip_prefix('_').ok_or(TokenError::Secret)?;
        let mut bytes = Zeroizing::new([0_u8; 32]);
        // `decode_slice` asks for room by the length of the text and may ask for a byte more than comes out.
        let mut room = Zeroizing::new([0_u8; 33]);
        let written = URL_SAFE_NO_PAD
            .decode_slice(secret, room.as_mut_slice())
            .map_err(|_| TokenError::Secret)?;
        if written != bytes.len() {
            return Err(TokenError::Secret);
        }
        bytes.copy_from_slice(&room[..written]);
        Ok(Self {
            id,
            secret: Secret(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            id: TokenId(0x00ab_cdef_0123_4567),
            secret: Secret::from_random([0xfb; 32]),
        }
    }

    #[test]
    fn token_survives_text() {
        let text = token().reveal();
        assert!(
            text.starts_with("toka_00abcdef01234567_"),
            "{}",
            text.as_str()
        );
        assert_eq!(text.len(), TEXT_BYTES);
        let back: Token = text.parse().expect("a token");
        assert_eq!(back.id, token().id);
        assert_eq!(back.secret.expose(), token().secret.expose());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", token());
        assert_eq!(
            shown,
            "Token { id: TokenId(00abcdef01234567), secret: Secret(redacted) }"
        );
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = token().reveal();
        let secret = &good[TEXT_BYTES - SECRET_CHARACTERS..];
        let refused = |text: &str| text.parse::<Token>().expect_err("no token");
        assert_eq!(refused(""), TokenError::Prefix);
        assert_eq!(refused("eyJhbGciOiJub25lIn0.e30."), TokenError::Prefix);
        assert_eq!(refused(&good[..TEXT_BYTES - 1]), TokenError::Length);
        assert_eq!(refused(&format!("{}A", good.as_str())), TokenError::Length);
        assert_eq!(
            refused(&format!("toka_00ABCDEF01234567_{secret}")),
            TokenError::Id
        );
        assert_eq!(
            refused(&format!("toka_+0abcdef01234567_{secret}")),
            TokenError::Id
        );
        assert_eq!(
            refused(&format!("toka_00abcdef01234567-{secret}")),
            TokenError::Secret
        );
        assert_eq!(
            refused(&format!(
                "toka_00abcdef01234567_{}",
                "!".repeat(SECRET_CHARACTERS)
            )),
            TokenError::Secret
        );
        // A multi-byte character across the border of id and secret.
        let odd = format!("toka_00abcdef0123456é{}", &secret[..SECRET_CHARACTERS]);
        assert_eq!(refused(&odd), TokenError::Id);
    }

    #[test]
    fn second_text_of_the_same_secret_is_refused() {
        // The last character carries two bits that no byte has.
        let mut text = token().reveal().to_string();
        let last = text.pop().expect("a character");
        text.push(char::from(last as u8 + 1));
        assert_eq!(
            text.parse::<Token>().expect_err("no token"),
            TokenError::Secret
        );
    }
}
