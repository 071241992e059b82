//! Who a request is from, and so which client it goes through.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use toka_client::{Bearer, Builder, Client, Error};

/// Callers whose clients are kept. Those who have called once are forgotten first: what is no token of the vault is one as
/// far as is known here, and anybody can show any number of those.
const CALLERS_MAX: usize = 64;

/// A client for each caller: everything is done as whoever has sent it, and this process lends it nothing.
#[derive(Debug)]
pub struct Callers {
    builder: Builder,
    endpoints: Vec<String>,
    nobody: Client,
    /// By what they show; whoever called again last is last, and who has called once is among the first half.
    known: Mutex<Vec<(blake3::Hash, Client)>>,
}

impl Callers {
    /// Clients made by `builder`, which must not have a token or a certificate: they would be every caller's.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn new(builder: Builder, endpoints: Vec<String>) -> Result<Self, Error> {
        let nobody = builder.clone().connect(endpoints.clone()).await?;
        Ok(Self {
            builder,
            endpoints,
            nobody,
            known: Mutex::default(),
        })
    }

    /// The client of a request with these headers: of nobody, if it shows no token.
    ///
    /// # Errors
    /// [`Error::Token`] for what cannot be a token, without showing it; as [`Builder::connect`].
    pub async fn client(&self, headers: &HeaderMap) -> Result<Client, Error> {
        let Some(token) = bearer(headers) else {
            return Ok(self.nobody.clone());
        };
        // The token itself is in the client alone.
        let key = blake3::hash(token.as_bytes());
        if let Some(client) = self.known(&key) {
            return Ok(client);
        }
        let builder = self.builder.clone().bearer(Bearer::new(token)?);
        let client = builder.connect(self.endpoints.clone()).await?;
        let mut known = self.lock();
        // Another request of the same caller may have been quicker. Both go by one client, which knows what it has written.
        if let Some((_, client)) = known.iter().find(|(other, _)| *other == key) {
            return Ok(client.clone());
        }
        if known.len() >= CALLERS_MAX {
            known.remove(0);
        }
        let place = known.len() / 2;
        known.insert(place, (key, client.clone()));
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

    fn lock(&self) -> MutexGuard<'_, Vec<(blake3::Hash, Client)>> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token that a request shows, in the only way that a vault takes.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        headers
    }

    async fn callers() -> Callers {
        let endpoints = vec!["127.0.0.1:1".to_owned()];
        let callers = Callers::new(Client::builder(), endpoints).await;
        callers.expect("nothing is sent")
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
        let callers = callers().await;
        for caller in 0..CALLERS_MAX + 3 {
            let headers = headers(&format!("Bearer secret{caller}"));
            callers.client(&headers).await.expect("a client");
        }
        assert_eq!(callers.lock().len(), CALLERS_MAX);
    }

    #[tokio::test]
    async fn who_has_called_again_is_kept_before_any_number_of_others() {
        let callers = callers().await;
        let regular = headers("Bearer regular");
        for caller in 0..10 * CALLERS_MAX {
            if caller == CALLERS_MAX {
                callers.client(&regular).await.expect("a client");
                callers.client(&regular).await.expect("the same");
            }
            let headers = headers(&format!("Bearer secret{caller}"));
            callers.client(&headers).await.expect("a client");
        }
        assert!(callers.known(&blake3::hash(b"regular")).is_some());
        assert_eq!(callers.lock().len(), CALLERS_MAX);
    }

    #[tokio::test]
    async fn requests_of_one_caller_go_by_one_client() {
        let callers = callers().await;
        let headers = headers("Bearer secret");
        let both = tokio::join!(callers.client(&headers), callers.client(&headers));
        assert!(both.0.is_ok() && both.1.is_ok());
        assert_eq!(callers.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_one_is_refused_without_being_shown() {
        let refused = callers().await.client(&headers("Bearer very secret")).await;
        let error = refused.expect_err("no token");
        assert!(matches!(error, Error::Token { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
