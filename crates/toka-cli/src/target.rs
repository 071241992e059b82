//! The vault that a command works on: a cluster, or an embedded vault.

mod cluster;
mod coordination;
mod embedded;
mod endpoints;
mod intents;
mod lineage;
mod past;

use anyhow::{Result, bail};
use futures::stream::BoxStream;
use toka_ledger::command::Precondition;
use toka_ledger::intent::{IntentId, Parameters};
use toka_ledger::prepare::EventDraft;
use toka_ledger::read::{Filter, Selector};
use toka_ledger::{CursorName, Digest, EventHeader, EventId};

pub(crate) use self::cluster::{Remote, failure};
pub(crate) use self::coordination::{Delivery, OutstandingEvent, ParkedEvent};
pub(crate) use self::embedded::Local;
pub(crate) use self::endpoints::{DEFAULT_ENDPOINT, Endpoints, TokenSource, endpoints};
pub(crate) use self::intents::{Hit, Intent, Wanted};
pub(crate) use self::lineage::Bounds;
use crate::cli::{self, Consistency, Global};
use crate::failure::Failure;
use crate::output::PayloadView;

/// The vault that a command works on.
pub(crate) enum Target {
    /// Nodes.
    Cluster(Remote),
    /// A data directory.
    Embedded(Local),
}

/// An event that was read.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) header: EventHeader,
    /// Absent if it was not asked for.
    pub(crate) payload: Option<PayloadView>,
    /// Quantised components (Q14); absent if not asked for, if there is none, or if erased.
    pub(crate) embedding: Option<Vec<i16>>,
}

/// What is read with an event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Include {
    pub(crate) payload: bool,
    pub(crate) embedding: bool,
}

/// Which events to list.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// After this sequence.
    pub(crate) after: u64,
    /// Up to this one.
    pub(crate) until: Option<u64>,
    /// And within these times.
    pub(crate) times: Times,
    pub(crate) filter: Filter,
    /// Newest first.
    pub(crate) reverse: bool,
    pub(crate) include: Include,
    pub(crate) consistency: Consistency,
}

/// Bounds of a list, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// At or after.
    pub(crate) from: Option<u64>,
    /// At or before.
    pub(crate) until: Option<u64>,
}

/// Where a watcher begins.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    From(cli::From),
    /// After the place of a cursor.
    Cursor(CursorName),
}

/// What a watcher sees.
#[derive(Clone, Debug)]
pub(crate) enum Watched {
    /// The next event.
    Event(Box<Record>),
    /// How far it has come.
    Status(Status),
    /// An intent of the filter was retired; its successor's events come from here on.
    Continued(IntentId, IntentId),
}

/// How far a watcher has come: every match up to a sequence has been seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Status {
    /// The vault's time there, milliseconds since the Unix epoch. An embedded vault has no such message.
    Checkpoint { sequence: u64, unix_ms: u64 },
    /// That is all that there was; `lag` events have come since.
    CaughtUp { sequence: u64, lag: u64 },
    /// It is slower than the vault, which has `lag` events after that.
    FellBehind { sequence: u64, lag: u64 },
}

impl Status {
    pub(crate) const fn sequence(self) -> u64 {
        match self {
            Self::Checkpoint { sequence, .. }
            | Self::CaughtUp { sequence, .. }
            | Self::FellBehind { sequence, .. } => sequence,
        }
    }
}

/// A part of a list, and what asks for the next one; `None`: it was the last.
pub(crate) type Page = (Vec<Record>, Option<String>);

/// What a watcher follows.
pub(crate) struct Watching<'a> {
    /// The history that the sequences are of.
    pub(crate) history_id: u128,
    /// What comes, without an end.
    pub(crate) messages: BoxStream<'a, Result<Watched>>,
}

impl Target {
    /// The vault that the flags, the environment and the contexts name.
    ///
    /// An embedded vault that is not there is made only if the command `may_create` one.
    pub(crate) async fn open(global: &Global, may_create: bool) -> Result<Self> {
        Self::open_with(global, may_create, Parameters::default()).await
    }

    /// The same; an embedded vault that is made groups its events by `intents`.
    pub(crate) async fn open_with(
        global: &Global,
        may_create: bool,
        intents: Parameters,
    ) -> Result<Self> {
        match &global.data {
            Some(data) => Ok(Self::Embedded(Local::open(data, may_create, intents)?)),
            None => Ok(Self::Cluster(
                Remote::connect(endpoints(global)?, global.timeout).await?,
            )),
        }
    }

    /// The model of the vault's embeddings; `None` if it is not known yet.
    pub(crate) async fn embedding_model(&self) -> Result<Option<String>> {
        match self {
            Self::Cluster(remote) => remote.embedding_model().await,
            Self::Embedded(local) => local.embedding_model(),
        }
    }

    /// How the vault groups its events; `None`: it has not been created yet.
    pub(crate) async fn intent_settings(&self) -> Result<Option<Parameters>> {
        match self {
            Self::Cluster(remote) => remote.intent_settings().await,
            Self::Embedded(local) => local.intent_settings(),
        }
    }

    /// Stores events together or not at all.
    pub(crate) async fn commit(
        &self,
        drafts: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Vec<EventHeader>> {
        match self {
            Self::Cluster(remote) => remote.commit(drafts, preconditions).await,
            Self::Embedded(local) => local.commit(drafts, preconditions).await,
        }
    }

    /// Stores events one by one, in their order, with up to `in_flight` without an answer.
    pub(crate) fn commit_all<'a>(
        &'a self,
        drafts: BoxStream<'a, Result<EventDraft>>,
        in_flight: usize,
    ) -> BoxStream<'a, Result<EventHeader>> {
        match self {
            Self::Cluster(remote) => remote.commit_all(drafts, in_flight),
            Self::Embedded(local) => local.commit_all(drafts, in_flight),
        }
    }

    /// Reads one event.
    pub(crate) async fn get(
        &self,
        selector: Selector,
        include: Include,
        consistency: Consistency,
    ) -> Result<Option<Record>> {
        match self {
            Self::Cluster(remote) => remote.get(selector, include, consistency).await,
            Self::Embedded(local) => {
                local.check_revision(consistency)?;
                local.get(selector, include)
            }
        }
    }

    /// Reads events in order.
    pub(crate) fn list(&self, listing: Listing) -> BoxStream<'_, Result<Record>> {
        match self {
            Self::Cluster(remote) => remote.list(listing),
            Self::Embedded(local) => local.list(listing),
        }
    }

    /// Reads one page of events.
    pub(crate) async fn page(&self, listing: Listing, paging: &cli::Paging) -> Result<Page> {
        match self {
            Self::Cluster(remote) => remote.page(listing, paging).await,
            // Nodes make the tokens, and an embedded vault has no node: its pages would have to be as they are.
            Self::Embedded(_) => bail!(Failure::Usage(
                "pages are for clusters: of an embedded vault show --limit events, and go on with --after, or with --until"
                    .to_owned()
            )),
        }
    }

    /// Follows events; `history_id` is the history that the start is of, if that is known.
    pub(crate) async fn watch(
        &self,
        from: Begin,
        history_id: Option<u128>,
        filter: Filter,
        include: Include,
    ) -> Result<Watching<'_>> {
        match self {
            Self::Cluster(remote) => remote.watch(from, history_id, filter, include).await,
            Self::Embedded(local) => local.watch(from, history_id, filter, include),
        }
    }

    /// Says of which history the positions are that were given: in another one no cursor is moved.
    pub(crate) fn expect_history(&self, history_id: u128) -> Result<()> {
        match self {
            Self::Cluster(remote) => {
                let expected = remote.client().expect_history(history_id);
                expected.map_err(failure)
            }
            Self::Embedded(local) => {
                local.check_history(Some(history_id))?;
                Ok(())
            }
        }
    }

    /// Ends cleanly.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Cluster(_) => Ok(()),
            Self::Embedded(local) => local.close().await,
        }
    }
}

/// An event by id, sequence or digest, told apart by how they look.
pub(crate) fn parse_selector(text: &str) -> Result<Selector> {
    // Before the sequence, since a digest may consist of decimal digits.
    if let Ok(digest) = text.parse::<Digest>() {
        return Ok(Selector::Digest(digest));
    }
    if let Ok(sequence) = text.parse::<u64>() {
        return Ok(Selector::Sequence(sequence));
    }
    text.parse::<EventId>().map(Selector::Id).map_err(|_| {
        let what = "neither an id (a UUID), nor a sequence, nor a digest (64 hexadecimal digits)";
        Failure::Usage(format!("{text:?} is {what}")).into()
    })
}
