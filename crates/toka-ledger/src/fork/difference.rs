//! What a fork and its base have that the other one has not.

use std::sync::Arc;

use super::Fork;
use crate::core::EventHeader;
use crate::error::Error;
use crate::read::{PAGE_EVENTS_MAX, Query, Reader, Selector};

/// Events behind the fork that are looked at on each side.
pub const DIFFERENCE_EVENTS_MAX: usize = 10_000;

/// What a fork and its base have behind the last event that they share. Events are told apart by their digests: the
/// same kind, payload, salt and parents are the same event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The last event that the two share.
    pub sequence: u64,
    /// Events that both have, in the fork's order.
    pub both: Vec<Both>,
    /// Events that only the fork has, in order.
    pub fork_only: Vec<Arc<EventHeader>>,
    /// Events that only the base has, in order.
    pub base_only: Vec<Arc<EventHeader>>,
    /// Neither side has more than [`DIFFERENCE_EVENTS_MAX`] events behind the fork, so that all were looked at.
    pub is_complete: bool,
}

/// An event that came to both, maybe at other places, times, and intents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Both {
    /// As the fork has it.
    pub fork: Arc<EventHeader>,
    /// As the base has it.
    pub base: Arc<EventHeader>,
}

impl Difference {
    /// Whether both have the same events; their order may differ.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fork_only.is_empty() && self.base_only.is_empty()
    }
}

impl Fork {
    /// Compares the fork with its base as that is now.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn difference(&self) -> Result<Difference, Error> {
        let fork = self.vault.reader();
        let (own, is_own_complete) = behind(fork, self.sequence)?;
        let (real, is_real_complete) = behind(&self.base, self.sequence)?;
        let mut difference = Difference {
            sequence: self.sequence,
            both: Vec::new(),
            fork_only: Vec::new(),
            base_only: Vec::new(),
            is_complete: is_own_complete && is_real_complete,
        };
        for events in own.chunks(PAGE_EVENTS_MAX) {
            for (event, found) in events.iter().zip(same(&self.base, events)?) {
                let fork = Arc::clone(event);
                match found {
                    Some(base) => difference.both.push(Both { fork, base }),
                    None => difference.fork_only.push(fork),
                }
            }
        }
        for events in real.chunks(PAGE_EVENTS_MAX) {
            let found = same(fork, events)?;
            let only = events
                .iter()
                .zip(found)
                .filter(|(_, found)| found.is_none());
            difference
                .base_only
                .extend(only.map(|(event, _)| Arc::clone(event)));
        }
        Ok(difference)
    }
}

/// The events behind `after`, and whether these are all.
fn behind(reader: &Reader, after: u64) -> Result<(Vec<Arc<EventHeader>>, bool), Error> {
    let mut headers = Vec::new();
    let mut next = Some(after);
    while let Some(after) = next.filter(|_| headers.len() <= DIFFERENCE_EVENTS_MAX) {
        let page = reader.list(&Query {
            after,
            ..Query::default()
        })?;
        headers.extend(page.headers);
        next = page.next;
    }
    let is_all = next.is_none() && headers.len() <= DIFFERENCE_EVENTS_MAX;
    headers.truncate(DIFFERENCE_EVENTS_MAX);
    Ok((headers, is_all))
}

/// The same events, as another vault has them.
fn same(
    reader: &Reader,
    events: &[Arc<EventHeader>],
) -> Result<Vec<Option<Arc<EventHeader>>>, Error> {
    let selectors: Vec<_> = events
        .iter()
        .map(|event| Selector::Digest(event.digest))
        .collect();
    reader.headers(&selectors)
}
