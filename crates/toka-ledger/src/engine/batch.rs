//! Writes that are applied together.

use super::Table;

/// Memory that an emptied batch keeps, of keys and values, at most.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// And of so many writes.
const KEPT_WRITES_MAX: usize = 64 << 10;

/// One write of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// The table written to.
    pub table: Table,
    /// The row's key.
    pub key: &'a [u8],
    /// The row's new value; `None` deletes the row.
    pub value: Option<&'a [u8]>,
}

/// Puts and deletes over all tables, applied atomically and in order: a later one wins.
///
/// Keys and values are in one piece of memory: an event has five rows or more, and memory of their own for each would
/// cost more than they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    places: Vec<Place>,
    /// The key and the value of each write, one after the other.
    bytes: Vec<u8>,
}

/// What of a batch's bytes belongs to a write: they begin where those of the one before it end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    table: Table,
    key_bytes: usize,
    /// `None` deletes the row.
    value_bytes: Option<usize>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many more writes, and so many more bytes of keys and values.
    pub fn reserve(&mut self, writes: usize, bytes: usize) {
        self.places.reserve(writes);
        self.bytes.reserve(bytes);
    }

    /// Takes all writes out, and keeps their memory for what comes next, if it is not all too much.
    pub fn clear(&mut self) {
        self.places.clear();
        self.places.shrink_to(KEPT_WRITES_MAX);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Sets the row under `key` to `value`.
    pub fn put(&mut self, table: Table, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.put_parts(table, key, &[value.as_ref()]);
    }

    /// Sets the row under `key` to a value that is `parts`, one after the other.
    pub fn put_parts(&mut self, table: Table, key: impl AsRef<[u8]>, parts: &[&[u8]]) {
        let key_bytes = self.push_bytes(key.as_ref());
        let value_bytes = parts.iter().map(|part| self.push_bytes(part)).sum();
        self.places.push(Place {
            table,
            key_bytes,
            value_bytes: Some(value_bytes),
        });
    }

    /// Sets the row under a key that is `parts`, one after the other, to nothing: that it is there says all.
    pub fn put_index(&mut self, table: Table, parts: &[&[u8]]) {
        let key_bytes = parts.iter().map(|part| self.push_bytes(part)).sum();
        self.places.push(Place {
            table,
            key_bytes,
            value_bytes: Some(0),
        });
    }

    /// Removes the row under `key`, if there is one.
    pub fn delete(&mut self, table: Table, key: impl AsRef<[u8]>) {
        let key_bytes = self.push_bytes(key.as_ref());
        self.places.push(Place {
            table,
            key_bytes,
            value_bytes: None,
        });
    }

    /// Moves the writes of `later` to the end of this batch.
    pub fn append(&mut self, later: Self) {
        self.places.extend(later.places);
        self.bytes.extend(later.bytes);
    }

    /// The writes, in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let mut rest = &self.bytes[..];
        self.places.iter().map(move |place| {
            let key = take(&mut rest, place.key_bytes);
            let value = place.value_bytes.map(|bytes| take(&mut rest, bytes));
            Op {
                table: place.table,
                key,
                value,
            }
        })
    }

    /// Number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns how many there are.
    fn push_bytes(&mut self, bytes: &[u8]) -> usize {
        self.bytes.extend_from_slice(bytes);
        bytes.len()
    }
}

/// Takes the first `bytes` off.
fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (first, others) = rest.split_at(bytes);
    *rest = others;
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batch_counts_ops_and_bytes() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        batch.put(Table::Meta, b"ab", vec![1, 2, 3]);
        batch.delete(Table::Meta, &b"cd"[..]);
        let mut later = Batch::new();
        later.put(Table::Events, 7u64.to_be_bytes(), b"");
        batch.append(later);
        assert_eq!((batch.len(), batch.bytes()), (3, 2 + 3 + 2 + 8));
        let last = batch.ops().last().expect("there are three");
        assert_eq!((last.table, last.value), (Table::Events, Some(&[][..])));
    }

    #[test]
    fn cleared_batch_is_an_empty_one_that_keeps_some_memory() {
        let mut batch = Batch::new();
        batch.put(Table::Meta, b"k", vec![7; 2 * KEPT_BYTES_MAX]);
        batch.clear();
        assert_eq!(batch, Batch::new());
        assert!(batch.bytes.capacity() < 2 * KEPT_BYTES_MAX);
        batch.reserve(1, 1_000);
        batch.put(Table::Meta, b"k", b"v");
        batch.clear();
        assert!(batch.bytes.capacity() >= 1_000);
    }

    /// Table, key, parts of the value.
    type Write = (usize, Vec<u8>, Option<Vec<Vec<u8>>>);

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..6);
        let parts = prop::option::of(prop::collection::vec(bytes(), 0..4));
        prop::collection::vec((0..Table::ALL.len(), bytes(), parts), 0..12)
    }

    fn batch_of(writes: &[Write]) -> Batch {
        let mut batch = Batch::new();
        for (table, key, parts) in writes {
            let table = Table::ALL[*table];
            match parts {
                Some(parts) => {
                    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                    batch.put_parts(table, key, &parts);
                }
                None => batch.delete(table, key),
            }
        }
        batch
    }

    proptest! {
        #[test]
        fn batch_has_what_was_put_into_it_in_order(first in writes(), later in writes()) {
            let mut batch = batch_of(&first);
            batch.append(batch_of(&later));
            let values: Vec<_> = first
                .iter()
                .chain(&later)
                .map(|(_, _, parts)| parts.as_ref().map(|parts| parts.concat()))
                .collect();
            let expected = first.iter().chain(&later).zip(&values);
            let expected: Vec<_> = expected
                .map(|((table, key, _), value)| Op {
                    table: Table::ALL[*table],
                    key,
                    value: value.as_deref(),
                })
                .collect();
            prop_assert_eq!(batch.ops().collect::<Vec<_>>(), expected);
        }
    }
}
