//! What a load has counted.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::meter::Cost;
use crate::pace::{Pace, Turn};

/// Longest latency that is told apart, microseconds.
const LATENCY_US_MAX: u64 = 300_000_000;
/// Digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// Answers and failures of one client, or of several put together.
#[derive(Debug)]
pub struct Counted<E> {
    latencies_us: Histogram<u64>,
    /// Answered calls that count.
    pub calls: u64,
    /// What they were about: events committed, read, delivered.
    pub items: u64,
    /// The same, with those that came too early to count.
    pub all_items: u64,
    /// Calls that failed, also before anything counted.
    pub errors: u64,
    /// Why the first of them did.
    pub first_error: Option<E>,
    /// When the last answer that counts came.
    last: Option<Instant>,
}

impl<E> Default for Counted<E> {
    fn default() -> Self {
        Self {
            latencies_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
                .expect("the bounds are in order"),
            calls: 0,
            items: 0,
            all_items: 0,
            errors: 0,
            first_error: None,
            last: None,
        }
    }
}

impl<E> Counted<E> {
    /// The answer to a call came now: so many items, or a failure.
    pub fn take(&mut self, pace: &Pace, turn: &Turn, answer: Result<u64, E>) {
        match answer {
            Ok(items) if pace.counts(turn.due) => self.answer(turn.due, items),
            Ok(items) => self.all_items += items,
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    /// An answer that counts came now.
    pub fn answer(&mut self, due: Instant, items: u64) {
        let now = Instant::now();
        let us = now.saturating_duration_since(due).as_micros();
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        self.latencies_us.saturating_record(us.max(1));
        self.calls += 1;
        self.items += items;
        self.all_items += items;
        self.last = Some(now);
    }

    /// Puts another client's counts to these.
    pub fn add(&mut self, other: Self) {
        self.latencies_us
            .add(&other.latencies_us)
            .expect("all have the same bounds");
        self.calls += other.calls;
        self.items += other.items;
        self.all_items += other.all_items;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.last = self.last.max(other.last);
    }

    /// The same counts, with another kind of failure.
    pub fn map_error<F>(self, error: impl FnOnce(E) -> F) -> Counted<F> {
        Counted {
            latencies_us: self.latencies_us,
            calls: self.calls,
            items: self.items,
            all_items: self.all_items,
            errors: self.errors,
            first_error: self.first_error.map(error),
            last: self.last,
        }
    }

    /// Rates and latencies, from the end of the warm-up to the last answer: waiting for a store that is gone is no
    /// rate.
    #[must_use]
    pub fn summary(&self, pace: &Pace) -> Summary {
        let from = pace.counted_from();
        let time = self.last.map(|last| last.saturating_duration_since(from));
        self.summary_over(time.unwrap_or_default(), pace.missed())
    }

    /// The same, over a time that is known.
    #[must_use]
    pub fn summary_over(&self, time: Duration, missed: u64) -> Summary {
        let seconds = time.as_secs_f64();
        let per_second = |count: u64| count as f64 / seconds.max(1e-9);
        let ms = |quantile| self.latencies_us.value_at_quantile(quantile) as f64 / 1e3;
        Summary {
            acknowledged: self.items,
            calls: self.calls,
            errors: self.errors,
            missed,
            seconds,
            per_second: per_second(self.items),
            calls_per_second: per_second(self.calls),
            mean_ms: self.latencies_us.mean() / 1e3,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            max_ms: self.latencies_us.max() as f64 / 1e3,
            cost: None,
        }
    }
}

/// What a load came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Items: events committed, read, delivered.
    pub acknowledged: u64,
    /// Calls that were answered.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Operations that were due and not begun before the end; only with a rate.
    pub missed: u64,
    /// From the end of the warm-up to the last answer.
    pub seconds: f64,
    /// Items a second.
    pub per_second: f64,
    /// Calls a second.
    pub calls_per_second: f64,
    /// Mean latency of a call, from when it was due.
    pub mean_ms: f64,
    /// Half of the calls took at most so long.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
    /// What the nodes spent meanwhile, where they are known.
    #[serde(flatten)]
    pub cost: Option<Cost>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Plan;

    #[test]
    fn counts_of_two_clients_are_put_together() {
        let mut total = Counted::<&str>::default();
        let mut other = Counted::default();
        other.answer(Instant::now(), 3);
        let pace = Pace::start(Plan::closed(Duration::ZERO, Duration::from_secs(1)));
        let turn = Turn {
            number: 0,
            due: Instant::now(),
        };
        total.take(&pace, &turn, Err("gone"));
        total.add(other);
        let summary = total.summary(&pace);
        assert_eq!((summary.calls, summary.acknowledged), (1, 3));
        assert_eq!((summary.errors, total.first_error), (1, Some("gone")));
    }

    #[test]
    fn what_was_due_in_the_warm_up_does_not_count() {
        let pace = Pace::start(Plan::closed(Duration::from_secs(9), Duration::from_secs(9)));
        let turn = Turn {
            number: 0,
            due: Instant::now(),
        };
        let mut counted = Counted::<()>::default();
        counted.take(&pace, &turn, Ok(1));
        assert_eq!((counted.calls, counted.items, counted.all_items), (0, 0, 1));
    }

    #[test]
    fn a_summary_is_read_as_it_was_written() {
        let mut summary = Summary {
            acknowledged: 5,
            ..Summary::default()
        };
        for cost in [None, Some(Cost::default())] {
            summary.cost = cost;
            let text = serde_json::to_string(&summary).expect("numbers");
            let read: Summary = serde_json::from_str(&text).expect("as written");
            assert_eq!(read, summary);
        }
    }
}
