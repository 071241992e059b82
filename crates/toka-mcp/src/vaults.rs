//! Which client a call goes through, and so who it is from.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use toka_client::{Bearer, Builder, Client, Error};

use crate::error::ToolError;

/// Callers whose clients are kept; whoever has not called for longest is forgotten first.
const CALLERS_MAX: usize = 64;

/// Which client a call goes through.
#[derive(Debug)]
pub struct Vaults(Way);

enum Way {
    /// All calls are of whoever has started this process.
    Own(Box<Client>),
    /// Each is of whoever makes it, with the token that it shows, and of nobody if it shows none.
    Callers(Box<Callers>),
}

struct Callers {
    builder: Builder,
    endpoints: Vec<String>,
    nobody: Client,
    /// By what they show; whoever called last is last.
    known: Mutex<Vec<(blake3::Hash, Client)>>,
}

impl Vaults {
    /// One client for all calls: of the process that has started this one, over stdio.
    #[must_use]
    pub fn own(client: Client) -> Self {
        Self(Way::Own(Box::new(client)))
    }

    /// A client for each caller, made by `builder`, which must not have a token or a certificate: they would be every
    /// caller's.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn of_callers(builder: Builder, endpoints: Vec<String>) -> Result<Self, Error> {
        let nobody = builder.clone().connect(endpoints.clone()).await?;
        Ok(Self(Way::Callers(Box::new(Callers {
            builder,
            endpoints,
            nobody,
            known: Mutex::default(),
        }))))
    }

    /// The client for a call that came with these headers; absent: it came over stdio.
    pub(crate) async fn client(&self, headers: Option<&HeaderMap>) -> Result<Client, ToolError> {
        match &self.0 {
            Way::Own(client) => Ok((**client).clone()),
            Way::Callers(callers) => match headers.and_then(bearer) {
                Some(token) => callers.client(token).await,
                None => Ok(callers.nobody.clone()),
            },
        }
    }
}

/// The token that a request shows, in the only way that a vault takes.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

impl Callers {
    async fn client(&self, token: &str) -> Result<Client, ToolError> {
        // The token itself is in the client alone.
        let key = blake3::hash(token.as_bytes());
        if let Some(client) = self.known(&key) {
            return Ok(client);
        }
        let builder = self.builder.clone().bearer(Bearer::new(token)?);
        let client = builder.connect(self.endpoints.clone()).await?;
        let mut known = self.lock();
        if known.len() >= CALLERS_MAX {
            known.remove(0);
        }
        known.push((key, client.clone()));
        Ok(client)
    }

    fn known(&self, key: &blake3::Hash) -> Option<Client> {
        let mut known = self.lock();
        let place = known.iter().position(|(other, _)| other == key)?;
        let found = known.remove(place);
        let client = found.1.clone();
        known.push(found);
        Some(client)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(blake3::Hash, Client)>> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Callers(_) => "Callers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn only_a_bearer_token_is_a_token() {
        assert_eq!(bearer(&headers("Bearer secret")), Some("secret"));
        assert_eq!(bearer(&headers("bearer  secret")), Some("secret"));
        for other in ["Basic c2VjcmV0", "Bearer", "Bearer ", "secret"] {
            assert_eq!(bearer(&headers(other)), None, "{other:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn clients_of_callers_are_bounded() {
        let endpoints = vec!["127.0.0.1:1".to_owned()];
        let vaults = Vaults::of_callers(Client::builder(), endpoints).await;
        let vaults = vaults.expect("nothing is sent");
        for caller in 0..CALLERS_MAX + 3 {
            let headers = headers(&format!("Bearer secret{caller}"));
            vaults.client(Some(&headers)).await.expect("a client");
        }
        let Way::Callers(callers) = &vaults.0 else {
            panic!("made above")
        };
        assert_eq!(callers.lock().len(), CALLERS_MAX);
        let first = blake3::hash(b"secret0");
        assert!(callers.known(&first).is_none());
    }

    #[tokio::test]
    async fn token_that_cannot_be_one_is_refused_without_being_shown() {
        let endpoints = vec!["127.0.0.1:1".to_owned()];
        let vaults = Vaults::of_callers(Client::builder(), endpoints).await;
        let vaults = vaults.expect("nothing is sent");
        let refused = vaults.client(Some(&headers("Bearer very secret"))).await;
        let error = refused.expect_err("no token");
        assert_eq!(error.code(), "unusable_token");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
