//! How many clusters run at the same time.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Three processes each, and CI has two cores: more of them would time elections out.
const CLUSTERS_MAX: usize = 2;

static SLOTS: Semaphore = Semaphore::const_new(CLUSTERS_MAX);

/// Waits for the right to run a cluster; it is given back when dropped.
pub async fn take() -> SemaphorePermit<'static> {
    SLOTS
        .acquire()
        .await
        .expect("the semaphore is never closed")
}
