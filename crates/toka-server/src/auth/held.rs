//! Answers that hold a place of their principal until their end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;

/// A body with which something is given back when it is dropped.
struct Held {
    body: Body,
    _open: OwnedSemaphorePermit,
}

/// The body; `open` is given back when it has been sent, or is given up.
pub(super) fn held(body: Body, open: OwnedSemaphorePermit) -> Body {
    Body::new(Held { body, _open: open })
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body::Body as _;
    use tokio::sync::Semaphore;

    use super::*;

    /// One without a body is at its end when it has come.
    #[test]
    fn place_is_held_as_long_as_the_answer() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().expect("free");
        let answer = Body::new(axum::body::Body::from("answer"));
        let body = held(answer, place);
        assert!(!body.is_end_stream());
        assert_eq!(places.available_permits(), 0);
        drop(body);
        assert_eq!(places.available_permits(), 1);
    }
}
