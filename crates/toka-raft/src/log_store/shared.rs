//! The log as Raft sees it: what has been asked for, whether or not it is on disk yet.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::LogError;
use super::engine::{Change, EngineReader, LogMeta, ReadPlan};
use super::syncs::Syncs;
use super::tail::{Tail, TailLimits, bounded};
use super::watermark::Progress;
use crate::type_config::{Entry, LogId};

/// Shared by openraft's task, the readers and the write-ahead thread.
pub(super) struct Shared {
    state: Mutex<State>,
    engine: Box<dyn EngineReader>,
    pub(super) progress: watch::Sender<Progress>,
    /// The error that stopped the log. Beside `progress`, which changes with each sync: who waits for this is not woken
    /// by one, ahead of those that it is for.
    pub(super) failed: watch::Sender<Option<Arc<LogError>>>,
    pub(super) syncs: Syncs,
}

/// Changed by openraft's task as soon as it asks for something, and by the write-ahead thread when
/// something has become durable. The lock is never held while the disk works.
pub(super) struct State {
    pub(super) meta: LogMeta,
    tail: Tail,
    /// Truncations that are not durable yet, oldest first: the index that was next after each.
    /// What was durable above it no longer counts, since other entries may take its place.
    truncations: VecDeque<u64>,
    /// One past the last durable entry.
    durable_next: u64,
    /// How many changes were ever queued for the write-ahead thread.
    pub(super) queued: u64,
    /// A commit position that waits for company, and how many changes were queued before it.
    committed: Option<(u64, Option<LogId>)>,
}

/// What a read takes from the disk and what it takes from memory; the latter follows the former.
pub(super) struct Found {
    pub(super) on_disk: Option<ReadPlan>,
    pub(super) in_memory: Vec<Entry>,
}

impl Shared {
    pub(super) fn new(meta: LogMeta, engine: Box<dyn EngineReader>, limits: TailLimits) -> Self {
        let next = meta.next_index();
        let state = State {
            meta,
            tail: Tail::new(next, limits),
            truncations: VecDeque::new(),
            durable_next: next,
            queued: 0,
            committed: None,
        };
        let (progress, _) = watch::channel(Progress {
            durable_next: next,
            failure: None,
            ended: false,
        });
        Self {
            state: Mutex::new(state),
            engine,
            progress,
            failed: watch::Sender::new(None),
            syncs: Syncs::default(),
        }
    }

    /// See [`EngineReader::verify`].
    pub(super) fn verify(&self, pace: &mut dyn FnMut(u64) -> bool) -> Result<(), LogError> {
        let verified = self.engine.verify(pace);
        verified.map_err(|error| self.note_damage(error))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that stopped the log, if any.
    pub(super) fn failure(&self) -> Option<Arc<LogError>> {
        self.failed.borrow().clone()
    }

    /// Records the first failure.
    pub(super) fn fail(&self, error: &Arc<LogError>) {
        let is_first = self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert_with(|| Arc::clone(error));
            is_first
        });
        if is_first {
            let failure = Some(Arc::clone(error));
            self.progress
                .send_modify(|progress| progress.failure = failure);
        }
    }

    /// Records `error`, if it is damage that a read has found, and hands it back: nothing is written, and no
    /// vote is given, to a log that has lost what it may have acknowledged.
    pub(super) fn note_damage(&self, error: LogError) -> LogError {
        if error.is_damage() {
            self.fail(&Arc::new(error.clone()));
        }
        error
    }

    /// Records that the write-ahead thread is gone: nothing becomes durable any more.
    pub(super) fn end(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// Makes a change visible to readers, which is before it is durable.
    pub(super) fn apply(&self, state: &mut State, change: &Change) -> Result<(), LogError> {
        state.meta.apply(change)?;
        match change {
            Change::Append(entries) => {
                entries
                    .iter()
                    .for_each(|entry| state.tail.push(entry.clone()));
            }
            Change::TruncateAfter(_) => state.truncations.push_back(state.meta.next_index()),
            Change::Purge(_) | Change::Vote(_) | Change::Committed(_) => {}
        }
        let range = state.meta.range();
        state.tail.trim(&range);
        state.tail.evict(state.durable_next);
        // A truncation lowers the watermark at once: apply must not take a new entry, not yet
        // durable, for the old one that was durable at the same index.
        self.publish(state, state.durable_next);
        Ok(())
    }

    /// Takes note of a commit position, and wakes nobody: the write-ahead thread takes it along.
    pub(super) fn note_committed(&self, committed: Option<LogId>) -> Result<(), LogError> {
        let mut state = self.state();
        state.meta.apply(&Change::Committed(committed))?;
        state.committed = Some((state.queued, committed));
        Ok(())
    }

    /// The commit position, if it can go to the disk together with the first `taken` of the changes that were queued. Not
    /// before what was queued before it: a crash could leave a position without the entries that it speaks of, and
    /// the node would take for committed what it gets in their place.
    pub(super) fn take_committed(&self, taken: u64) -> Option<Change> {
        let mut state = self.state();
        let (_, committed) = state.committed.take_if(|(before, _)| *before <= taken)?;
        Some(Change::Committed(committed))
    }

    /// Takes note that the engine has synced all up to `durable`, and `truncations` of the pending
    /// truncations.
    pub(super) fn synced(&self, durable: &LogMeta, truncations: usize) {
        self.syncs.reached(durable.next_index(), Instant::now());
        let mut state = self.state();
        state.truncations.drain(..truncations);
        self.publish(&mut state, durable.next_index());
        let durable_next = state.durable_next;
        state.tail.evict(durable_next);
    }

    fn publish(&self, state: &mut State, durable_next: u64) {
        let pending = state.truncations.iter().copied().min().unwrap_or(u64::MAX);
        state.durable_next = durable_next.min(pending);
        let durable_next = state.durable_next;
        self.progress.send_if_modified(|progress| {
            std::mem::replace(&mut progress.durable_next, durable_next) != durable_next
        });
    }

    /// Looks entries up. All that is found belongs to one moment.
    pub(super) fn find(&self, range: Range<u64>) -> Found {
        let state = self.state();
        let start = range.start.max(state.meta.first_index);
        let end = range.end.min(state.meta.next_index());
        let split = state.tail.start().clamp(start, end.max(start));
        Found {
            on_disk: (start < split).then(|| self.engine.plan(start..split, u64::MAX)),
            in_memory: state.tail.get(split..end.max(split)).collect(),
        }
    }

    /// Looks up the first entries of `range`, up to `bytes_max` and from one place only.
    pub(super) fn find_bounded(&self, range: Range<u64>, bytes_max: u64) -> Found {
        let state = self.state();
        let start = range.start.max(state.meta.first_index);
        let end = range.end.min(state.meta.next_index()).max(start);
        let split = state.tail.start().clamp(start, end);
        if start < split {
            let on_disk = Some(self.engine.plan(start..split, bytes_max));
            return Found {
                on_disk,
                in_memory: Vec::new(),
            };
        }
        Found {
            on_disk: None,
            in_memory: bounded(state.tail.get(start..end), bytes_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::log_store::{LogEngine, MemoryLog};
    use crate::type_config::LeaderId;

    fn shared() -> Shared {
        let engine = MemoryLog::new();
        let limits = TailLimits::default();
        Shared::new(engine.meta().clone(), engine.reader(), limits)
    }

    #[test]
    fn sync_wakes_nobody_who_waits_for_a_failure() {
        let shared = shared();
        let (progress, failed) = (shared.progress.subscribe(), shared.failed.subscribe());
        let durable = LogMeta {
            last: Some(LogId::new(LeaderId::new(1, 1), 0)),
            ..LogMeta::default()
        };
        shared.synced(&durable, 0);
        assert!(progress.has_changed().expect("the sender is there"));
        assert!(!failed.has_changed().expect("the sender is there"));
        shared.fail(&Arc::new(LogError::Closed));
        assert!(failed.has_changed().expect("the sender is there"));
        assert!(progress.borrow().failure.is_some());
    }

    #[test]
    fn commit_position_waits_for_the_changes_that_were_queued_before_it() {
        let shared = shared();
        let committed = Some(LogId::new(LeaderId::new(1, 1), 7));
        shared.state().queued = 2;
        shared.note_committed(committed).expect("noted");
        // What comes behind it does not hold it up.
        shared.state().queued = 3;
        assert_eq!(shared.take_committed(1), None);
        assert_eq!(shared.take_committed(2), Some(Change::Committed(committed)));
        assert_eq!(shared.take_committed(3), None);
    }
}
