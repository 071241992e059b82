//! Messages that come and go as long as what their call rests on holds.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::standing::Lapse;

/// How a body ends whose call has lapsed.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With an error for the handler that reads it.
    Request,
    /// With a status for the caller.
    Response,
}

/// A body that ends with its call's standing.
struct Lasting {
    body: Body,
    /// `None`: it has ended.
    lapse: Option<Lapse>,
    end: End,
}

/// The body, until `lapse` comes.
pub(super) fn lasting(body: Body, lapse: Lapse, end: End) -> Body {
    Body::new(Lasting {
        body,
        lapse: Some(lapse),
        end,
    })
}

impl End {
    fn frame(self, status: Status) -> Result<Frame<Bytes>, Status> {
        match self {
            Self::Request => Err(status),
            Self::Response => {
                let mut trailers = HeaderMap::new();
                status.add_header(&mut trailers)?;
                Ok(Frame::trailers(trailers))
            }
        }
    }
}

impl http_body::Body for Lasting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(lapse) = &mut self.lapse else {
            return Poll::Ready(None);
        };
        // Before what is there to be passed on: nothing is, once it was seen that the call has lapsed.
        if let Poll::Ready(status) = lapse.as_mut().poll(cx) {
            self.lapse = None;
            // What the handler holds for it is given back at once.
            self.body = Body::empty();
            return Poll::Ready(Some(self.end.frame(status)));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lapse.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};

    use http_body::Body as _;
    use toka_proto::convert::status;
    use tonic::Code;

    use super::*;

    /// A body that goes on for ever, and has nothing now.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    }

    fn lapsed() -> Lapse {
        Box::pin(ready(status::no_leader("call again")))
    }

    #[tokio::test]
    async fn answer_ends_with_the_status_of_the_lapse() {
        let mut body = lasting(Body::new(Silent), lapsed(), End::Response);
        let frame = next(&mut body).await.expect("a frame").expect("no error");
        let trailers = frame.into_trailers().expect("trailers");
        let status = Status::from_header_map(&trailers).expect("a status");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn request_ends_with_an_error() {
        let mut body = lasting(Body::new(Silent), lapsed(), End::Request);
        let ended = next(&mut body).await.expect("an error");
        assert_eq!(ended.expect_err("lapsed").code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn body_that_has_ended_stays_as_it_was() {
        let body = lasting(Body::empty(), Box::pin(pending()), End::Response);
        assert!(body.is_end_stream());
    }
}
