//! Ancestors and descendants, breadth first.
//!
//! Level by level. What was reached must be known again, since an event can be reached on several ways; but all that
//! is reached later lies beyond the whole present level (before it, for ancestors), so that what lies on this side of
//! it is forgotten: a chain takes the memory of one event, however long it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use bytes::Bytes;

use super::progress::Progress;
use super::{Query, Relation, Relative, STEP_EVENTS_MAX, find, headers, is_wanted};
use crate::engine::{Direction, Table};
use crate::error::Error;
use crate::read::Reader;
use crate::store::{children, corrupt, encode_sequence};

/// A walk on its way; see [`Reader::walk`].
#[derive(Debug)]
pub struct Walk {
    reader: Reader,
    until: u64,
    relation: Relation,
    depth_max: u32,
    kind_prefixes: Vec<String>,
    /// Events that may still come.
    left: u64,
    depth: u32,
    /// Of this depth, ascending, those that were not visited yet, and whether their headers are wanted: the kind of
    /// a descendant is known before its header is read.
    level: VecDeque<(u64, bool)>,
    /// Visited events of this depth whose children are not all known yet.
    parents: VecDeque<u64>,
    /// The row of the index at which the children of the first of these were left.
    child_row: Option<Bytes>,
    /// The next depth, so far.
    next: BTreeMap<u64, bool>,
    /// What was reached and could be reached again.
    reached: BTreeSet<u64>,
    progress: Progress,
}

impl Walk {
    pub(super) fn begin(reader: Reader, query: &Query) -> Result<Self, Error> {
        let until = reader.end_at(query.until);
        let start = find(&reader, &query.event, until)?.sequence;
        Ok(Self {
            reader,
            until,
            relation: query.relation,
            depth_max: query.depth_max,
            kind_prefixes: query.kind_prefixes.clone(),
            left: query.events_max,
            depth: 0,
            level: VecDeque::from([(start, true)]),
            parents: VecDeque::new(),
            child_row: None,
            next: BTreeMap::new(),
            reached: BTreeSet::new(),
            progress: Progress::new(),
        })
    }

    /// Lowers [`REMEMBERED_EVENTS_MAX`](super::REMEMBERED_EVENTS_MAX) for this walk.
    #[must_use]
    pub fn remember_at_most(mut self, events: usize) -> Self {
        self.progress.remember_at_most(events);
        self
    }

    /// The next events; perhaps none, though more come. `None` at the end. Looks at [`STEP_EVENTS_MAX`] events and
    /// rows at most. Ends after its first error.
    ///
    /// # Errors
    /// [`Error::LineageLimit`] where more events than [`REMEMBERED_EVENTS_MAX`](super::REMEMBERED_EVENTS_MAX) would
    /// have to be remembered; [`Error::Engine`], [`Error::Corrupt`].
    pub fn step(&mut self) -> Result<Option<Vec<Relative>>, Error> {
        let stepped = self.advance();
        self.progress.checked(stepped)
    }

    /// Whether nothing was left out for the sake of the query's limits; known at the end. Where a limit was reached
    /// it is false even if nothing should lie beyond.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// Events visited so far, also those whose kind is not wanted.
    #[must_use]
    pub const fn visited(&self) -> u64 {
        self.progress.visited()
    }

    fn advance(&mut self) -> Result<Option<Vec<Relative>>, Error> {
        if self.progress.has_ended() {
            return Ok(None);
        }
        let (mut found, mut budget) = (Vec::new(), STEP_EVENTS_MAX);
        while budget > 0 {
            let is_over = self.level.is_empty() && self.parents.is_empty() && self.next.is_empty();
            if is_over || self.left == 0 {
                self.progress.end(is_over);
                break;
            }
            if !self.level.is_empty() {
                self.visit(&mut budget, &mut found)?;
            } else if !self.parents.is_empty() {
                self.find_children(&mut budget)?;
            } else {
                self.deepen();
            }
        }
        Ok(self.progress.step(found))
    }

    /// Visits the next events of this depth, as many as `budget` says.
    fn visit(&mut self, budget: &mut usize, found: &mut Vec<Relative>) -> Result<(), Error> {
        let count = self.level.len().min(*budget);
        *budget -= count;
        self.progress.visit(count as u64);
        let chunk: Vec<_> = self.level.drain(..count).collect();
        let is_last = self.depth == self.depth_max;
        let looked_at: Vec<u64> = chunk
            .iter()
            .filter(|(_, is_looked_at)| *is_looked_at)
            .map(|(sequence, _)| *sequence)
            .collect();
        for header in headers(&self.reader, &looked_at)? {
            if self.relation == Relation::Ancestors {
                if !is_last {
                    for parent in &header.parents {
                        self.reach(parent.id.sequence(), true)?;
                    }
                } else if !header.parents.is_empty() {
                    self.progress.leave_out();
                }
            }
            if !is_wanted(&self.kind_prefixes, header.kind.as_str()) {
                continue;
            }
            if self.left == 0 {
                self.progress.leave_out();
                break;
            }
            self.left -= 1;
            found.push(Relative {
                header,
                depth: self.depth,
            });
        }
        match self.relation {
            Relation::Ancestors => {}
            Relation::Descendants if is_last => self.progress.leave_out(),
            Relation::Descendants => self.parents.extend(chunk.iter().map(|(at, _)| *at)),
        }
        Ok(())
    }

    /// Goes on through the index of children, as many rows as `budget` says.
    fn find_children(&mut self, budget: &mut usize) -> Result<(), Error> {
        let engine = self.reader.engine();
        while let Some(&parent) = self.parents.front() {
            let lower = match &self.child_row {
                // The key that follows it.
                Some(key) => [&key[..], &[0]].concat(),
                None => encode_sequence(parent).to_vec(),
            };
            let upper = encode_sequence(parent + 1);
            let mut scan = engine.scan(Table::Children, &lower, Some(&upper), Direction::Forward);
            loop {
                if *budget == 0 {
                    return Ok(());
                }
                // Finding that there is no further child counts too.
                *budget -= 1;
                let Some(row) = scan.next() else {
                    break;
                };
                let (key, _) = row?;
                let (_, kind, child) =
                    children::decode_key(&key).map_err(corrupt(Table::Children, &key))?;
                if child <= self.until {
                    let is_looked_at = is_wanted(&self.kind_prefixes, kind.as_str());
                    self.reach(child, is_looked_at)?;
                }
                self.child_row = Some(key);
            }
            self.parents.pop_front();
            self.child_row = None;
        }
        Ok(())
    }

    fn reach(&mut self, sequence: u64, is_looked_at: bool) -> Result<(), Error> {
        if self.reached.insert(sequence) {
            self.progress.check_remembered(self.reached.len())?;
            self.next.insert(sequence, is_looked_at);
        }
        Ok(())
    }

    /// Begins with the next depth, which is not empty.
    fn deepen(&mut self) {
        let next = mem::take(&mut self.next);
        match self.relation {
            Relation::Ancestors => {
                let newest = next.last_key_value().map_or(0, |(&sequence, _)| sequence);
                while self.reached.last().is_some_and(|&last| last >= newest) {
                    self.reached.pop_last();
                }
            }
            Relation::Descendants => {
                let oldest = next.first_key_value().map_or(0, |(&sequence, _)| sequence);
                while self.reached.first().is_some_and(|&first| first <= oldest) {
                    self.reached.pop_first();
                }
            }
        }
        self.depth += 1;
        self.level = next.into_iter().collect();
    }
}
