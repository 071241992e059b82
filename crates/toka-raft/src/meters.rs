//! What a node counts and times, for metrics.
//!
//! Invariants: counting takes no lock and waits for nothing; what is counted decides nothing. Additions are relaxed: a
//! reader may see one count before another that belongs to it, and misses none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use toka_ledger::Outcome;
use toka_ledger::disk::Space;

use crate::error::CommitError;

/// Bounds of stages of a commit and of calls, from what one sync of a fast disk takes to what clients wait at most.
pub const LATENCY_BOUNDS: &[Duration] = &[
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// Bounds of what takes long: snapshots.
pub const LONG_BOUNDS: &[Duration] = &[
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it has come to.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// It is `value` now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something has taken, in buckets with fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One more than there are bounds: the last is for all that took longer.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

/// A [`Histogram`] at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Each bound with how many took as long or less.
    pub up_to: Vec<(Duration, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
}

impl Histogram {
    /// An empty one. `bounds` ascend.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default);
        Self {
            bounds,
            counts: counts.take(bounds.len() + 1).collect(),
            sum_us: AtomicU64::new(0),
        }
    }

    /// One that took so long.
    pub fn record(&self, took: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// What it has come to.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let mut count = 0;
        let mut counts = self.counts.iter().map(|one| one.load(Ordering::Relaxed));
        let mut up_to = Vec::with_capacity(self.bounds.len());
        for bound in self.bounds {
            count += counts.next().unwrap_or(0);
            up_to.push((*bound, count));
        }
        count += counts.sum::<u64>();
        Distribution {
            up_to,
            count,
            sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)),
        }
    }
}

/// What a node has counted since it was started.
#[derive(Debug)]
pub struct Meters {
    /// From when a command is queued until it has an outcome; of this node while it leads.
    pub commit: Histogram,
    /// Of that, until its entry is handed to Raft;
    pub queue: Histogram,
    /// from then until this node begins to apply it, when a quorum has it on disk and so has this node, and what was
    /// committed before is applied.
    pub replicate: Histogram,
    /// Entries that are applied together: how long that took.
    pub apply: Histogram,
    /// Commits that were answered with their headers, found as applied before or not.
    pub committed: Counter,
    /// Events of those.
    pub committed_events: Counter,
    /// Commands that the vault refused.
    pub rejected: Counter,
    failed: [Counter; CommitError::REASONS.len()],
    /// Entries that were applied.
    pub applied_entries: Counter,
    /// Changes of the leader that the node knows of, to one and not to none.
    pub leader_changes: Counter,
    /// Snapshots that were made: how long that took.
    pub snapshots_made: Histogram,
    /// Snapshots of other nodes that took the place of the ledger.
    pub snapshots_installed: Counter,
    /// Bytes that are free on the disk of the data directory,
    pub disk_free_bytes: Gauge,
    /// that it has,
    pub disk_bytes: Gauge,
    /// and that are kept free; all three 0 until they were measured.
    pub disk_reserve_bytes: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        let latency = || Histogram::new(LATENCY_BOUNDS);
        Self {
            commit: latency(),
            queue: latency(),
            replicate: latency(),
            apply: latency(),
            committed: Counter::default(),
            committed_events: Counter::default(),
            rejected: Counter::default(),
            failed: Default::default(),
            applied_entries: Counter::default(),
            leader_changes: Counter::default(),
            snapshots_made: Histogram::new(LONG_BOUNDS),
            snapshots_installed: Counter::default(),
            disk_free_bytes: Gauge::default(),
            disk_bytes: Gauge::default(),
            disk_reserve_bytes: Gauge::default(),
        }
    }
}

impl Meters {
    /// Commands without an outcome, by [`CommitError::reason`].
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failed.iter().map(Counter::get);
        CommitError::REASONS.into_iter().zip(counts)
    }

    /// What has become of commands that were proposed together, `took` after they were queued.
    pub(crate) fn answered(&self, answer: &Result<Vec<Outcome>, CommitError>, took: Duration) {
        let outcomes = match answer {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let reason = error.reason();
                let place = CommitError::REASONS.iter().position(|it| *it == reason);
                if let Some(count) = place.and_then(|place| self.failed.get(place)) {
                    count.increment();
                }
                return;
            }
        };
        self.commit.record(took);
        for outcome in outcomes {
            match outcome {
                Outcome::Committed { headers, .. } => {
                    self.committed.increment();
                    self.committed_events
                        .add(u64::try_from(headers.len()).unwrap_or(u64::MAX));
                }
                Outcome::Rejected { .. } => self.rejected.increment(),
                _ => {}
            }
        }
    }

    /// What there is on the disk, and what of it is kept free.
    pub(crate) fn disk(&self, space: Space, reserve_bytes: u64) {
        self.disk_free_bytes.set(space.free_bytes);
        self.disk_bytes.set(space.total_bytes);
        self.disk_reserve_bytes.set(reserve_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(10)];

    #[test]
    fn a_bucket_has_what_took_as_long_as_its_bound_or_less() {
        let histogram = Histogram::new(BOUNDS);
        for took_us in [0, 1_000, 1_001, 10_000, 10_001, 60_000_000] {
            histogram.record(Duration::from_micros(took_us));
        }
        let expected = Distribution {
            up_to: vec![(BOUNDS[0], 2), (BOUNDS[1], 4)],
            count: 6,
            sum: Duration::from_micros(60_022_002),
        };
        assert_eq!(histogram.distribution(), expected);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [LATENCY_BOUNDS, LONG_BOUNDS] {
            assert!(bounds.is_sorted(), "{bounds:?}");
        }
    }

    #[test]
    fn outcomes_are_counted_for_what_they_are() {
        let meters = Meters::default();
        let took = Duration::from_millis(3);
        let committed = Outcome::Committed {
            revision: 1,
            headers: Vec::new(),
        };
        meters.answered(&Ok(vec![committed.clone(), committed]), took);
        meters.answered(&Err(CommitError::Unknown), took);
        assert_eq!(meters.committed.get(), 2);
        assert_eq!(meters.commit.distribution().count, 1, "one answer");
        let failed: Vec<_> = meters.failed().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failed, [("unknown", 1)]);
    }
}
