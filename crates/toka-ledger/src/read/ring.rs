//! The newest headers, shared by all subscriptions.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::EventHeader;

/// Headers that the ring keeps.
pub const RING_EVENTS_MAX: usize = 4_096;

/// A bounded run of the newest headers, without gaps.
///
/// The writer pushes what it has written *before* it publishes the new position.
pub struct Ring {
    headers: Mutex<VecDeque<Arc<EventHeader>>>,
    /// How many it keeps.
    events_max: AtomicUsize,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            headers: Mutex::new(VecDeque::new()),
            events_max: AtomicUsize::new(RING_EVENTS_MAX),
        }
    }

    /// Keeps fewer headers than [`RING_EVENTS_MAX`], for tests.
    pub(super) fn narrow(&self, events_max: usize) {
        let events_max = events_max.clamp(1, RING_EVENTS_MAX);
        self.events_max.store(events_max, Ordering::Relaxed);
    }

    /// Appends new headers, in their order; the oldest make room.
    pub fn push(&self, new: &[Arc<EventHeader>]) {
        let Some(first) = new.first() else { return };
        let events_max = self.events_max.load(Ordering::Relaxed);
        let mut headers = self.lock();
        // After a snapshot was installed the order goes on further ahead.
        if headers
            .back()
            .is_some_and(|last| last.sequence + 1 != first.sequence)
        {
            headers.clear();
        }
        headers.extend(
            new.iter()
                .skip(new.len().saturating_sub(events_max))
                .cloned(),
        );
        let surplus = headers.len().saturating_sub(events_max);
        headers.drain(..surplus);
    }

    /// Forgets all headers. The writer does so before it publishes a position that it reached
    /// without pushing: after a snapshot was installed.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The first `events_max` headers after the sequence `after`; `None` if the ring no longer has the next one
    /// (or does not have it yet), so that storage must be asked. The writer waits for as long as this takes.
    #[must_use]
    pub fn range(&self, after: u64, events_max: usize) -> Option<Vec<Arc<EventHeader>>> {
        let headers = self.lock();
        let (first, last) = (headers.front()?.sequence, headers.back()?.sequence);
        if after + 1 < first || after > last {
            return None;
        }
        let skip = usize::try_from(after + 1 - first).expect("the ring is shorter than usize");
        Some(headers.range(skip..).take(events_max).cloned().collect())
    }

    /// The header at each of `sequences`, where the ring has it.
    #[must_use]
    pub fn find(&self, sequences: &[u64]) -> Vec<Option<Arc<EventHeader>>> {
        let headers = self.lock();
        let first = headers.front().map(|header| header.sequence);
        let find = |sequence: &u64| {
            let at = usize::try_from(sequence.checked_sub(first?)?).ok()?;
            headers.get(at).cloned()
        };
        sequences.iter().map(find).collect()
    }

    /// Whether the ring has the event after the sequence `after`.
    #[must_use]
    pub fn has_next(&self, after: u64) -> bool {
        let headers = self.lock();
        match (headers.front(), headers.back()) {
            (Some(first), Some(last)) => first.sequence <= after + 1 && after < last.sequence,
            _ => false,
        }
    }

    // Nothing panics halfway through a push, so a poisoned lock guards a sound ring.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<EventHeader>>> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.lock();
        f.debug_struct("Ring")
            .field("first", &headers.front().map(|header| header.sequence))
            .field("last", &headers.back().map(|header| header.sequence))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Attributes, Digest, EventId, Kind, Salt};

    fn headers(sequences: std::ops::RangeInclusive<u64>) -> Vec<Arc<EventHeader>> {
        sequences
            .map(|sequence| Arc::new(header(sequence)))
            .collect()
    }

    fn header(sequence: u64) -> EventHeader {
        EventHeader {
            id: EventId::new(1, sequence, &Digest::ZERO),
            sequence,
            unix_ms: 1,
            kind: Kind::new("k").expect("valid"),
            digest: Digest::ZERO,
            payload_digest: Digest::ZERO,
            payload_bytes: 0,
            payload_sequence: sequence,
            salt: Salt::default(),
            parents: Vec::new(),
            embedding: None,
            attributes: Attributes::default(),
            micro_cluster: None,
            intent: None,
            deduplicated: false,
        }
    }

    fn sequences(ring: &Ring, after: u64) -> Option<Vec<u64>> {
        Some(
            ring.range(after, usize::MAX)?
                .iter()
                .map(|header| header.sequence)
                .collect(),
        )
    }

    #[test]
    fn range_gives_what_follows_and_none_where_the_ring_moved_on() {
        let ring = Ring::new();
        assert_eq!(sequences(&ring, 0), None);
        ring.push(&headers(3..=6));
        assert_eq!(sequences(&ring, 1), None);
        assert_eq!(sequences(&ring, 2), Some(vec![3, 4, 5, 6]));
        assert_eq!(sequences(&ring, 6), Some(vec![]));
        assert_eq!(sequences(&ring, 7), None);
    }

    #[test]
    fn headers_are_found_where_the_ring_has_them() {
        let ring = Ring::new();
        assert_eq!(ring.find(&[1]), [None]);
        ring.push(&headers(3..=6));
        let found = ring.find(&[6, 2, 3, 7, 0]);
        let found = found
            .iter()
            .map(|header| header.as_ref().map(|header| header.sequence));
        let expected = [Some(6), None, Some(3), None, None];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_range_is_bounded() {
        let ring = Ring::new();
        ring.push(&headers(3..=6));
        let range = ring.range(3, 2).expect("it is there");
        let range: Vec<_> = range.iter().map(|header| header.sequence).collect();
        assert_eq!(range, [4, 5]);
        let has_next: Vec<_> = (1..=6).map(|after| ring.has_next(after)).collect();
        assert_eq!(has_next, [false, true, true, true, true, false]);
    }

    #[test]
    fn a_ring_may_be_narrower() {
        let ring = Ring::new();
        ring.narrow(3);
        ring.push(&headers(1..=2));
        ring.push(&headers(3..=4));
        assert_eq!(sequences(&ring, 0), None);
        assert_eq!(sequences(&ring, 1), Some(vec![2, 3, 4]));
    }

    #[test]
    fn ring_is_bounded() {
        let ring = Ring::new();
        let last = RING_EVENTS_MAX as u64 + 10;
        ring.push(&headers(1..=5));
        ring.push(&headers(6..=last));
        assert_eq!(sequences(&ring, 9), None);
        assert_eq!(sequences(&ring, 10), Some((11..=last).collect()));
        ring.push(&headers(last + 1..=3 * last));
        assert_eq!(sequences(&ring, 3 * last - 1), Some(vec![3 * last]));
    }

    #[test]
    fn ring_starts_anew_after_a_jump() {
        let ring = Ring::new();
        ring.push(&headers(1..=5));
        ring.push(&headers(100..=101));
        assert_eq!(sequences(&ring, 4), None);
        assert_eq!(sequences(&ring, 99), Some(vec![100, 101]));
    }
}
