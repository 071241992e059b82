//! Models on the CPU, off the reactor.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Runs at most as many jobs at once as there are cores; others wait in their callers.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    permits: Arc<Semaphore>,
    cores: usize,
}

impl Pool {
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
            cores,
        }
    }

    pub(super) const fn cores(&self) -> usize {
        self.cores
    }

    /// Runs `job` on a blocking thread; a panic in it is the caller's.
    ///
    /// A job that has started runs to its end, also when the caller is gone, and counts until then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.expect("it is never closed");
        let joined = spawn_blocking(move || {
            let result = job();
            drop(permit);
            result
        })
        .await;
        match joined {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
