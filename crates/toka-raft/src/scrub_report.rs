//! What the passes have come to that look for damage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_proto::v1;

/// A pass that came to its end: it found no damage in ledger and log, or the node would have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPass {
    /// When it ended, milliseconds since the Unix epoch.
    pub end_unix_ms: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Bytes that it read.
    pub bytes: u64,
    /// The snapshot was damaged, and was made anew.
    pub snapshot_rebuilt: bool,
}

impl ScrubPass {
    /// For peers and clients.
    pub(crate) fn message(&self) -> v1::ScrubPass {
        v1::ScrubPass {
            end_unix_ms: self.end_unix_ms,
            duration_ms: self.duration_ms,
            bytes: self.bytes,
            snapshot_rebuilt: self.snapshot_rebuilt,
        }
    }
}

/// What the passes have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// A pass is under way.
    pub is_running: bool,
    /// Passes that came to their end since the node was started.
    pub passes: u64,
    /// Bytes that were read since then.
    pub bytes: u64,
    /// Damaged snapshots that were found since then, and made anew.
    pub snapshots_rebuilt: u64,
    /// The last pass that came to its end, also before the node was started.
    pub last: Option<ScrubPass>,
}

/// Where a [`ScrubReport`] comes from.
#[derive(Debug, Default)]
pub(crate) struct ScrubProgress {
    report: Mutex<ScrubReport>,
    bytes: Arc<AtomicU64>,
    is_running: AtomicBool,
}

impl ScrubProgress {
    pub(crate) fn report(&self) -> ScrubReport {
        ScrubReport {
            is_running: self.is_running.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            ..*self.lock()
        }
    }

    /// Counts what is read.
    pub(crate) fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    pub(crate) fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, Ordering::Relaxed);
    }

    /// Takes note of a pass of before the node was started.
    pub(crate) fn remember(&self, last: Option<ScrubPass>) {
        self.lock().last = last;
    }

    /// Takes note of a pass that came to its end.
    pub(crate) fn ended(&self, pass: ScrubPass) {
        let mut report = self.lock();
        report.passes += 1;
        report.snapshots_rebuilt += u64::from(pass.snapshot_rebuilt);
        report.last = Some(pass);
    }

    /// Takes note of a snapshot that was made anew outside of a pass.
    pub(crate) fn rebuilt(&self) {
        self.lock().snapshots_rebuilt += 1;
    }

    fn lock(&self) -> MutexGuard<'_, ScrubReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
