//! What one history has that another one has not.
//!
//! As git's `a..b`: both histories are walked together, the newest event first, and each event hands to its parents
//! what it is known to be of. When an event's turn comes, all of its descendants have had theirs, so that what is
//! known of it is all there is. Only what waits is kept in mind.

use std::sync::Arc;

use super::progress::{Progress, Waiting};
use super::{DifferenceQuery, STEP_EVENTS_MAX, find, header, is_wanted};
use crate::core::EventHeader;
use crate::error::Error;
use crate::read::Reader;

/// Of the history that is wanted.
const WANTED: u8 = 1;
/// Of the history that is left out.
const LEFT_OUT: u8 = 2;

/// A difference on its way; see [`Reader::difference`].
#[derive(Debug)]
pub struct Difference {
    reader: Reader,
    kind_prefixes: Vec<String>,
    /// Events that may still come.
    left: u64,
    /// What waits to be visited, of either history or both.
    waiting: Waiting,
    /// How many of these are of the wanted history alone, as far as is known.
    wanted: usize,
    progress: Progress,
}

impl Difference {
    pub(super) fn begin(reader: Reader, query: &DifferenceQuery) -> Result<Self, Error> {
        let until = reader.end_at(query.until);
        let without = find(&reader, &query.without, until)?.sequence;
        let of = find(&reader, &query.of, until)?.sequence;
        let mut difference = Self {
            reader,
            kind_prefixes: query.kind_prefixes.clone(),
            left: query.events_max,
            waiting: Waiting::default(),
            wanted: 0,
            progress: Progress::new(),
        };
        difference.mark(without, LEFT_OUT)?;
        difference.mark(of, WANTED)?;
        Ok(difference)
    }

    /// Lowers [`REMEMBERED_EVENTS_MAX`](super::REMEMBERED_EVENTS_MAX) for this walk.
    #[must_use]
    pub fn remember_at_most(mut self, events: usize) -> Self {
        self.progress.remember_at_most(events);
        self
    }

    /// The next events; perhaps none, though more come. `None` at the end. Visits [`STEP_EVENTS_MAX`] events at most.
    /// Ends after its first error.
    ///
    /// # Errors
    /// [`Error::LineageLimit`] where more events than [`REMEMBERED_EVENTS_MAX`](super::REMEMBERED_EVENTS_MAX) would
    /// have to be remembered; [`Error::Engine`], [`Error::Corrupt`].
    pub fn step(&mut self) -> Result<Option<Vec<Arc<EventHeader>>>, Error> {
        let stepped = self.advance();
        self.progress.checked(stepped)
    }

    /// As [`Walk::is_complete`](super::Walk::is_complete).
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// Events visited so far, of both histories.
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
            // Once nothing of the wanted history alone waits, nothing of it will.
            if self.wanted == 0 || self.left == 0 {
                self.progress.end(self.wanted == 0);
                break;
            }
            let Some((sequence, marks)) = self.waiting.pop() else {
                break;
            };
            let header = header(&self.reader, sequence)?;
            self.progress.visit(1);
            let is_wanted_alone = marks == WANTED;
            if is_wanted_alone {
                self.wanted -= 1;
            }
            for parent in &header.parents {
                self.mark(parent.id.sequence(), marks)?;
            }
            if is_wanted_alone && is_wanted(&self.kind_prefixes, header.kind.as_str()) {
                self.left -= 1;
                found.push(header);
            }
        }
        Ok(self.progress.step(found))
    }

    fn mark(&mut self, sequence: u64, marks: u8) -> Result<(), Error> {
        let (before, after) = self.waiting.mark(sequence, marks);
        self.wanted += usize::from(after == WANTED);
        self.wanted -= usize::from(before == WANTED);
        self.progress.check_remembered(self.waiting.len())
    }
}
