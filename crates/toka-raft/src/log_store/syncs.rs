//! How long the disk takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meters::{Distribution, Histogram, LATENCY_BOUNDS};

/// Syncs of which is kept when they ended: those of a second, or of several, on a fast disk.
const KEPT: usize = 1_024;

/// Writes of a group, each with its sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// How many have ended.
    pub count: u64,
    /// How long those took together.
    pub total: Duration,
    /// How long the one that goes on has taken so far.
    pub current: Option<Duration>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    total: Duration,
    began: Option<Instant>,
    /// When the last ones ended, and one past the last entry that was durable then; rising.
    ended: VecDeque<(u64, Instant)>,
}

/// Where the write-ahead thread takes them down.
#[derive(Debug)]
pub(super) struct Syncs {
    state: Mutex<State>,
    took: Histogram,
}

impl Default for Syncs {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            took: Histogram::new(LATENCY_BOUNDS),
        }
    }
}

/// One that goes on until this is dropped.
pub(super) struct Sync<'a>(&'a Syncs);

impl Syncs {
    pub(super) fn begin(&self) -> Sync<'_> {
        self.lock().began = Some(Instant::now());
        Sync(self)
    }

    pub(super) fn times(&self) -> SyncTimes {
        let state = self.lock();
        SyncTimes {
            count: state.count,
            total: state.total,
            current: state.began.map(|began| began.elapsed()),
        }
    }

    /// How long each has taken.
    pub(super) fn distribution(&self) -> Distribution {
        self.took.distribution()
    }

    /// Takes down that everything before the entry at `next` is durable, `now`.
    pub(super) fn reached(&self, next: u64, now: Instant) {
        let mut state = self.lock();
        // What was truncated is durable anew.
        while state.ended.back().is_some_and(|(last, _)| *last > next) {
            state.ended.pop_back();
        }
        if state.ended.back().is_some_and(|(last, _)| *last == next) {
            return;
        }
        if state.ended.len() == KEPT {
            state.ended.pop_front();
        }
        state.ended.push_back((next, now));
    }

    /// When the entry at `index` became durable; `None` if it is not, or if that is long ago.
    pub(super) fn reached_at(&self, index: u64) -> Option<Instant> {
        let state = self.lock();
        let after = state.ended.partition_point(|(next, _)| *next <= index);
        // The oldest one that is kept may have followed others that had the entry already.
        let is_exact = after > 0 || state.ended.len() < KEPT;
        let found = state.ended.get(after).filter(|_| is_exact);
        found.map(|(_, ended)| *ended)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sync<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let Some(began) = state.began.take() {
            let took = began.elapsed();
            state.count += 1;
            state.total += took;
            drop(state);
            self.0.took.record(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_entry_became_durable_with_the_first_sync_that_had_it() {
        let (syncs, start) = (Syncs::default(), Instant::now());
        syncs.reached(3, start);
        syncs.reached(3, start + SECOND);
        syncs.reached(7, start + 2 * SECOND);
        assert_eq!(syncs.reached_at(2), Some(start));
        assert_eq!(syncs.reached_at(3), Some(start + 2 * SECOND));
        assert_eq!(syncs.reached_at(7), None);
    }

    #[test]
    fn what_was_truncated_becomes_durable_anew() {
        let (syncs, start) = (Syncs::default(), Instant::now());
        syncs.reached(7, start);
        syncs.reached(4, start + SECOND);
        syncs.reached(8, start + 2 * SECOND);
        assert_eq!(syncs.reached_at(3), Some(start + SECOND));
        assert_eq!(syncs.reached_at(6), Some(start + 2 * SECOND));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (syncs, start) = (Syncs::default(), Instant::now());
        (1..=KEPT as u64 + 1).for_each(|next| syncs.reached(next, start));
        assert_eq!(syncs.reached_at(0), None);
        assert_eq!(syncs.reached_at(1), None);
        assert_eq!(syncs.reached_at(2), Some(start));
    }
}
