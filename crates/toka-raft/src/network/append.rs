//! The pipelined stream of appends to one follower.
//!
//! Several requests are under way at once; answers come in their order. There is no deadline on the
//! stream, which lives as long as the leader leads. What bounds it is how long requests may wait without any
//! answer (a half-open connection must not pin the log for ever; docs/openraft.md, section 8, point 5), the
//! bytes that are under way, and what the log is to be purged of: openraft purges nothing that a stream still
//! has to deliver, so a follower that is slow and never silent would pin it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Stream, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use toka_proto::raft_v1 as pb;
use tokio::time::Instant;
use tonic::Streaming;

use super::client::{RpcError, left_behind, refused, timed_out};
use super::held::Held;
use super::{Complaints, Strangers};
use crate::codec::entry_len;
use crate::purge::{Purge, StreamMark};
use crate::ticker::ticker;
use crate::transport::{Channels, Traffic};
use crate::type_config::TypeConfig;
use crate::wire;

/// Bytes of entries under way to one follower. One request may be larger.
const WINDOW_BYTES: u64 = 16 << 20;
/// Requests under way to one follower: as many as openraft takes on the other side.
const WINDOW_REQUESTS: usize = 64;
/// How often the wait is looked at, as a part of the time that it is given.
const CHECKS_PER_TIMEOUT: u32 = 8;
/// An answer may take longer by the time that the request takes at this rate. An entry can be large.
const BYTES_PER_S_MIN: u64 = 128 << 10;
/// After this part of the time a follower may not hold up the purge of the log.
const PIN_PART: u32 = 2;

/// Requests that have no answer yet.
#[derive(Debug)]
pub(super) struct Window {
    state: Mutex<State>,
    mark: StreamMark,
}

#[derive(Debug, Default)]
struct State {
    sent: VecDeque<Sent>,
    bytes: u64,
    /// The last answer.
    answered: Option<Instant>,
    /// The sender, if it waits for room.
    waiting: Option<Waker>,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    bytes: u64,
    /// Index of the entry before those that it carries.
    after: u64,
}

/// How long the follower has been waited for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Since the oldest request was sent.
    age: Duration,
    /// Since then, or since the last answer.
    silence: Duration,
    /// Bytes of entries of the oldest request.
    bytes: u64,
    /// Index of the entry before those that it carries.
    after: u64,
}

impl Wait {
    /// How long the oldest request may be under way.
    fn sending(&self) -> Duration {
        Duration::from_millis(self.bytes * 1_000 / BYTES_PER_S_MIN)
    }
}

impl Window {
    pub(super) fn new(mark: StreamMark) -> Self {
        Self {
            state: Mutex::default(),
            mark,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn push(&self, request: &AppendEntriesRequest<TypeConfig>) {
        let bytes = request.entries.iter().map(entry_len).sum();
        let mut state = self.state();
        state.bytes += bytes;
        state.sent.push_back(Sent {
            at: Instant::now(),
            bytes,
            after: request.prev_log_id.map_or(0, |log_id| log_id.index),
        });
        self.mark.set(state.sent.front().map(|oldest| oldest.after));
    }

    fn answered(&self) {
        let mut state = self.state();
        state.answered = Some(Instant::now());
        if let Some(sent) = state.sent.pop_front() {
            state.bytes -= sent.bytes;
        }
        self.mark.set(state.sent.front().map(|oldest| oldest.after));
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// If a request has no answer yet.
    fn wait(&self) -> Option<Wait> {
        let state = self.state();
        let oldest = state.sent.front()?;
        Some(Wait {
            age: oldest.at.elapsed(),
            silence: state.answered.max(Some(oldest.at))?.elapsed(),
            bytes: oldest.bytes,
            after: oldest.after,
        })
    }
}

/// What openraft wants sent, until it is [closed](Closer).
#[derive(Debug)]
pub(super) struct Source<S>(Arc<Mutex<Sending<S>>>);

#[derive(Debug)]
struct Sending<S> {
    /// Absent once it is closed.
    input: Option<S>,
    /// Whoever sends, and must learn that it is closed.
    sender: Option<Waker>,
}

impl<S> Source<S> {
    pub(super) fn new(input: S) -> Self {
        let sending = Sending {
            input: Some(input),
            sender: None,
        };
        Self(Arc::new(Mutex::new(sending)))
    }

    fn lock(&self) -> MutexGuard<'_, Sending<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it when dropped.
    pub(super) fn closer(&self) -> Closer<S> {
        Closer(Self(Arc::clone(&self.0)))
    }
}

/// Ends the sending together with the answers. The connection would go on with it: it keeps what it sends of
/// a call whose answers nobody reads. And since openraft's streams to one follower take from the same source,
/// an old one would take what the next one is to send, or wait for it and hold its lock.
pub(super) struct Closer<S>(Source<S>);

impl<S> Drop for Closer<S> {
    fn drop(&mut self) {
        let mut sending = self.0.lock();
        sending.input = None;
        if let Some(sender) = sending.sender.take() {
            sender.wake();
        }
    }
}

/// What openraft wants sent, as messages, no faster than the window allows.
pub(super) struct Requests<S> {
    pub(super) source: Source<S>,
    pub(super) peer: pb::Peer,
    pub(super) window: Arc<Window>,
    pub(super) held: Held,
}

impl<S> Stream for Requests<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = pb::AppendEntriesRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut sending = this.source.lock();
        let Some(input) = &mut sending.input else {
            return Poll::Ready(None);
        };
        let polled = match this.window.poll_room(context) {
            Poll::Ready(()) => this.held.poll_next(input, context),
            Poll::Pending => Poll::Pending,
        };
        if polled.is_pending() {
            sending.sender = Some(context.waker().clone());
        }
        polled.map(|request| {
            let request = request?;
            this.window.push(&request);
            let append = Some(wire::append(&request));
            Some(pb::AppendEntriesRequest {
                peer: Some(this.peer.clone()),
                append,
            })
        })
    }
}

/// When a stream is given up.
pub(super) struct Patience {
    /// An answer to a small request may take so long.
    pub(super) timeout: Duration,
    pub(super) purge: Arc<Purge>,
    /// For when it is exceeded: another connection may fare better.
    pub(super) reconnect: Reconnect,
}

/// A connection that is not to be used again.
pub(super) struct Reconnect {
    pub(super) channels: Arc<Channels>,
    pub(super) endpoint: String,
    pub(super) traffic: Traffic,
}

impl Reconnect {
    pub(super) fn next_time(&self) {
        self.channels.forget(&self.endpoint, self.traffic);
    }
}

impl Patience {
    /// How long it has been silent, if that is too long.
    fn exceeded(&self, wait: Wait) -> Option<Duration> {
        (wait.silence > self.timeout + wait.sending()).then_some(wait.silence)
    }

    /// Whether the follower holds up the purge of the log, and did not only just begin to. One that moves may
    /// do so for a while: a snapshot would take it longer.
    fn is_pinned(&self, wait: Wait) -> bool {
        let limit = self.timeout / PIN_PART;
        let is_silent = wait.silence > limit + wait.sending() && wait.after < self.purge.upto();
        is_silent || (wait.age > limit && wait.after < self.purge.at_once())
    }
}

/// Where it is noted that a stream was refused.
#[derive(Clone)]
pub(super) struct Refusals {
    pub(super) complaints: Arc<Complaints>,
    pub(super) strangers: Arc<Strangers>,
}

/// What the follower answered, until the first error. The sending ends when this is dropped.
pub(super) fn results<S>(
    responses: Streaming<pb::AppendEntriesResponse>,
    window: Arc<Window>,
    refusals: Refusals,
    (from, to): (u64, u64),
    patience: Patience,
    closer: Closer<S>,
) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RpcError>> + Send
where
    S: Send,
{
    let check = ticker(patience.timeout / CHECKS_PER_TIMEOUT);
    let state = (responses, window, check);
    let patience = Arc::new(patience);
    stream::unfold(Some(state), move |state| {
        let _dropped_with_this = &closer;
        let (refusals, patience) = (refusals.clone(), Arc::clone(&patience));
        async move {
            let (mut responses, window, mut check) = state?;
            let message = loop {
                tokio::select! {
                    biased;
                    message = responses.message() => break message,
                    _ = check.tick() => {
                        let Some(wait) = window.wait() else {
                            continue;
                        };
                        if let Some(silence) = patience.exceeded(wait) {
                            patience.reconnect.next_time();
                            return Some((Err(timed_out(from, to, silence)), None));
                        }
                        if patience.is_pinned(wait) {
                            return Some((Err(left_behind(to, wait.after)), None));
                        }
                    }
                }
            };
            let result = match message {
                Ok(Some(message)) => wire::stream_result_from(message.result)
                    .map_err(|error| super::client::garbled(&error)),
                Ok(None) => return None,
                Err(status) => {
                    let (complaints, strangers) = (&refusals.complaints, &refusals.strangers);
                    Err(refused(complaints, strangers, to, &status))
                }
            };
            window.answered();
            let goes_on = matches!(result, Ok(Ok(_)));
            Some((result, goes_on.then_some((responses, window, check))))
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::StreamExt;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::transport::TcpTransport;
    use crate::type_config::{Commands, Entry, EntryPayload, LeaderId, LogId, Vote};

    fn window() -> Window {
        Window::new(Arc::new(Purge::default()).stream())
    }

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
        let window = Arc::new(window());
        let input = stream::repeat_with(|| request(9 << 20)).boxed();
        let mut requests = Requests {
            source: Source::new(input),
            peer: pb::Peer::default(),
            window: Arc::clone(&window),
            held: Held::default(),
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
        let window = Arc::new(window());
        let input = stream::repeat_with(|| request(1)).boxed();
        let mut requests = Requests {
            source: Source::new(input),
            peer: pb::Peer::default(),
            window,
            held: Held::default(),
        };
        let mut sent = 0;
        while requests.next().now_or_never().is_some() {
            sent += 1;
        }
        assert_eq!(sent, WINDOW_REQUESTS);
    }

    #[test]
    fn slow_follower_may_not_pin_the_log() {
        let patience = Patience {
            timeout: Duration::from_secs(4),
            purge: Arc::default(),
            reconnect: Reconnect {
                channels: Arc::new(Channels::new(Arc::new(TcpTransport))),
                endpoint: "peer:1".to_owned(),
                traffic: Traffic::Replication,
            },
        };
        patience.purge.set(10, 5);
        let wait = |age, silence, after| Wait {
            age: Duration::from_secs(age),
            silence: Duration::from_secs(silence),
            bytes: 0,
            after,
        };
        let is_pinned = |wait| patience.is_pinned(wait);
        assert!(!is_pinned(wait(1, 1, 9)), "it has only just begun");
        assert!(is_pinned(wait(3, 3, 9)));
        assert!(!is_pinned(wait(3, 3, 10)), "nothing is missing");
        assert!(!is_pinned(wait(9, 1, 9)), "it moves");
        assert!(is_pinned(wait(9, 1, 4)), "it moves too slowly");
        let silence = Duration::from_secs(5);
        assert_eq!(patience.exceeded(wait(5, 5, 9)), Some(silence));
        let large = Wait {
            bytes: 2 * BYTES_PER_S_MIN,
            ..wait(5, 5, 9)
        };
        assert_eq!(patience.exceeded(large), None, "it is large");
        let small = Wait {
            bytes: 0,
            ..wait(3, 3, 9)
        };
        assert!(is_pinned(small));
        let large = Wait {
            bytes: 2 * BYTES_PER_S_MIN,
            ..small
        };
        assert!(!is_pinned(large), "it takes that long");
    }

    #[tokio::test]
    async fn follower_that_answers_is_not_silent_however_old_its_oldest_request() {
        let window = window();
        assert!(window.wait().is_none());
        window.push(&request(1));
        window.push(&request(1));
        let past = Instant::now() - Duration::from_secs(9);
        window
            .state()
            .sent
            .iter_mut()
            .for_each(|sent| sent.at = past);
        let silence = || window.wait().expect("a request is under way").silence;
        assert!(silence() >= Duration::from_secs(9));
        window.answered();
        assert!(silence() < Duration::from_secs(9));
    }

    #[tokio::test]
    async fn sending_ends_with_the_answers() {
        let input = stream::pending::<AppendEntriesRequest<TypeConfig>>().boxed();
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let input = input.inspect(move |_| drop(Arc::clone(&held)));
        let source = Source::new(input);
        let closer = source.closer();
        let mut requests = Requests {
            source,
            peer: pb::Peer::default(),
            window: Arc::new(window()),
            held: Held::default(),
        };
        let sending = tokio::spawn(async move { requests.next().await.is_none() });
        tokio::task::yield_now().await;
        drop(closer);
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "openraft's stream is gone at once"
        );
        assert!(sending.await.expect("it ends"), "and so is the call's");
    }
}
