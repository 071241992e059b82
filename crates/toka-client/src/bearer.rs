//! Bearer tokens: what a client shows of who it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use crate::error::Error;

/// A file with a token is looked at again after this: tokens are renewed while programs run.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Longest token: a call's headers have 16 KiB in all.
const TOKEN_BYTES_MAX: usize = 12 << 10;

/// A bearer token of the vault, or a JWT. Not shown by `Debug`; cheap to clone.
#[derive(Clone)]
pub struct Bearer(Arc<Inner>);

struct Inner {
    /// Where it is read again.
    path: Option<PathBuf>,
    known: Mutex<Known>,
}

struct Known {
    value: MetadataValue<Ascii>,
    as_of: Instant,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.path {
            Some(path) => write!(f, "Bearer({})", path.display()),
            None => f.write_str("Bearer(redacted)"),
        }
    }
}

impl Bearer {
    /// A token that stays the same.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn new(token: &str) -> Result<Self, Error> {
        Ok(Self::of(value(token, "the token")?, None))
    }

    /// The token in a file, which is read again from time to time. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        Ok(Self::of(read(&path)?, Some(path)))
    }

    fn of(value: MetadataValue<Ascii>, path: Option<PathBuf>) -> Self {
        let as_of = Instant::now();
        Self(Arc::new(Inner {
            path,
            known: Mutex::new(Known { value, as_of }),
        }))
    }

    /// Shows the token in a call.
    pub(crate) fn show<M>(&self, request: &mut Request<M>) {
        request.metadata_mut().insert("authorization", self.value());
    }

    fn value(&self) -> MetadataValue<Ascii> {
        // Nothing panics while it is held.
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.0.path
            && known.as_of.elapsed() >= LOOK_INTERVAL
        {
            known.as_of = Instant::now();
            // A file that is being replaced is read the next time; until then the old token may still do.
            match read(path) {
                Ok(value) => known.value = value,
                Err(error) => tracing::debug!(%error, "the token cannot be read again"),
            }
        }
        known.value.clone()
    }
}

fn read(path: &Path) -> Result<MetadataValue<Ascii>, Error> {
    let subject = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::Token {
        subject: subject.clone(),
        reason: error.to_string(),
    })?;
    value(&text, &subject)
}

/// As it stands in a call; the error says nothing of the token.
fn value(token: &str, subject: &str) -> Result<MetadataValue<Ascii>, Error> {
    let error = |reason: &str| Error::Token {
        subject: subject.to_owned(),
        reason: reason.to_owned(),
    };
    let token = token.trim();
    if token.is_empty() {
        return Err(error("it is empty"));
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(error("it is too long"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(error("it has characters that no token has"));
    }
    let value = MetadataValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| error("it cannot stand in a header"))?;
    // Kept out of the compression of headers, and out of what is printed.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn token_is_trimmed_and_not_shown() {
        let bearer = Bearer::new(" toka_verysecret\n").expect("a token");
        let mut request = Request::new(());
        bearer.show(&mut request);
        let value = request.metadata().get("authorization").expect("shown");
        assert_eq!(value.as_bytes(), b"Bearer toka_verysecret");
        assert!(!format!("{bearer:?} {request:?}").contains("verysecret"));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        for token in ["", " \n", "very secret", "verysecret\u{e9}"] {
            let error = Bearer::new(token).expect_err("no token").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let absent = Bearer::from_file("/does/not/exist").expect_err("absent");
        assert!(absent.to_string().contains("/does/not/exist"), "{absent}");
    }
    #[tokio::test]
    async fn token_stays_on_this_machine_without_tls_unless_it_is_meant() {
        let builder = || Client::builder().bearer(Bearer::new("secret").expect("a token"));
        let elsewhere = ["node.example:7311"];
        let refused = builder().connect(elsewhere).await;
        assert!(matches!(refused, Err(Error::PlaintextToken { .. })));
        // Nothing is sent before the first call.
        let meant = builder().send_token_in_plaintext().connect(elsewhere);
        meant.await.expect("it is meant");
        let here = builder().connect(["127.0.0.1:7311", "localhost"]);
        here.await.expect("it stays here");
    }
}
