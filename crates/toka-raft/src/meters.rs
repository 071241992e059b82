//! Counters, gauges and times, for metrics.
//!
//! Invariants: counting takes no lock and waits for nothing; what is counted decides nothing. Additions are relaxed: a
//! reader may see one count before another that belongs to it, and misses none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
}
