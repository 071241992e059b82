//! Subscriptions that go on at another node when theirs dies.

use std::collections::VecDeque;
use std::fmt;

use futures::stream::{self, Stream};
use toka_ledger::feed::Start;
use toka_ledger::intent::IntentId;
use toka_ledger::{CursorName, Filter};
use toka_proto::convert::event::StoredEvent;
use toka_proto::convert::ident;
use toka_proto::convert::read::{Header, ReadOptions};
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message as Body;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tonic::{Status, Streaming};

use crate::call::{Tries, vault};
use crate::client::Client;
use crate::continued::Continued;
use crate::error::Error;
use crate::read::{Consistency, Include};
use crate::routes::Route;

/// How long a subscription goes on without having heard who the members are.
const MEMBERS_REFRESH: Duration = Duration::from_secs(30);

/// What to follow, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Where it starts.
    pub start: Start,
    /// The cursor after whose place it starts, in place of `start`; a node looks up where it is.
    pub cursor: Option<CursorName>,
    /// Which events.
    pub filter: Filter,
    /// What comes with the headers.
    pub include: Include,
    /// What the node must have seen before it starts: with [`Start::Now`] and
    /// [`Consistency::ReadYourWrites`], events that this client has committed do not come.
    pub consistency: Consistency,
    /// The history that the start is of: [`Subscription::history_id`], stored with the position. Where the
    /// vault has another one by now, the subscription is refused. `None`: with [`Start::After`] the history that
    /// this client's first reply has shown, or [`Client::expect_history`] has named; else whichever the vault has.
    pub history_id: Option<u128>,
}

impl Subscribe {
    /// All events from a start on, headers only.
    #[must_use]
    pub fn from(start: Start) -> Self {
        Self {
            start,
            cursor: None,
            filter: Filter::default(),
            include: Include::default(),
            consistency: Consistency::default(),
            history_id: None,
        }
    }

    /// All events after the place of a cursor, headers only. The last move of the cursor that was
    /// acknowledged counts.
    #[must_use]
    pub fn from_cursor(name: CursorName) -> Self {
        Self {
            cursor: Some(name),
            consistency: Consistency::Linearizable,
            ..Self::from(Start::Beginning)
        }
    }
}

/// What a subscription delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// The next match.
    Event(Box<StoredEvent>),
    /// Every match up to the sequence came before. Comes every few seconds at least.
    Checkpoint {
        /// The sequence.
        sequence: u64,
        /// The vault's time there, milliseconds since the Unix epoch.
        unix_ms: u64,
    },
    /// Every match that the node has was delivered. Comes once from each node that serves the
    /// subscription, and after each `FellBehind`.
    CaughtUp {
        /// Up to this sequence.
        sequence: u64,
        /// Events, matching or not, that the node has got since.
        lag: u64,
    },
    /// An intent of the filter was retired: from here on its successor's events come. Comes once for
    /// each, over any number of nodes.
    IntentContinued {
        /// The intent of the filter, or the successor that it had until now.
        intent: IntentId,
        /// The intent that holds most of its events.
        successor: IntentId,
    },
    /// Slower than the vault: served from the node's storage until the next `CaughtUp`.
    FellBehind {
        /// Every match up to this sequence was delivered.
        sequence: u64,
        /// Events, matching or not, that the node has after that.
        lag: u64,
    },
}

/// Events from a place in the order on, in order, each once.
pub struct Subscription {
    client: Client,
    subscribe: Subscribe,
    /// Every match up to this sequence was delivered. `None` before the first node has said where
    /// the subscription starts.
    position: Option<u64>,
    /// The history in which the position has a meaning.
    history_id: Option<u128>,
    /// Intents of the filter that were retired.
    continued: Continued,
    /// Events of one message, not delivered yet.
    received: VecDeque<v1::Event>,
    /// The stream in use, and whose it is.
    stream: Option<(String, Streaming<v1::SubscribeResponse>)>,
    /// How long its node has known of no leader, as of its last checkpoint.
    leaderless: Duration,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("subscribe", &self.subscribe)
            .field("position", &self.position)
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Follows events. Returns once a node has said where the subscription starts.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Unavailable`] after the client's deadline; [`Error::HistoryChanged`] if
    /// the vault is not of the history that the start is of.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        let history_id = match (subscribe.history_id, subscribe.start) {
            (Some(history_id), _) => Some(history_id),
            (None, Start::After(_)) => self.shared.seen.first_history(),
            (None, Start::Beginning | Start::Now | Start::At(_)) => None,
        };
        let mut subscription = Subscription {
            client: self.clone(),
            subscribe,
            position: None,
            history_id,
            continued: Continued::default(),
            received: VecDeque::new(),
            stream: None,
            leaderless: Duration::ZERO,
        };
        let mut tries = self.shared.tries(self.deadline());
        subscription.open(&mut tries).await?;
        Ok(subscription)
    }
}

impl Subscription {
    /// The next message. When the node dies, another one goes on where it stopped.
    ///
    /// Can be dropped and called again without losing anything.
    ///
    /// # Errors
    /// If no node can go on within [`crate::Config::resume_timeout`]; called again, it tries again.
    /// [`Error::HistoryChanged`] if the vault was restored: then it never goes on.
    pub async fn next(&mut self) -> Result<Message, Error> {
        let mut tries = None;
        loop {
            if self.stream.is_none() && self.received.is_empty() {
                let shared = &self.client.shared;
                let deadline = Instant::now() + shared.config.resume_timeout;
                self.open(tries.get_or_insert_with(|| shared.tries(deadline)))
                    .await?;
            }
            match self.receive().await {
                Ok(Some(message)) => {
                    self.leave_if_cut_off();
                    return Ok(message);
                }
                Ok(None) => {}
                Err(status) => {
                    // They come again, after the position.
                    self.received.clear();
                    let Some((endpoint, _)) = self.stream.take() else {
                        continue;
                    };
                    let shared = &self.client.shared;
                    let deadline = Instant::now() + shared.config.resume_timeout;
                    let tries = tries.get_or_insert_with(|| shared.tries(deadline));
                    shared.failed(tries, &endpoint, &status).await?;
                }
            }
        }
    }

    /// The next event, without what comes between.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next_event(&mut self) -> Result<StoredEvent, Error> {
        loop {
            if let Message::Event(event) = self.next().await? {
                return Ok(*event);
            }
        }
    }

    /// Every match up to this sequence was delivered. Who stores it to go on after it with another client
    /// stores [`Subscription::history_id`] with it.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.unwrap_or(0)
    }

    /// The history that the position is of; see [`Subscribe::history_id`].
    #[must_use]
    pub fn history_id(&self) -> u128 {
        self.history_id
            .expect("the node said it when the subscription was opened")
    }

    /// The node that serves it, `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.stream.as_ref().map(|(endpoint, _)| endpoint.as_str())
    }

    /// How long the node that serves it had known of no leader when it said so last; zero if it knew one. Such a node may
    /// be cut off from the others, so that nothing comes from it. After [`crate::Config::leaderless_max`] the
    /// subscription goes on with another one.
    #[must_use]
    pub const fn leaderless(&self) -> Duration {
        self.leaderless
    }

    /// Leaves a node that has known of no leader for long. Where no other one can serve it comes back.
    fn leave_if_cut_off(&mut self) {
        let shared = &self.client.shared;
        let is_cut_off =
            !self.leaderless.is_zero() && self.leaderless >= shared.config.leaderless_max;
        if !is_cut_off || shared.routes.known() < 2 {
            return;
        }
        if let Some((endpoint, _)) = self.stream.take() {
            tracing::debug!(endpoint, "a node without a leader is left");
            shared.routes.fail(&endpoint, false);
        }
    }

    /// As a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Message, Error>> + Send {
        stream::unfold(Some(self), |subscription| async move {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(message) => Some((Ok(message), Some(subscription))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Finds a node that serves the subscription from its position on.
    async fn open(&mut self, tries: &mut Tries) -> Result<(), Error> {
        loop {
            let endpoint = self.client.shared.routes.pick(Route::Any);
            let (_, until) = tries.next()?;
            let status = match timeout_at(until, self.open_at(&endpoint)).await {
                Ok(Ok(stream)) => {
                    self.stream = Some((endpoint, stream));
                    self.leaderless = Duration::ZERO;
                    return Ok(());
                }
                Ok(Err(Failed::Status(status))) => status,
                Ok(Err(Failed::Error(other @ Error::OtherCluster { .. }))) => {
                    self.client.shared.foreign(tries, &endpoint, other).await?;
                    continue;
                }
                Ok(Err(Failed::Error(error))) => return Err(error),
                Err(_) => tries.no_answer(),
            };
            self.client.shared.failed(tries, &endpoint, &status).await?;
        }
    }

    /// Opens the stream and takes its first message, which is a checkpoint.
    async fn open_at(
        &mut self,
        endpoint: &str,
    ) -> Result<Streaming<v1::SubscribeResponse>, Failed> {
        let channel = self
            .client
            .shared
            .channels
            .get(endpoint)
            .map_err(Failed::Error)?;
        // No deadline is sent: the stream is meant to last. Nor is the cluster: where its position is of another
        // history a node says so, and of a node of another cluster nothing is taken.
        let request = self.client.shared.bare_request(self.request());
        let response = vault(channel)
            .subscribe(request)
            .await
            .map_err(Failed::Status)?;
        let pinned = &self.client.shared.pin;
        let (head, mut stream, _) = response.into_parts();
        let checked = pinned.check_head(endpoint, &head);
        checked.map_err(Failed::Error)?;
        let first = stream.message().await.map_err(Failed::Status)?;
        let first = first.ok_or_else(|| Failed::Status(ended()))?;
        let header = Header::try_from(first.header)
            .map_err(|error| Failed::Error(Error::reply(endpoint, error)))?;
        let Some(Body::Checkpoint(checkpoint)) = first.message else {
            return Err(Failed::Error(Error::reply(
                endpoint,
                "no checkpoint came first",
            )));
        };
        let checked = self.client.shared.pin.check(endpoint, header.cluster_id);
        checked.map_err(Failed::Error)?;
        self.client.shared.routes.learn_from(&head);
        self.client.shared.seen.observe(&header);
        self.history_id = Some(header.history_id);
        // From the second node on the position is known, and the node was told.
        self.position = self.position.or(Some(checkpoint.sequence));
        Ok(stream)
    }

    fn request(&self) -> v1::SubscribeRequest {
        use v1::subscribe_request::Start as Message;
        let start = match (self.position, &self.subscribe.cursor, self.subscribe.start) {
            (Some(position), _, _) | (None, None, Start::After(position)) => {
                Message::AfterSequence(position)
            }
            (None, Some(cursor), _) => Message::Cursor(cursor.as_str().to_owned()),
            (None, None, Start::Beginning) => Message::Beginning(v1::FromBeginning {}),
            (None, None, Start::Now) => Message::Now(v1::FromNow {}),
            (None, None, Start::At(unix_ms)) => Message::AtUnixMs(unix_ms),
        };
        let mut read: v1::ReadOptions = match self.position {
            // The start has been settled; what comes after it comes whenever the node has it.
            Some(_) => ReadOptions::default().into(),
            None => self.client.options(self.subscribe.consistency),
        };
        read.history_id = self.history_id.map(ident::u128_bytes).unwrap_or_default();
        v1::SubscribeRequest {
            vault: String::new(),
            start: Some(start),
            filter: Some((&self.subscribe.filter).into()),
            include: Some(self.subscribe.include.into()),
            read: Some(read),
            takes_batches: true,
        }
    }

    /// The next message of the stream in use; `None` for one that is of no interest.
    async fn receive(&mut self) -> Result<Option<Message>, Status> {
        if let Some(event) = self.received.pop_front() {
            return self.take_event(event);
        }
        let idle_timeout = self.client.shared.config.idle_timeout;
        let Some((endpoint, stream)) = &mut self.stream else {
            return Ok(None);
        };
        let received = timeout(idle_timeout, stream.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the node has been silent for too long"))?;
        let response = received?.ok_or_else(ended)?;
        if self.client.shared.routes.are_members_stale(MEMBERS_REFRESH) {
            // A stream that lasts sees no new head of a reply. Whom to turn to must be known before its
            // node is gone.
            let client = self.client.clone();
            tokio::spawn(async move { client.node_status().await });
        }
        if response.header.is_some() {
            let header =
                Header::try_from(response.header).map_err(|error| bad(endpoint, &error))?;
            self.client.shared.seen.observe(&header);
        }
        let position = self.position.get_or_insert(0);
        match response.message {
            Some(Body::Event(event)) => self.take_event(event),
            Some(Body::Events(batch)) => {
                self.received.extend(batch.events);
                Ok(None)
            }
            Some(Body::Checkpoint(v1::Checkpoint {
                sequence,
                unix_ms,
                leaderless_ms,
            })) => {
                self.leaderless = Duration::from_millis(leaderless_ms);
                *position = sequence.max(*position);
                Ok(Some(Message::Checkpoint {
                    sequence: *position,
                    unix_ms,
                }))
            }
            Some(Body::CaughtUp(caught_up)) => {
                *position = caught_up.sequence.max(*position);
                Ok(Some(Message::CaughtUp {
                    sequence: *position,
                    lag: caught_up.lag_events,
                }))
            }
            Some(Body::IntentContinued(v1::IntentContinued { intent, successor })) => {
                let (intent, successor) = (IntentId(intent), IntentId(successor));
                let filter = &mut self.subscribe.filter.intents;
                let news = self.continued.take(filter, intent, successor);
                Ok(news.map(|(intent, successor)| Message::IntentContinued { intent, successor }))
            }
            Some(Body::FellBehind(behind)) => Ok(Some(Message::FellBehind {
                sequence: behind.sequence,
                lag: behind.lag_events,
            })),
            // A message that is newer than this client.
            None => Ok(None),
        }
    }

    /// `None` for an event that was delivered before, or is before the start.
    fn take_event(&mut self, event: v1::Event) -> Result<Option<Message>, Status> {
        let event = StoredEvent::try_from(event)
            .map_err(|error| bad(self.endpoint().unwrap_or("a node"), &error))?;
        let position = self.position.get_or_insert(0);
        if event.header.sequence <= *position {
            return Ok(None);
        }
        *position = event.header.sequence;
        // A node that goes on after a position does not know of the time. A cursor is in its place.
        if self.subscribe.cursor.is_none()
            && matches!(self.subscribe.start, Start::At(from) if event.header.unix_ms < from)
        {
            return Ok(None);
        }
        Ok(Some(Message::Event(Box::new(event))))
    }
}

/// Why a stream could not be opened.
enum Failed {
    Status(Status),
    /// No other node will do better.
    Error(Error),
}

/// A node that stops ends its streams.
fn ended() -> Status {
    Status::unavailable("the node ended the stream")
}

fn bad(endpoint: &str, error: &toka_ledger::Invalid) -> Status {
    Status::internal(format!("a message of {endpoint} makes no sense: {error}"))
}
