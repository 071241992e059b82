//! Streams of answers that nobody takes.
//!
//! HTTP asks a stream for nothing while its client takes nothing, so a stream cannot notice by itself. Here each
//! wakes itself now and then, and HTTP then asks it whether there is something, unless there is no room. One that
//! has not been asked for too long is given up: what it holds is dropped at once, and its client, should it go on,
//! learns why.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use toka_proto::convert::status;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::vault::Answers;

/// A stream wakes itself, and all are looked at, so many times within the timeout.
const LOOKS: u32 = 4;

/// The open streams of a node.
#[derive(Debug)]
pub(crate) struct Streams {
    timeout: Duration,
    open: Mutex<Vec<Weak<dyn Sweep>>>,
}

/// A stream that can be given up.
trait Sweep: Send + Sync {
    /// Gives it up if nobody has asked for anything since `timeout` before `now`.
    fn give_up(&self, now: Instant, timeout: Duration) -> bool;
}

/// Gives up, for ever, what nobody takes.
pub(crate) async fn sweep(streams: Arc<Streams>) {
    loop {
        sleep(streams.timeout / LOOKS).await;
        let count = streams.sweep(Instant::now());
        if count > 0 {
            let timeout_ms = streams.timeout.as_millis();
            tracing::info!(
                count,
                timeout_ms,
                "streams are given up: nobody takes what they have"
            );
        }
    }
}

impl Streams {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            open: Mutex::default(),
        }
    }

    /// `answers`, until nobody takes them.
    pub(super) fn watch<T: Send + 'static>(&self, answers: Answers<T>) -> Answers<T> {
        let kept = Arc::new(Kept(Mutex::new(State::Open {
            answers,
            asked_at: Instant::now(),
        })));
        let sweep: Arc<dyn Sweep> = Arc::<Kept<T>>::clone(&kept);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() == open.capacity() {
            open.retain(|stream| stream.strong_count() > 0);
        }
        open.push(Arc::downgrade(&sweep));
        drop(open);
        let step = self.timeout / LOOKS;
        Box::pin(Watched {
            kept,
            timeout: self.timeout,
            step,
            wake: Box::pin(sleep(step)),
        })
    }

    /// Gives up what nobody takes; returns how many.
    fn sweep(&self, now: Instant) -> usize {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| stream.strong_count() > 0);
        let streams: Vec<_> = open.iter().filter_map(Weak::upgrade).collect();
        drop(open);
        let given_up = streams
            .iter()
            .filter(|stream| stream.give_up(now, self.timeout));
        given_up.count()
    }
}

/// What is asked for answers, and what looks whether anybody asks.
struct Kept<T>(Mutex<State<T>>);

enum State<T> {
    Open {
        answers: Answers<T>,
        asked_at: Instant,
    },
    GivenUp,
    Ended,
}

impl<T> Kept<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sweep for Kept<T> {
    fn give_up(&self, now: Instant, timeout: Duration) -> bool {
        // Where it is locked, somebody asks.
        let Ok(mut state) = self.0.try_lock() else {
            return false;
        };
        match &*state {
            State::Open { asked_at, .. } if now.saturating_duration_since(*asked_at) >= timeout => {
            }
            _ => return false,
        }
        let given_up = mem::replace(&mut *state, State::GivenUp);
        drop(state);
        drop(given_up);
        true
    }
}

/// The stream, as HTTP asks it.
struct Watched<T> {
    kept: Arc<Kept<T>>,
    timeout: Duration,
    step: Duration,
    wake: Pin<Box<Sleep>>,
}

impl<T> Stream for Watched<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let now = Instant::now();
        if this.wake.as_mut().poll(cx).is_ready() {
            this.wake.as_mut().reset(now + this.step);
            // Registers the next time.
            let _ = this.wake.as_mut().poll(cx);
        }
        let mut state = this.kept.state();
        match &mut *state {
            State::Open { answers, asked_at } => {
                *asked_at = now;
                let answer = answers.as_mut().poll_next(cx);
                if let Poll::Ready(None | Some(Err(_))) = &answer {
                    *state = State::Ended;
                }
                answer
            }
            State::GivenUp => {
                *state = State::Ended;
                let reason = format!("the caller has taken nothing for {:?}", this.timeout);
                Poll::Ready(Some(Err(status::no_leader(reason))))
            }
            State::Ended => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};
    use tonic::Code;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A stream of numbers that holds `held`.
    fn numbers(held: Arc<()>) -> Answers<u64> {
        Box::pin(stream::iter(0..).map(move |number| {
            let _ = &held;
            Ok(number)
        }))
    }

    #[tokio::test]
    async fn a_stream_that_nobody_asks_is_dropped_and_says_why() {
        let streams = Streams::new(TIMEOUT);
        let held = Arc::new(());
        let mut answers = streams.watch(numbers(Arc::clone(&held)));
        assert!(matches!(answers.next().await, Some(Ok(0))));
        let now = Instant::now();
        assert_eq!(streams.sweep(now + TIMEOUT / 2), 0);
        assert!(matches!(answers.next().await, Some(Ok(1))));
        assert_eq!(Arc::strong_count(&held), 2);

        assert_eq!(streams.sweep(Instant::now() + TIMEOUT), 1);
        assert_eq!(Arc::strong_count(&held), 1);
        let end = answers.next().await.expect("a reason").expect_err("ended");
        assert_eq!(end.code(), Code::Unavailable);
        assert!(end.message().contains("60s"), "{end:?}");
        assert!(answers.next().await.is_none());
        assert_eq!(streams.sweep(Instant::now() + TIMEOUT), 0);
    }

    #[tokio::test]
    async fn a_stream_that_ended_is_not_kept() {
        let streams = Streams::new(TIMEOUT);
        let held = Arc::new(());
        drop(streams.watch(numbers(Arc::clone(&held))));
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(streams.sweep(Instant::now() + TIMEOUT), 0);
        let mut short = streams.watch::<u64>(Box::pin(stream::empty()));
        assert_eq!(
            short.next().now_or_never().map(|end| end.is_none()),
            Some(true)
        );
    }
}
