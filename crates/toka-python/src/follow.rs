//! Events as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyString;
use toka_client::{Consistency, Include, Message, Start, Subscribe, Subscription};
use toka_ledger::feed::{Message as Local, Subscription as LocalSubscription};
use toka_ledger::{CursorName, EventHeader, Filter, Reader, VaultBus};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

use crate::call::{Call, let_go, off_reactor};
use crate::error::Failure;
use crate::event::Event;
use crate::names::{self, EventFilter, seconds};
use crate::reads::complete;
use crate::vault::{Target, Vault};

/// Where it is followed from.
#[derive(Clone, Debug)]
enum Begin {
    At(Start),
    Cursor(CursorName),
}

/// What serves it.
enum Source {
    Embedded {
        /// Keeps the vault open.
        bus: VaultBus,
        feed: Box<LocalSubscription>,
        /// An event that has come, and was not read yet.
        held: Option<Arc<EventHeader>>,
    },
    Cluster(Box<Subscription>),
}

/// Follows events, in order, each once. Where a node dies, another one goes on.
#[pyclass(frozen, module = "toka_vault._native")]
pub(crate) struct Follower {
    /// `None`: it was closed.
    source: Arc<Mutex<Option<Source>>>,
    include: Include,
    told: Arc<Told>,
    /// Whether it was closed, for those who wait.
    closed: Arc<watch::Sender<bool>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        let source = self.source.try_lock();
        let_go(source.ok().and_then(|mut source| source.take()));
    }
}

/// The event that was handed out, until Python says that it has it: a wait may be given up while its answer is on the way,
/// and then the next one gets it.
type Handed = std::sync::Mutex<Option<Event>>;

/// What is known of it without waiting for it.
#[derive(Debug, Default)]
struct Told {
    /// Every match up to this sequence was handed out.
    position: AtomicU64,
    handed: Handed,
    details: std::sync::Mutex<(Option<u128>, Option<String>)>,
}

impl Told {
    fn tell(&self, position: u64, history_id: Option<u128>, endpoint: Option<&str>) {
        self.position.store(position, Ordering::Relaxed);
        let mut details = self.details();
        details.0 = history_id.or(details.0);
        details.1 = endpoint.map(str::to_owned);
    }

    fn handed(&self) -> std::sync::MutexGuard<'_, Option<Event>> {
        let handed = self.handed.lock();
        handed.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hands an event out.
    fn hand_out(&self, event: Event) -> Event {
        *self.handed() = Some(event.clone());
        event
    }

    // Nothing panics while one of these is held.
    fn details(&self) -> std::sync::MutexGuard<'_, (Option<u128>, Option<String>)> {
        let details = self.details.lock();
        details.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[pymethods]
impl Follower {
    /// The next event, and the same one again until `took` is called: a wait that is given up loses nothing. Waits for
    /// `timeout` seconds at most, once whoever has waited before has got his.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, timeout: Option<f64>) -> Result<Call, Failure> {
        let limit = timeout.map(|limit| seconds("timeout", limit)).transpose()?;
        let (source, told) = (Arc::clone(&self.source), Arc::clone(&self.told));
        let (include, closed) = (self.include, Arc::clone(&self.closed));
        Ok(Call::new(async move {
            tokio::select! {
                biased;
                () = until_closed(closed.subscribe()) => Err(Failure::follower_closed()),
                event = next(&source, &told, include, limit) => event,
            }
        }))
    }

    /// Ends it: whoever waits for its next event gets `ClosedError`.
    fn close(&self) -> Call {
        let (source, closed) = (Arc::clone(&self.source), Arc::clone(&self.closed));
        Call::new(async move {
            closed.send_replace(true);
            let source = source.lock().await.take();
            off_reactor(move || {
                drop(source);
                Ok(())
            })
            .await
        })
    }

    /// The caller has the event that came last.
    fn took(&self) {
        *self.told.handed() = None;
    }

    /// Every match up to this sequence was handed over; 0 before anything is known.
    #[getter]
    fn position(&self) -> u64 {
        match &*self.told.handed() {
            Some(event) => event.header.sequence - 1,
            None => self.told.position.load(Ordering::Relaxed),
        }
    }

    /// The history in which the position has a meaning, of a cluster, as 32 hexadecimal digits: to be stored with it.
    #[getter]
    fn history_id(&self) -> Option<String> {
        self.told
            .details()
            .0
            .map(|history| format!("{history:032x}"))
    }

    /// The node that serves it, `host:port`.
    #[getter]
    fn endpoint(&self) -> Option<String> {
        self.told.details().1.clone()
    }
}

async fn open(
    target: Target,
    begin: Begin,
    filter: Filter,
    include: Include,
    history_id: Option<u128>,
) -> Result<Follower, Failure> {
    let told = Told::default();
    let source = match target {
        Target::Embedded(bus) => {
            let start = match begin {
                Begin::At(start) => start,
                Begin::Cursor(name) => {
                    let bus = bus.clone();
                    let at = off_reactor(move || Ok(bus.cursor(&name)?)).await?;
                    Start::After(at.unwrap_or(0))
                }
            };
            let feed = Box::new(bus.reader().subscribe(start, filter));
            told.tell(feed.position(), None, None);
            let held = None;
            Source::Embedded { bus, feed, held }
        }
        Target::Cluster(client) => {
            let from = match begin {
                Begin::At(start) => Subscribe {
                    // "Now" is after what this client has committed.
                    consistency: Consistency::ReadYourWrites,
                    ..Subscribe::from(start)
                },
                Begin::Cursor(name) => Subscribe::from_cursor(name),
            };
            let subscribe = Subscribe {
                filter,
                include,
                history_id,
                ..from
            };
            let subscription = client.subscribe(subscribe).await?;
            tell_of(&subscription, &told);
            Source::Cluster(Box::new(subscription))
        }
    };
    Ok(Follower {
        source: Arc::new(Mutex::new(Some(source))),
        include,
        told: Arc::new(told),
        closed: Arc::new(watch::Sender::new(false)),
    })
}

fn tell_of(subscription: &Subscription, told: &Told) {
    let (position, history_id) = (subscription.position(), subscription.history_id());
    told.tell(position, Some(history_id), subscription.endpoint());
}

/// Returns once the follower is closed.
async fn until_closed(mut closed: watch::Receiver<bool>) {
    // It does not fail: whoever waits has the sender.
    let _ = closed.wait_for(|is_closed| *is_closed).await;
}

/// What `wait` comes to, unless it takes too long.
async fn within<T, E>(
    until: Option<Instant>,
    wait: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    match until {
        None => Ok(wait.await?),
        Some(until) => match timeout_at(until, wait).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Failure::waited()),
        },
    }
}

async fn next(
    source: &Mutex<Option<Source>>,
    told: &Told,
    include: Include,
    limit: Option<Duration>,
) -> Result<Event, Failure> {
    let mut locked = source.lock().await;
    let handed = told.handed().clone();
    if let Some(event) = handed {
        return Ok(event);
    }
    let source = locked.as_mut().ok_or_else(Failure::follower_closed)?;
    // A limit beyond all time is none.
    let until = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        match source {
            Source::Embedded { bus, feed, held } => {
                let event = next_embedded(bus.reader(), feed, held, include, until).await?;
                let event = told.hand_out(event);
                told.tell(event.header.sequence, None, None);
                return Ok(event);
            }
            Source::Cluster(subscription) => {
                if let Some(event) = next_of_cluster(subscription, told, until).await? {
                    return Ok(event);
                }
            }
        }
    }
}

/// Cancelled, it leaves the event where it is held. An event that has come is read, however long that takes.
async fn next_embedded(
    reader: &Reader,
    feed: &mut LocalSubscription,
    held: &mut Option<Arc<EventHeader>>,
    include: Include,
    until: Option<Instant>,
) -> Result<Event, Failure> {
    loop {
        if let Some(header) = held.clone() {
            let reader = reader.clone();
            let event = off_reactor(move || complete(&reader, header, include)).await?;
            *held = None;
            return Ok(event.into());
        }
        if let Local::Event(header) = within(until, feed.next()).await? {
            *held = Some(header);
        }
    }
}

/// `None` for a message that is no event.
async fn next_of_cluster(
    subscription: &mut Subscription,
    told: &Told,
    until: Option<Instant>,
) -> Result<Option<Event>, Failure> {
    // On the heap: it would be held several times over, with all that it takes to find another node.
    let message = within(until, Box::pin(subscription.next())).await?;
    let event = match message {
        Message::Event(event) => Some(told.hand_out(Event::from(*event))),
        _ => None,
    };
    // After that, so that the position is never ahead of what was taken.
    tell_of(subscription, told);
    Ok(event)
}

/// Follows events from now on, or from where it is said. `start`: `"beginning"`, `"now"`, or a sequence after which; `at`: from this time on, milliseconds since
/// the Unix epoch; `cursor`: after the place of a cursor.
#[pyfunction]
#[pyo3(signature = (
    vault, filter=None, *, start=None, at=None, cursor=None, payload=true, embedding=false, history_id=None
))]
#[allow(clippy::too_many_arguments, reason = "they have names in Python")]
pub(crate) fn follow(
    vault: &Bound<'_, Vault>,
    filter: Option<Bound<'_, EventFilter>>,
    start: Option<Bound<'_, PyAny>>,
    at: Option<u64>,
    cursor: Option<String>,
    payload: bool,
    embedding: bool,
    history_id: Option<String>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let begin = place(start.as_ref(), at, cursor.as_deref())?;
    let filter = names::filter(filter.as_ref());
    let include = Include { payload, embedding };
    let history_id = history_id.as_deref().map(history).transpose()?;
    let opened = open(target, begin, filter, include, history_id);
    Ok(Call::new(opened))
}

fn place(
    start: Option<&Bound<'_, PyAny>>,
    at: Option<u64>,
    cursor: Option<&str>,
) -> Result<Begin, Failure> {
    match (start, at, cursor) {
        (None, None, None) => Ok(Begin::At(Start::Now)),
        (None, Some(unix_ms), None) => Ok(Begin::At(Start::At(unix_ms))),
        (None, None, Some(name)) => Ok(Begin::Cursor(CursorName::new(name)?)),
        (Some(start), None, None) if start.is_instance_of::<PyString>() => {
            match start.extract::<String>()?.as_str() {
                "beginning" => Ok(Begin::At(Start::Beginning)),
                "now" => Ok(Begin::At(Start::Now)),
                other => {
                    let message = format!("{other:?} is none of beginning, now, or a sequence");
                    Err(Failure::invalid("start", message))
                }
            }
        }
        (Some(start), None, None) => Ok(Begin::At(Start::After(start.extract()?))),
        _ => Err(Failure::invalid(
            "start",
            "give one of start, at and cursor",
        )),
    }
}

fn history(text: &str) -> Result<u128, Failure> {
    u128::from_str_radix(text, 16)
        .map_err(|_| Failure::invalid("history_id", "it is not 32 hexadecimal digits"))
}
