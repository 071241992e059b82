//! Rows that were read lately.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use toka_ledger::engine::Table;

/// What an entry takes beside its row, bytes.
const ENTRY_BYTES: usize = 128;

/// The rows used last, of so many bytes at most.
#[derive(Debug)]
pub(super) struct RowCache {
    entries: Mutex<Entries>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entries {
    rows: LruCache<(&'static str, u64), Bytes>,
    bytes: usize,
}

impl RowCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            entries: Mutex::new(Entries {
                rows: LruCache::unbounded(),
                bytes: 0,
            }),
            bytes_max,
        }
    }

    pub(super) fn get(&self, table: Table, sequence: u64) -> Option<Bytes> {
        self.lock().rows.get(&(table.name(), sequence)).cloned()
    }

    pub(super) fn insert(&self, table: Table, sequence: u64, row: Bytes) {
        let mut entries = self.lock();
        entries.bytes += row.len() + ENTRY_BYTES;
        if let Some(old) = entries.rows.put((table.name(), sequence), row) {
            entries.bytes -= old.len() + ENTRY_BYTES;
        }
        while entries.bytes > self.bytes_max {
            let Some((_, row)) = entries.rows.pop_lru() else {
                return;
            };
            entries.bytes -= row.len() + ENTRY_BYTES;
        }
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_used_last_are_kept_up_to_the_limit() {
        let cache = RowCache::new(3 * (ENTRY_BYTES + 10));
        let row = |byte: u8| Bytes::from(vec![byte; 10]);
        for sequence in 1..=3 {
            cache.insert(Table::Payloads, sequence, row(1));
        }
        assert!(cache.get(Table::Payloads, 1).is_some());
        cache.insert(Table::Embeddings, 1, row(2));
        assert_eq!(cache.get(Table::Payloads, 1), Some(row(1)));
        assert_eq!(cache.get(Table::Payloads, 2), None);
        assert_eq!(cache.get(Table::Embeddings, 1), Some(row(2)));
        cache.insert(Table::Payloads, 9, Bytes::from(vec![0; 10_000]));
        assert_eq!(cache.get(Table::Payloads, 9), None);
    }
}
