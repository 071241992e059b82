//! Lineage: what an event comes from, and what came of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use toka_ledger::read::lineage::{Relation, Relative};
use toka_ledger::{EventHeader, Invalid, Selector};
use toka_proto::v1;
use toka_proto::v1::lineage_service_client::LineageServiceClient;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

use crate::channel::Connection;
use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::read::{Consistency, route};
use crate::retry::{Verdict, judge};

/// Heads on each page of [`Client::heads_all`].
const PAGE_HEADS: u32 = 1_000;

/// Which relatives of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The event.
    pub event: Selector,
    /// Ancestors or descendants.
    pub relation: Relation,
    /// Steps away from the event, at most; 0: any number.
    pub depth_max: u32,
    /// Events that come, at most 1,000,000; 0: 1,000.
    pub events_max: u32,
    /// The kind of what comes starts with one of these; empty: every kind. The walk goes through events of every kind.
    pub kind_prefixes: Vec<String>,
    /// What the read must see.
    pub consistency: Consistency,
}

impl Lineage {
    /// The first 1,000 relatives of an event.
    #[must_use]
    pub fn of(event: Selector, relation: Relation) -> Self {
        Self {
            event,
            relation,
            depth_max: 0,
            events_max: 0,
            kind_prefixes: Vec::new(),
            consistency: Consistency::default(),
        }
    }
}

/// What one event has in its history, and another one has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose history is left out, itself included.
    pub without: Selector,
    /// Whose history is wanted, itself included.
    pub of: Selector,
    /// As [`Lineage::events_max`].
    pub events_max: u32,
    /// As [`Lineage::kind_prefixes`].
    pub kind_prefixes: Vec<String>,
    /// What the read must see.
    pub consistency: Consistency,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkEnd {
    /// Nothing was left out for the sake of the limits. Where a limit was reached it is false even if nothing should
    /// lie beyond.
    pub is_complete: bool,
    /// Events that the node visited.
    pub visited: u64,
}

/// The nearest common ancestors of two events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonAncestors {
    /// The newest first; empty if the two have nothing in common.
    pub headers: Vec<EventHeader>,
    /// How the search ended; not complete: there may be more.
    pub end: WalkEnd,
}

/// Some events without children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadsPage {
    /// The newest first; may be none, though there are more.
    pub headers: Vec<EventHeader>,
    /// Leads to the next page; `None`: this was the last one.
    pub next: Option<String>,
}

/// What a walk comes to, as one node has it. The node reads on as this is read. All of it must have come within the
/// client's timeout ([`Client::with_timeout`]); a walk that breaks does not go on elsewhere: begin again.
pub struct Walk<T> {
    endpoint: String,
    deadline: Instant,
    parts: BoxStream<'static, Result<Part<T>, Error>>,
    ready: VecDeque<T>,
    end: Option<WalkEnd>,
}

/// What one message brings.
struct Part<T> {
    header: Option<v1::ResponseHeader>,
    found: Vec<T>,
    end: Option<v1::WalkEnd>,
}

impl<T> fmt::Debug for Walk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("endpoint", &self.endpoint)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Walks from an event to its ancestors or descendants, breadth first: by depth, and at equal depth by ascending
    /// sequence. The event itself comes first. Returns once a node has found it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the vault does not have the event; as every call.
    pub async fn walk(&self, lineage: &Lineage) -> Result<Walk<Relative>, Error> {
        let message = v1::WalkRequest {
            vault: String::new(),
            event: Some((&lineage.event).into()),
            relation: v1::Relation::from(lineage.relation).into(),
            max_depth: lineage.depth_max,
            max_events: lineage.events_max,
            kind_prefixes: lineage.kind_prefixes.clone(),
            read: Some(self.options(lineage.consistency)),
        };
        let deadline = self.deadline();
        let answer = self
            .shared
            .call(route(lineage.consistency), deadline, |channel, _| {
                let request = self.shared.request(message.clone(), left(deadline));
                async move { service(channel).walk(request).await }
            })
            .await?;
        let read = |message: v1::WalkResponse| {
            let found = message.relatives.into_iter().map(Relative::try_from);
            Ok(Part {
                header: message.header,
                found: found.collect::<Result<_, Invalid>>()?,
                end: message.end,
            })
        };
        Ok(self.walking(answer.endpoint, deadline, answer.message, read))
    }

    /// Walks through what one event has in its history, itself included, and another one has not, newest first.
    /// Returns once a node has found both.
    ///
    /// # Errors
    /// As [`Client::walk`].
    pub async fn difference(&self, difference: &Difference) -> Result<Walk<EventHeader>, Error> {
        let message = v1::DifferenceRequest {
            vault: String::new(),
            without: Some((&difference.without).into()),
            of: Some((&difference.of).into()),
            max_events: difference.events_max,
            kind_prefixes: difference.kind_prefixes.clone(),
            read: Some(self.options(difference.consistency)),
        };
        let deadline = self.deadline();
        let answer = self
            .shared
            .call(route(difference.consistency), deadline, |channel, _| {
                let request = self.shared.request(message.clone(), left(deadline));
                async move { service(channel).difference(request).await }
            })
            .await?;
        let read = |message: v1::DifferenceResponse| {
            Ok(Part {
                header: message.header,
                found: headers(message.events)?,
                end: message.end,
            })
        };
        Ok(self.walking(answer.endpoint, deadline, answer.message, read))
    }

    /// The nearest common ancestors of two events: those that are no ancestor of another common one. An event counts
    /// among its own ancestors.
    ///
    /// # Errors
    /// As [`Client::walk`]; [`Error::LimitReached`] if a node would have to visit more than 1,000,000 events.
    pub async fn common_ancestors(
        &self,
        first: &Selector,
        second: &Selector,
        consistency: Consistency,
    ) -> Result<CommonAncestors, Error> {
        let message = v1::CommonAncestorsRequest {
            vault: String::new(),
            first: Some(first.into()),
            second: Some(second.into()),
            read: Some(self.options(consistency)),
        };
        let answer = self
            .shared
            .call(route(consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).common_ancestors(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        let headers = headers(response.events);
        Ok(CommonAncestors {
            headers: headers.map_err(|error| Error::reply(&endpoint, error))?,
            end: response.end.map(walk_end).unwrap_or_default(),
        })
    }

    /// A page of the events without children, newest first, of kinds that start with one of the prefixes (none: of
    /// every kind). `page` is the `next` of the page before, for the same prefixes.
    ///
    /// # Errors
    /// As every call.
    pub async fn heads(
        &self,
        kind_prefixes: &[String],
        page_size: u32,
        page: Option<&str>,
        consistency: Consistency,
    ) -> Result<HeadsPage, Error> {
        let message = v1::ListHeadsRequest {
            vault: String::new(),
            kind_prefixes: kind_prefixes.to_vec(),
            page_size,
            page_token: page.unwrap_or_default().to_owned(),
            read: Some(self.options(consistency)),
        };
        let answer = self
            .shared
            .call(route(consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).list_heads(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        let headers = headers(response.events);
        Ok(HeadsPage {
            headers: headers.map_err(|error| Error::reply(&endpoint, error))?,
            next: Some(response.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    /// The events without children, page after page, each with a deadline of its own.
    pub fn heads_all(
        &self,
        kind_prefixes: Vec<String>,
        consistency: Consistency,
    ) -> impl Stream<Item = Result<EventHeader, Error>> + Send + use<> {
        let client = self.clone();
        // `None`: the last page was read. The empty token: the first page.
        let pages = stream::try_unfold(Some(String::new()), move |token| {
            let (client, kind_prefixes) = (client.clone(), kind_prefixes.clone());
            async move {
                let Some(token) = token else {
                    return Ok::<_, Error>(None);
                };
                let page = client
                    .heads(&kind_prefixes, PAGE_HEADS, Some(&token), consistency)
                    .await?;
                let headers = stream::iter(page.headers.into_iter().map(Ok));
                Ok(Some((headers, page.next)))
            }
        });
        pages.flat_map(|page| match page {
            Ok(headers) => headers.left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        })
    }

    fn walking<M, T>(
        &self,
        endpoint: String,
        deadline: Instant,
        messages: Streaming<M>,
        read: impl Fn(M) -> Result<Part<T>, Invalid> + Send + 'static,
    ) -> Walk<T>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        let (shared, node) = (Arc::clone(&self.shared), endpoint.clone());
        let parts = messages.map(move |message| -> Result<Part<T>, Error> {
            let message = message.map_err(|failed| broken(&node, &failed))?;
            let part = read(message).map_err(|error| Error::reply(&node, error))?;
            shared.observe(&node, part.header.clone())?;
            Ok(part)
        });
        Walk {
            endpoint,
            deadline,
            parts: parts.boxed(),
            ready: VecDeque::new(),
            end: None,
        }
    }
}

impl<T: Send> Walk<T> {
    /// The node that serves it, `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next event; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::LimitReached`] where the node would have to remember more than 250,000 events;
    /// [`Error::Unreachable`], [`Error::Unavailable`] and others where it broke off, or the deadline came first.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            let Ok(part) = timeout_at(self.deadline, self.parts.next()).await else {
                return Err(Error::Unreachable {
                    endpoints: vec![self.endpoint.clone()],
                    reason: "the deadline came before the end of the walk".to_owned(),
                });
            };
            let part = part.ok_or_else(|| Error::Unavailable {
                endpoint: self.endpoint.clone(),
                message: "it ended the walk before all of it had come".to_owned(),
            })??;
            self.ready.extend(part.found);
            self.end = part.end.map(walk_end);
        }
    }

    /// How it ended; `None` before the end.
    #[must_use]
    pub fn end(&self) -> Option<WalkEnd> {
        self.end.filter(|_| self.ready.is_empty())
    }

    /// The same as a stream, which ends after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<T, Error>> + Send {
        stream::try_unfold(self, |mut walk| async move {
            let found = walk.next().await?;
            Ok::<_, Error>(found.map(|found| (found, walk)))
        })
    }
}

/// The service, behind a connection.
fn service(channel: Connection) -> LineageServiceClient<Connection> {
    LineageServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// The time that is left. A walk has all of it, and not that of one try: the node counts to the end of the stream.
fn left(deadline: Instant) -> tokio::time::Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn headers(events: Vec<v1::Event>) -> Result<Vec<EventHeader>, Invalid> {
    events.into_iter().map(EventHeader::try_from).collect()
}

fn walk_end(end: v1::WalkEnd) -> WalkEnd {
    WalkEnd {
        is_complete: end.complete,
        visited: end.visited,
    }
}

/// Why a walk does not go on.
fn broken(endpoint: &str, failed: &Status) -> Error {
    let (verdict, failure) = judge(failed);
    match verdict {
        // That the time is over is said by a node that can be reached.
        Verdict::Unreachable if failure.code != Code::DeadlineExceeded => Error::Unreachable {
            endpoints: vec![endpoint.to_owned()],
            reason: format!("the connection broke: {}", failed.message()),
        },
        _ => Error::from_failure(endpoint, failure),
    }
}
