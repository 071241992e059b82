//! A macro-clustering that runs beside `apply`.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::macro_clustering::{Frozen, Linkage, group};
use crate::seam::Threads;

const THREAD: &str = "toka-intents";

/// What a macro-clustering looks at: the state as of an embedded event.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Embedded events as of then.
    pub(super) embedded: u64,
    /// Events of each micro-cluster.
    pub(super) events: Vec<u64>,
    pub(super) frozen: Frozen,
}

impl Snapshot {
    /// Number of micro-clusters.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

/// A macro-clustering between its snapshot and the event after which it takes effect.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) snapshot: Arc<Snapshot>,
    /// Embedded events as of which it takes effect, however long the calculation takes.
    pub(super) due: u64,
    linkage: Linkage,
    /// Where the groups come from; `None` while the history is replayed, where a record may have the
    /// result.
    calculation: Option<Mutex<Receiver<Vec<u32>>>>,
    /// The groups, once somebody has waited for them.
    groups: OnceLock<Vec<u32>>,
}

impl Pending {
    /// Takes effect at `due`.
    pub(super) fn new(snapshot: Snapshot, due: u64, linkage: Linkage) -> Self {
        Self {
            snapshot: Arc::new(snapshot),
            due,
            linkage,
            calculation: None,
            groups: OnceLock::new(),
        }
    }

    /// Starts the calculation on a thread of its own.
    pub(super) fn start(&mut self, threads: &dyn Threads) {
        let (sender, groups) = mpsc::sync_channel(1);
        let (snapshot, linkage) = (Arc::clone(&self.snapshot), self.linkage);
        let body = move || {
            // Where nobody waits any more, the vault was closed.
            let _ = sender.send(group(&snapshot.frozen, &linkage));
        };
        match threads.spawn(THREAD, Box::new(body)) {
            // The thread ends by itself: it holds nothing but its copy.
            Ok(_) => self.calculation = Some(Mutex::new(groups)),
            Err(error) => {
                tracing::warn!(%error, "no thread for a macro-clustering: it will run in apply");
            }
        }
    }

    /// The group of each micro-cluster; waits for them.
    pub(super) fn groups(&self) -> &[u32] {
        self.groups.get_or_init(|| {
            let calculated = self.calculation.as_ref().and_then(|groups| {
                let groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
                groups.recv().ok()
            });
            // Without a thread, or if it died, the same calculation here gives the same result.
            calculated.unwrap_or_else(|| group(&self.snapshot.frozen, &self.linkage))
        })
    }
}
