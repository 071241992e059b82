//! A log in memory that loses, when it crashes, what was not synced.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Change, EngineReader, LogEngine, LogMeta, ReadPlan};
use super::error::IoContext;
use super::{LogError, bounded};
use crate::type_config::Entry;

/// A [`LogEngine`] in memory, for tests and simulation. Clones share the log, so that a test can
/// keep one and crash it while a node writes the other.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    meta: LogMeta,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    written: Image,
    synced: Image,
    /// Groups written since the last sync.
    unsynced: Vec<Vec<Change>>,
    syncs: u64,
    failing: bool,
}

#[derive(Clone, Debug, Default)]
struct Image {
    meta: LogMeta,
    entries: VecDeque<Entry>,
}

impl Image {
    fn apply(&mut self, change: &Change) -> Result<(), LogError> {
        let first_before = self.meta.first_index;
        self.meta.apply(change)?;
        if let Change::Append(entries) = change {
            self.entries.extend(entries.iter().cloned());
            return Ok(());
        }
        let purged = self.meta.first_index.saturating_sub(first_before);
        let purged = usize::try_from(purged)
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        self.entries.drain(..purged);
        let range = self.meta.range();
        self.entries
            .truncate(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        Ok(())
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log as a crash would leave it now: without what was written since the last sync. This log
    /// stays as it is.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// As [`MemoryLog::crash`], but the first `groups` unsynced writes have reached the medium.
    #[must_use]
    pub fn crash_keeping(&self, groups: usize) -> Self {
        let state = self.state();
        let mut image = state.synced.clone();
        for change in state.unsynced.iter().take(groups).flatten() {
            image
                .apply(change)
                .expect("the change was accepted when it was written");
        }
        let state = State {
            written: image.clone(),
            synced: image.clone(),
            ..State::default()
        };
        Self {
            meta: image.meta,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Number of syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// From now on every write and every sync fails.
    pub fn fail(&self) {
        self.state().failing = true;
    }
}

fn check(state: &State, doing: &'static str) -> Result<(), LogError> {
    let result = if state.failing {
        Err(std::io::Error::other("the log is failing"))
    } else {
        Ok(())
    };
    result.doing(doing, std::path::Path::new("memory"))
}

impl LogEngine for MemoryLog {
    fn meta(&self) -> &LogMeta {
        &self.meta
    }

    fn reader(&self) -> Box<dyn EngineReader> {
        Box::new(self.clone())
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), LogError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        check(&state, "write")?;
        for change in changes {
            state.written.apply(change)?;
        }
        state.unsynced.push(changes.to_vec());
        self.meta = state.written.meta.clone();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let mut state = self.state();
        check(&state, "sync")?;
        for group in std::mem::take(&mut state.unsynced) {
            for change in &group {
                state.synced.apply(change)?;
            }
        }
        state.syncs += 1;
        Ok(())
    }

    fn close(self) -> Result<(), LogError> {
        Ok(())
    }
}

impl EngineReader for MemoryLog {
    fn plan(&self, range: Range<u64>, bytes_max: u64) -> ReadPlan {
        let state = self.state();
        let first = state.written.meta.first_index;
        let entries = range
            .map_while(|index| {
                state
                    .written
                    .entries
                    .get(usize::try_from(index.checked_sub(first)?).ok()?)
            })
            .cloned();
        ReadPlan::Ready(bounded(entries, bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::{EntryPayload, LeaderId, LogId, Vote};
    use openraft::vote::RaftLeaderId;

    fn append(indexes: Range<u64>) -> Change {
        let entry = |index| Entry {
            log_id: LogId::new(LeaderId::new(1, 1), index),
            payload: EntryPayload::Blank,
        };
        Change::Append(indexes.map(entry).collect())
    }

    #[test]
    fn crash_drops_what_was_not_synced() {
        let mut log = MemoryLog::new();
        log.write(&[append(0..3), Change::Vote(Vote::new(1, 1))])
            .expect("write");
        log.sync().expect("sync");
        log.write(&[append(3..5), Change::Vote(Vote::new(2, 1))])
            .expect("write");
        let crashed = log.crash();
        assert_eq!(crashed.meta().range(), 0..3);
        assert_eq!(crashed.meta().vote, Some(Vote::new(1, 1)));
        assert_eq!(log.meta().range(), 0..5);
    }

    #[test]
    fn crash_may_keep_a_prefix_of_the_unsynced_groups() {
        let mut log = MemoryLog::new();
        log.write(&[append(0..3)]).expect("write");
        log.write(&[append(3..5)]).expect("write");
        assert_eq!(log.crash_keeping(1).meta().range(), 0..3);
    }
}
