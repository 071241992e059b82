//! The first error after which a node must stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::error::{Damage, FatalError};

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
        // Damage has to be noted all the same.
        if self.stopping.load(Ordering::Acquire) && error.damage().is_none() {
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

    /// The first error, if there is one.
    pub(crate) fn first(&self) -> Option<FatalError> {
        self.first.borrow().clone()
    }

    /// What is damaged, if that is the first error.
    pub(crate) fn damage(&self) -> Option<Damage> {
        self.first.borrow().as_ref().and_then(FatalError::damage)
    }

    pub(crate) fn is_reported(&self) -> bool {
        self.first.borrow().is_some()
    }
}
