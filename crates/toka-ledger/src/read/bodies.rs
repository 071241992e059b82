//! Payloads and embeddings of the newest events, for those that follow the history: they are in memory anyhow, and
//! whoever is told of an event asks for them at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{RING_EVENTS_MAX, Reader};
use crate::core::Embedding;

/// Bytes of payloads and embeddings that are kept.
const BODIES_BYTES_MAX: usize = 16 << 20;

/// What an event carries.
pub(crate) struct Body {
    pub(crate) sequence: u64,
    pub(crate) payload: Bytes,
    pub(crate) embedding: Option<Embedding>,
}

impl Body {
    pub(crate) fn bytes(&self) -> usize {
        let embedding = self.embedding.as_ref();
        self.payload.len() + embedding.map_or(0, |embedding| embedding.as_bytes().len())
    }

    /// Has it share no memory with what it came in any more.
    pub(crate) fn copy(&mut self) {
        self.payload = Bytes::copy_from_slice(&self.payload);
        self.embedding = self.embedding.as_ref().map(Embedding::copied);
    }
}

/// A bounded run of the newest ones, in order. There may be gaps. Nothing is kept while nobody follows. A command that
/// erases, which there is not yet, must take out what it erases.
#[derive(Default)]
pub(crate) struct Bodies {
    kept: Mutex<Kept>,
    followers: AtomicUsize,
}

#[derive(Default)]
struct Kept {
    bodies: VecDeque<Body>,
    bytes: usize,
}

impl Bodies {
    /// Whether anybody follows.
    pub(crate) fn are_wanted(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Appends new ones, in order; the oldest make room.
    pub(crate) fn push(&self, new: Vec<Body>) {
        let Some(first) = new.first() else { return };
        let mut kept = self.kept();
        if kept
            .bodies
            .back()
            .is_some_and(|last| last.sequence >= first.sequence)
        {
            *kept = Kept::default();
        }
        kept.bytes += new.iter().map(Body::bytes).sum::<usize>();
        kept.bodies.extend(new);
        while (kept.bytes > BODIES_BYTES_MAX || kept.bodies.len() > RING_EVENTS_MAX)
            && let Some(oldest) = kept.bodies.pop_front()
        {
            kept.bytes -= oldest.bytes();
        }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        *self.kept() = Kept::default();
    }

    pub(super) fn payload(&self, sequence: u64) -> Option<Bytes> {
        self.find(sequence, |body| Some(body.payload.clone()))
    }

    pub(super) fn embedding(&self, sequence: u64) -> Option<Embedding> {
        self.find(sequence, |body| body.embedding.clone())
    }

    fn find<T>(&self, sequence: u64, take: impl FnOnce(&Body) -> Option<T>) -> Option<T> {
        if !self.are_wanted() {
            return None;
        }
        let kept = self.kept();
        let at = kept
            .bodies
            .binary_search_by_key(&sequence, |body| body.sequence);
        take(&kept.bodies[at.ok()?])
    }

    // Nothing panics while it is held.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies")
            .field("count", &self.kept().bodies.len())
            .finish_non_exhaustive()
    }
}

/// Somebody who follows the history, and wants payloads or embeddings: until this is dropped those of the newest events
/// are kept in memory, 16 MiB of them.
#[derive(Debug)]
#[must_use = "dropped, it follows no more"]
pub struct Follower(Reader);

impl Reader {
    /// Has payloads and embeddings of the newest events kept in memory, for the calls that end in `_at_hand`.
    pub fn follow(&self) -> Follower {
        self.bodies().followers.fetch_add(1, Ordering::Relaxed);
        Follower(self.clone())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let bodies = self.0.bodies();
        if bodies.followers.fetch_sub(1, Ordering::Relaxed) == 1 {
            bodies.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(sequence: u64, bytes: usize) -> Body {
        Body {
            sequence,
            payload: vec![1_u8; bytes].into(),
            embedding: None,
        }
    }

    fn followed() -> Bodies {
        Bodies {
            followers: AtomicUsize::new(1),
            ..Bodies::default()
        }
    }

    #[test]
    fn what_is_kept_is_found_across_gaps() {
        let bodies = followed();
        bodies.push(vec![body(3, 1), body(5, 2)]);
        bodies.push(vec![body(9, 3)]);
        let found = |sequence| bodies.payload(sequence).map(|payload| payload.len());
        assert_eq!([3, 4, 5, 9].map(found), [Some(1), None, Some(2), Some(3)]);
        assert_eq!(bodies.embedding(3), None);
        bodies.push(vec![body(4, 7)]);
        assert_eq!([3, 4, 9].map(found), [None, Some(7), None]);
        bodies.clear();
        assert_eq!(bodies.kept().bytes, 0);
    }

    #[test]
    fn bytes_and_number_are_bounded() {
        let bodies = followed();
        bodies.push((1..=20).map(|sequence| body(sequence, 1 << 20)).collect());
        assert_eq!(bodies.kept().bytes, BODIES_BYTES_MAX);
        assert!(bodies.payload(4).is_none() && bodies.payload(5).is_some());
        let many = 21..=20 + 2 * RING_EVENTS_MAX as u64;
        bodies.push(many.map(|sequence| body(sequence, 1)).collect());
        let kept = bodies.kept();
        assert_eq!(
            (kept.bodies.len(), kept.bytes),
            (RING_EVENTS_MAX, RING_EVENTS_MAX)
        );
    }

    #[test]
    fn nothing_is_found_where_nobody_follows() {
        let bodies = Bodies::default();
        bodies.push(vec![body(1, 1)]);
        assert_eq!(bodies.payload(1), None);
    }
}
