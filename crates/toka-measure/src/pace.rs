//! When each operation of a load is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Shortest sleep of the thread that releases operations: what is due together is released together.
const RELEASE_INTERVAL: Duration = Duration::from_micros(100);
/// Longest, so that the thread notices that nobody waits any more.
const RELEASE_INTERVAL_MAX: Duration = Duration::from_millis(50);

/// How long a load lasts, and how fast it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Runs before anything is counted.
    pub warm_up: Duration,
    /// Counted for so long.
    pub duration: Duration,
    /// Operations a second, each due at a time that is fixed before; `None`: as many as there are answers.
    pub rate: Option<f64>,
    /// Operations at most, those of the warm-up among them.
    pub operations_max: Option<u64>,
}

impl Plan {
    /// As many operations as there are answers, for so long.
    #[must_use]
    pub const fn closed(warm_up: Duration, duration: Duration) -> Self {
        Self {
            warm_up,
            duration,
            rate: None,
            operations_max: None,
        }
    }

    /// The same, at a rate.
    #[must_use]
    pub const fn at_rate(self, per_second: f64) -> Self {
        Self {
            rate: Some(per_second),
            ..self
        }
    }
}

/// An operation, and when it is due. Without a rate that is when somebody has time for it.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// From 0, each once.
    pub number: u64,
    /// From here on its latency counts.
    pub due: Instant,
}

/// Hands out the operations of one load.
#[derive(Debug)]
pub struct Pace {
    plan: Plan,
    begin: Instant,
    next: AtomicU64,
    /// Operations that are due and that nobody has taken.
    due: Semaphore,
    released: AtomicU64,
}

impl Pace {
    /// Begins now.
    ///
    /// The timer of tokio is good for milliseconds; where there is a rate, a thread that sleeps by the clock of the
    /// system releases the operations, until the end of the load.
    #[must_use]
    pub fn start(plan: Plan) -> Arc<Self> {
        let pace = Arc::new(Self {
            plan,
            begin: Instant::now(),
            next: AtomicU64::new(0),
            due: Semaphore::new(0),
            released: AtomicU64::new(0),
        });
        if let Some(rate) = plan.rate {
            let weak = Arc::downgrade(&pace);
            std::thread::spawn(move || release(&weak, rate));
        }
        pace
    }

    /// The next operation, at its time; `None` after the end.
    pub async fn next(&self) -> Option<Turn> {
        let rate = match self.plan.rate {
            Some(rate) => {
                // Closed at the end of the load.
                self.due.acquire().await.ok()?.forget();
                Some(rate)
            }
            None => None,
        };
        if self.is_over() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.plan.operations_max.is_some_and(|max| number >= max) {
            return None;
        }
        let due = match rate {
            Some(rate) => self.begin + Duration::from_secs_f64(number as f64 / rate),
            None => Instant::now(),
        };
        Some(Turn { number, due })
    }

    /// Whether what is due at `due` counts.
    #[must_use]
    pub fn counts(&self, due: Instant) -> bool {
        due >= self.counted_from()
    }

    /// The end of the warm-up.
    #[must_use]
    pub fn counted_from(&self) -> Instant {
        self.begin + self.plan.warm_up
    }

    /// The end of the load.
    #[must_use]
    pub fn ends_at(&self) -> Instant {
        self.counted_from() + self.plan.duration
    }

    /// Operations that were due before the end and that nobody had time for. If there are any, the rate was too
    /// high, and latencies say less than the truth.
    #[must_use]
    pub fn missed(&self) -> u64 {
        let released = self.released.load(Ordering::Relaxed);
        released.saturating_sub(self.next.load(Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.ends_at()
    }
}

/// Releases what is due until the load is over or nobody is there any more.
fn release(pace: &Weak<Pace>, rate: f64) {
    let mut released = 0;
    loop {
        let Some(pace) = pace.upgrade() else { return };
        if pace.is_over() {
            pace.due.close();
            return;
        }
        // The first one is due at once.
        let due = (pace.begin.elapsed().as_secs_f64() * rate) as u64 + 1;
        if due > released {
            let new = usize::try_from(due - released).unwrap_or(usize::MAX);
            pace.due.add_permits(new.min(Semaphore::MAX_PERMITS >> 1));
            released = due;
            pace.released.store(released, Ordering::Relaxed);
        }
        let next = pace.begin + Duration::from_secs_f64(released as f64 / rate);
        drop(pace);
        let wait = next.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.clamp(RELEASE_INTERVAL, RELEASE_INTERVAL_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Plan = Plan::closed(Duration::ZERO, Duration::from_millis(50));

    #[tokio::test]
    async fn operations_of_a_rate_are_due_at_fixed_times() {
        let pace = Pace::start(SHORT.at_rate(1_000.0));
        let mut turns = Vec::new();
        while let Some(turn) = pace.next().await {
            turns.push(turn);
        }
        assert!(!turns.is_empty());
        for (number, turn) in (0_u32..).zip(&turns) {
            assert_eq!(turn.number, u64::from(number));
            assert_eq!(turn.due, pace.begin + Duration::from_millis(1) * number);
        }
    }

    #[tokio::test]
    async fn what_nobody_takes_is_missed() {
        let pace = Pace::start(SHORT.at_rate(10_000.0));
        let first = pace.next().await.expect("due at once");
        assert_eq!(first.number, 0);
        let wait = pace.ends_at() - Instant::now();
        tokio::time::sleep(wait).await;
        assert!(pace.next().await.is_none());
        assert!(pace.missed() > 0);
    }

    #[tokio::test]
    async fn a_number_of_operations_is_an_end_too() {
        let pace = Pace::start(Plan {
            operations_max: Some(2),
            ..SHORT
        });
        assert!(pace.next().await.is_some() && pace.next().await.is_some());
        assert!(pace.next().await.is_none());
    }
}
