//! Whether a connection is a peer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a message that came over a connection was a peer's, which the service says that has checked who sent it.
/// Whoever accepts connections puts one into the extensions of their requests, and may close those of which none has
/// been for long: they hold places that peers need. Cheap to clone; all clones say the same.
#[derive(Clone, Debug, Default)]
pub struct Proven(Arc<AtomicBool>);

impl Proven {
    /// That of the connection over which `request` came; one of its own where nobody keeps any.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        let kept = request.extensions().get::<Self>();
        kept.cloned().unwrap_or_default()
    }

    /// A message was a peer's.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one was.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
