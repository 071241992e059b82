//! Reading everything that is stored no faster than is allowed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use toka_ledger::engine::{Engine, Table};
use toka_ledger::store::check_row;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;

/// Longest pause without a look at whether the reading is to end.
const PAUSE: Duration = Duration::from_millis(50);
/// So much time that was not used is made up for: pauses are longer than asked for. No more, or a disk that
/// was slow for a minute would be read without a limit for the next one.
const SAVED_UP: Duration = Duration::from_millis(100);

/// What a [`Pace`] goes by.
pub(crate) trait Timer: Send {
    /// Time since some beginning.
    fn now(&self) -> Duration;

    /// Blocks for about `time`.
    fn pause(&self, time: Duration);
}

struct SystemTimer(Instant);

impl Timer for SystemTimer {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Holds a reader back, which blocks a thread of its own meanwhile.
pub(crate) struct Pace {
    /// Bytes in a second; 0: any number.
    rate_bytes: u64,
    /// When what was read so far has had its time.
    free_at: Duration,
    timer: Box<dyn Timer>,
    /// Bytes that were read.
    read: Arc<AtomicU64>,
    cancelled: CancellationToken,
}

impl Pace {
    /// For `rate_bytes` in a second, 0: any number. Counts what is read in `read`.
    pub(crate) fn new(
        rate_bytes: u64,
        read: Arc<AtomicU64>,
        blocking: Blocking,
        cancelled: CancellationToken,
    ) -> Self {
        let rate_bytes = match blocking {
            Blocking::Pool => rate_bytes,
            // In a simulation there is one thread, and time does not pass while it runs.
            Blocking::Inline => 0,
        };
        let timer = Box::new(SystemTimer(Instant::now()));
        Self::with_timer(rate_bytes, timer, read, cancelled)
    }

    /// As [`Pace::new`], with another idea of time.
    pub(crate) fn with_timer(
        rate_bytes: u64,
        timer: Box<dyn Timer>,
        read: Arc<AtomicU64>,
        cancelled: CancellationToken,
    ) -> Self {
        Self {
            rate_bytes,
            free_at: timer.now(),
            timer,
            read,
            cancelled,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Takes note of `bytes` that were read, and returns when they have had their time; `false`: the reading
    /// is to end.
    pub(crate) fn go_on(&mut self, bytes: u64) -> bool {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        if self.rate_bytes > 0 {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate_bytes);
            let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            let earliest = self.timer.now().saturating_sub(SAVED_UP);
            self.free_at = self.free_at.max(earliest).saturating_add(time);
        }
        while self.rate_bytes > 0 && !self.is_cancelled() {
            let ahead = self.free_at.saturating_sub(self.timer.now());
            if ahead.is_zero() {
                break;
            }
            self.timer.pause(ahead.min(PAUSE));
        }
        !self.is_cancelled()
    }
}

/// Reads every row of `engine` from storage, with checksums on. If the reading is cancelled it ends early,
/// which is no error: ask the pace.
pub(crate) fn check_rows(engine: &dyn Engine, pace: &mut Pace) -> Result<(), toka_ledger::Error> {
    let mut found = Ok(());
    engine.verify_rows(&mut |table: Table, key: &[u8], value: &[u8]| {
        found = check_row(table, key, value);
        match found.is_ok() && pace.go_on((key.len() + value.len()) as u64) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    found
}

/// Time that passes in pauses only.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct ManualTimer(Arc<std::sync::Mutex<Duration>>);

#[cfg(test)]
impl ManualTimer {
    /// Lets time pass without a pause.
    pub(crate) fn pass(&self, time: Duration) {
        *self.0.lock().expect("no test has panicked") += time;
    }
}

#[cfg(test)]
impl Timer for ManualTimer {
    fn now(&self) -> Duration {
        *self.0.lock().expect("no test has panicked")
    }

    fn pause(&self, time: Duration) {
        assert!(time <= PAUSE, "nobody is asked meanwhile whether to end");
        self.pass(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate_bytes: u64) -> (ManualTimer, Arc<AtomicU64>, CancellationToken, Pace) {
        let (timer, read) = (ManualTimer::default(), Arc::<AtomicU64>::default());
        let cancelled = CancellationToken::new();
        let pace = Pace::with_timer(
            rate_bytes,
            Box::new(timer.clone()),
            Arc::clone(&read),
            cancelled.clone(),
        );
        (timer, read, cancelled, pace)
    }

    #[test]
    fn bytes_have_their_time_however_they_are_cut() {
        let (timer, read, _, mut pace) = pace(1_000);
        for bytes in [1, 999, 0, 4_000, 7, 93] {
            assert!(pace.go_on(bytes));
        }
        assert_eq!(read.load(Ordering::Relaxed), 5_100);
        assert_eq!(timer.now(), Duration::from_millis(5_100));
    }

    #[test]
    fn time_that_was_not_used_is_made_up_for_in_part_only() {
        let (timer, _, _, mut pace) = pace(1_000);
        timer.pass(Duration::from_secs(60));
        assert!(pace.go_on(2_000));
        assert_eq!(timer.now(), Duration::from_secs(62) - SAVED_UP);
    }

    #[test]
    fn no_limit_waits_for_nothing_and_counts() {
        let (timer, read, _, mut pace) = pace(0);
        assert!(pace.go_on(1 << 40));
        assert_eq!(timer.now(), Duration::ZERO);
        assert_eq!(read.load(Ordering::Relaxed), 1 << 40);
    }

    #[test]
    fn cancelled_reading_ends_without_waiting() {
        let (timer, _, cancelled, mut pace) = pace(1);
        cancelled.cancel();
        assert!(!pace.go_on(1 << 40));
        assert_eq!(timer.now(), Duration::ZERO);
    }
}
