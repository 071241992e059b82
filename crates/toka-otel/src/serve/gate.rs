//! What a request has to pass before it is read, and how it is refused over either protocol.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message as _;
use serde_json::json;
use toka_bridge::{Bodies, bearer};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::decode::REQUEST_BYTES_MAX;
use crate::error::Error;

/// Requests that are decoded and answered at once: each may have to be held in memory several times over.
pub(super) const REQUESTS_MAX: usize = 8;
/// Requests that wait for these; further ones are refused, for the exporter to send again.
pub(super) const WAITING_MAX: usize = 56;
/// All bodies, bytes as they come, from when they are read until they are answered.
const BODIES_BYTES_MAX: usize = 128 << 20;
/// What gRPC puts before a message, bytes, and more.
const FRAME_BYTES_MAX: usize = 1 << 10;
/// How long a request takes at most, its wait included.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// What exporters are told over HTTP of when to send a request again, seconds.
const RETRY_AFTER: &str = "2";
/// Where traces are sent to over HTTP.
pub(super) const PATH: &str = "/v1/traces";
/// Types of bodies over HTTP.
pub(super) const PROTOBUF: &str = "application/x-protobuf";
pub(super) const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";

/// Lets a bounded number of requests in.
pub(super) struct Gate {
    requires_token: bool,
    places: Semaphore,
    permits: Semaphore,
    bodies: Bodies,
}

/// What a request is spoken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    /// Over HTTP, as is everything that says nothing that is known.
    Protobuf,
    /// Over HTTP.
    Json,
}

impl Gate {
    pub(super) fn new(requires_token: bool) -> Self {
        Self {
            requires_token,
            places: Semaphore::new(REQUESTS_MAX + WAITING_MAX),
            permits: Semaphore::new(REQUESTS_MAX),
            bodies: Bodies::new(
                REQUEST_BYTES_MAX + FRAME_BYTES_MAX,
                BODIES_BYTES_MAX,
                REQUEST_TIME_MAX,
            ),
        }
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Error> {
        // What knows no path answers as gRPC does, which an exporter that speaks HTTP takes for success.
        if Protocol::of(headers) != Protocol::Grpc && path != PATH {
            return Err(Error::Path);
        }
        // Exporters are no web pages: what a page on another site makes a browser send here is not taken.
        if headers.contains_key(header::ORIGIN) {
            return Err(Error::Origin);
        }
        if self.requires_token && bearer(headers).is_none() {
            return Err(Error::Unauthenticated);
        }
        Ok(())
    }

    async fn run(&self, request: Request, next: Next) -> Result<Response, Error> {
        self.check(request.uri().path(), request.headers())?;
        let running = async {
            // Before it takes a place, which one who sends slowly would keep from others.
            let (request, _room) = self.bodies.read(request).await?;
            let Ok(_place) = self.places.try_acquire() else {
                return Err(Error::Busy {
                    max: REQUESTS_MAX + WAITING_MAX,
                });
            };
            let permit = self.permits.acquire().await;
            let _permit = permit.map_err(|_| Error::Interrupted)?;
            Ok::<_, Error>(next.run(request).await)
        };
        let ran = tokio::time::timeout(REQUEST_TIME_MAX, Box::pin(running)).await;
        ran.unwrap_or(Err(Error::Late {
            seconds: REQUEST_TIME_MAX.as_secs(),
        }))
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let protocol = Protocol::of(request.headers());
    match gate.run(request, next).await {
        Ok(response) => response,
        Err(error) => refusal(protocol, &error),
    }
}

impl Protocol {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with(GRPC) {
            return Self::Grpc;
        }
        match essence(kind) {
            JSON => Self::Json,
            _ => Self::Protobuf,
        }
    }

    /// The type of an answer over HTTP.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Grpc | Self::Protobuf => PROTOBUF,
        }
    }
}

/// A type without its parameters.
pub(super) fn essence(kind: &str) -> &str {
    kind.split(';').next().unwrap_or_default().trim()
}

/// As `google.rpc.Status`, which is the body of an answer that OTLP over HTTP refuses with.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// An error in the words of a protocol.
pub(super) fn refusal(protocol: Protocol, error: &Error) -> Response {
    tracing::debug!(%error, "a request was refused");
    match protocol {
        Protocol::Grpc => status(error).into_http::<Body>(),
        Protocol::Protobuf | Protocol::Json => over_http(protocol, error),
    }
}

/// An error over gRPC.
pub(super) fn status(error: &Error) -> Status {
    Status::new(error.code(), error.to_string())
}

fn over_http(protocol: Protocol, error: &Error) -> Response {
    let code = error.code();
    let (number, message) = (i32::from(code), error.to_string());
    let body = match protocol {
        Protocol::Json => json!({ "code": number, "message": message })
            .to_string()
            .into_bytes(),
        Protocol::Grpc | Protocol::Protobuf => RpcStatus {
            code: number,
            message,
        }
        .encode_to_vec(),
    };
    let headers = [(header::CONTENT_TYPE, protocol.content_type())];
    let mut response = (http_status(error), headers, body).into_response();
    let further = match code {
        // 503 and not 429: both are to be sent again, and older exporters for Python do so with the former alone.
        Code::Unavailable => Some((header::RETRY_AFTER, RETRY_AFTER)),
        Code::Unauthenticated => Some((header::WWW_AUTHENTICATE, "Bearer")),
        _ => None,
    };
    if let Some((name, value)) = further {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn http_status(error: &Error) -> StatusCode {
    match error {
        Error::TooLarge { .. } | Error::TooMany { .. } => return StatusCode::PAYLOAD_TOO_LARGE,
        Error::MediaType { .. } => return StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Error::Path => return StatusCode::NOT_FOUND,
        _ => {}
    }
    match error.code() {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn requests_of_web_pages_and_of_nobody_are_refused() {
        let gate = Gate::new(true);
        let page = gate.check(PATH, &headers("origin", "http://evil.example"));
        assert!(matches!(page, Err(Error::Origin)));
        let nobody = gate.check(PATH, &HeaderMap::new());
        assert!(matches!(nobody, Err(Error::Unauthenticated)));
        let somebody = gate.check(PATH, &headers("authorization", "Bearer secret"));
        assert!(somebody.is_ok());
        let open = Gate::new(false);
        assert!(open.check(PATH, &HeaderMap::new()).is_ok());
        let elsewhere = open.check("/v1/metrics", &HeaderMap::new());
        assert!(matches!(elsewhere, Err(Error::Path)));
    }

    #[test]
    fn each_protocol_is_refused_in_its_own_words() {
        let grpc = Protocol::of(&headers("content-type", "application/grpc+proto"));
        assert_eq!(grpc, Protocol::Grpc);
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Protobuf);
        let json = Protocol::of(&headers("content-type", "application/json; charset=utf-8"));
        assert_eq!(json, Protocol::Json);
        let busy = Error::Busy { max: 1 };
        let response = refusal(Protocol::Grpc, &busy);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        let response = refusal(Protocol::Protobuf, &busy);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "2");
        let response = refusal(Protocol::Protobuf, &Error::Unauthenticated);
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let response = refusal(Protocol::Json, &Error::Unauthenticated);
        assert_eq!(response.headers()["content-type"], JSON);
        let response = refusal(Protocol::Protobuf, &Error::TooLarge { max: 1 });
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
