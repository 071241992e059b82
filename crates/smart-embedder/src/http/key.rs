//! The secret of an endpoint.

use std::env;
use std::fmt;
use std::sync::Arc;

use reqwest::header::HeaderValue;

use crate::error::Error;

/// A bearer token. It is never shown: not by `Debug`, not in errors, not in logs.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// A key as the endpoint's owner gave it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is empty or cannot be a header; the error does not show it.
    pub fn new(key: &str) -> Result<Self, Error> {
        let key = key.trim();
        if key.is_empty() || HeaderValue::from_str(key).is_err() {
            return Err(Error::Invalid {
                field: "API key",
                value: "[API key]".to_owned(),
                expected: "visible characters",
            });
        }
        Ok(Self(key.into()))
    }

    /// The key in the environment variable `name`; none if it is not set, or empty.
    ///
    /// # Errors
    /// As [`ApiKey::new`].
    pub fn from_env(name: &str) -> Result<Option<Self>, Error> {
        match env::var_os(name) {
            None => Ok(None),
            Some(key) if key.is_empty() => Ok(None),
            // A key is ASCII: what is not UTF-8 is refused by `new`.
            Some(key) => Self::new(key.to_str().unwrap_or_default()).map(Some),
        }
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_key() {
        let key = ApiKey::new(" sk-secret\n").expect("a key");
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
        assert_eq!(key.expose(), "sk-secret");
    }

    #[test]
    fn bad_key_is_refused_without_showing_it() {
        for bad in ["", "  ", "sk-secret\u{7f}x", "sk-secret\nx"] {
            let error = ApiKey::new(bad).expect_err("no header");
            assert!(!format!("{error:?} {error}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn variable_that_is_not_set_is_no_key() {
        let name = "SMART_EMBEDDER_TEST_NO_SUCH_VARIABLE";
        assert!(ApiKey::from_env(name).expect("not set").is_none());
        // Cargo sets this one.
        let key = ApiKey::from_env("CARGO_PKG_NAME").expect("set");
        assert_eq!(key.expect("set").expose(), "smart-embedder");
    }
}
