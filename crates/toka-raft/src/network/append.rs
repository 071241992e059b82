//! The pipelined stream of appends to one follower.
//!
//! Several requests are under way at once; answers come in their order. There is no deadline on the
//! stream, which lives as long as the leader leads. What bounds it is the age of the oldest request
//! without an answer (a half-open connection must not pin the log for ever; docs/openraft.md, section 8,
//! point 5), and the bytes that are under way.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Stream, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use toka_proto::raft_v1 as pb;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;

use super::client::{RpcError, refused, timed_out};
use crate::codec::entry_len;
use crate::type_config::TypeConfig;
use crate::wire;

/// Bytes of entries under way to one follower. One request may be larger.
const WINDOW_BYTES: u64 = 16 << 20;
/// Requests under way to one follower: as many as openraft takes on the other side.
const WINDOW_REQUESTS: usize = 64;
/// How often the age of the oldest request is looked at, as a part of the time that it is given.
const CHECKS_PER_TIMEOUT: u32 = 8;

/// Requests that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Window(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sent: VecDeque<Sent>,
    bytes: u64,
    /// The sender, if it waits for room.
    waiting: Option<Waker>,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    bytes: u64,
}

impl Window {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        let is_full = state.bytes >= WINDOW_BYTES || state.sent.len() >= WINDOW_REQUESTS;
        if is_full {
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn push(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes += bytes;
        state.sent.push_back(Sent {
            at: Instant::now(),
            bytes,
        });
    }

    fn answered(&self) {
        let mut state = self.state();
        if let Some(sent) = state.sent.pop_front() {
            state.bytes -= sent.bytes;
        }
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.state().sent.front().map(|sent| sent.at)
    }
}

/// What openraft wants sent, as messages, no faster than the window allows.
pub(super) struct Requests<S> {
    pub(super) input: S,
    pub(super) peer: pb::Peer,
    pub(super) window: Arc<Window>,
}

impl<S> Stream for Requests<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = pb::AppendEntriesRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.window.poll_room(context).is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut this.input).poll_next(context).map(|request| {
            let request = request?;
            this.window
                .push(request.entries.iter().map(entry_len).sum());
            let append = Some(wire::append(&request));
            Some(pb::AppendEntriesRequest {
                peer: Some(this.peer.clone()),
                append,
            })
        })
    }
}

/// What the follower answered, until the first error.
pub(super) fn results(
    responses: Streaming<pb::AppendEntriesResponse>,
    window: Arc<Window>,
    from: u64,
    to: u64,
    timeout: Duration,
) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RpcError>> + Send {
    let mut check = tokio::time::interval(timeout / CHECKS_PER_TIMEOUT);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = (responses, window, check);
    stream::unfold(Some(state), move |state| async move {
        let (mut responses, window, mut check) = state?;
        let message = loop {
            tokio::select! {
                biased;
                message = responses.message() => break message,
                _ = check.tick() => {
                    if window.oldest().is_some_and(|sent| sent.elapsed() > timeout) {
                        return Some((Err(timed_out(from, to, timeout)), None));
                    }
                }
            }
        };
        let result = match message {
            Ok(Some(message)) => wire::stream_result_from(message.result)
                .map_err(|error| super::client::garbled(&error)),
            Ok(None) => return None,
            Err(status) => Err(refused(to, &status)),
        };
        window.answered();
        let goes_on = matches!(result, Ok(Ok(_)));
        Some((result, goes_on.then_some((responses, window, check))))
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::StreamExt;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::type_config::{Commands, Entry, EntryPayload, LeaderId, LogId, Vote};

    fn request(bytes: usize) -> AppendEntriesRequest<TypeConfig> {
        let leader_id = LeaderId::new(1, 1);
        AppendEntriesRequest {
            vote: Vote {
                leader_id,
                committed: true,
            },
            prev_log_id: None,
            entries: vec![Entry {
                log_id: LogId::new(leader_id, 0),
                payload: EntryPayload::Normal(Commands(vec![0; bytes].into())),
            }],
            leader_commit: None,
        }
    }

    #[tokio::test]
    async fn requests_wait_for_answers_when_the_window_is_full() {
        let window = Arc::new(Window::default());
        let input = stream::repeat_with(|| request(9 << 20)).boxed();
        let mut requests = Requests {
            input,
            peer: pb::Peer::default(),
            window: Arc::clone(&window),
        };
        assert!(requests.next().now_or_never().is_some());
        assert!(requests.next().now_or_never().is_some());
        assert!(
            requests.next().now_or_never().is_none(),
            "18 MiB are under way"
        );
        window.answered();
        assert!(requests.next().now_or_never().is_some());
    }

    #[tokio::test]
    async fn small_requests_are_bounded_by_number() {
        let window = Arc::new(Window::default());
        let input = stream::repeat_with(|| request(1)).boxed();
        let mut requests = Requests {
            input,
            peer: pb::Peer::default(),
            window,
        };
        let mut sent = 0;
        while requests.next().now_or_never().is_some() {
            sent += 1;
        }
        assert_eq!(sent, WINDOW_REQUESTS);
    }
}
