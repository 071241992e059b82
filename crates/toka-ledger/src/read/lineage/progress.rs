//! How far a walk is.

use std::collections::BTreeMap;

use super::REMEMBERED_EVENTS_MAX;
use crate::error::Error;

/// What every walk knows of itself.
#[derive(Debug)]
pub(super) struct Progress {
    remembered_max: usize,
    visited: u64,
    has_ended: bool,
    is_complete: bool,
}

impl Progress {
    /// Of one that begins.
    pub(super) const fn new() -> Self {
        Self {
            remembered_max: REMEMBERED_EVENTS_MAX,
            visited: 0,
            has_ended: false,
            is_complete: true,
        }
    }

    /// Lowers [`REMEMBERED_EVENTS_MAX`].
    pub(super) fn remember_at_most(&mut self, events: usize) {
        self.remembered_max = events.min(REMEMBERED_EVENTS_MAX);
    }

    /// Refuses to remember so many events.
    ///
    /// # Errors
    /// [`Error::LineageLimit`].
    pub(super) fn check_remembered(&self, count: usize) -> Result<(), Error> {
        if count <= self.remembered_max {
            return Ok(());
        }
        Err(Error::LineageLimit {
            limit: "remembered_events",
            max: self.remembered_max as u64,
        })
    }

    pub(super) fn visit(&mut self, events: u64) {
        self.visited += events;
    }

    pub(super) const fn visited(&self) -> u64 {
        self.visited
    }

    /// Something is left out for the sake of a limit.
    pub(super) fn leave_out(&mut self) {
        self.is_complete = false;
    }

    /// Nothing follows; `is_complete`: because there is nothing more.
    pub(super) fn end(&mut self, is_complete: bool) {
        self.has_ended = true;
        self.is_complete &= is_complete;
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// What a step that came to its end says of what it has found.
    pub(super) fn step<T>(&self, found: Vec<T>) -> Option<Vec<T>> {
        (!self.has_ended || !found.is_empty()).then_some(found)
    }

    /// A walk ends with its first error.
    pub(super) fn checked<T>(&mut self, stepped: Result<T, Error>) -> Result<T, Error> {
        if stepped.is_err() {
            self.end(false);
        }
        stepped
    }
}

/// Events that wait to be visited, the newest first, and marks of what is known of each.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<u64, u8>);

impl Waiting {
    /// Adds marks to an event. Returns those that it had, and those that it has.
    pub(super) fn mark(&mut self, sequence: u64, marks: u8) -> (u8, u8) {
        let known = self.0.entry(sequence).or_insert(0);
        let before = *known;
        *known |= marks;
        (before, *known)
    }

    /// The newest one. All of its descendants that are walked through have come before it.
    pub(super) fn pop(&mut self) -> Option<(u64, u8)> {
        self.0.pop_last()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
