//! The nearest common ancestors of two events.
//!
//! As git's merge base: both histories are walked together, the newest event first, and each event hands to its
//! parents which of the two it is an ancestor of, and whether it lies behind a common one. The first that is of both
//! and behind no other is a nearest one. It ends as soon as nothing that waits could lead to another: long before the
//! histories do, unless they have nothing in common.

use std::sync::Arc;

use super::progress::{Progress, Waiting};
use super::{COMMON_EVENTS_MAX, COMMON_VISITED_EVENTS_MAX, STEP_EVENTS_MAX, find, header};
use crate::core::EventHeader;
use crate::error::Error;
use crate::read::{Reader, Selector};

/// Of the first event's history.
const FIRST: u8 = 1;
/// Of the second event's history.
const SECOND: u8 = 2;
/// An ancestor of a common ancestor.
const BEHIND: u8 = 4;

/// A search for common ancestors on its way; see [`Reader::common_ancestors`].
#[derive(Debug)]
pub struct CommonAncestors {
    reader: Reader,
    /// What waits to be visited, of either history or both.
    waiting: Waiting,
    /// How many of these are behind no common ancestor, and of the first history, and of the second.
    promising: [usize; 2],
    found: usize,
    visited_max: u64,
    progress: Progress,
}

impl CommonAncestors {
    pub(super) fn begin(
        reader: Reader,
        first: &Selector,
        second: &Selector,
        until: u64,
    ) -> Result<Self, Error> {
        let until = reader.end_at(until);
        let first = find(&reader, first, until)?.sequence;
        let second = find(&reader, second, until)?.sequence;
        let mut search = Self {
            reader,
            waiting: Waiting::default(),
            promising: [0; 2],
            found: 0,
            visited_max: COMMON_VISITED_EVENTS_MAX,
            progress: Progress::new(),
        };
        search.mark(first, FIRST)?;
        search.mark(second, SECOND)?;
        Ok(search)
    }

    /// Lowers [`COMMON_VISITED_EVENTS_MAX`] for this search.
    #[must_use]
    pub fn visit_at_most(mut self, events: u64) -> Self {
        self.visited_max = events.min(COMMON_VISITED_EVENTS_MAX);
        self
    }

    /// The next nearest common ancestors, newest first; perhaps none, though more may come. `None` at the end. Visits
    /// [`STEP_EVENTS_MAX`] events at most. Ends after its first error.
    ///
    /// # Errors
    /// [`Error::LineageLimit`] where more than [`COMMON_VISITED_EVENTS_MAX`] events would have to be visited, or more
    /// than [`REMEMBERED_EVENTS_MAX`](super::REMEMBERED_EVENTS_MAX) remembered; [`Error::Engine`],
    /// [`Error::Corrupt`].
    pub fn step(&mut self) -> Result<Option<Vec<Arc<EventHeader>>>, Error> {
        let stepped = self.advance();
        self.progress.checked(stepped)
    }

    /// Whether these are all; false where there are more than [`COMMON_EVENTS_MAX`], of which the newest came.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// Events visited so far.
    #[must_use]
    pub const fn visited(&self) -> u64 {
        self.progress.visited()
    }

    fn advance(&mut self) -> Result<Option<Vec<Arc<EventHeader>>>, Error> {
        if self.progress.has_ended() {
            return Ok(None);
        }
        let mut found = Vec::new();
        for _ in 0..STEP_EVENTS_MAX {
            // Another one would be an ancestor of something that waits in each history, and behind nothing.
            let is_over = self.promising.contains(&0);
            if is_over || self.found == COMMON_EVENTS_MAX {
                self.progress.end(is_over);
                break;
            }
            let Some((sequence, marks)) = self.waiting.pop() else {
                break;
            };
            if self.progress.visited() == self.visited_max {
                return Err(Error::LineageLimit {
                    limit: "visited_events",
                    max: self.visited_max,
                });
            }
            self.progress.visit(1);
            self.count(marks, 0);
            let header = header(&self.reader, sequence)?;
            let is_common = marks & (FIRST | SECOND) == FIRST | SECOND;
            let handed_on = if is_common { marks | BEHIND } else { marks };
            for parent in &header.parents {
                self.mark(parent.id.sequence(), handed_on)?;
            }
            if is_common && marks & BEHIND == 0 {
                self.found += 1;
                found.push(header);
            }
        }
        Ok(self.progress.step(found))
    }

    fn mark(&mut self, sequence: u64, marks: u8) -> Result<(), Error> {
        let (before, after) = self.waiting.mark(sequence, marks);
        self.count(before, after);
        self.progress.check_remembered(self.waiting.len())
    }

    /// Counts an event with `after` in the place of the same one with `before`.
    fn count(&mut self, before: u8, after: u8) {
        let weight = |marks: u8, of: u8| usize::from(marks & (of | BEHIND) == of);
        for (promising, of) in self.promising.iter_mut().zip([FIRST, SECOND]) {
            *promising = *promising + weight(after, of) - weight(before, of);
        }
    }
}
