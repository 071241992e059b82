//! The newest entries, in memory: what replication and apply read, and what is not on disk yet.

use std::collections::VecDeque;
use std::ops::Range;

use crate::codec::entry_len;
use crate::type_config::Entry;

/// How much of the log stays in memory.
#[derive(Clone, Copy, Debug)]
pub struct TailLimits {
    /// Bytes of entries.
    pub bytes_max: u64,
    /// Number of entries.
    pub entries_max: usize,
}

impl Default for TailLimits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            entries_max: 65_536,
        }
    }
}

/// Consecutive entries up to the log's last one. Entries that are not durable yet are always here,
/// also over the limits; their number is bounded by the write-ahead queue.
#[derive(Debug)]
pub(super) struct Tail {
    limits: TailLimits,
    start: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl Tail {
    pub(super) fn new(start: u64, limits: TailLimits) -> Self {
        Self {
            limits,
            start,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Index of the first entry here; of the log's next one, while there is none.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.is_empty() {
            self.start = entry.log_id.index;
        }
        self.bytes += entry_len(&entry);
        self.entries.push_back(entry);
    }

    /// Forgets what is outside of `range`, which is what the log holds now.
    pub(super) fn trim(&mut self, range: &Range<u64>) {
        while self.start < range.start && !self.entries.is_empty() {
            self.pop_front();
        }
        while self.start + self.entries.len() as u64 > range.end {
            let Some(entry) = self.entries.pop_back() else {
                break;
            };
            self.bytes -= entry_len(&entry);
        }
        if self.entries.is_empty() {
            self.start = range.end;
        }
    }

    /// Forgets the oldest entries while there are more than the limits allow, but only below
    /// `durable_next`: others can be read nowhere else.
    pub(super) fn evict(&mut self, durable_next: u64) {
        while (self.bytes > self.limits.bytes_max || self.entries.len() > self.limits.entries_max)
            && self.start < durable_next
            && !self.entries.is_empty()
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry_len(&entry);
            self.start += 1;
        }
    }

    /// The entries of `range` that are here.
    pub(super) fn get(&self, range: Range<u64>) -> impl Iterator<Item = Entry> + '_ {
        let len = self.entries.len() as u64;
        let at = |index: u64| {
            usize::try_from(index.saturating_sub(self.start).min(len)).expect("at most the length")
        };
        let (from, to) = (at(range.start), at(range.end));
        self.entries.range(from..to.max(from)).cloned()
    }
}

/// Entries from the front until `bytes_max` is reached; at least one if there is one.
pub(super) fn bounded(entries: impl Iterator<Item = Entry>, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for entry in entries {
        bytes += entry_len(&entry);
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry);
    }
    taken
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::codec::ENTRY_HEADER_LEN;
    use crate::type_config::{Commands, EntryPayload, LeaderId, LogId};

    const LEN: u64 = 100 + ENTRY_HEADER_LEN as u64;

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: LogId::new(LeaderId::new(1, 1), index),
            payload: EntryPayload::Normal(Commands(Bytes::from(vec![0; 100]))),
        }
    }

    fn tail(indexes: Range<u64>, limits: TailLimits) -> Tail {
        let mut tail = Tail::new(indexes.start, limits);
        indexes.for_each(|index| tail.push(entry(index)));
        tail
    }

    #[test]
    fn evict_keeps_within_the_byte_limit() {
        let mut tail = tail(
            0..10,
            TailLimits {
                bytes_max: 3 * LEN,
                entries_max: 100,
            },
        );
        tail.evict(10);
        assert_eq!((tail.start(), tail.bytes), (7, 3 * LEN));
    }

    #[test]
    fn evict_keeps_within_the_count_limit() {
        let mut tail = tail(
            0..10,
            TailLimits {
                bytes_max: u64::MAX,
                entries_max: 4,
            },
        );
        tail.evict(10);
        assert_eq!(tail.start(), 6);
    }

    #[test]
    fn evict_spares_what_is_not_durable() {
        let mut tail = tail(
            0..10,
            TailLimits {
                bytes_max: 0,
                entries_max: 0,
            },
        );
        tail.evict(4);
        assert_eq!(tail.start(), 4);
    }

    #[test]
    fn trim_forgets_truncated_and_purged_entries() {
        let mut tail = tail(0..10, TailLimits::default());
        tail.trim(&(3..6));
        assert_eq!(
            tail.get(0..100)
                .map(|entry| entry.log_id.index)
                .collect::<Vec<_>>(),
            [3, 4, 5]
        );
        assert_eq!(tail.bytes, 3 * LEN);
    }

    #[test]
    fn trim_to_before_the_start_leaves_nothing() {
        let mut tail = tail(5..10, TailLimits::default());
        tail.trim(&(0..3));
        assert_eq!((tail.start(), tail.bytes), (3, 0));
    }

    #[test]
    fn bounded_gives_at_least_one_entry() {
        assert_eq!(bounded((0..5).map(entry), 1).len(), 1);
        assert_eq!(bounded((0..5).map(entry), 2 * LEN).len(), 2);
    }
}
