//! Lineage: what an event comes from, and what came of it.
//!
//! Nothing here goes over the vault: cost grows with the events that are visited. A walk goes in steps of bounded
//! work, so that whoever asks can stop, be slow, or keep to a deadline, and holds no snapshot of the storage between
//! them: events never change, and those after the walk's position are left out.
//!
//! Everything rests on one fact: a parent's sequence is below its children's. A walk upwards in descending sequence
//! has seen every descendant of an event before the event itself, and need not remember it any longer after.

mod difference;
mod heads;
mod nearest;
mod progress;
mod walk;

use std::sync::Arc;

pub use self::difference::Difference;
pub use self::heads::{Heads, HeadsPage};
pub use self::nearest::CommonAncestors;
pub use self::walk::Walk;
use super::{Reader, Selector};
use crate::core::EventHeader;
use crate::engine::Table;
use crate::error::Error;
use crate::store::{encode_sequence, lookup, missing};

/// Events that one walk keeps in mind at the same time: those that it has still to visit, and those that it has to
/// know again. Far fewer than it visits, unless the graph is as wide as that. Full is [`Error::LineageLimit`].
pub const REMEMBERED_EVENTS_MAX: usize = 250_000;
/// Events that a search for common ancestors visits. Full is [`Error::LineageLimit`].
pub const COMMON_VISITED_EVENTS_MAX: u64 = 1_000_000;
/// Common ancestors that one search finds.
pub const COMMON_EVENTS_MAX: usize = 1_000;
/// Events, or rows of the index of children, that one step looks at.
pub const STEP_EVENTS_MAX: usize = 256;

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relation {
    /// To parents, and theirs.
    #[default]
    Ancestors,
    /// To children, and theirs.
    Descendants,
}

/// The events that are related to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which event.
    pub event: Selector,
    /// Which way.
    pub relation: Relation,
    /// Events up to and including this sequence, as if there were no others; `u64::MAX`: to the end as of the call.
    pub until: u64,
    /// Steps away from the event, at most; `u32::MAX`: no limit.
    pub depth_max: u32,
    /// Events that come, at most; `u64::MAX`: no limit.
    pub events_max: u64,
    /// The kind of what comes starts with any of these; empty: every kind. The walk itself goes through every event.
    pub kind_prefixes: Vec<String>,
}

impl Query {
    /// Everything that is related to `event` in this way.
    #[must_use]
    pub const fn new(event: Selector, relation: Relation) -> Self {
        Self {
            event,
            relation,
            until: u64::MAX,
            depth_max: u32::MAX,
            events_max: u64::MAX,
            kind_prefixes: Vec::new(),
        }
    }
}

/// What one event has in its history that another one has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferenceQuery {
    /// Whose history is left out, itself included.
    pub without: Selector,
    /// Whose history is wanted, itself included.
    pub of: Selector,
    /// As [`Query::until`].
    pub until: u64,
    /// As [`Query::events_max`].
    pub events_max: u64,
    /// As [`Query::kind_prefixes`].
    pub kind_prefixes: Vec<String>,
}

/// An event that a walk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relative {
    /// The event.
    pub header: Arc<EventHeader>,
    /// Steps from where the walk began, on the shortest way; 0: it began here.
    pub depth: u32,
}

impl Reader {
    /// Walks from an event to its ancestors or descendants, breadth first: by depth, and at equal depth by ascending
    /// sequence. The event itself comes first, at depth 0.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an event that is not there; [`Error::Engine`], [`Error::Corrupt`].
    pub fn walk(&self, query: &Query) -> Result<Walk, Error> {
        Walk::begin(self.clone(), query)
    }

    /// Walks through what one event has in its history and another one has not, as `without..of` in git: the newest
    /// first, so by descending sequence.
    ///
    /// # Errors
    /// As [`Reader::walk`].
    pub fn difference(&self, query: &DifferenceQuery) -> Result<Difference, Error> {
        Difference::begin(self.clone(), query)
    }

    /// Searches for the nearest common ancestors of two events, up to the sequence `until`: all those that are no
    /// ancestor of another common one. An event counts among its own ancestors.
    ///
    /// # Errors
    /// As [`Reader::walk`].
    pub fn common_ancestors(
        &self,
        first: &Selector,
        second: &Selector,
        until: u64,
    ) -> Result<CommonAncestors, Error> {
        CommonAncestors::begin(self.clone(), first, second, until)
    }

    /// A page of the events without children, newest first. Bounded also in how much is looked at, so that a page may
    /// be short, or empty, and yet have a next.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn heads(&self, heads: &Heads) -> Result<HeadsPage, Error> {
        heads::page(self, heads, &|| true)
    }

    /// As [`Reader::heads`], and ends the page early, though maybe without having come any further, once `go_on`
    /// says no.
    ///
    /// # Errors
    /// As [`Reader::heads`].
    pub fn heads_while(&self, heads: &Heads, go_on: &dyn Fn() -> bool) -> Result<HeadsPage, Error> {
        heads::page(self, heads, go_on)
    }

    /// The sequence at which a question as of `until` sees the vault end.
    fn end_at(&self, until: u64) -> u64 {
        until.min(self.position().sequence)
    }
}

/// The event of that name, if it is not after `until`.
fn find(reader: &Reader, selector: &Selector, until: u64) -> Result<Arc<EventHeader>, Error> {
    match reader.header(selector)? {
        Some(header) if header.sequence <= until => Ok(header),
        _ => Err(Error::NotFound {
            name: match selector {
                Selector::Id(id) => id.to_string(),
                Selector::Sequence(sequence) => format!("at sequence {sequence}"),
                Selector::Digest(digest) => digest.to_string(),
            },
        }),
    }
}

/// The events at `sequences`, which are there.
fn headers(reader: &Reader, sequences: &[u64]) -> Result<Vec<Arc<EventHeader>>, Error> {
    let engine = reader.engine();
    let headers = lookup::headers(&*engine, sequences)?;
    sequences
        .iter()
        .zip(headers)
        .map(|(&sequence, header)| {
            header.ok_or_else(|| missing(Table::Headers, &encode_sequence(sequence)))
        })
        .collect()
}

/// The event at `sequence`, which is there.
fn header(reader: &Reader, sequence: u64) -> Result<Arc<EventHeader>, Error> {
    let mut headers = headers(reader, &[sequence])?;
    Ok(headers.pop().expect("one for each sequence"))
}

/// Whether a kind is wanted.
fn is_wanted(kind_prefixes: &[String], kind: &str) -> bool {
    kind_prefixes.is_empty() || kind_prefixes.iter().any(|prefix| kind.starts_with(prefix))
}
