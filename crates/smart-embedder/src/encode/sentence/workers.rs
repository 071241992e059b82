//! One thread for each pass through the model.

use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Threads that work on one batch each.
///
/// candle shares every product out among rayon's threads. Those of a sentence are so small that the
/// threads wait for each other most of the time: measured on two busy cores, they took twice the CPU
/// time for the same texts. In a pool of one thread nothing is shared out.
pub(super) struct Workers {
    idle: Mutex<Vec<ThreadPool>>,
}

impl Workers {
    pub(super) fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        let worker = |index| {
            ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(move |_| format!("sentence-{index}"))
                .build()
        };
        let idle: Vec<ThreadPool> = (0..count).map(worker).collect::<Result<_, _>>()?;
        Ok(Self {
            idle: Mutex::new(idle),
        })
    }

    /// Runs `job` on a worker, and blocks until it is done; at most `count` callers at a time.
    pub(super) fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let worker = Lent {
            pool: self.lock().pop(),
            home: self,
        };
        match &worker.pool {
            Some(pool) => pool.install(job),
            None => unreachable!("there are as many workers as callers"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ThreadPool>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes home also when the job panics.
struct Lent<'w> {
    pool: Option<ThreadPool>,
    home: &'w Workers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.home.lock().extend(self.pool.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_survives_a_panic() {
        let workers = Workers::new(1).expect("a thread");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            workers.run(|| panic!("of the job"));
        }));
        assert!(panic.is_err());
        assert_eq!(workers.run(rayon::current_num_threads), 1);
    }
}
