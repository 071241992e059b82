//! Requests to a server that speaks OpenAI's protocol.

mod key;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use self::key::ApiKey;
use self::retry::{Failure, Reason, retry_after};
use crate::error::{Error, Source};
use crate::text::cut;

/// Longer than any process lives.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// What an error quotes of a reply, bytes.
const MESSAGE_BYTES_MAX: usize = 512;

/// The name of a model as requests have it.
///
/// # Errors
/// [`Error::Invalid`] if there is nothing in it.
pub(crate) fn model_name(model: &str) -> Result<String, Error> {
    if model.trim().is_empty() {
        return Err(Error::Invalid {
            field: "model",
            value: model.to_owned(),
            expected: "the name of a model",
        });
    }
    Ok(model.to_owned())
}

/// Settings of the requests to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long one request takes at most, all attempts and the waits between them included.
    pub timeout: Duration,
    /// How long one attempt takes at most, from connecting to the last byte of the reply.
    pub request_timeout: Duration,
    /// Attempts of one request at most, at least 1.
    pub attempts_max: u32,
    /// Longest wait before the second attempt; doubled from attempt to attempt, and shortened at
    /// random.
    pub backoff_min: Duration,
    /// Longest wait before an attempt where the server does not say how long.
    pub backoff_max: Duration,
    /// Longest wait that is taken from a server's `Retry-After`.
    pub retry_after_max: Duration,
    /// Largest reply, bytes.
    pub reply_bytes_max: usize,
    /// Texts in one request at most.
    pub batch_texts_max: usize,
    /// Requests of one call in flight at most.
    pub requests_in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(60),
            attempts_max: 6,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(60),
            reply_bytes_max: 32 << 20,
            batch_texts_max: 64,
            requests_in_flight: 4,
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), Error> {
        if self.timeout.is_zero() {
            return Err(Error::Invalid {
                field: "timeout",
                value: "0".to_owned(),
                expected: "above 0",
            });
        }
        let positive = [
            ("attempts_max", self.attempts_max as usize),
            ("batch_texts_max", self.batch_texts_max),
            ("requests_in_flight", self.requests_in_flight),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            None => Ok(()),
            Some((field, _)) => Err(Error::Invalid {
                field,
                value: "0".to_owned(),
                expected: "at least 1",
            }),
        }
    }
}

/// That long from now; never, where that is longer than clocks tell.
fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + NEVER)
}

/// One URL that is posted to.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: Url,
    key: Option<ApiKey>,
    client: Client,
    config: Arc<Config>,
}

impl Endpoint {
    /// `path` below `base`, such as `https://api.openai.com/v1`.
    pub(crate) fn new(
        base: &str,
        path: &str,
        key: Option<ApiKey>,
        config: Config,
    ) -> Result<Self, Error> {
        config.check()?;
        let url = endpoint_url(base, path)?;
        if key.is_some() && url.scheme() == "http" && !is_loopback(&url) {
            return Err(Error::Invalid {
                field: "endpoint",
                value: url.into(),
                expected: "https, since an API key is sent",
            });
        }
        let client = client(&url).map_err(|source| Error::Unreachable {
            endpoint: url.to_string(),
            attempts: 0,
            source,
        })?;
        Ok(Self {
            url,
            key,
            client,
            config: Arc::new(config),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Posts `body` as JSON, again and again while that may help, and decodes the reply.
    pub(crate) async fn post<R: DeserializeOwned>(
        &self,
        body: &impl Serialize,
    ) -> Result<R, Error> {
        let body = serde_json::to_vec(body).map_err(|source| Error::Serialize {
            source: source.into(),
        })?;
        let deadline = after(self.config.timeout);
        let mut attempts = 1;
        let reply = loop {
            let failure = match self.attempt(body.clone(), deadline).await {
                Ok(reply) => break reply,
                Err(failure) => failure,
            };
            if attempts >= self.config.attempts_max || !failure.is_retryable() {
                return Err(self.error(failure, attempts));
            }
            let wait = retry::wait(&self.config, attempts, failure.retry_after, rand::random());
            if after(wait) >= deadline {
                return Err(self.error(failure, attempts));
            }
            // The failure's text may quote the request, so only its kind is logged.
            tracing::debug!(endpoint = %self.url, attempts, ?wait, "request failed, trying again");
            tokio::time::sleep(wait).await;
            attempts += 1;
        };
        serde_json::from_slice(&reply).map_err(|source| Error::Reply {
            endpoint: self.url.to_string(),
            reason: "it is not the expected JSON",
            source: Some(source.into()),
        })
    }

    pub(crate) fn makes_no_sense(&self, reason: &'static str) -> Error {
        Error::Reply {
            endpoint: self.url.to_string(),
            reason,
            source: None,
        }
    }

    async fn attempt(&self, body: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let exchange = async {
            let response = request.send().await.map_err(Failure::transport)?;
            let status = response.status();
            if status.is_success() {
                return self.read(response).await;
            }
            Err(self.refusal(status, response).await)
        };
        let until = deadline.min(after(self.config.request_timeout));
        tokio::time::timeout_at(until, exchange)
            .await
            .unwrap_or(Err(Failure::new(Reason::Timeout)))
    }

    async fn refusal(&self, status: StatusCode, response: Response) -> Failure {
        let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        // An error without a readable body is still that error.
        let body = self.read(response).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let message = match &self.key {
            // Some servers quote the key that they refuse.
            Some(key) => text.replace(key.expose(), "[API key]"),
            None => text.into_owned(),
        };
        Failure {
            reason: Reason::Status {
                status: status.as_u16(),
                message: cut(message.trim(), MESSAGE_BYTES_MAX).to_owned(),
            },
            retry_after,
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let limit = self.config.reply_bytes_max;
        let mut reply = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Failure::transport)? {
            let actual = reply.len() + chunk.len();
            if actual > limit {
                return Err(Failure::new(Reason::TooLarge { limit, actual }));
            }
            reply.extend_from_slice(&chunk);
        }
        Ok(reply)
    }

    fn error(&self, failure: Failure, attempts: u32) -> Error {
        let endpoint = self.url.to_string();
        match failure.reason {
            Reason::Timeout => Error::Timeout {
                endpoint,
                timeout: self.config.request_timeout.min(self.config.timeout),
                attempts,
            },
            Reason::Transport(source) => Error::Unreachable {
                endpoint,
                attempts,
                source,
            },
            Reason::TooLarge { limit, actual } => Error::TooLarge {
                field: "reply, bytes",
                limit,
                actual,
            },
            Reason::Status {
                status: 429,
                message,
            } => Error::RateLimited {
                endpoint,
                attempts,
                retry_after: failure.retry_after,
                message,
            },
            Reason::Status { status, message } => Error::Status {
                endpoint,
                status,
                attempts,
                message,
            },
        }
    }
}

/// `path` below `base`; the query of `base` is kept, as Azure's `api-version` needs.
fn endpoint_url(base: &str, path: &str) -> Result<Url, Error> {
    let url = Url::parse(base).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    let Some(mut url) = url else {
        return Err(Error::Invalid {
            field: "endpoint",
            value: without_credentials(base),
            expected: "an http or https URL without user name and fragment",
        });
    };
    let below = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&below);
    Ok(url)
}

/// What stands before an @ may be a password.
pub(crate) fn without_credentials(url: &str) -> String {
    match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((_, host)) => format!("...@{host}"),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn client(url: &Url) -> Result<Client, Source> {
    use rustls_platform_verifier::BuilderVerifierExt;

    // Given here, since reqwest would otherwise take the process's default provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    let tls = if url.scheme() == "https" {
        tls.with_platform_verifier()?.with_no_client_auth()
    } else {
        // A machine without root certificates can speak plain HTTP all the same.
        tls.with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect would carry the key and the texts to a host that nobody named.
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_goes_below_the_base() {
        for (base, expected) in [
            ("http://h", "http://h/embeddings"),
            ("https://h/v1", "https://h/v1/embeddings"),
            ("https://h/v1/", "https://h/v1/embeddings"),
            (
                "https://h/v1?api-version=2",
                "https://h/v1/embeddings?api-version=2",
            ),
        ] {
            let url = endpoint_url(base, "embeddings").expect(base);
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn base_with_a_password_is_refused_without_showing_it() {
        for base in ["ftp://h", "h/v1", "", "http://u:secret@h/v1", "http://h#f"] {
            let error = endpoint_url(base, "embeddings").expect_err(base);
            assert!(matches!(
                error,
                Error::Invalid {
                    field: "endpoint",
                    ..
                }
            ));
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn key_is_not_sent_in_the_clear() {
        let key = || Some(ApiKey::new("k").expect("a key"));
        let open =
            |base: &str| Endpoint::new(base, "embeddings", key(), Config::default()).map(|_| ());
        assert!(open("http://example.com/v1").is_err());
        for base in [
            "http://127.0.0.1:1/v1",
            "http://[::1]:1/v1",
            "http://localhost:1",
            "https://example.com/v1",
        ] {
            open(base).expect(base);
        }
    }

    #[test]
    fn limit_of_zero_is_refused() {
        let config = Config {
            attempts_max: 0,
            ..Config::default()
        };
        let error = Endpoint::new("http://h", "embeddings", None, config).expect_err("zero");
        assert_eq!(error.to_string(), "attempts_max \"0\" must be at least 1");
    }
}
