//! Answers to calls, of which it is noted whether they were taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use super::gate::Gate;

/// What every message says at its beginning, in contrast to what keeps a stream open until there is one.
const MESSAGE: &[u8] = b"\"jsonrpc\"";
/// Where that is, bytes.
const BEGIN_BYTES: usize = 256;

/// The body of an answer within a session.
pub(super) struct Answer {
    body: Body,
    /// The message was handed over, or there is none. Clients need not wait for the end behind it.
    is_taken: bool,
    gate: Arc<Gate>,
    session: String,
}

impl Answer {
    pub(super) fn new(body: Body, gate: Arc<Gate>, session: String) -> Self {
        Self {
            is_taken: body.is_end_stream(),
            body,
            gate,
            session,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let is_taken = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                frame.data_ref().is_some_and(is_message) || self.body.is_end_stream()
            }
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        self.is_taken |= is_taken;
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_taken {
            self.gate.note_broken_off(&self.session);
        }
    }
}

fn is_message(data: &Bytes) -> bool {
    let begin = &data[..data.len().min(BEGIN_BYTES)];
    begin.windows(MESSAGE.len()).any(|part| part == MESSAGE)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[test]
    fn message_is_told_from_what_keeps_a_stream_open() {
        let message = "id: 1/0\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
        assert!(is_message(&Bytes::from_static(message.as_bytes())));
        for other in ["", ":\n\n", "id: 0/0\nretry: 3000\ndata: \n\n"] {
            assert!(!is_message(&Bytes::from_static(other.as_bytes())));
        }
    }

    #[tokio::test]
    async fn answer_that_is_taken_whole_is_not_broken_off() {
        let gate = Arc::new(Gate::new(Arc::default(), false));
        let answer =
            |text: &'static str| Answer::new(Body::from(text), Arc::clone(&gate), "one".to_owned());
        let shown = blake3::hash(b"somebody");
        assert!(gate.put("one", shown));
        for _ in 0..1_000 {
            let whole = to_bytes(Body::new(answer("whole")), 10).await;
            assert_eq!(whole.expect("taken"), "whole");
            drop(answer(""));
        }
        assert!(gate.is_holder("one", &shown));
        for _ in 0..1_000 {
            drop(answer("left"));
        }
        assert!(!gate.is_holder("one", &shown));
    }
}
