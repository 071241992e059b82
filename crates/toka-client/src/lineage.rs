//! Lineage: what an event comes from, and what came of it.

mod walk;

use futures::future::FutureExt as _;
use futures::stream::{self, Stream, StreamExt as _};
use toka_ledger::read::lineage::{Relation, Relative};
use toka_ledger::{EventHeader, Invalid, Selector};
use toka_proto::v1;
use toka_proto::v1::lineage_service_client::LineageServiceClient;
use tokio::time::Instant;

pub use self::walk::Walk;
use self::walk::{AsOf, Part, Parts, Place};
use crate::channel::Connection;
use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::read::{Consistency, route};

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

impl Client {
    /// Walks from an event to its ancestors or descendants, breadth first: by depth, and at equal depth by ascending
    /// sequence. The event itself comes first. Returns once a node has found it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the vault does not have the event; as every call.
    pub async fn walk(&self, lineage: &Lineage) -> Result<Walk<Relative>, Error> {
        let (client, lineage, deadline) = (self.clone(), lineage.clone(), self.deadline());
        let open = move |as_of| {
            let (client, lineage) = (client.clone(), lineage.clone());
            async move { client.open_walk(&lineage, deadline, as_of).await }.boxed()
        };
        Walk::begin(self.clone(), deadline, Box::new(open), Place::by_depth).await
    }

    async fn open_walk(
        &self,
        lineage: &Lineage,
        deadline: Instant,
        as_of: Option<AsOf>,
    ) -> Result<(String, Parts<Relative>), Error> {
        let message = v1::WalkRequest {
            vault: String::new(),
            event: Some((&lineage.event).into()),
            relation: v1::Relation::from(lineage.relation).into(),
            max_depth: lineage.depth_max,
            max_events: lineage.events_max,
            kind_prefixes: lineage.kind_prefixes.clone(),
            read: Some(self.options_as_of(lineage.consistency, as_of)),
            until_sequence: as_of.map_or(0, |as_of| as_of.sequence),
        };
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
        let parts = self.walk_parts(&answer.endpoint, answer.message, read);
        Ok((answer.endpoint, parts))
    }

    /// What a node must have: of a walk that goes on, what the first one had.
    fn options_as_of(&self, consistency: Consistency, as_of: Option<AsOf>) -> v1::ReadOptions {
        as_of.map_or_else(|| self.options(consistency), AsOf::options)
    }

    /// Walks through what one event has in its history, itself included, and another one has not, newest first.
    /// Returns once a node has found both.
    ///
    /// # Errors
    /// As [`Client::walk`].
    pub async fn difference(&self, difference: &Difference) -> Result<Walk<EventHeader>, Error> {
        let (client, difference, deadline) = (self.clone(), difference.clone(), self.deadline());
        let open = move |as_of| {
            let (client, difference) = (client.clone(), difference.clone());
            async move { client.open_difference(&difference, deadline, as_of).await }.boxed()
        };
        Walk::begin(self.clone(), deadline, Box::new(open), Place::newest_first).await
    }

    /// What is committed after `as_of` is no ancestor of what was there.
    async fn open_difference(
        &self,
        difference: &Difference,
        deadline: Instant,
        as_of: Option<AsOf>,
    ) -> Result<(String, Parts<EventHeader>), Error> {
        let message = v1::DifferenceRequest {
            vault: String::new(),
            without: Some((&difference.without).into()),
            of: Some((&difference.of).into()),
            max_events: difference.events_max,
            kind_prefixes: difference.kind_prefixes.clone(),
            read: Some(self.options_as_of(difference.consistency, as_of)),
        };
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
        let parts = self.walk_parts(&answer.endpoint, answer.message, read);
        Ok((answer.endpoint, parts))
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
