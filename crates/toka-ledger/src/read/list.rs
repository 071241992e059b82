//! Pages of the history.

use std::sync::Arc;

use crate::core::EventHeader;
use crate::engine::Direction;

/// Events on one page.
pub const PAGE_EVENTS_MAX: usize = 1_000;

/// Which events are wanted; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The kind starts with any of these; empty: every kind.
    pub kind_prefixes: Vec<String>,
    /// All of these (name, value) pairs are among the event's attributes.
    pub attributes: Vec<(String, String)>,
}

impl Filter {
    /// Whether an event is wanted.
    #[must_use]
    pub fn matches(&self, header: &EventHeader) -> bool {
        let prefixes = &self.kind_prefixes;
        (prefixes.is_empty()
            || prefixes.iter().any(|prefix| header.kind.as_str().starts_with(prefix)))
            && self
                .attributes
                .iter()
                .all(|(name, value)| header.attributes.get(name) == Some(value))
    }
}

/// A part of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Events after this sequence.
    pub after: u64,
    /// Events up to and including this sequence; `u64::MAX`: to the end.
    pub until: u64,
    /// Which of them.
    pub filter: Filter,
    /// Oldest first or newest first.
    pub direction: Direction,
    /// Events on the page, 1 to [`PAGE_EVENTS_MAX`].
    pub limit: usize,
}

/// Events in the query's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events; may be fewer than the limit, even none, though there are more.
    pub headers: Vec<Arc<EventHeader>>,
    /// Where to go on: as the next query's `after` (forward) or `until` (backward). `None` at the
    /// end of the range.
    pub next: Option<u64>,
}
