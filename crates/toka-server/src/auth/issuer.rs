//! The issuer of JWTs, and its keys, which are read anew when their file changes.
//!
//! JWTs that were found good are remembered with the keys that they were found good with, and go with them. The issuer is the
//! same for as long as the node runs; the time is looked at with every call, and so are roles, which are not looked at here.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use toka_auth::jwt::{
    self, Claims, Digest, Issuer, JwtError, KEYS_BYTES_MAX, Keys, KeysError, Remembered, Verified,
};

use super::file::{self, read_bounded};
use crate::limits::JWTS_REMEMBERED_MAX;

/// An issuer that is trusted, with the keys that it has now.
#[derive(Debug)]
pub(crate) struct Trusted {
    issuer: Issuer,
    path: PathBuf,
    current: RwLock<Current>,
}

/// Keys, and what was found good with them.
#[derive(Debug)]
struct Current {
    keys: Arc<Keys>,
    good: Remembered,
}

impl Current {
    fn of(keys: Keys) -> Self {
        Self {
            keys: Arc::new(keys),
            good: Remembered::new(JWTS_REMEMBERED_MAX),
        }
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error("{source}")]
    Read {
        /// The operating system's error.
        #[from]
        source: std::io::Error,
    },
    /// It has no keys.
    #[error("{source}")]
    Keys {
        /// What is wrong.
        #[from]
        source: KeysError,
    },
}

impl Trusted {
    /// Blocking.
    pub(super) fn load(issuer: Issuer, path: PathBuf) -> Result<Self, LoadError> {
        let keys = read_keys(&path)?;
        Ok(Self {
            issuer,
            path,
            current: RwLock::new(Current::of(keys)),
        })
    }

    /// Who bears a token, as of `now_unix_ms`. The signature of one that was found good is not checked again.
    pub(super) fn verify(&self, text: &str, now_unix_ms: u64) -> Result<Claims, JwtError> {
        let digest = Digest::of(text);
        // Not held any more while a signature is checked.
        let keys = {
            let current = self.read();
            let judged = digest.and_then(|digest| current.good.judge(&digest, now_unix_ms));
            if let Some(judged) = judged {
                return judged.cloned();
            }
            Arc::clone(&current.keys)
        };
        let verified = jwt::verify(text, &keys, &self.issuer, now_unix_ms)?;
        let claims = verified.claims.clone();
        if let Some(digest) = digest {
            self.remember(&keys, digest, verified, now_unix_ms);
        }
        Ok(claims)
    }

    /// Whether a token was found good before, and is good as of `now_unix_ms`. No signature is checked.
    pub(super) fn remembers(&self, text: &str, now_unix_ms: u64) -> bool {
        let digest = Digest::of(text);
        let current = self.read();
        let judged = digest.and_then(|digest| current.good.judge(&digest, now_unix_ms));
        matches!(judged, Some(Ok(_)))
    }

    /// Of what was found good with keys that the issuer has given up since then, nothing is remembered.
    fn remember(&self, keys: &Arc<Keys>, digest: Digest, verified: Verified, now_unix_ms: u64) {
        let mut current = self.write();
        if Arc::ptr_eq(&current.keys, keys) {
            current.good.put(digest, verified, now_unix_ms);
        }
    }

    /// The keys as they are now; others are another allocation.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.read().keys)
    }

    // Nothing panics while it is held.
    fn read(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Current> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the file says, now and then.
    pub(super) async fn follow(self: Arc<Self>) {
        let path = self.path.clone();
        let complain = |error: &LoadError| {
            tracing::warn!(%error, path = %self.path.display(), "the issuer's keys cannot be read anew");
        };
        let take = |keys| self.take(keys);
        file::follow(move || read_keys(&path), take, complain).await;
    }

    fn take(&self, keys: Keys) {
        let mut current = self.write();
        if *current.keys != keys {
            tracing::info!(?keys, "the issuer has other keys");
            *current = Current::of(keys);
        }
    }
}

fn read_keys(path: &std::path::Path) -> Result<Keys, LoadError> {
    let json = read_bounded(path, KEYS_BYTES_MAX as u64)?;
    Ok(Keys::parse(&json)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::signed::{self, EXPIRES_UNIX_MS, NOW_UNIX_MS, OTHER_KEYS, ROBOT};
    use super::*;

    fn keys(set: &str) -> Keys {
        Keys::parse(set.as_bytes()).expect("keys")
    }

    #[test]
    fn keys_that_are_the_same_stay_where_they_are() {
        let (_directory, trusted) = signed::trusted();
        let before = trusted.keys();
        trusted.take(read_keys(&trusted.path).expect("keys"));
        // Calls that go on rest on this allocation.
        assert!(Arc::ptr_eq(&before, &trusted.keys()));
        fs::write(&trusted.path, OTHER_KEYS).expect("written");
        trusted.take(read_keys(&trusted.path).expect("keys"));
        assert!(!Arc::ptr_eq(&before, &trusted.keys()));
    }

    #[test]
    fn file_that_is_gone_or_broken_has_no_keys() {
        let (_directory, trusted) = signed::trusted();
        fs::write(&trusted.path, "{").expect("written");
        assert!(matches!(
            read_keys(&trusted.path),
            Err(LoadError::Keys { .. })
        ));
        fs::remove_file(&trusted.path).expect("removed");
        assert!(matches!(
            read_keys(&trusted.path),
            Err(LoadError::Read { .. })
        ));
    }

    #[test]
    fn token_is_remembered_once_it_was_found_good() {
        let (_directory, trusted) = signed::trusted();
        assert!(!trusted.remembers(ROBOT, NOW_UNIX_MS));
        let claims = trusted.verify(ROBOT, NOW_UNIX_MS).expect("good");
        assert_eq!(claims.subject, "robot");
        assert!(trusted.remembers(ROBOT, NOW_UNIX_MS));
    }

    #[test]
    fn signature_of_a_token_that_is_remembered_is_not_checked_again() {
        let (_directory, trusted) = signed::trusted();
        let keys = trusted.keys();
        let verified = jwt::verify(ROBOT, &keys, &signed::issuer(), NOW_UNIX_MS).expect("good");
        // What no check would let pass.
        let digest = Digest::of("no token").expect("short");
        trusted.remember(&keys, digest, verified, NOW_UNIX_MS);
        let claims = trusted.verify("no token", NOW_UNIX_MS).expect("remembered");
        assert_eq!(claims.subject, "robot");
    }

    #[test]
    fn token_that_is_not_good_is_not_remembered() {
        let (_directory, trusted) = signed::trusted();
        let forged = signed::forged();
        for _ in 0..2 {
            let refused = trusted.verify(&forged, NOW_UNIX_MS);
            assert_eq!(refused, Err(JwtError::Signature));
            assert!(!trusted.remembers(&forged, NOW_UNIX_MS));
        }
    }

    #[test]
    fn token_that_is_remembered_is_refused_when_it_has_ended() {
        let (_directory, trusted) = signed::trusted();
        trusted.verify(ROBOT, NOW_UNIX_MS).expect("good");
        assert!(trusted.remembers(ROBOT, EXPIRES_UNIX_MS - 1));
        assert!(!trusted.remembers(ROBOT, EXPIRES_UNIX_MS));
        let refused = trusted.verify(ROBOT, EXPIRES_UNIX_MS);
        assert_eq!(refused, Err(JwtError::Expired));
    }

    #[test]
    fn other_keys_forget_what_was_found_good_with_those_before() {
        let (_directory, trusted) = signed::trusted();
        trusted.verify(ROBOT, NOW_UNIX_MS).expect("good");
        trusted.take(keys(OTHER_KEYS));
        assert!(!trusted.remembers(ROBOT, NOW_UNIX_MS));
        let refused = trusted.verify(ROBOT, NOW_UNIX_MS);
        assert_eq!(refused, Err(JwtError::Signature));
    }

    #[test]
    fn same_keys_forget_nothing() {
        let (_directory, trusted) = signed::trusted();
        trusted.verify(ROBOT, NOW_UNIX_MS).expect("good");
        trusted.take(read_keys(&trusted.path).expect("keys"));
        assert!(trusted.remembers(ROBOT, NOW_UNIX_MS));
    }

    /// The keys may change while a signature is checked.
    #[test]
    fn what_was_found_good_with_keys_that_were_given_up_is_not_remembered() {
        let (_directory, trusted) = signed::trusted();
        let before = trusted.keys();
        let verified = jwt::verify(ROBOT, &before, &signed::issuer(), NOW_UNIX_MS).expect("good");
        trusted.take(keys(OTHER_KEYS));
        let digest = Digest::of(ROBOT).expect("short");
        trusted.remember(&before, digest, verified, NOW_UNIX_MS);
        assert!(!trusted.remembers(ROBOT, NOW_UNIX_MS));
    }
}
