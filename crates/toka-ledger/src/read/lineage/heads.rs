//! Heads: events that no other one depends on.

use std::sync::Arc;

use super::super::list;
use crate::core::EventHeader;
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::read::{Filter, PAGE_EVENTS_MAX, Query, Reader};
use crate::store::{children, corrupt, encode_sequence};

/// Events that one page looks at.
const EXAMINED_EVENTS_MAX: usize = 10_000;
/// Events that are looked up at once.
const CHUNK_EVENTS: usize = 256;

/// Events without children, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// As of this sequence: what came later is no child yet. `u64::MAX`: as of now.
    pub as_of: u64,
    /// Heads up to and including this sequence; `u64::MAX`: from the newest on.
    pub from: u64,
    /// The kind starts with any of these; empty: every kind. Children count whatever their kind.
    pub kind_prefixes: Vec<String>,
    /// Heads on the page, 1 to [`PAGE_EVENTS_MAX`].
    pub limit: usize,
}

/// Some heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadsPage {
    /// The newest first; may be fewer than the limit, even none, though there are more.
    pub headers: Vec<Arc<EventHeader>>,
    /// The sequence as of which these are heads: the next query's `as_of`.
    pub as_of: u64,
    /// Where to go on: the next query's `from`. `None`: there are no more.
    pub next: Option<u64>,
}

pub(super) fn page(reader: &Reader, heads: &Heads) -> Result<HeadsPage, Error> {
    let as_of = reader.end_at(heads.as_of);
    let engine = reader.engine();
    let filter = Filter {
        kind_prefixes: heads.kind_prefixes.clone(),
        ..Filter::default()
    };
    let wanted = reader.wanted(&filter, as_of, &|| true)?;
    let limit = heads.limit.clamp(1, PAGE_EVENTS_MAX);
    let mut query = Query {
        after: 0,
        until: heads.from.min(as_of),
        filter,
        direction: Direction::Backward,
        limit: CHUNK_EVENTS,
    };
    let (mut headers, mut examined) = (Vec::new(), 0);
    loop {
        let candidates = list::list(&*engine, query.until, &query, &wanted, &|| true)?;
        let is_short = candidates.headers.len() < CHUNK_EVENTS;
        for header in candidates.headers {
            let before = header.sequence - 1;
            if !has_child(&*engine, header.sequence, as_of)? {
                headers.push(header);
            }
            examined += 1;
            if headers.len() == limit || examined == EXAMINED_EVENTS_MAX {
                return Ok(HeadsPage {
                    headers,
                    as_of,
                    next: Some(before).filter(|before| *before > 0),
                });
            }
        }
        match candidates.next {
            Some(next) if !is_short => query.until = next,
            // The end, or as many rows as one call may look at.
            next => {
                return Ok(HeadsPage {
                    headers,
                    as_of,
                    next,
                });
            }
        }
    }
}

/// Whether any event up to `as_of` depends on the one at `parent`. The first row tells, unless that came later.
fn has_child(engine: &dyn Engine, parent: u64, as_of: u64) -> Result<bool, Error> {
    let (lower, upper) = (encode_sequence(parent), encode_sequence(parent + 1));
    for row in engine.scan(Table::Children, &lower, Some(&upper), Direction::Forward) {
        let (key, _) = row?;
        let (_, _, child) = children::decode_key(&key).map_err(corrupt(Table::Children, &key))?;
        if child <= as_of {
            return Ok(true);
        }
    }
    Ok(false)
}
