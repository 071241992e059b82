//! A run of the history.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::core::EventHeader;
use crate::engine::Direction;
use crate::error::Error;
use crate::read::{Filter, Query, Reader};

/// Headers that one read from storage fetches.
const PAGE_EVENTS: usize = 256;

/// Events at a range of sequences, in order; reads ahead one page at a time. See
/// [`VaultBus::range`](super::VaultBus::range).
#[derive(Debug)]
pub struct Range {
    reader: Reader,
    page: std::vec::IntoIter<Arc<EventHeader>>,
    /// Where the next page starts (exclusive), if there is one.
    after: Option<u64>,
    until: u64,
}

impl Range {
    pub(super) fn new(reader: Reader, sequences: impl RangeBounds<u64>) -> Self {
        let after = match sequences.start_bound() {
            Bound::Included(first) => Some(first.saturating_sub(1)),
            Bound::Excluded(after) => Some(*after),
            Bound::Unbounded => Some(0),
        };
        let last = match sequences.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(end) => end.saturating_sub(1),
            Bound::Unbounded => u64::MAX,
        };
        // What is committed while the range is read does not make it longer.
        let until = last.min(reader.position().sequence);
        let after = after.filter(|after| *after < until);
        Self {
            reader,
            page: Vec::new().into_iter(),
            after,
            until,
        }
    }

    fn read(&mut self, after: u64) -> Result<(), Error> {
        let page = self.reader.list(&Query {
            after,
            until: self.until,
            filter: Filter::default(),
            direction: Direction::Forward,
            limit: PAGE_EVENTS,
        })?;
        self.page = page.headers.into_iter();
        self.after = page.next;
        Ok(())
    }
}

/// Ends after its first error.
impl Iterator for Range {
    type Item = Result<EventHeader, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(header) = self.page.next() {
                return Some(Ok(Arc::unwrap_or_clone(header)));
            }
            let after = self.after.take()?;
            if let Err(error) = self.read(after) {
                return Some(Err(error));
            }
        }
    }
}

impl std::iter::FusedIterator for Range {}
