//! Writes that are applied together.

use bytes::Bytes;

use super::Table;

/// Bytes for a [`Batch`]: borrowed ones are copied, owned ones are not.
pub trait IntoBytes {
    /// The bytes, owned.
    fn into_bytes(self) -> Bytes;
}

impl IntoBytes for Bytes {
    fn into_bytes(self) -> Bytes {
        self
    }
}

impl IntoBytes for &Bytes {
    fn into_bytes(self) -> Bytes {
        self.clone()
    }
}

impl IntoBytes for Vec<u8> {
    fn into_bytes(self) -> Bytes {
        Bytes::from(self)
    }
}

impl IntoBytes for &Vec<u8> {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl IntoBytes for &[u8] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const N: usize> IntoBytes for [u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }
}

impl<const N: usize> IntoBytes for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

/// One write of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The table written to.
    pub table: Table,
    /// The row's key.
    pub key: Bytes,
    /// The row's new value; `None` deletes the row.
    pub value: Option<Bytes>,
}

/// Puts and deletes over all tables, applied atomically and in order: a later one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the row under `key` to `value`.
    pub fn put(&mut self, table: Table, key: impl IntoBytes, value: impl IntoBytes) {
        self.push(Op {
            table,
            key: key.into_bytes(),
            value: Some(value.into_bytes()),
        });
    }

    /// Removes the row under `key`, if there is one.
    pub fn delete(&mut self, table: Table, key: impl IntoBytes) {
        self.push(Op {
            table,
            key: key.into_bytes(),
            value: None,
        });
    }

    /// Moves the writes of `later` to the end of this batch.
    pub fn append(&mut self, later: Self) {
        self.bytes += later.bytes;
        self.ops.extend(later.ops);
    }

    /// The writes, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writes, in order, owned.
    pub(super) fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    fn push(&mut self, op: Op) {
        self.bytes += op.key.len() + op.value.as_ref().map_or(0, Bytes::len);
        self.ops.push(op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_counts_ops_and_bytes() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        batch.put(Table::Meta, b"ab", vec![1, 2, 3]);
        batch.delete(Table::Meta, &b"cd"[..]);
        let mut later = Batch::new();
        later.put(Table::Events, 7u64.to_be_bytes(), Bytes::new());
        batch.append(later);
        assert_eq!((batch.len(), batch.bytes()), (3, 2 + 3 + 2 + 8));
        assert_eq!(batch.ops()[2].table, Table::Events);
    }
}
