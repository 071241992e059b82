//! Tokens that were found good, so that their signatures need not be checked with every call.
//!
//! What is remembered of one is the digest of its text, and never the text. All that verification looks at is the text,
//! the keys, the issuer, and the time: who remembers tokens forgets them with the keys and the issuer that they were found
//! good with, and the time is looked at again whenever one is shown, by the rule by which it was the first time.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use super::{Claims, JWT_BYTES_MAX, JwtError, LEEWAY_S};

/// When a token counts, seconds since the Unix epoch, without that by which clocks may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// The claim `exp`.
    pub(super) expires_s: f64,
    /// The claim `nbf`, if there is one.
    pub(super) not_before_s: Option<f64>,
}

impl Times {
    /// From then on the token is refused, seconds since the Unix epoch.
    pub(super) fn end_s(self) -> f64 {
        self.expires_s + LEEWAY_S
    }

    pub(super) fn check(self, now_unix_ms: u64) -> Result<(), JwtError> {
        let now_s = now_unix_ms as f64 / 1_000.0;
        if self.end_s() <= now_s {
            return Err(JwtError::Expired);
        }
        let is_early = |not_before_s: f64| not_before_s - LEEWAY_S > now_s;
        match self.not_before_s.is_some_and(is_early) {
            true => Err(JwtError::TooEarly),
            false => Ok(()),
        }
    }
}

/// A token that was found good, and when it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Who bears it.
    pub claims: Claims,
    pub(super) times: Times,
}

/// Stands for the text of a token, which is as good as a password.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(blake3::Hash);

impl Digest {
    /// That of a text; `None`: it is longer than tokens are.
    pub fn of(text: &str) -> Option<Self> {
        (text.len() <= JWT_BYTES_MAX).then(|| Self(blake3::hash(text.as_bytes())))
    }
}

/// Digests are kept to themselves, as those of other tokens are.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(redacted)")
    }
}

/// Tokens that were found good with the same keys and the same issuer, a bounded number of them.
pub struct Remembered {
    tokens_max: usize,
    by_digest: HashMap<Digest, Verified>,
    /// The same ones, from the one that was found good first.
    order: VecDeque<Digest>,
}

impl Remembered {
    /// None yet, and `tokens_max` at most.
    pub fn new(tokens_max: usize) -> Self {
        Self {
            tokens_max,
            by_digest: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What [`verify`](super::verify) says of a token as of `now_unix_ms`; `None`: it is not remembered.
    ///
    /// # Errors
    ///
    /// [`JwtError::Expired`] and [`JwtError::TooEarly`]: all else was found good.
    pub fn judge(&self, digest: &Digest, now_unix_ms: u64) -> Option<Result<&Claims, JwtError>> {
        let verified = self.by_digest.get(digest)?;
        let judged = verified.times.check(now_unix_ms);
        Some(judged.map(|()| &verified.claims))
    }

    /// Remembers a token that was found good as of `now_unix_ms`. Where there is no room, the one is forgotten that was
    /// found good first: who renews a token shows the old one no more.
    pub fn put(&mut self, digest: Digest, verified: Verified, now_unix_ms: u64) {
        if self.by_digest.contains_key(&digest) {
            return;
        }
        while let Some(first) = self.order.front() {
            let has_ended = self.judge(first, now_unix_ms) == Some(Err(JwtError::Expired));
            if !has_ended && self.order.len() < self.tokens_max {
                break;
            }
            self.by_digest.remove(first);
            self.order.pop_front();
        }
        self.order.push_back(digest);
        self.by_digest.insert(digest, verified);
    }
}

/// How many there are.
impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered")
            .field("tokens", &self.order.len())
            .field("tokens_max", &self.tokens_max)
            .finish()
    }
}
