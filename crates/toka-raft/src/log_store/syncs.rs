//! How long the disk takes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meters::{Distribution, Histogram, LATENCY_BOUNDS};

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
