//! One subscriber's way through the history.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::core::EventHeader;
use crate::engine::Direction;
use crate::error::Error;
use crate::intent::IntentId;
use crate::read::{Filter, Page, Position, Query, Reader, Selector};
use crate::seam::off_reactor;

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the vault's first event.
    Beginning,
    /// After the last event there is.
    Now,
    /// After this sequence. Where the vault has not reached it, the subscription waits until it has.
    After(u64),
    /// At the first event at or after this time, milliseconds since the Unix epoch. It may be to come.
    At(u64),
}

/// What a subscription delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The next event that matches.
    Event(Arc<EventHeader>),
    /// Everything there is was delivered; live from here. Comes once, and again after `FellBehind`.
    CaughtUp,
    /// An intent that the filter names was retired: from here on its successor's events come.
    Continued {
        /// The intent of the filter, or the successor that it had until now.
        intent: IntentId,
        /// Where most of its events went.
        successor: IntentId,
    },
    /// Too slow for the shared buffer: storage is read until the next `CaughtUp`. Nothing is lost.
    FellBehind,
}

/// Events from a place in the history on, in order, each once.
///
/// Storage is read, and intents are looked up, on tokio's blocking threads; without a tokio runtime, on
/// the caller's. (Whoever asks for an intent may have to wait until `apply` lets readers have a turn.)
pub struct Subscription {
    reader: Reader,
    positions: watch::Receiver<Position>,
    filter: Filter,
    /// Events before this time are not wanted, milliseconds since the Unix epoch.
    from_unix_ms: u64,
    /// It is not known yet which event `from_unix_ms` is in front of.
    is_unsettled: bool,
    /// Every event up to this one was looked at: it is in `ready`, was delivered, or does not match.
    scanned: u64,
    ready: VecDeque<Arc<EventHeader>>,
    /// Intents of the filter that were retired, and their successors; not told yet.
    continued: VecDeque<(IntentId, IntentId)>,
    /// As of where the filter was looked up; `None`: not yet.
    looked_up: Option<LookedUp>,
    is_live: bool,
    interest: Interest,
    /// What must happen before there is more. Kept between calls, so that a call can be dropped.
    pending: Option<BoxFuture<'static, Step>>,
}

/// As of where a filter was looked up.
#[derive(Clone, Copy, Debug)]
struct LookedUp {
    revision: u64,
    /// The last event.
    head: u64,
}

/// Tells what is read for a subscription when it is gone.
#[derive(Debug, Default)]
struct Interest(Arc<AtomicBool>);

impl Interest {
    /// Whether the subscription is still there, for other threads.
    fn go_on(&self) -> impl Fn() -> bool + Send + use<> {
        let is_gone = Arc::clone(&self.0);
        move || !is_gone.load(Ordering::Relaxed)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

enum Step {
    Moved,
    Closed,
    /// The last event before the start.
    Settled(Result<u64, Error>),
    /// The page ends at this sequence, or earlier where it says so.
    Page(u64, Result<Page, Error>),
    /// What the filter is as of there.
    LookedUp(LookedUp, Result<LookUp, Error>),
}

/// What a filter by intents or descendants is as of a revision.
struct LookUp {
    filter: Filter,
    continued: Vec<(IntentId, IntentId)>,
    /// Those of the newest events that match, up to this sequence; `None` if the ring does not have the next
    /// event.
    recent: Option<(u64, Vec<Arc<EventHeader>>)>,
}

impl Reader {
    /// Follows the history.
    #[must_use]
    pub fn subscribe(&self, start: Start, filter: Filter) -> Subscription {
        let positions = self.watch();
        let scanned = match start {
            Start::Beginning => 0,
            Start::Now => positions.borrow().sequence,
            Start::After(sequence) => sequence,
            Start::At(_) => 0,
        };
        let (from_unix_ms, is_unsettled) = match start {
            Start::At(unix_ms) => (unix_ms, true),
            Start::Beginning | Start::Now | Start::After(_) => (0, false),
        };
        Subscription {
            reader: self.clone(),
            positions,
            filter,
            from_unix_ms,
            is_unsettled,
            scanned,
            ready: VecDeque::new(),
            continued: VecDeque::new(),
            looked_up: None,
            is_live: false,
            interest: Interest::default(),
            pending: None,
        }
    }
}

impl Subscription {
    /// The next message; waits until there is one. May be dropped at any point without losing any.
    ///
    /// # Errors
    /// [`Error::Closed`] after the last event of a vault that closed; those of
    /// [`Reader::list`], after which a further call tries again.
    pub async fn next(&mut self) -> Result<Message, Error> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Finds out where a subscription from a time on starts, so that [`Subscription::position`] says it. Without
    /// it, this is done with the first message.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn settle(&mut self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.poll_settled(cx)).await
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.is_unsettled {
            let pending = match &mut self.pending {
                Some(pending) => pending,
                // Nothing else is begun before the start is known.
                None => {
                    let (reader, unix_ms) = (self.reader.clone(), self.from_unix_ms);
                    let pages = Arc::clone(&reader.turns().pages);
                    let settle = move || Step::Settled(reader.last_before(unix_ms));
                    self.pending
                        .insert(blocking(pages, self.interest.go_on(), settle))
                }
            };
            let step = ready!(pending.as_mut().poll(cx));
            self.pending = None;
            match step {
                Step::Settled(last) => {
                    self.scanned = last?;
                    self.is_unsettled = false;
                }
                _ => return Poll::Ready(Err(Error::Closed)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Every match up to this sequence was delivered.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.ready
            .front()
            .map_or(self.scanned, |next| next.sequence - 1)
    }

    /// [`Subscription::next`] for hand-written futures.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        ready!(self.poll_settled(cx))?;
        loop {
            if let Some(pending) = &mut self.pending {
                let step = ready!(pending.as_mut().poll(cx));
                self.pending = None;
                self.take_step(step)?;
            }
            if let Some((intent, successor)) = self.continued.pop_front() {
                return Poll::Ready(Ok(Message::Continued { intent, successor }));
            }
            if let Some(header) = self.ready.pop_front() {
                return Poll::Ready(Ok(Message::Event(header)));
            }
            let now = *self.positions.borrow_and_update();
            let head = now.sequence;
            let needs_look_up = self.needs_look_up(now);
            if needs_look_up && !self.is_looked_up(now) {
                self.pending = Some(self.look_up(now));
            } else if self.scanned >= head {
                if !self.is_live {
                    self.is_live = true;
                    return Poll::Ready(Ok(Message::CaughtUp));
                }
                self.pending = Some(self.wait_for_change());
            } else if !needs_look_up && let Some((last, mut recent)) = self.recent(head) {
                recent.retain(|header| self.filter.matches_header(header));
                self.take_recent(last, recent);
            } else if self.is_live {
                self.is_live = false;
                return Poll::Ready(Ok(Message::FellBehind));
            } else {
                let looked_up = self.looked_up.filter(|_| needs_look_up);
                let until = looked_up.map_or(head, |at| at.head);
                self.pending = Some(self.read_page(until));
            }
        }
    }

    fn take_step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            // A start is settled before all else.
            Step::Moved | Step::Settled(_) => {}
            Step::Closed => return Err(Error::Closed),
            Step::Page(until, page) => self.take_page(until, page?),
            Step::LookedUp(at, found) => {
                let LookUp {
                    filter,
                    continued,
                    recent,
                } = found?;
                self.looked_up = Some(at);
                self.filter = filter;
                self.continued.extend(continued);
                if let Some((last, headers)) = recent {
                    self.take_recent(last, headers);
                }
            }
        }
        Ok(())
    }

    /// Whether what matches cannot be told from the headers alone. Intents are looked at also where no event
    /// is new: they may be retired by other commands.
    fn needs_look_up(&self, now: Position) -> bool {
        let has_intents = !self.filter.intents.is_empty();
        has_intents || self.filter.descendants_of.is_some() && self.scanned < now.sequence
    }

    /// Whether the last look-up is good for the next thing to do. What is read from storage is read up to where the
    /// vault was then, though it may be further by now: in a busy vault it always is, and there would be nothing but
    /// look-ups. Likewise whoever has come to the end for the first time is told before the next look-up.
    fn is_looked_up(&self, now: Position) -> bool {
        self.looked_up.is_some_and(|at| {
            if self.scanned < now.sequence {
                self.scanned < at.head && !self.reader.ring().has_next(self.scanned)
            } else {
                !self.is_live || at.revision == now.revision
            }
        })
    }

    /// What the ring has from here up to `head`, the position that readers know (the ring may be
    /// ahead of it), or a part of it, and the last sequence of that. `None` if it does not have the next event.
    fn recent(&self, head: u64) -> Option<(u64, Vec<Arc<EventHeader>>)> {
        let events_max = self.reader.bounds().follow_events;
        let mut recent = self.reader.ring().range(self.scanned, events_max)?;
        recent.retain(|header| header.sequence <= head);
        Some((recent.last()?.sequence, recent))
    }

    fn take_recent(&mut self, last: u64, recent: Vec<Arc<EventHeader>>) {
        self.scanned = last;
        self.make_ready(recent);
    }

    fn make_ready(&mut self, headers: Vec<Arc<EventHeader>>) {
        let from_unix_ms = self.from_unix_ms;
        let headers = headers.into_iter();
        self.ready
            .extend(headers.filter(|header| header.unix_ms >= from_unix_ms));
    }

    /// Puts successors in the place of intents that were retired, and looks for the filter's events among
    /// the newest.
    fn look_up(&self, now: Position) -> BoxFuture<'static, Step> {
        let (reader, filter) = (self.reader.clone(), self.filter.clone());
        let recent = self.recent(now.sequence);
        let at = LookedUp {
            revision: now.revision,
            head: now.sequence,
        };
        let look_ups = Arc::clone(&reader.turns().look_ups);
        let go_on = self.interest.go_on();
        blocking(look_ups, self.interest.go_on(), move || {
            Step::LookedUp(at, look_up(&reader, filter, recent, &go_on))
        })
    }

    fn take_page(&mut self, until: u64, page: Page) {
        self.make_ready(page.headers);
        self.scanned = page.next.unwrap_or(until);
    }

    fn wait_for_change(&self) -> BoxFuture<'static, Step> {
        // The clone has seen what the original has: a change in between resolves it at once.
        let mut positions = self.positions.clone();
        Box::pin(async move {
            match positions.changed().await {
                Ok(()) => Step::Moved,
                Err(_) => Step::Closed,
            }
        })
    }

    fn read_page(&self, until: u64) -> BoxFuture<'static, Step> {
        let reader = self.reader.clone();
        let query = Query {
            after: self.scanned,
            until,
            filter: self.filter.clone(),
            direction: Direction::Forward,
            limit: reader.bounds().follow_events,
        };
        let pages = Arc::clone(&reader.turns().pages);
        let go_on = self.interest.go_on();
        blocking(pages, self.interest.go_on(), move || {
            Step::Page(until, reader.list_while(&query, &go_on))
        })
    }
}

/// The filter as it is now, and its events among the newest.
fn look_up(
    reader: &Reader,
    mut filter: Filter,
    mut recent: Option<(u64, Vec<Arc<EventHeader>>)>,
    go_on: &dyn Fn() -> bool,
) -> Result<LookUp, Error> {
    let mut continued = Vec::new();
    if !filter.intents.is_empty() {
        let headers = recent.as_mut().map(|(_, headers)| headers);
        continued = reader.follow_intents(&mut filter, headers);
    } else if let Some((_, headers)) = &mut recent {
        headers.retain(|header| filter.matches_header(header));
    }
    if let Some(of) = &mut filter.descendants_of {
        // By its sequence it is found without a look.
        *of = Selector::Sequence(reader.filter_root(of)?);
        if let Some((last, headers)) = &mut recent {
            reader.retain_descendants(of, *last, headers, go_on)?;
        }
    }
    Ok(LookUp {
        filter,
        continued,
        recent,
    })
}

/// `work` on a blocking thread when its turn comes, unless nobody wants it any more by then. Without a runtime, which
/// has such threads, it is done at once.
fn blocking(
    turns: Arc<Semaphore>,
    go_on: impl Fn() -> bool + Send + 'static,
    work: impl FnOnce() -> Step + Send + 'static,
) -> BoxFuture<'static, Step> {
    Box::pin(async move {
        let Ok(runtime) = Handle::try_current() else {
            return work();
        };
        // A task of its own: it uses its turn also while nobody asks the subscription for its next message.
        let task = runtime.spawn(async move {
            let turn = turns.acquire_owned().await;
            let work = move || {
                // Until the work is done, also if nobody waits for it.
                let _turn = turn;
                if go_on() { work() } else { Step::Closed }
            };
            off_reactor(work).await
        });
        match task.await.and_then(|done| done) {
            Ok(step) => step,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down.
            Err(_) => Step::Closed,
        }
    })
}

/// Every message; ends when the vault closes. After another error polling again tries again.
impl Stream for Subscription {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = ready!(self.get_mut().poll_message(cx));
        Poll::Ready(match message {
            Err(Error::Closed) => None,
            message => Some(message),
        })
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("position", &self.position())
            .field("filter", &self.filter)
            .field("is_live", &self.is_live)
            .finish_non_exhaustive()
    }
}
