//! Heads: events that no other one depends on.

use std::sync::Arc;

use super::super::list;
use crate::core::EventHeader;
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::read::{Filter, PAGE_EVENTS_MAX, Query, Reader};
use crate::store::{children, corrupt, encode_sequence};

/// Looks for a child that one page makes, an event's last ones included: one for each event, and where its first child
/// is too new one for each kind of its children.
const LOOKS_MAX: usize = 10_000;
/// Looks after which the caller is asked whether to go on.
const ASK_LOOKS: usize = 64;
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

pub(super) fn page(
    reader: &Reader,
    heads: &Heads,
    go_on: &dyn Fn() -> bool,
) -> Result<HeadsPage, Error> {
    let as_of = reader.end_at(heads.as_of);
    let engine = reader.engine();
    let filter = Filter {
        kind_prefixes: heads.kind_prefixes.clone(),
        ..Filter::default()
    };
    let wanted = reader.wanted(&filter, as_of, go_on)?;
    let limit = heads.limit.clamp(1, PAGE_EVENTS_MAX);
    let rows_max = reader.bounds().scan_rows;
    let mut query = Query {
        after: 0,
        until: heads.from.min(as_of),
        filter,
        direction: Direction::Backward,
        limit: CHUNK_EVENTS,
    };
    let (mut headers, mut looks) = (Vec::new(), 0);
    let page = |headers, next| HeadsPage {
        headers,
        as_of,
        next,
    };
    loop {
        let candidates = list::list(&*engine, query.until, &query, &wanted, rows_max, go_on)?;
        let is_short = candidates.headers.len() < CHUNK_EVENTS;
        for header in candidates.headers {
            let sequence = header.sequence;
            match has_child(&*engine, sequence, as_of, &mut looks, go_on)? {
                Some(true) => {}
                Some(false) => headers.push(header),
                // It was not found out.
                None => return Ok(page(headers, Some(sequence))),
            }
            if headers.len() == limit || looks >= LOOKS_MAX {
                let next = Some(sequence - 1).filter(|before| *before > 0);
                return Ok(page(headers, next));
            }
        }
        match candidates.next {
            Some(next) if !is_short => query.until = next,
            // The end, or as many rows as one call may look at.
            next => return Ok(page(headers, next)),
        }
    }
}

/// Whether any event up to `as_of` depends on the one at `parent`; `None` if `go_on` says no before that is known.
/// The first row tells, unless that came later; then the first child of each further kind does.
fn has_child(
    engine: &dyn Engine,
    parent: u64,
    as_of: u64,
    looks: &mut usize,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<bool>, Error> {
    let (mut lower, upper) = (
        encode_sequence(parent).to_vec(),
        encode_sequence(parent + 1),
    );
    loop {
        *looks += 1;
        if looks.is_multiple_of(ASK_LOOKS) && !go_on() {
            return Ok(None);
        }
        let mut rows = engine.scan(Table::Children, &lower, Some(&upper), Direction::Forward);
        let Some(row) = rows.next() else {
            return Ok(Some(false));
        };
        let (key, _) = row?;
        let (_, kind, child) =
            children::decode_key(&key).map_err(corrupt(Table::Children, &key))?;
        if child <= as_of {
            return Ok(Some(true));
        }
        // Past the kind's children, which come in order: their keys have a 0 there.
        lower = [&encode_sequence(parent)[..], kind.as_str().as_bytes(), &[1]].concat();
    }
}
