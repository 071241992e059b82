//! When the ledger is flushed, a snapshot is made, and the log is purged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::config::Compaction;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::ledger_host::LedgerHost;
use crate::snapshot::SnapshotStore;
use crate::state_machine::StateMachine;
use crate::type_config::TypeConfig;

const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Distance of the notes that tell how many bytes of entries end at which index.
const NOTE_BYTES: u64 = 1 << 20;
const NOTES_MAX: usize = 4_096;

/// How much has been applied, and is not flushed yet.
#[derive(Debug)]
pub(crate) struct AppliedLog {
    state: Mutex<State>,
    flush_bytes: u64,
    flush: Notify,
}

#[derive(Debug, Default)]
struct State {
    index: Option<u64>,
    /// Bytes of entries since the node was started.
    bytes: u64,
    flushed_bytes: u64,
    unflushed_since: Option<Instant>,
    snapshot_bytes: u64,
    /// (index, bytes up to and with it), ascending, about every [`NOTE_BYTES`].
    notes: VecDeque<(u64, u64)>,
}

impl AppliedLog {
    pub(crate) fn new(flush_bytes: u64) -> Self {
        Self {
            state: Mutex::default(),
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
            .is_none_or(|(_, last)| total - last >= NOTE_BYTES)
        {
            state.notes.push_back((index, total));
            if state.notes.len() > NOTES_MAX {
                state.notes.pop_front();
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
}

impl Compactor {
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
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

    async fn step(&self) -> Result<(), FatalError> {
        if self.applied.is_flush_due(self.policy.flush_interval) {
            let bytes = self.applied.flush_begins();
            let host = Arc::clone(&self.host);
            self.blocking.run(move || host.flush()).await?;
            self.applied.flush_ended(bytes);
        }
        let host = Arc::clone(&self.host);
        self.blocking.run(move || host.remove_retired()).await;
        let snapshot = self.snapshots.index();
        if self.applied.is_snapshot_due(&self.policy, snapshot) {
            self.applied.snapshot_requested();
            // Refused while one is being made. If openraft has stopped, so will this.
            let _ = self.raft.trigger().snapshot().await;
        }
        self.purge(snapshot).await
    }

    /// Purges what a snapshot covers and the ledger has flushed, but nothing while a snapshot is being
    /// sent: the receiver needs what follows it (openraft #1706).
    async fn purge(&self, snapshot: Option<u64>) -> Result<(), FatalError> {
        let Some(snapshot) = snapshot else {
            return Ok(());
        };
        if self.snapshots.is_sending() {
            return Ok(());
        }
        let Some(upto) = self.applied.purge_upto(&self.policy, snapshot) else {
            return Ok(());
        };
        // Never keep the guard: it blocks the Raft task (openraft #1238).
        let purged = self.raft.metrics().borrow_watched().purged;
        if purged.is_some_and(|purged| upto <= purged.index) {
            return Ok(());
        }
        let host = Arc::clone(&self.host);
        let flushed = self.blocking.run(move || host.flushed_index()).await?;
        let Some(upto) = flushed.map(|flushed| flushed.min(upto)) else {
            return Ok(());
        };
        let _ = self.raft.trigger().purge_log(upto).await;
        Ok(())
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
