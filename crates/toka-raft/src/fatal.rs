//! The first error after which a node must stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::error::FatalError;

/// Collects it; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fatal {
    first: Arc<watch::Sender<Option<FatalError>>>,
    /// Set when the node is being stopped: what fails from then on fails because of that.
    stopping: Arc<AtomicBool>,
}

impl Fatal {
    pub(crate) fn new() -> Self {
        Self {
            first: Arc::new(watch::Sender::new(None)),
            stopping: Arc::default(),
        }
    }

    /// Records `error`, if it is the first one, and hands it back.
    pub(crate) fn report(&self, error: FatalError) -> FatalError {
        if self.stopping.load(Ordering::Acquire) {
            tracing::debug!(%error, "after the node was told to stop");
            return error;
        }
        self.first.send_if_modified(|first| {
            if first.is_some() {
                return false;
            }
            tracing::error!(%error, "this node must stop");
            *first = Some(error.clone());
            true
        });
        error
    }

    /// The node is being stopped.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<FatalError>> {
        self.first.subscribe()
    }

    pub(crate) fn is_reported(&self) -> bool {
        self.first.borrow().is_some()
    }
}
