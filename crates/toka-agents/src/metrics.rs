//! What an agent has done, in numbers that an exporter can read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Counters of one agent, shared with whoever exports them. There is no registry: whoever runs agents knows them.
#[derive(Debug, Default)]
pub struct Metrics {
    applied: AtomicU64,
    handled: AtomicU64,
    handling_us: AtomicU64,
    emitted: AtomicU64,
    commits: AtomicU64,
    retries: AtomicU64,
    parked: AtomicU64,
    fenced: AtomicU64,
    refused: AtomicU64,
    snapshots: AtomicU64,
    snapshots_too_large: AtomicU64,
    effects: AtomicU64,
    effects_failed: AtomicU64,
    position: AtomicU64,
    cursor: AtomicU64,
}

/// What [`Metrics`] were at some time. All but the last two only grow while the agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Events that were folded into the state, those that were folded again after a start among them.
    pub applied: u64,
    /// Events that the handler has dealt with, well or badly.
    pub handled: u64,
    /// Time that handlers took, microseconds.
    pub handling_us: u64,
    /// Events that the handler has emitted, and that were committed.
    pub emitted: u64,
    /// Commits that were made.
    pub commits: u64,
    /// Tries after the first one, of handlers and of calls to the vault.
    pub retries: u64,
    /// Events that were parked.
    pub parked: u64,
    /// Reactions that came to nothing because another instance, or another consumer, was there first.
    pub fenced: u64,
    /// Reactions whose own preconditions did not hold.
    pub refused: u64,
    /// Snapshots that were taken.
    pub snapshots: u64,
    /// Snapshots that were not taken because the state is larger than a payload may be.
    pub snapshots_too_large: u64,
    /// Effects that were carried out.
    pub effects: u64,
    /// Effects that were given up.
    pub effects_failed: u64,
    /// The sequence of the last event that was dealt with.
    pub position: u64,
    /// Where the agent's cursor is, as far as it knows; 0 for an agent with a group.
    pub cursor: u64,
}

impl Metrics {
    /// What they are now. Not of one moment: each is read by itself.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            applied: read(&self.applied),
            handled: read(&self.handled),
            handling_us: read(&self.handling_us),
            emitted: read(&self.emitted),
            commits: read(&self.commits),
            retries: read(&self.retries),
            parked: read(&self.parked),
            fenced: read(&self.fenced),
            refused: read(&self.refused),
            snapshots: read(&self.snapshots),
            snapshots_too_large: read(&self.snapshots_too_large),
            effects: read(&self.effects),
            effects_failed: read(&self.effects_failed),
            position: read(&self.position),
            cursor: read(&self.cursor),
        }
    }

    pub(crate) fn add_applied(&self, events: u64) {
        self.applied.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn add_handled(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.handling_us.fetch_add(took, Ordering::Relaxed);
    }

    pub(crate) fn add_commit(&self, emitted: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.emitted.fetch_add(emitted as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_parked(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_fenced(&self) {
        self.fenced.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_snapshot(&self) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_snapshot_too_large(&self) {
        self.snapshots_too_large.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_effect(&self, is_done: bool) {
        let counter = match is_done {
            true => &self.effects,
            false => &self.effects_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    pub(crate) fn set_cursor(&self, cursor: u64) {
        self.cursor.store(cursor, Ordering::Relaxed);
    }
}
