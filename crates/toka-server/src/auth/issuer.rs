//! The issuer of JWTs, and its keys, which are read anew when their file changes.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use toka_auth::jwt::{self, Claims, Issuer, JwtError, KEYS_BYTES_MAX, Keys, KeysError};
use toka_ledger::seam;
use tokio::time::{MissedTickBehavior, interval};

use super::file::read_bounded;
use crate::limits::JWKS_RELOAD_INTERVAL;

/// An issuer that is trusted, with the keys that it has now.
#[derive(Debug)]
pub(crate) struct Trusted {
    issuer: Issuer,
    path: PathBuf,
    keys: RwLock<Arc<Keys>>,
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
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    pub(super) fn verify(&self, text: &str, now_unix_ms: u64) -> Result<Claims, JwtError> {
        jwt::verify(text, &self.keys(), &self.issuer, now_unix_ms)
    }

    /// The keys as they are now; others are another allocation.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the file says, now and then. Where it cannot be read, what it said last holds on: an issuer
    /// that replaces a file in two steps shuts nobody out.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut ticks = interval(JWKS_RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complained = false;
        loop {
            ticks.tick().await;
            let path = self.path.clone();
            let Ok(read) = seam::off_reactor(move || read_keys(&path)).await else {
                return;
            };
            match read {
                Ok(keys) => {
                    complained = false;
                    self.take(keys);
                }
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(%error, path = %self.path.display(), "the issuer's keys cannot be read anew");
                }
                Err(_) => {}
            }
        }
    }

    fn take(&self, keys: Keys) {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if **current != keys {
            tracing::info!(?keys, "the issuer has other keys");
            *current = Arc::new(keys);
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

    use tempfile::TempDir;

    use super::*;

    /// A JWK set with one key, which is not looked at here.
    fn set(id: &str) -> String {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{x}"}}]}}"#)
    }

    fn trusted() -> (TempDir, Trusted) {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("keys.json");
        fs::write(&path, set("one")).expect("written");
        let issuer = Issuer {
            issuer: "https://issuer.test".to_owned(),
            audience: "toka".to_owned(),
            roles_claim: "roles".to_owned(),
        };
        (directory, Trusted::load(issuer, path).expect("keys"))
    }

    #[test]
    fn keys_that_are_the_same_stay_where_they_are() {
        let (_directory, trusted) = trusted();
        let before = trusted.keys();
        trusted.take(read_keys(&trusted.path).expect("keys"));
        // Calls that go on rest on this allocation.
        assert!(Arc::ptr_eq(&before, &trusted.keys()));
        fs::write(&trusted.path, set("two")).expect("written");
        trusted.take(read_keys(&trusted.path).expect("keys"));
        assert!(!Arc::ptr_eq(&before, &trusted.keys()));
    }

    #[test]
    fn file_that_is_gone_or_broken_has_no_keys() {
        let (_directory, trusted) = trusted();
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
}
