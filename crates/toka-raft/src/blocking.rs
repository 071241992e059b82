//! Keeps disk and hashing off the threads that send heartbeats.

use tokio::runtime::Handle;

/// Runs what blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// On tokio's threads for blocking work.
    Pool,
    /// At once, in a simulation, where nothing blocks for long and the order must not vary.
    Inline,
}

impl Blocking {
    /// Runs `work`, which nobody waits for: also where there is no runtime.
    pub(crate) fn run_detached(self, work: impl FnOnce() + Send + 'static) {
        match (self, Handle::try_current()) {
            (Self::Pool, Ok(runtime)) => drop(runtime.spawn_blocking(work)),
            (Self::Inline, _) | (_, Err(_)) => work(),
        }
    }

    /// Runs `work`.
    ///
    /// # Panics
    /// If `work` does.
    pub(crate) async fn run<T, F>(self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self {
            Self::Inline => work(),
            Self::Pool => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(failed) => match failed.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Blocking work is never cancelled once it runs; if it had not begun, the
                    // runtime is being shut down and drops this task too.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }
}
