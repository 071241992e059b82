//! How far the log is durable, and whether it has failed.

use std::sync::Arc;

use tokio::sync::watch;

use super::LogError;

/// What the write-ahead thread publishes.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// One past the index of the last durable entry.
    pub(super) durable_next: u64,
    /// The error that stopped the log.
    pub(super) failure: Option<Arc<LogError>>,
    /// Whether the write-ahead thread has ended, in whatever way.
    pub(super) ended: bool,
}

impl Progress {
    fn has_stopped(&self) -> bool {
        self.ended || self.failure.is_some()
    }
}

/// Follows how far the log is durable on this node.
///
/// The state machine waits for it before it applies an entry: openraft lets entries be applied as
/// soon as a quorum has them, which may be before this node's own disk has them, and a state machine
/// that is ahead of its log cannot be started again (docs/openraft.md, section 4, point 4).
#[derive(Clone, Debug)]
pub struct DurableWatermark(pub(super) watch::Receiver<Progress>);

impl DurableWatermark {
    /// Waits until the entry at `index`, as the log has it now, is durable.
    ///
    /// # Errors
    /// The error that stopped the log, if it stops before that.
    pub async fn wait_for(&mut self, index: u64) -> Result<(), Arc<LogError>> {
        let reached = self
            .0
            .wait_for(|progress| progress.durable_next > index || progress.has_stopped())
            .await;
        match reached {
            Ok(progress) if progress.durable_next > index => Ok(()),
            Ok(progress) => Err(progress.failure.clone().unwrap_or_else(closed)),
            Err(_) => Err(closed()),
        }
    }

    /// Index of the last durable entry; `None` while there is none.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        self.0.borrow().durable_next.checked_sub(1)
    }
}

/// Tells when the log has failed, which means that the node has to stop.
#[derive(Clone, Debug)]
pub struct Failure(pub(super) watch::Receiver<Option<Arc<LogError>>>);

impl Failure {
    /// The error, if the log has failed.
    #[must_use]
    pub fn get(&self) -> Option<Arc<LogError>> {
        self.0.borrow().clone()
    }

    /// Waits until the log fails; for ever, if it is closed in good order.
    pub async fn wait(&mut self) -> Arc<LogError> {
        let failure = match self.0.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone(),
            Err(_) => None,
        };
        match failure {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }
}

fn closed() -> Arc<LogError> {
    Arc::new(LogError::Closed)
}
