//! A copy for a backup is read as a whole, no faster than the backup may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::pace::{ManualTimer, Pace, Timer as _};

/// Bytes in a second: the copy takes minutes at that.
const RATE_BYTES: u64 = 1_000;

struct Paced {
    pace: Pace,
    timer: ManualTimer,
    read: Arc<AtomicU64>,
    cancelled: CancellationToken,
}

fn paced() -> Paced {
    let (timer, read) = (ManualTimer::default(), Arc::<AtomicU64>::default());
    let cancelled = CancellationToken::new();
    let pace = Pace::with_timer(
        RATE_BYTES,
        Box::new(timer.clone()),
        Arc::clone(&read),
        cancelled.clone(),
    );
    Paced {
        pace,
        timer,
        read,
        cancelled,
    }
}

impl Node {
    fn copy(
        &self,
        digests: &Arc<CopyDigests>,
        pace: &mut Pace,
    ) -> Result<LedgerCopy, SnapshotError> {
        let digests = Arc::clone(digests);
        copy(&self.host, &self.store, digests, Blocking::Inline, pace)
    }

    /// Bytes of all rows.
    fn rows_bytes(&self) -> u64 {
        let dir = self.dir.path().join("rows");
        self.host.copy(&dir).expect("copied");
        rows_bytes(&*self.storage.open_copy(&dir).expect("opened"))
    }
}

#[test]
fn every_byte_of_a_copy_has_its_time_at_the_rate_of_the_backup() {
    let node = node("history");
    let rows_bytes = node.rows_bytes();
    assert!(rows_bytes > 10 * RATE_BYTES, "{rows_bytes}");
    let digests = Arc::default();
    // The second one is incremental; that it is sound is looked at all the same.
    for _ in 0..2 {
        let mut paced = paced();
        node.copy(&digests, &mut paced.pace).expect("made");
        assert_eq!(paced.read.load(Ordering::Relaxed), rows_bytes);
        // A byte takes a millisecond.
        assert_eq!(paced.timer.now(), Duration::from_millis(rows_bytes));
    }
}

#[test]
fn copy_that_nobody_waits_for_is_given_up_and_removed() {
    let node = node("history");
    let mut paced = paced();
    paced.cancelled.cancel();
    let copied = node.copy(&Arc::default(), &mut paced.pace);
    assert!(matches!(copied, Err(SnapshotError::Stopped)), "{copied:?}");
    assert_eq!(paced.timer.now(), Duration::ZERO);
    assert!(is_empty(&node.dir.path().join("snapshots")));
}
