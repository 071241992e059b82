//! What the write-ahead thread needs from a log engine, and the bookkeeping that all share.

use std::ops::Range;

use super::LogError;
use crate::type_config::{Entry, LogId, Vote};

/// One change of the log. Changes take effect in the order in which they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Entries that follow the last one without a gap.
    Append(Vec<Entry>),
    /// Drop all entries after this one (all, if `None`).
    TruncateAfter(Option<LogId>),
    /// Drop all entries up to this one, also if the log does not reach it.
    Purge(LogId),
    /// The node's vote.
    Vote(Vote),
    /// The last log id known to be committed.
    Committed(Option<LogId>),
}

/// Where the log begins and ends, and what is kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMeta {
    /// Index of the first entry; of the next one, while there is none.
    pub first_index: u64,
    /// Last log id that was purged.
    pub purged: Option<LogId>,
    /// Last log id; the last purged one if there is no entry.
    pub last: Option<LogId>,
    /// Last committed log id that was saved.
    pub committed: Option<LogId>,
    /// The node's vote.
    pub vote: Option<Vote>,
}

impl LogMeta {
    /// One past the index of the last entry.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.last
            .map_or(0, |last| last.index.saturating_add(1))
            .max(self.first_index)
    }

    /// Indexes of the entries that are there.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.first_index..self.next_index()
    }

    /// Whether a log can be so: it begins after what was purged, and not past where it goes on.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let next = |log_id: LogId| log_id.index.saturating_add(1);
        let begins_before = |last| self.first_index <= next(last);
        let begins_after = |purged| next(purged) <= self.first_index;
        let reaches = |purged: LogId| self.last.is_some_and(|last| last.index >= purged.index);
        self.last.is_none_or(begins_before)
            && self
                .purged
                .is_none_or(|purged| begins_after(purged) && reaches(purged))
    }

    /// Takes note of `change`.
    ///
    /// # Errors
    /// [`LogError::Hole`] if entries do not follow the last one, or one is at `u64::MAX`; nothing is changed
    /// then.
    pub fn apply(&mut self, change: &Change) -> Result<(), LogError> {
        match change {
            Change::Append(entries) => return self.append(entries),
            Change::TruncateAfter(after) => self.truncate_after(*after),
            Change::Purge(upto) => self.purge(*upto),
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(committed) => self.committed = *committed,
        }
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        // A pristine log may begin anywhere; from then on there are no gaps.
        let start = self
            .last
            .map_or(first.log_id.index, |last| last.index.saturating_add(1));
        for (expected, entry) in (start..=u64::MAX).zip(entries) {
            // None is at the largest index: one past the last one is an index too.
            if entry.log_id.index != expected || expected == u64::MAX {
                return Err(LogError::Hole {
                    expected,
                    found: entry.log_id,
                });
            }
        }
        if self.range().is_empty() {
            self.first_index = start;
        }
        self.last = entries.last().map(|entry| entry.log_id);
        Ok(())
    }

    fn truncate_after(&mut self, after: Option<LogId>) {
        if after.is_some_and(|after| self.last.is_none_or(|last| last.index <= after.index)) {
            return;
        }
        let kept = after.filter(|after| after.index >= self.first_index);
        self.last = kept.or(self.purged);
        if let (None, Some(purged)) = (kept, self.purged) {
            self.first_index = purged.index.saturating_add(1);
        }
    }

    fn purge(&mut self, upto: LogId) {
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
        }
        let next = upto.index.saturating_add(1);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
            self.first_index = next;
        }
        self.first_index = self.first_index.max(next);
    }
}

/// Keeps the log on some medium. Owned by the write-ahead thread, which is its only writer.
pub trait LogEngine: Send + 'static {
    /// State of the log, including what is not yet durable.
    fn meta(&self) -> &LogMeta;

    /// A handle for reading beside the writer.
    fn reader(&self) -> Box<dyn EngineReader>;

    /// Writes a group of changes in order. After a crash all of them are there or none.
    ///
    /// # Errors
    /// The engine must not be used any more.
    fn write(&mut self, changes: &[Change]) -> Result<(), LogError>;

    /// Makes everything written durable, and reclaims the space of purged entries.
    ///
    /// # Errors
    /// The engine must not be used any more.
    fn sync(&mut self) -> Result<(), LogError>;

    /// Closes the log. Everything written has been synced.
    ///
    /// # Errors
    /// What was synced is safe all the same.
    fn close(self) -> Result<(), LogError>;
}

/// Reads entries that have been written to the engine.
pub trait EngineReader: Send + Sync + 'static {
    /// Looks `range` up and returns what reads it. The look-up is quick and fixes what is read, so
    /// that it can be made under a lock; the reading may block and is not disturbed by later changes.
    fn plan(&self, range: Range<u64>, bytes_max: u64) -> ReadPlan;

    /// Reads everything that is durable, and checks it. `pace` is told how many bytes were read; it may take
    /// its time, and end the pass with `false`. Blocks.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Io`].
    fn verify(&self, _pace: &mut dyn FnMut(u64) -> bool) -> Result<(), LogError> {
        Ok(())
    }
}

/// Reads from `range.start` on, at least one entry if there is one, until `bytes_max` is reached.
pub enum ReadPlan {
    /// The entries are in memory.
    Ready(Vec<Entry>),
    /// The entries have to be read, by a thread that may block.
    Blocking(BlockingRead),
}

/// Reads entries from a medium.
pub type BlockingRead = Box<dyn FnOnce() -> Result<Vec<Entry>, LogError> + Send>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::{EntryPayload, LeaderId};
    use openraft::vote::RaftLeaderId;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId::new(term, 1), index)
    }

    fn blank(term: u64, index: u64) -> Entry {
        Entry {
            log_id: log_id(term, index),
            payload: EntryPayload::Blank,
        }
    }

    fn meta(changes: &[Change]) -> LogMeta {
        let mut meta = LogMeta::default();
        changes
            .iter()
            .for_each(|change| meta.apply(change).expect("no hole"));
        meta
    }

    #[test]
    fn pristine_log_may_begin_anywhere() {
        assert_eq!(meta(&[Change::Append(vec![blank(1, 5)])]).range(), 5..6);
    }

    #[test]
    fn hole_is_refused() {
        let mut meta = meta(&[Change::Append(vec![blank(1, 0)])]);
        let error = meta
            .apply(&Change::Append(vec![blank(1, 2)]))
            .expect_err("1 is missing");
        assert!(matches!(error, LogError::Hole { expected: 1, .. }));
    }

    #[test]
    fn largest_index_is_refused() {
        let last = |index| LogMeta::default().apply(&Change::Append(vec![blank(1, index)]));
        assert!(last(u64::MAX - 1).is_ok());
        assert!(last(u64::MAX).is_err());
        let mut purged = meta(&[Change::Purge(log_id(1, u64::MAX))]);
        assert!(
            purged
                .apply(&Change::Append(vec![blank(1, u64::MAX)]))
                .is_err()
        );
    }

    #[test]
    fn truncate_to_nothing_leaves_the_purged_position() {
        let entries = (0..5).map(|index| blank(1, index)).collect();
        let meta = meta(&[
            Change::Append(entries),
            Change::Purge(log_id(1, 2)),
            Change::TruncateAfter(None),
        ]);
        assert_eq!((meta.last, meta.range()), (Some(log_id(1, 2)), 3..3));
    }

    #[test]
    fn emptied_log_goes_on_after_what_was_purged() {
        let began_late = Change::Append(vec![blank(1, 7)]);
        let emptied = Change::TruncateAfter(None);
        let purge = || Change::Purge(log_id(1, 3));
        for changes in [
            [began_late.clone(), purge(), emptied.clone()],
            [began_late, emptied, purge()],
        ] {
            let mut meta = meta(&changes);
            assert!(meta.is_sound());
            assert_eq!(meta.range(), 4..4);
            let next = Change::Append(vec![blank(1, meta.next_index())]);
            assert!(meta.apply(&next).is_ok());
        }
    }

    #[test]
    fn log_that_begins_past_its_end_is_unsound() {
        let sound = meta(&[Change::Purge(log_id(1, 3))]);
        assert!(sound.is_sound());
        let gap = LogMeta {
            first_index: 5,
            ..sound.clone()
        };
        let early = LogMeta {
            first_index: 3,
            ..sound.clone()
        };
        let forgotten = LogMeta {
            last: None,
            ..sound
        };
        assert!(![gap, early, forgotten].iter().any(LogMeta::is_sound));
    }

    #[test]
    fn purge_past_the_end_moves_the_end() {
        let meta = meta(&[
            Change::Append(vec![blank(1, 0)]),
            Change::Purge(log_id(3, 9)),
        ]);
        assert_eq!((meta.last, meta.range()), (Some(log_id(3, 9)), 10..10));
    }

    #[test]
    fn truncate_after_a_later_entry_changes_nothing() {
        let meta = meta(&[
            Change::Append(vec![blank(1, 0)]),
            Change::TruncateAfter(Some(log_id(1, 7))),
        ]);
        assert_eq!(meta.last, Some(log_id(1, 0)));
    }
}
