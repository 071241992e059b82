//! A bounded cache keyed by content.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// BLAKE3 of what a value was computed from.
pub(crate) type Key = [u8; 32];

/// Key of `parts`, each under its length, so that no two lists of parts share a key.
pub(crate) fn key(parts: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first bytes of a key in hexadecimal: enough to tell the settings of a model apart.
pub(crate) fn short(key: &Key) -> String {
    let bytes = key[..8].iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The values used last, `entries` of them at most.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    /// None: nothing is kept.
    entries: Option<Mutex<LruCache<Key, V>>>,
}

impl<V: Clone> Cache<V> {
    /// A cache of at most `entries` values; 0: none.
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            entries: NonZeroUsize::new(entries).map(|bound| Mutex::new(LruCache::new(bound))),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<V> {
        self.lock()?.get(key).cloned()
    }

    pub(crate) fn insert(&self, key: Key, value: V) {
        if let Some(mut entries) = self.lock() {
            entries.put(key, value);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().map_or(0, |entries| entries.len())
    }

    fn lock(&self) -> Option<MutexGuard<'_, LruCache<Key, V>>> {
        // Nothing in a critical section leaves the map half changed.
        let entries = self.entries.as_ref()?;
        Some(entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_value_goes_first() {
        let cache = Cache::new(2);
        let [a, b, c] = ["a", "b", "c"].map(|text| key(&[text.as_bytes()]));
        cache.insert(a, 1);
        cache.insert(b, 2);
        assert_eq!(cache.get(&a), Some(1));
        cache.insert(c, 3);
        assert_eq!([a, b, c].map(|k| cache.get(&k)), [Some(1), None, Some(3)]);
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn cache_of_no_entries_keeps_nothing() {
        let cache = Cache::new(0);
        let a = key(&[b"a"]);
        cache.insert(a, 1);
        assert_eq!((cache.get(&a), cache.len()), (None, 0));
    }

    #[test]
    fn keys_keep_parts_apart() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
        assert_ne!(key(&[b"ab"]), key(&[b"ab", b""]));
    }
}
