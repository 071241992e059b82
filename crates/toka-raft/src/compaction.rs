//! When the ledger is flushed, a snapshot is made, and the log is purged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, RaftMetrics};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::Base;
use crate::blocking::Blocking;
use crate::config::Compaction;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::headroom::Headroom;
use crate::ledger_host::LedgerHost;
use crate::purge::Purge;
use crate::room::Room;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::ticker::ticker;
use crate::type_config::TypeConfig;

const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Distance at first of the notes that tell how many bytes of entries end at which index.
const NOTE_BYTES: u64 = 256 << 10;
/// With more of them, every other one is dropped.
const NOTES_MAX: usize = 8_192;
/// A log of this size is kept, however small the snapshot.
const KEEP_BYTES_MIN: u64 = 16 << 20;
/// A follower that moves is not given a snapshot before it lacks so many times the snapshot's size.
const SNAPSHOTS_WORTH: u64 = 2;
/// For either no more entries than that, or than so many times what is kept otherwise if that is more: the log's
/// index takes 24 bytes of memory for each.
const MOVING_ENTRIES_MAX: u64 = 4_000_000;
/// For one that has been sent a snapshot, so many times as much of the log is kept as at most otherwise.
const CATCH_UP_FACTOR: u64 = 4;

/// How much has been applied, and is not flushed yet.
#[derive(Debug)]
pub(crate) struct AppliedLog {
    state: Mutex<State>,
    flush_bytes: u64,
    flush: Notify,
}

#[derive(Debug)]
struct State {
    index: Option<u64>,
    /// Bytes of entries since the node was started.
    bytes: u64,
    flushed_bytes: u64,
    unflushed_since: Option<Instant>,
    snapshot_bytes: u64,
    /// (index, bytes up to and with it), ascending, about every `note_bytes`.
    notes: VecDeque<(u64, u64)>,
    note_bytes: u64,
}

impl AppliedLog {
    pub(crate) fn new(flush_bytes: u64) -> Self {
        Self {
            state: Mutex::new(State {
                index: None,
                bytes: 0,
                flushed_bytes: 0,
                unflushed_since: None,
                snapshot_bytes: 0,
                notes: VecDeque::new(),
                note_bytes: NOTE_BYTES,
            }),
            flush_bytes,
            flush: Notify::new(),
        }
    }

    /// Takes note of entries up to `index` that were applied.
    pub(crate) fn record(&self, index: u64, bytes: u64) {
        let mut state = self.lock();
        state.index = Some(index);
        state.bytes += bytes;
        state.unflushed_since.get_or_insert_with(Instant::now);
        let total = state.bytes;
        if state
            .notes
            .back()
            .is_none_or(|(_, last)| total - last >= state.note_bytes)
        {
            state.notes.push_back((index, total));
            if state.notes.len() > NOTES_MAX {
                let mut is_kept = false;
                state.notes.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
                state.note_bytes *= 2;
            }
        }
        if total - state.flushed_bytes >= self.flush_bytes {
            self.flush.notify_one();
        }
    }

    /// Another ledger has taken the place of this one.
    pub(crate) fn installed(&self) {
        let mut state = self.lock();
        state.notes.clear();
        state.unflushed_since = None;
        state.flushed_bytes = state.bytes;
        state.snapshot_bytes = state.bytes;
    }

    fn is_flush_due(&self, interval: Duration) -> bool {
        let state = self.lock();
        let age = state.unflushed_since.map(|since| since.elapsed());
        age.is_some_and(|age| {
            age >= interval || state.bytes - state.flushed_bytes >= self.flush_bytes
        })
    }

    /// What is applied when a flush begins is durable when it ends.
    fn flush_begins(&self) -> u64 {
        let mut state = self.lock();
        state.unflushed_since = None;
        state.bytes
    }

    fn flush_ended(&self, bytes: u64) {
        self.lock().flushed_bytes = bytes;
    }

    fn is_snapshot_due(&self, policy: &Compaction, snapshot: Option<u64>) -> bool {
        let state = self.lock();
        let Some(index) = state.index else {
            return false;
        };
        let entries = index.saturating_sub(snapshot.unwrap_or(0));
        entries > 0
            && (entries >= policy.snapshot_log_entries
                || state.bytes - state.snapshot_bytes >= policy.snapshot_log_bytes)
    }

    fn snapshot_requested(&self) {
        let mut state = self.lock();
        state.snapshot_bytes = state.bytes;
    }

    /// Last index that may go, so that of what `snapshot` covers only so much is kept as `policy`
    /// says.
    fn purge_upto(&self, policy: &Compaction, snapshot: u64) -> Option<u64> {
        let by_entries = snapshot.checked_sub(policy.keep_log_entries);
        let state = self.lock();
        let end = state
            .notes
            .iter()
            .rev()
            .find(|(index, _)| *index <= snapshot);
        let by_bytes = end.and_then(|(_, end)| {
            let keep_from = end.checked_sub(policy.keep_log_bytes)?;
            let upto = state
                .notes
                .iter()
                .rev()
                .find(|(_, bytes)| *bytes <= keep_from);
            upto.map(|(index, _)| *index)
        });
        by_entries.max(by_bytes)
    }

    /// The log is purged up to `index`: what is known of before is of no more use.
    fn purged(&self, index: u64) {
        let mut state = self.lock();
        while state.notes.get(1).is_some_and(|(next, _)| *next <= index) {
            state.notes.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of the log to keep, for whom. Of each at most so much of what the snapshot covers.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    /// For a follower that is away: who lacks more than the size of the snapshot is cheaper to send that.
    away: Compaction,
    /// For one that moves, however slowly: no snapshot reaches it faster than twice its size of log.
    moving: Compaction,
    /// For one that was sent a snapshot, which would be useless without what follows on it (openraft #1706).
    /// With less than was written while it was sent, one snapshot would follow on the other for ever.
    catching_up: Compaction,
}

impl Kept {
    fn new(policy: &Compaction, snapshot_bytes: u64) -> Self {
        let away = policy
            .keep_log_bytes
            .min(snapshot_bytes.max(KEEP_BYTES_MIN));
        let moving = snapshot_bytes.max(away).saturating_mul(SNAPSHOTS_WORTH);
        let most = policy
            .snapshot_log_bytes
            .saturating_add(policy.keep_log_bytes)
            .saturating_mul(CATCH_UP_FACTOR);
        let entries = policy
            .snapshot_log_entries
            .saturating_add(policy.keep_log_entries)
            .saturating_mul(CATCH_UP_FACTOR)
            .max(MOVING_ENTRIES_MAX);
        let bytes = |keep_log_bytes, keep_log_entries| Compaction {
            keep_log_bytes,
            keep_log_entries,
            ..*policy
        };
        Self {
            away: bytes(away, policy.keep_log_entries),
            moving: bytes(moving, entries),
            catching_up: bytes(most.max(moving), entries),
        }
    }
}

/// Does it, until it is cancelled.
pub(crate) struct Compactor {
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) host: Arc<LedgerHost>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) applied: Arc<AppliedLog>,
    pub(crate) policy: Compaction,
    pub(crate) blocking: Blocking,
    pub(crate) fatal: Fatal,
    /// Index and bytes of the snapshot whose size was looked up last.
    pub(crate) sized: Option<(u64, u64)>,
    pub(crate) base: Base,
    pub(crate) headroom: Headroom,
    pub(crate) purge: Arc<Purge>,
    pub(crate) room: watch::Receiver<Room>,
}

impl Compactor {
    pub(crate) async fn run(mut self, cancelled: CancellationToken) {
        let mut check = ticker(CHECK_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => return,
                () = self.applied.flush.notified() => {}
                _ = check.tick() => {}
            }
            if let Err(error) = self.step().await {
                self.fatal.report(error);
                return;
            }
        }
    }

    async fn step(&mut self) -> Result<(), FatalError> {
        if self.applied.is_flush_due(self.policy.flush_interval) && self.takes_flush().await? {
            let bytes = self.applied.flush_begins();
            let host = Arc::clone(&self.host);
            self.blocking.run(move || host.flush()).await?;
            self.applied.flush_ended(bytes);
        }
        let host = Arc::clone(&self.host);
        self.blocking.run(move || host.remove_retired()).await;
        let snapshot = self.snapshots.index();
        // Never keep the guard: it blocks the Raft task (openraft #1238).
        let metrics = self.raft.metrics().borrow_watched().clone();
        let is_first_due = metrics.last_applied.is_some()
            && snapshot.is_none()
            && self.base.is_outside_log(metrics.purged)?;
        let is_due = is_first_due || self.applied.is_snapshot_due(&self.policy, snapshot);
        if is_due && self.takes_flush().await? {
            self.applied.snapshot_requested();
            // Refused while one is being made. If openraft has stopped, so will this.
            let _ = self.raft.trigger().snapshot().await;
        }
        self.purge(snapshot, &metrics).await
    }

    /// Whether there is room on the disk for what is in memory.
    async fn takes_flush(&self) -> Result<bool, FatalError> {
        let host = Arc::clone(&self.host);
        let unflushed = move || host.unflushed_bytes();
        self.headroom.takes_flush(self.blocking, unflushed).await
    }

    /// Purges what a snapshot covers and the ledger has flushed, as far as it need not be [`Kept`].
    async fn purge(
        &mut self,
        snapshot: Option<u64>,
        metrics: &RaftMetrics<TypeConfig>,
    ) -> Result<(), FatalError> {
        let Some(snapshot) = snapshot else {
            return Ok(());
        };
        let bytes = self.snapshot_bytes(snapshot).await?;
        let purged = metrics.purged;
        let matched = |id| {
            metrics
                .replication
                .as_ref()?
                .get(&id)?
                .map(|log_id| log_id.index)
        };
        let planned = self.planned(bytes, snapshot, matched);
        let is_outside = planned.is_none() && self.base.is_outside_log(purged)?;
        let Some((upto, at_once)) = planned.or(is_outside.then_some((snapshot, 0))) else {
            return Ok(());
        };
        if purged.is_some_and(|purged| upto <= purged.index) {
            return Ok(());
        }
        let host = Arc::clone(&self.host);
        let flushed = self.blocking.run(move || host.flushed_index()).await?;
        let Some(upto) = flushed.map(|flushed| flushed.min(upto)) else {
            return Ok(());
        };
        let now = self.purge.set(upto, at_once);
        if purged.is_none_or(|purged| purged.index < now) {
            let _ = self.raft.trigger().purge_log(now).await;
        }
        self.applied.purged(purged.map_or(0, |purged| purged.index));
        Ok(())
    }

    /// Last entry that may go, if any may, and last one that goes whether or not it is being sent; with a
    /// snapshot of so many `bytes` that covers all up to `snapshot`.
    fn planned(
        &self,
        bytes: u64,
        snapshot: u64,
        matched: impl Fn(u64) -> Option<u64>,
    ) -> Option<(u64, u64)> {
        let kept = Kept::new(&self.policy, bytes);
        let upto = self.applied.purge_upto(&kept.away, snapshot)?;
        if self.room.borrow().shortage().is_some() {
            return Some((upto, upto));
        }
        let transfers = self.snapshots.transfers();
        let needed = transfers.needed_after(upto, matched, Instant::now());
        let must = self.applied.purge_upto(&kept.catching_up, snapshot);
        let upto = needed
            .map_or(upto, |needed| upto.min(needed))
            .max(must.unwrap_or(0));
        let at_once = self.applied.purge_upto(&kept.moving, snapshot);
        Some((upto, at_once.unwrap_or(0)))
    }

    /// Bytes of the snapshot that ends at `index`.
    async fn snapshot_bytes(&mut self, index: u64) -> Result<u64, FatalError> {
        if let Some((known, bytes)) = self.sized
            && known == index
        {
            return Ok(bytes);
        }
        let Some(snapshot) = self.snapshots.current() else {
            return Ok(0);
        };
        let files = self.blocking.run(move || snapshot.files()).await?;
        let bytes = files.iter().map(|(_, bytes)| bytes).sum();
        self.sized = Some((index, bytes));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Compaction {
        Compaction {
            flush_bytes: 100,
            snapshot_log_bytes: 10 << 20,
            snapshot_log_entries: 50,
            keep_log_bytes: 3 << 20,
            keep_log_entries: 20,
            ..Compaction::default()
        }
    }

    #[tokio::test]
    async fn snapshot_is_due_after_entries_or_bytes() {
        let log = AppliedLog::new(100);
        assert!(!log.is_snapshot_due(&policy(), None));
        log.record(49, 1);
        assert!(!log.is_snapshot_due(&policy(), None));
        log.record(50, 1);
        assert!(log.is_snapshot_due(&policy(), None));
        assert!(!log.is_snapshot_due(&policy(), Some(1)));
        log.record(51, 10 << 20);
        assert!(log.is_snapshot_due(&policy(), Some(50)));
        log.snapshot_requested();
        assert!(!log.is_snapshot_due(&policy(), Some(50)));
    }

    #[tokio::test]
    async fn purge_keeps_the_smaller_of_entries_and_bytes() {
        let log = AppliedLog::new(100);
        assert_eq!(log.purge_upto(&policy(), 10), None);
        assert_eq!(log.purge_upto(&policy(), 100), Some(80), "by entries");
        for index in 90..=100 {
            log.record(index, 1 << 20);
        }
        assert_eq!(log.purge_upto(&policy(), 100), Some(97), "by bytes");
        log.record(101, 50 << 20);
        assert_eq!(
            log.purge_upto(&policy(), 100),
            Some(97),
            "what the snapshot lacks counts not"
        );
    }

    #[test]
    fn log_that_is_larger_than_the_snapshot_is_not_kept() {
        let policy = Compaction {
            keep_log_bytes: 256 << 20,
            ..policy()
        };
        let kept = |snapshot_mib: u64| {
            let kept = Kept::new(&policy, snapshot_mib << 20);
            let mib = |kept: Compaction| kept.keep_log_bytes >> 20;
            (mib(kept.away), mib(kept.moving), mib(kept.catching_up))
        };
        let most = 4 * (10 + 256);
        assert_eq!(kept(0), (16, 32, most));
        assert_eq!(kept(40), (40, 80, most));
        assert_eq!(kept(4_000), (256, 8_000, 8_000));
        let kept = Kept::new(&policy, 0);
        assert_eq!(kept.away.keep_log_entries, 20);
        assert_eq!(kept.moving.keep_log_entries, MOVING_ENTRIES_MAX);
        assert_eq!(kept.catching_up.keep_log_entries, MOVING_ENTRIES_MAX);
    }

    #[tokio::test]
    async fn notes_of_a_log_without_end_are_bounded() {
        let log = AppliedLog::new(100);
        let last = 4 * NOTES_MAX as u64;
        for index in 1..=last {
            log.record(index, NOTE_BYTES);
        }
        assert!(log.lock().notes.len() <= NOTES_MAX);
        let all_but = |entries: u64| {
            let policy = Compaction {
                keep_log_bytes: entries * NOTE_BYTES,
                keep_log_entries: u64::MAX,
                ..policy()
            };
            log.purge_upto(&policy, last).expect("there is so much")
        };
        for entries in [1_000, last / 2, last - 1_000] {
            let upto = all_but(entries);
            let expected = last - entries;
            assert!((expected - 16..=expected).contains(&upto), "{upto}");
        }
        let before = log.lock().notes.len();
        log.purged(last / 2);
        assert!(log.lock().notes.len() <= before / 2 + 1);
        assert!(all_but(1_000) >= last - 1_016);
    }

    #[tokio::test]
    async fn flush_is_due_after_bytes() {
        let log = AppliedLog::new(100);
        let long = Duration::from_secs(3_600);
        assert!(!log.is_flush_due(long));
        log.record(1, 99);
        assert!(!log.is_flush_due(long));
        assert!(log.is_flush_due(Duration::ZERO));
        log.record(2, 1);
        assert!(log.is_flush_due(long));
        let bytes = log.flush_begins();
        log.flush_ended(bytes);
        assert!(!log.is_flush_due(Duration::ZERO));
    }
}
