//! Messages whose bytes are counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::account::Account;

/// A body that counts the bytes of its principal; one of a stream waits while they are used up.
struct Metered {
    body: Body,
    account: Arc<Account>,
    waits: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The body with its bytes counted.
pub(super) fn metered(body: Body, account: Arc<Account>, waits: bool) -> Body {
    Body::new(Metered {
        body,
        account,
        waits,
        pause: None,
    })
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let wait = self.account.wait_for_bytes(Instant::now());
        if self.waits && !wait.is_zero() {
            let mut pause = Box::pin(sleep(wait));
            if pause.as_mut().poll(cx).is_pending() {
                self.pause = Some(pause);
                return Poll::Pending;
            }
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.account.bytes(data.len(), Instant::now());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
