//! Work that a bounded number of threads does ahead of whoever takes its results.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::options::{Options, THREADS_MAX};
use crate::seam::{JoinThread, Threads};

/// Results of a thread that wait to be taken; it works on the next one meanwhile.
const WAITING: usize = 1;

/// What does the jobs, which have numbers from 0 on.
type Work<T> = Arc<dyn Fn(u64) -> T + Send + Sync>;

/// The results of jobs, in the order of their numbers. Dropped before the last one, it waits for the jobs that
/// were begun, and no others are.
pub(super) struct Ahead<T> {
    work: Work<T>,
    count: u64,
    next: u64,
    /// They take turns with the jobs. With none, or where a thread could not be started, the jobs are done
    /// when their results are taken.
    lanes: Vec<Option<Lane<T>>>,
    /// Whose turn the next job is.
    turn: usize,
}

struct Lane<T> {
    results: Receiver<T>,
    thread: Box<dyn JoinThread>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins with the jobs from 0 to `count`, which is not included.
    pub(super) fn start(
        options: &Options,
        count: u64,
        work: impl Fn(u64) -> T + Send + Sync + 'static,
    ) -> Self {
        let work: Work<T> = Arc::new(work);
        let threads = options.threads.min(THREADS_MAX);
        let threads = threads.min(usize::try_from(count).unwrap_or(usize::MAX));
        let step = match options.threads {
            0 | 1 => 0,
            _ => threads as u64,
        };
        let lanes = (0..step).map(|first| lane(&*options.seam, &work, first, step, count));
        Self {
            lanes: lanes.collect(),
            work,
            count,
            next: 0,
            turn: 0,
        }
    }
}

fn lane<T: Send + 'static>(
    threads: &dyn Threads,
    work: &Work<T>,
    first: u64,
    step: u64,
    count: u64,
) -> Option<Lane<T>> {
    let (sender, results) = sync_channel(WAITING);
    let work = Arc::clone(work);
    let body = move || {
        let mut job = first;
        while job < count {
            if sender.send(work(job)).is_err() {
                // Nobody takes results any more.
                return;
            }
            job += step;
        }
    };
    let thread = threads.spawn("toka-verify", Box::new(body)).ok()?;
    Some(Lane { results, thread })
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next == self.count {
            return None;
        }
        let job = self.next;
        self.next += 1;
        let lane = self.lanes.get(self.turn).and_then(Option::as_ref);
        let result = match lane {
            Some(lane) => lane
                .results
                .recv()
                .expect("a thread ends behind its last job, unless that panics"),
            None => (self.work)(job),
        };
        self.turn += 1;
        if self.turn >= self.lanes.len() {
            self.turn = 0;
        }
        Some(result)
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        for Lane { results, thread } in self.lanes.drain(..).flatten() {
            drop(results);
            thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn options(threads: usize) -> Options {
        Options::parallel(threads)
    }

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [0, 1, 2, 3, 7, 1_000] {
            for count in [0, 1, 2, 6, 50] {
                let squares = Ahead::start(&options(threads), count, |job| job * job);
                let expected: Vec<u64> = (0..count).map(|job| job * job).collect();
                assert_eq!(squares.collect::<Vec<_>>(), expected, "{threads}, {count}");
            }
        }
    }

    #[test]
    fn threads_are_ahead_by_so_much_and_end_when_nobody_takes_more() {
        let begun = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&begun);
        let mut results = Ahead::start(&options(2), 1_000, move |_| {
            counted.fetch_add(1, Ordering::SeqCst)
        });
        assert!(results.next().is_some());
        // Waits for both threads.
        drop(results);
        // Each has one that waits and one that was done in vain, and one was taken.
        assert!(begun.load(Ordering::SeqCst) <= 5);
    }

    #[test]
    fn job_that_panics_is_told() {
        let mut results = Ahead::start(&options(2), 10, |job| {
            assert_ne!(job, 1, "as it should");
            job
        });
        assert_eq!(results.next(), Some(0));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next()));
        assert!(panicked.is_err());
    }
}
