//! Pages of the history.
//!
//! A filter by descendants walks their set, where it has few members in the range; one by attributes walks
//! the index of its first attribute; one by intents those of their micro-clusters, merged by sequence; one by
//! kinds walks the runs of all kinds with the prefixes at once, merged by sequence. Of several the first of
//! these is taken. Everything else, and too many kinds, walks the headers.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::sync::Arc;

use super::{Filter, Wanted};
use crate::core::EventHeader;
use crate::engine::{Direction, Engine, Scan, Table};
use crate::error::Error;
use crate::store::{
    attributes, corrupt, decode_sequence, encode_sequence, kinds, lookup, micros, missing,
};

/// Events on one page.
pub const PAGE_EVENTS_MAX: usize = 1_000;
/// Kinds whose runs are merged; above it the headers are walked.
const KINDS_MERGED_MAX: usize = 64;
/// Micro-clusters whose runs are merged; above it the headers are walked.
const MICROS_MERGED_MAX: usize = 256;
/// Headers that are looked up at once.
const LOOKUP_EVENTS_MAX: usize = 256;
/// Headers after which the caller is asked whether to go on.
const ASK_EVENTS: u64 = 256;

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

/// Everything, oldest first, on pages as large as they may be.
impl Default for Query {
    fn default() -> Self {
        Self {
            after: 0,
            until: u64::MAX,
            filter: Filter::default(),
            direction: Direction::Forward,
            limit: PAGE_EVENTS_MAX,
        }
    }
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

/// How many descendants a page can do with, and after which sequence: going forward it may end where they are not known
/// any more. Where the filter wants more of them than that they are descendants, a page looks at many.
pub(super) fn enough(query: &Query, rows_max: usize) -> Option<(u64, u64)> {
    if query.direction == Direction::Backward {
        return None;
    }
    let filter = &query.filter;
    let has_others = !filter.kind_prefixes.is_empty()
        || !filter.attributes.is_empty()
        || !filter.intents.is_empty();
    let members = if has_others { rows_max } else { limit(query) };
    Some((query.after, members as u64))
}

/// The page of the history up to `until`, which exists, that `query` asks for. Looks at `rows_max` rows
/// at most.
pub(super) fn list(
    engine: &dyn Engine,
    until: u64,
    query: &Query,
    wanted: &Wanted,
    rows_max: usize,
    go_on: &dyn Fn() -> bool,
) -> Result<Page, Error> {
    let mut range = Range {
        after: query.after,
        until,
        rows_max,
    };
    if range.after >= range.until {
        return Ok(Page::empty(None));
    }
    let complete = wanted.complete();
    if complete >= range.until {
        return walk(engine, range, query, wanted, go_on);
    }
    // The descendants are known up to there only. Backward the page would begin with those that are not.
    match query.direction {
        Direction::Backward => return Ok(Page::empty(Some(range.until))),
        Direction::Forward if complete <= range.after => {
            return Ok(Page::empty(Some(range.after)));
        }
        Direction::Forward => range.until = complete,
    }
    let mut page = walk(engine, range, query, wanted, go_on)?;
    page.next = page.next.or(Some(complete));
    Ok(page)
}

impl Page {
    const fn empty(next: Option<u64>) -> Self {
        Self {
            headers: Vec::new(),
            next,
        }
    }
}

fn walk(
    engine: &dyn Engine,
    range: Range,
    query: &Query,
    wanted: &Wanted,
    go_on: &dyn Fn() -> bool,
) -> Result<Page, Error> {
    let family = wanted.family();
    let few = family.filter(|of| of.count(range.after, range.until) <= range.rows_max as u64);
    if let Some(family) = few {
        let members = Arc::clone(family).members(range.after, range.until, query.direction);
        let mut members = members.map(Ok::<u64, Error>);
        return walk_candidates(engine, range, &mut members, query, wanted, go_on);
    }
    match index_runs(engine, wanted)? {
        Some(runs) => {
            let mut merge = Merge::new(engine, range, runs, query.direction);
            walk_candidates(engine, range, &mut merge, query, wanted, go_on)
        }
        None => walk_headers(engine, range, query, wanted, go_on),
    }
}

/// Sequences above `after`, up to `until`, which is above it.
#[derive(Clone, Copy)]
struct Range {
    after: u64,
    until: u64,
    /// Rows that are looked at.
    rows_max: usize,
}

impl Range {
    /// Where to go on after the event at `last`, if anything is left.
    const fn next(self, last: u64, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Forward if last < self.until => Some(last),
            Direction::Backward if last - 1 > self.after => Some(last - 1),
            Direction::Forward | Direction::Backward => None,
        }
    }
}

fn limit(query: &Query) -> usize {
    query.limit.clamp(1, PAGE_EVENTS_MAX)
}

fn walk_headers(
    engine: &dyn Engine,
    range: Range,
    query: &Query,
    wanted: &Wanted,
    go_on: &dyn Fn() -> bool,
) -> Result<Page, Error> {
    let (lower, upper) = (
        encode_sequence(range.after + 1),
        encode_sequence(range.until + 1),
    );
    let mut rows = engine.scan(Table::Headers, &lower, Some(&upper), query.direction);
    let mut headers = Vec::new();
    let count = range.until - range.after;
    for at in 0..count.min(range.rows_max as u64) {
        let sequence = match query.direction {
            Direction::Forward => range.after + 1 + at,
            Direction::Backward => range.until - at,
        };
        let absent = || missing(Table::Headers, &encode_sequence(sequence));
        let (key, value) = rows.next().ok_or_else(absent)??;
        if decode_sequence(&key).map_err(corrupt(Table::Headers, &key))? != sequence {
            return Err(absent());
        }
        let header = lookup::decode_header(sequence, value)?;
        if wanted.matches(&header) {
            headers.push(header);
        }
        let looked_at = at + 1;
        let is_over =
            looked_at == range.rows_max as u64 || looked_at.is_multiple_of(ASK_EVENTS) && !go_on();
        if headers.len() == limit(query) || is_over {
            return Ok(Page {
                headers,
                next: range.next(sequence, query.direction),
            });
        }
    }
    Ok(Page {
        headers,
        next: None,
    })
}

/// Where in the indexes the wanted events are; `None` if the headers must be walked.
struct Runs {
    table: Table,
    /// A run is all keys with one of these in front of the sequence.
    fronts: Vec<Vec<u8>>,
}

fn index_runs(engine: &dyn Engine, wanted: &Wanted) -> Result<Option<Runs>, Error> {
    let filter = wanted.filter();
    let front = |mut key: Vec<u8>| {
        key.truncate(key.len() - size_of::<u64>());
        key
    };
    if let Some((name, value)) = filter.attributes.first() {
        let fronts = vec![front(attributes::key(name, value, 0))];
        return Ok(Some(Runs {
            table: Table::Attributes,
            fronts,
        }));
    }
    if let Some(members) = wanted.members()
        && members.len() <= MICROS_MERGED_MAX
    {
        let fronts = members
            .iter()
            .map(|&micro| front(micros::key(micro, 0).to_vec()));
        return Ok(Some(Runs {
            table: Table::Micros,
            fronts: fronts.collect(),
        }));
    }
    let prefixes = &filter.kind_prefixes;
    if prefixes.is_empty() || prefixes.iter().any(String::is_empty) {
        return Ok(None);
    }
    let mut fronts = BTreeSet::new();
    for prefix in prefixes {
        // No byte of UTF-8 is 0xff.
        let mut upper = prefix.as_bytes().to_vec();
        *upper.last_mut().expect("the prefix is not empty") += 1;
        let mut lower = prefix.as_bytes().to_vec();
        while let Some(row) = engine
            .scan(Table::Kinds, &lower, Some(&upper), Direction::Forward)
            .next()
        {
            let (key, _) = row?;
            let (kind, _) = kinds::decode_key(&key).map_err(corrupt(Table::Kinds, &key))?;
            // Past the kind's run: its keys have a 0 there.
            lower = [kind.as_str().as_bytes(), &[1]].concat();
            fronts.insert(front(kinds::key(kind.as_str(), 0)));
            if fronts.len() > KINDS_MERGED_MAX {
                return Ok(None);
            }
        }
    }
    Ok(Some(Runs {
        table: Table::Kinds,
        fronts: fronts.into_iter().collect(),
    }))
}

fn walk_candidates(
    engine: &dyn Engine,
    range: Range,
    candidates: &mut dyn Iterator<Item = Result<u64, Error>>,
    query: &Query,
    wanted: &Wanted,
    go_on: &dyn Fn() -> bool,
) -> Result<Page, Error> {
    let mut headers: Vec<Arc<EventHeader>> = Vec::new();
    let mut examined = 0;
    loop {
        let count = (limit(query) - headers.len())
            .min(LOOKUP_EVENTS_MAX)
            .min(range.rows_max - examined);
        let sequences = (&mut *candidates)
            .take(count)
            .collect::<Result<Vec<_>, _>>()?;
        let Some(&last) = sequences.last() else {
            return Ok(Page {
                headers,
                next: None,
            });
        };
        for (&sequence, header) in sequences.iter().zip(lookup::headers(engine, &sequences)?) {
            let absent = || missing(Table::Headers, &encode_sequence(sequence));
            let header = header.ok_or_else(absent)?;
            if wanted.matches(&header) {
                headers.push(header);
            }
        }
        examined += sequences.len();
        if headers.len() == limit(query) || examined == range.rows_max || !go_on() {
            return Ok(Page {
                headers,
                next: range.next(last, query.direction),
            });
        }
    }
}

/// The sequences of several runs in one order. No event is in two of them.
struct Merge<'e> {
    runs: Vec<Peekable<Scan<'e>>>,
    table: Table,
    direction: Direction,
}

impl<'e> Merge<'e> {
    fn new(engine: &'e dyn Engine, range: Range, runs: Runs, direction: Direction) -> Self {
        let key = |front: &[u8], sequence| [front, &encode_sequence(sequence)].concat();
        let table = runs.table;
        let runs = runs
            .fronts
            .iter()
            .map(|front| {
                let (lower, upper) = (key(front, range.after + 1), key(front, range.until + 1));
                engine
                    .scan(table, &lower, Some(&upper), direction)
                    .peekable()
            })
            .collect();
        Self {
            runs,
            table,
            direction,
        }
    }

    /// The run whose next row is to be taken: one that failed, or the first in order.
    fn first(&mut self) -> Option<usize> {
        let direction = self.direction;
        let order = |key: &[u8]| {
            let sequence = decode_sequence(&key[key.len() - size_of::<u64>()..]).unwrap_or(0);
            match direction {
                Direction::Forward => sequence,
                Direction::Backward => u64::MAX - sequence,
            }
        };
        self.runs
            .iter_mut()
            .enumerate()
            .filter_map(|(run, rows)| {
                let row = rows.peek()?;
                Some((row.as_ref().map_or(0, |(key, _)| order(key)), run))
            })
            .min()
            .map(|(_, run)| run)
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<u64, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let run = self.first()?;
        let row = self.runs[run].next()?.map_err(Error::from);
        Some(row.and_then(|(key, _)| {
            let at = key.len() - size_of::<u64>();
            decode_sequence(&key[at..]).map_err(corrupt(self.table, &key))
        }))
    }
}
