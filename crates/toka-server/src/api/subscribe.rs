//! Subscriptions.
//!
//! The stream is pulled: nothing is read before the client takes what was read before, but for two
//! batches. A slow client thus costs the node these, and falls back to storage. A batch is bytes, which all
//! subscriptions share that want the same of its events.

mod sent;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, stream};
use prost::Message as _;
use toka_ledger::core::EventHeader;
use toka_ledger::engine::AtHand;
use toka_ledger::feed::{Message, Start, Subscription};
use toka_ledger::read::{Follower, RING_EVENTS_MAX};
use toka_ledger::{CursorName, Filter, Invalid, Reader};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::subscribe_request::Start as StartMessage;
use toka_proto::v1::subscribe_response::Message as Answer;
use toka_raft::meters::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

pub(super) use self::sent::Sent;
use super::Shared;
use super::encoded::messages;
use super::read::Include;
use super::vault::Answers;
use crate::limits::{
    BATCH_BYTES, BATCH_EVENTS, CHECKPOINT_INTERVAL, SUBSCRIPTION_BYTES, SUBSCRIPTION_EVENTS,
};

/// About what an event takes on the wire without its attributes, its parents, and what comes with it, bytes;
const HEADER_BYTES: usize = 256;
/// and each parent: an id and a digest.
const PARENT_BYTES: usize = 64;

/// Where a request wants to start.
enum Place {
    At(Start),
    Cursor(CursorName),
}

/// Opens a subscription.
pub(super) async fn open(
    shared: &Arc<Shared>,
    request: Request<v1::SubscribeRequest>,
) -> Result<Response<Answers<Sent>>, Status> {
    let call = shared.admit(&request)?;
    let permits = (
        call.access.subscribe()?,
        shared.gates.subscriptions.enter()?,
    );
    let request = request.into_inner();
    let (place, mut filter) = check(&request).map_err(|error| status::invalid(&error))?;
    let include = Include::new(request.include);
    let position = shared.barrier(&call, request.read).await?;
    let start = match place {
        Place::At(start) => start,
        Place::Cursor(name) => Start::After(shared.find_cursor(&call, &name).await?),
    };
    // The others are relative to what the node has: another one may be ahead.
    if let Start::After(sequence) = start {
        shared.confirm(&call, sequence, position).await?;
    }
    shared.find_root(&call, &mut filter).await?;
    call.access.narrow(&mut filter);
    let mut subscription = shared.reader.subscribe(start, filter);
    let settled = subscription.settle().await;
    settled.map_err(|error| shared.failed_read(&error))?;
    tracing::debug!(after = subscription.position(), "subscription");
    let mut feed = Feed::new(Arc::clone(shared), subscription, include, permits);
    feed.takes_batches = request.takes_batches;
    let answers = stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        match feed.next().await {
            Ok(answer) => Some((Ok(answer), Some(feed))),
            // The status ends the stream.
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(Response::new(shared.streams.watch(Box::pin(answers))))
}

fn check(request: &v1::SubscribeRequest) -> Result<(Place, Filter), Invalid> {
    check_vault(&request.vault)?;
    let place = match &request.start {
        None | Some(StartMessage::Beginning(_)) => Place::At(Start::Beginning),
        Some(StartMessage::Now(_)) => Place::At(Start::Now),
        Some(StartMessage::AfterSequence(sequence)) => Place::At(Start::After(*sequence)),
        Some(StartMessage::AtUnixMs(unix_ms)) => Place::At(Start::At(*unix_ms)),
        Some(StartMessage::Cursor(name)) => Place::Cursor(CursorName::new(name)?),
    };
    Ok((
        place,
        request.filter.clone().unwrap_or_default().try_into()?,
    ))
}

/// The places of a subscription among its principal's and the node's.
type Permits = (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit);

/// One open subscription.
struct Feed {
    shared: Arc<Shared>,
    subscription: Subscription,
    include: Include,
    /// The client takes several events in one message.
    takes_batches: bool,
    /// The first message.
    first: Option<Bytes>,
    /// Messages of events, read ahead, in order.
    ready: VecDeque<Bytes>,
    /// What comes after those that are ready, and is being read.
    ahead: Option<Ahead>,
    /// A message that was met while events were gathered, and comes after them.
    after: Option<Message>,
    /// There were more events than are taken at once.
    is_behind: bool,
    /// Every match up to it is in `ready` or was sent, and the vault's time there.
    sent: (u64, u64),
    checkpoint_at: Instant,
    /// Since when the node knows of no leader, as of the last checkpoint.
    leaderless_since: Option<Instant>,
    /// For metrics: the first of `sent`.
    position: Arc<Gauge>,
    /// Of who wants payloads or embeddings.
    _follower: Option<Follower>,
    _permits: Permits,
}

/// Events that are read while those before them are sent.
struct Ahead {
    /// Sequence and time of the last of them.
    last: (u64, u64),
    count: usize,
    messages: AbortOnDropHandle<Result<Vec<Bytes>, Status>>,
}

impl Feed {
    fn new(
        shared: Arc<Shared>,
        subscription: Subscription,
        include: Include,
        permits: Permits,
    ) -> Self {
        let sent = (subscription.position(), 0);
        let position = shared.positions.begin(sent.0);
        let follower = (!include.is_nothing()).then(|| shared.reader.follow());
        let mut feed = Self {
            shared,
            subscription,
            include,
            takes_batches: false,
            first: None,
            ready: VecDeque::new(),
            ahead: None,
            after: None,
            is_behind: false,
            sent,
            checkpoint_at: Instant::now(),
            leaderless_since: None,
            position,
            _follower: follower,
            _permits: permits,
        };
        feed.first = Some(feed.checkpoint());
        feed
    }

    async fn next(&mut self) -> Result<Sent, Status> {
        let draining = self.shared.draining.clone();
        loop {
            if draining.is_cancelled() {
                // What is in `ready` is not acknowledged; the client goes on after what it has.
                return Err(self.shared.stopping());
            }
            if let Some(first) = self.first.take() {
                return Ok(Sent::Message(first));
            }
            if let Some(sent) = self.take_ready() {
                self.read_ahead();
                return Ok(sent);
            }
            if Instant::now() >= self.checkpoint_at {
                return Ok(Sent::Message(self.checkpoint()));
            }
            if let Some(ahead) = self.ahead.take() {
                self.take_ahead(ahead).await?;
                continue;
            }
            let message = match self.after.take() {
                Some(message) => message,
                None => tokio::select! {
                    biased;
                    () = draining.cancelled() => return Err(self.shared.stopping()),
                    message = self.subscription.next() => {
                        message.map_err(|error| self.shared.failed_read(&error))?
                    }
                    () = tokio::time::sleep_until(self.checkpoint_at) => continue,
                },
            };
            match message {
                Message::Event(header) => self.take_events(header).await?,
                Message::CaughtUp => {
                    let (sequence, head_sequence) = self.places();
                    return Ok(self.told(Answer::CaughtUp(v1::CaughtUp {
                        sequence,
                        head_sequence,
                        lag_events: head_sequence - sequence,
                    })));
                }
                Message::Continued { intent, successor } => {
                    return Ok(self.told(Answer::IntentContinued(v1::IntentContinued {
                        intent: intent.0,
                        successor: successor.0,
                    })));
                }
                Message::FellBehind => {
                    let (sequence, head_sequence) = self.places();
                    return Ok(self.told(Answer::FellBehind(v1::FellBehind {
                        sequence,
                        head_sequence,
                        lag_events: head_sequence - sequence,
                    })));
                }
            }
        }
    }

    /// The next message of those that are ready.
    fn take_ready(&mut self) -> Option<Sent> {
        if !self.takes_batches || self.ready.len() < 2 {
            return self.ready.pop_front().map(Sent::Message);
        }
        let mut bytes = 0;
        let fitting = self.ready.iter().take(BATCH_EVENTS).take_while(|event| {
            let has_room = bytes < BATCH_BYTES;
            bytes += event.len();
            has_room
        });
        let count = fitting.count();
        Some(Sent::Events(self.ready.drain(..count).collect()))
    }

    /// Takes `first` and the events that are there already, and loads what was asked for with them.
    async fn take_events(&mut self, first: Arc<EventHeader>) -> Result<(), Status> {
        let (headers, last) = self.gather(first);
        self.look_ahead();
        let count = headers.len();
        let messages = load(Arc::clone(&self.shared), self.include, headers).await?;
        self.make_ready(last, count, messages);
        Ok(())
    }

    /// Waits for what is read ahead.
    async fn take_ahead(&mut self, ahead: Ahead) -> Result<(), Status> {
        let messages = match ahead.messages.await {
            Ok(messages) => messages?,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => return Err(self.shared.stopping()),
            },
        };
        self.make_ready(ahead.last, ahead.count, messages);
        Ok(())
    }

    fn make_ready(&mut self, last: (u64, u64), count: usize, messages: Vec<Bytes>) {
        self.sent = last;
        self.position.set(last.0);
        self.shared.events_sent.add(count as u64);
        self.ready.extend(messages);
    }

    /// `first` and the events that are there already, up to a bound; sequence and time of the last of them.
    fn gather(&mut self, first: Arc<EventHeader>) -> (Vec<Arc<EventHeader>>, (u64, u64)) {
        let mut bytes = self.size(&first);
        let mut last = (first.sequence, first.unix_ms);
        let mut headers = vec![first];
        while headers.len() < SUBSCRIPTION_EVENTS && bytes < SUBSCRIPTION_BYTES {
            match self.subscription.next().now_or_never() {
                Some(Ok(Message::Event(header))) => {
                    bytes += self.size(&header);
                    last = (header.sequence, header.unix_ms);
                    headers.push(header);
                }
                Some(Ok(message)) => {
                    self.after = Some(message);
                    break;
                }
                // An error comes again at the next call, after these events.
                Some(Err(_)) | None => break,
            }
        }
        self.is_behind = headers.len() >= SUBSCRIPTION_EVENTS || bytes >= SUBSCRIPTION_BYTES;
        (headers, last)
    }

    /// Has the next page of headers read meanwhile, if there is more than was taken.
    fn look_ahead(&mut self) {
        if self.is_behind
            && self.after.is_none()
            && let Some(Ok(message)) = self.subscription.next().now_or_never()
        {
            self.after = Some(message);
        }
    }

    /// Has the next events read while those before them are sent, if their headers are there.
    fn read_ahead(&mut self) {
        if !self.is_behind || self.ahead.is_some() {
            return;
        }
        self.look_ahead();
        let first = match self.after.take() {
            Some(Message::Event(first)) => first,
            other => {
                self.after = other;
                return;
            }
        };
        let (headers, last) = self.gather(first);
        let count = headers.len();
        let task = tokio::spawn(load(Arc::clone(&self.shared), self.include, headers));
        self.ahead = Some(Ahead {
            last,
            count,
            messages: AbortOnDropHandle::new(task),
        });
        self.look_ahead();
    }

    /// Every match up to this sequence was taken.
    fn taken(&self) -> u64 {
        match &self.after {
            Some(Message::Event(next)) => next.sequence - 1,
            _ => self.subscription.position(),
        }
    }

    /// Sequences up to which every match was sent, and of the last event that the node has.
    fn places(&self) -> (u64, u64) {
        let sequence = self.taken();
        let head = self.shared.reader.position().sequence;
        (sequence, head.max(sequence))
    }

    /// About the bytes of the event's message: of its header, which may have some thousand of attributes and
    /// parents, and of what comes with it.
    fn size(&self, header: &EventHeader) -> usize {
        let payload = if self.include.payload {
            header.payload_bytes as usize
        } else {
            0
        };
        let embedding = match &header.embedding {
            // At most four bytes per component, as floats.
            Some(info) if self.include.embedding => 4 * usize::from(info.dimension),
            _ => 0,
        };
        let attributes = header.attributes.iter();
        let attributes: usize = attributes
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let parents = header.parents.len() * PARENT_BYTES;
        HEADER_BYTES + attributes + parents + payload + embedding
    }

    /// Where the stream is. Asked for only when nothing is ready.
    fn checkpoint(&mut self) -> Bytes {
        self.checkpoint_at = Instant::now() + CHECKPOINT_INTERVAL;
        let head = self.shared.reader.position();
        let sequence = match &self.ahead {
            Some(_) => self.sent.0,
            None => self.taken(),
        };
        // At the head the vault's time is known even if no event has it. Elsewhere only that of the
        // last match is.
        let unix_ms = if sequence >= head.sequence {
            head.unix_ms
        } else {
            self.sent.1
        };
        self.sent = (sequence.max(self.sent.0), unix_ms.max(self.sent.1));
        self.position.set(self.sent.0);
        let (sequence, unix_ms) = self.sent;
        let leaderless_ms = self.leaderless_ms();
        self.answer(Answer::Checkpoint(v1::Checkpoint {
            sequence,
            unix_ms,
            leaderless_ms,
        }))
    }

    /// How long the node has known of no leader, and 0 where it knows one.
    fn leaderless_ms(&mut self) -> u64 {
        if self.shared.router.leader().is_some() {
            self.leaderless_since = None;
            return 0;
        }
        let since = *self.leaderless_since.get_or_insert_with(Instant::now);
        u64::try_from(since.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn told(&self, message: Answer) -> Sent {
        Sent::Message(self.answer(message))
    }

    fn answer(&self, message: Answer) -> Bytes {
        let header = Some(self.shared.header(&self.shared.reader.position()));
        let answer = v1::SubscribeResponse {
            header,
            message: Some(message),
        };
        answer.encode_to_vec().into()
    }
}

/// The events' messages, with what was asked for of them. Not a method: the feed must not be borrowed by a
/// future that goes from thread to thread.
async fn load(
    shared: Arc<Shared>,
    include: Include,
    headers: Vec<Arc<EventHeader>>,
) -> Result<Vec<Bytes>, Status> {
    // Where the ring ends, only those are that catch up.
    let head = shared.reader.position().sequence;
    let old = head.saturating_sub(RING_EVENTS_MAX as u64);
    // Whatever fails here fails again where it is asked for in earnest.
    let at_hand = |headers: &[&EventHeader]| match include.read_at_hand(&shared.reader, headers) {
        Ok(AtHand::Known(loaded)) => Some(messages(&loaded)),
        Ok(AtHand::Unknown) | Err(_) => None,
    };
    let at_hand = shared.encoded.at_hand(include, &headers, old, at_hand);
    if let Some(messages) = at_hand {
        return Ok(messages);
    }
    let owner = Arc::clone(&shared);
    let load = move |reader: &Reader| owner.encoded.load(reader, include, &headers, old);
    // A subscription waits for its turn as long as it takes: nobody waits for it but its client.
    let deadline = Instant::now() + shared.limits.request_timeout_max;
    shared.read(deadline, load).await
}
