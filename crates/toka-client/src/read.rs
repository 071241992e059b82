//! Reads: one event, several, a range.

use futures::stream::{self, Stream, StreamExt as _};
use toka_ledger::{Filter, Selector};
use toka_proto::convert::event::StoredEvent;
use toka_proto::convert::read::{self, ReadOptions, SELECTORS_MAX};
use toka_proto::v1;
use tokio::time::Instant;

use crate::call::vault;
use crate::client::Client;
use crate::error::Error;
use crate::routes::Route;

/// What a read must see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// What the node has, without waiting.
    #[default]
    Local,
    /// At least what this client has committed or read.
    ReadYourWrites,
    /// At least this revision, as [`crate::Committed::revision`] has it.
    AtLeast(u64),
    /// Everything that was acknowledged, to anyone, before the read began.
    Linearizable,
}

/// What comes with an event's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// With the payload.
    pub payload: bool,
    /// With the embedding.
    pub embedding: bool,
}

impl Include {
    /// With both.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            payload: true,
            embedding: true,
        }
    }
}

impl From<Include> for v1::Include {
    /// Embeddings are quantised on the way: half the bytes, and the integers that are stored.
    fn from(include: Include) -> Self {
        Self {
            payload: include.payload,
            embedding: include.embedding,
            embedding_form: v1::EmbeddingForm::Quantized.into(),
        }
    }
}

/// How to read; the default is headers only, from what the node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// What it must see.
    pub consistency: Consistency,
    /// What comes with the headers.
    pub include: Include,
}

/// A range of the order; the default is all of it, oldest first, headers only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Events after this sequence.
    pub after: u64,
    /// Events up to this sequence, inclusive; `None`: to the end. Of 0 there are none, and no node is asked.
    pub until: Option<u64>,
    /// Events at or after this time, milliseconds since the Unix epoch; `None`: from the beginning.
    pub from_unix_ms: Option<u64>,
    /// Events at or before this time, milliseconds since the Unix epoch; `None`: to the end. Of 0 there are none, and no
    /// node is asked.
    pub until_unix_ms: Option<u64>,
    /// Which events.
    pub filter: Filter,
    /// Newest first.
    pub descending: bool,
    /// Events per page, 1 to 1,000; 0: 100.
    pub page_size: u32,
    /// Bytes of a page's events, at most 4 MiB (one event may have more); 0: 4 MiB.
    pub page_bytes: u32,
    /// How to read.
    pub read: Read,
}

/// Part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events; may be none, though there are more.
    pub events: Vec<StoredEvent>,
    /// Leads to the next page; `None`: this was the last one.
    pub next: Option<String>,
}

impl Client {
    /// Reads one event.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the vault does not have it; [`Error::OutOfRange`] for a sequence that it has not
    /// reached, as the leader has confirmed ([`Consistency::Linearizable`]).
    pub async fn get(&self, selector: &Selector, read: &Read) -> Result<StoredEvent, Error> {
        let message = v1::GetRequest {
            vault: String::new(),
            selector: Some(selector.into()),
            include: Some(read.include.into()),
            read: Some(self.options(read.consistency)),
        };
        let answer = self
            .shared
            .call(route(read.consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { vault(channel).get(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        let event = answer.message.event;
        let event = event.ok_or_else(|| Error::reply(&answer.endpoint, "it has no event"))?;
        event
            .try_into()
            .map_err(|error| Error::reply(&answer.endpoint, error))
    }

    /// Reads several events; `None` for each that the vault does not have.
    ///
    /// # Errors
    /// As every call.
    pub async fn batch_get(
        &self,
        selectors: &[Selector],
        read: &Read,
    ) -> Result<Vec<Option<StoredEvent>>, Error> {
        let deadline = self.deadline();
        let mut events = Vec::with_capacity(selectors.len());
        // A reply may end early, where it would grow too large.
        while events.len() < selectors.len() {
            let rest = &selectors[events.len()..];
            let rest = &rest[..rest.len().min(SELECTORS_MAX)];
            events.extend(self.batch_get_some(rest, read, deadline).await?);
        }
        Ok(events)
    }

    async fn batch_get_some(
        &self,
        selectors: &[Selector],
        read: &Read,
        deadline: Instant,
    ) -> Result<Vec<Option<StoredEvent>>, Error> {
        let message = v1::BatchGetRequest {
            vault: String::new(),
            selectors: selectors.iter().map(Into::into).collect(),
            include: Some(read.include.into()),
            read: Some(self.options(read.consistency)),
        };
        let answer = self
            .shared
            .call(route(read.consistency), deadline, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { vault(channel).batch_get(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        if response.items.is_empty() || response.items.len() > selectors.len() {
            let reason = format!(
                "{} items in answer to {}",
                response.items.len(),
                selectors.len()
            );
            return Err(Error::reply(&endpoint, reason));
        }
        let event = |item: v1::BatchGetItem| item.event.map(StoredEvent::try_from).transpose();
        let events = response
            .items
            .into_iter()
            .map(event)
            .collect::<Result<_, _>>();
        events.map_err(|error| Error::reply(&endpoint, error))
    }

    /// Reads a page; `page` is the `next` of the page before, for the same list.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the range starts after the vault's end; [`Error::NotFound`] if the event whose
    /// descendants are wanted is not there.
    pub async fn list(&self, list: &List, page: Option<&str>) -> Result<Page, Error> {
        // To a node 0 says that there is no bound: it is not asked what is at or before the beginning.
        if list.until == Some(0) || list.until_unix_ms == Some(0) {
            let events = Vec::new();
            return Ok(Page { events, next: None });
        }
        let order = if list.descending {
            v1::Order::Descending
        } else {
            v1::Order::Ascending
        };
        let message = v1::ListRequest {
            vault: String::new(),
            after_sequence: list.after,
            until_sequence: list.until.unwrap_or(0),
            filter: Some((&list.filter).into()),
            order: order.into(),
            page_size: list.page_size,
            page_token: page.unwrap_or_default().to_owned(),
            include: Some(list.read.include.into()),
            read: Some(self.options(list.read.consistency)),
            max_bytes: list.page_bytes,
            from_unix_ms: list.from_unix_ms.unwrap_or(0),
            until_unix_ms: list.until_unix_ms.unwrap_or(0),
        };
        let answer = self
            .shared
            .call(
                route(list.read.consistency),
                self.deadline(),
                |channel, time| {
                    let request = self.shared.request(message.clone(), time);
                    async move { vault(channel).list(request).await }
                },
            )
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        let events = response.events.into_iter().map(StoredEvent::try_from);
        let events = events
            .collect::<Result<_, _>>()
            .map_err(|error| Error::reply(&endpoint, error))?;
        let next = Some(response.next_page_token).filter(|token| !token.is_empty());
        Ok(Page { events, next })
    }

    /// Reads a range, page after page, each with a deadline of its own.
    pub fn list_all(
        &self,
        list: List,
    ) -> impl Stream<Item = Result<StoredEvent, Error>> + Send + use<> {
        let client = self.clone();
        // `None`: the last page was read. The empty token: the first page.
        let pages = stream::try_unfold(Some(String::new()), move |token| {
            let (client, list) = (client.clone(), list.clone());
            async move {
                let Some(token) = token else {
                    return Ok::<_, Error>(None);
                };
                let page = client.list(&list, Some(&token)).await?;
                let events = stream::iter(page.events.into_iter().map(Ok));
                Ok(Some((events, page.next)))
            }
        });
        pages.flat_map(|page| match page {
            Ok(events) => events.left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        })
    }

    /// What the node is told of a consistency.
    pub(crate) fn options(&self, consistency: Consistency) -> v1::ReadOptions {
        let consistency = match consistency {
            Consistency::Local => read::Consistency::Local,
            Consistency::ReadYourWrites => read::Consistency::AtLeast(self.revision()),
            Consistency::AtLeast(revision) => read::Consistency::AtLeast(revision),
            Consistency::Linearizable => read::Consistency::Linearizable,
        };
        ReadOptions {
            consistency,
            history_id: None,
        }
        .into()
    }
}

/// The leader confirms linearizable reads, so it answers them soonest.
pub(crate) fn route(consistency: Consistency) -> Route {
    match consistency {
        Consistency::Linearizable => Route::Leader,
        Consistency::Local | Consistency::ReadYourWrites | Consistency::AtLeast(_) => Route::Any,
    }
}
