//! What everybody has who works with the cluster, whatever the work is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use toka_client::Error;
use tokio::time::sleep;

use crate::host::World;
use crate::random::Random;

/// What all clients share.
#[derive(Default)]
pub(crate) struct Workload {
    /// One more commit and one more read, and then no more.
    pub(crate) is_ending: AtomicBool,
    pub(crate) commits: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// Clients that are not done.
    pub(crate) busy: AtomicU64,
    /// Consumers, keepers of cursors and wardens that are not done.
    pub(crate) consuming: AtomicU64,
    /// Deliveries of a group.
    pub(crate) consumed: AtomicU64,
    /// Changes of tokens and roles, and notes in the audit, that were acknowledged.
    pub(crate) credentials: AtomicU64,
    /// Where each subscriber is.
    pub(crate) subscribers: Mutex<Vec<u64>>,
}

impl Workload {
    /// Whether nobody commits any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed) && self.busy.load(Ordering::Relaxed) == 0
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One who works with the cluster.
pub(crate) struct Hand {
    pub(crate) name: String,
    pub(crate) world: World,
    pub(crate) workload: Arc<Workload>,
    pub(crate) random: Random,
}

impl Hand {
    pub(crate) fn new(
        name: impl Into<String>,
        world: &World,
        workload: &Arc<Workload>,
        random: Random,
    ) -> Self {
        Self {
            name: name.into(),
            world: world.clone(),
            workload: Arc::clone(workload),
            random,
        }
    }

    /// Rests for a time that is drawn.
    pub(crate) async fn pause(&mut self, low_ms: u64, high_ms: u64) {
        let ms = self.random.between(low_ms, high_ms);
        sleep(Duration::from_millis(ms)).await;
    }

    /// Only what may succeed later is an answer to a call that nothing is wrong with.
    pub(crate) fn note(&self, error: &Error) {
        let World { oracle, trace, .. } = &self.world;
        trace.line(format_args!("{}: {error}", self.name));
        let is_passing = matches!(error, Error::Refused { .. } | Error::LimitReached { .. });
        if !error.is_retryable() && !is_passing {
            oracle.fail(format!("{}: {error}", self.name));
        }
    }
}
