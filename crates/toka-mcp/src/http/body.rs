//! Bodies of requests: read within a time, and of all of them together so much at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A request's body, bytes: more than the largest event has.
pub(super) const REQUEST_BYTES_MAX: usize = 16 << 20;
/// All bodies that are read, and not yet understood, bytes.
const BODIES_BYTES_MAX: usize = 128 << 20;
/// What one permit stands for, bytes.
const PERMIT_BYTES: usize = 1 << 10;
/// How long a body may take, its wait for others included.
const READ_MAX: Duration = Duration::from_secs(30);

/// The room that there is for bodies.
pub(super) struct Bodies(Arc<Semaphore>);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request has more than {max} bytes")]
    TooLarge { max: usize },
    #[error("the request was not read within {seconds} s")]
    Late { seconds: u64 },
    #[error("the request has broken off")]
    Broken,
}

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_BYTES_MAX / PERMIT_BYTES)))
    }
}

impl Bodies {
    /// The request with its body in memory, and the room that this takes: to be kept until it was understood.
    pub(super) async fn read(
        &self,
        request: Request,
    ) -> Result<(Request, OwnedSemaphorePermit), BodyError> {
        let (parts, body) = request.into_parts();
        let room = room(&parts.method, &parts.headers)?;
        let reading = async {
            let held = Arc::clone(&self.0).acquire_many_owned(room).await;
            let held = held.map_err(|_| BodyError::Broken)?;
            let bytes = match room {
                0 => Bytes::new(),
                _ => whole(&parts.headers, body).await?,
            };
            Ok((bytes, held))
        };
        let read = timeout(READ_MAX, Box::pin(reading)).await;
        let (bytes, held) = read.unwrap_or(Err(BodyError::Late {
            seconds: READ_MAX.as_secs(),
        }))?;
        Ok((Request::from_parts(parts, Body::from(bytes)), held))
    }
}

/// Permits for a body: as many as it says, or as it may have at most.
fn room(method: &Method, headers: &HeaderMap) -> Result<u32, BodyError> {
    // Of others no body is looked at.
    if *method != Method::POST {
        return Ok(0);
    }
    let bytes = length(headers).unwrap_or(REQUEST_BYTES_MAX);
    if bytes > REQUEST_BYTES_MAX {
        return Err(BodyError::TooLarge {
            max: REQUEST_BYTES_MAX,
        });
    }
    Ok(u32::try_from(bytes.div_ceil(PERMIT_BYTES)).expect("a request is small"))
}

fn length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}

async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
    let read = to_bytes(body, REQUEST_BYTES_MAX).await;
    // One that has said how long it is can only have broken off.
    read.map_err(|_| match length(headers) {
        Some(_) => BodyError::Broken,
        None => BodyError::TooLarge {
            max: REQUEST_BYTES_MAX,
        },
    })
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        };
        (status, format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, announced: Option<&'static str>, body: Vec<u8>) -> Request {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method;
        if let Some(announced) = announced {
            let announced = header::HeaderValue::from_static(announced);
            request
                .headers_mut()
                .insert(header::CONTENT_LENGTH, announced);
        }
        request
    }

    #[tokio::test]
    async fn body_takes_room_until_it_was_understood() {
        let bodies = Bodies::default();
        let all = bodies.0.available_permits();
        let sent = request(Method::POST, Some("2000"), vec![7; 2_000]);
        let (read, held) = bodies.read(sent).await.expect("read");
        assert_eq!(bodies.0.available_permits(), all - 2);
        let bytes = to_bytes(read.into_body(), 2_000).await.expect("in memory");
        assert_eq!(bytes, vec![7; 2_000]);
        drop(held);
        assert_eq!(bodies.0.available_permits(), all);
    }

    #[tokio::test]
    async fn body_that_does_not_say_how_long_it_is_takes_the_most() {
        let bodies = Bodies::default();
        let all = bodies.0.available_permits();
        let sent = request(Method::POST, None, vec![7]);
        let (_read, _held) = bodies.read(sent).await.expect("read");
        let taken = all - bodies.0.available_permits();
        assert_eq!(taken, REQUEST_BYTES_MAX / PERMIT_BYTES);
        let listening = request(Method::GET, None, Vec::new());
        let (_, held) = bodies.read(listening).await.expect("nothing to read");
        assert_eq!(held.num_permits(), 0);
    }

    #[tokio::test]
    async fn body_that_is_too_large_is_refused_announced_or_not() {
        let bodies = Bodies::default();
        let announced = request(Method::POST, Some("99999999"), Vec::new());
        let unannounced = request(Method::POST, None, vec![0; REQUEST_BYTES_MAX + 1]);
        for sent in [announced, unannounced] {
            let error = bodies.read(sent).await.expect_err("too large");
            assert!(matches!(error, BodyError::TooLarge { .. }), "{error}");
            let status = error.into_response().status();
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
}
