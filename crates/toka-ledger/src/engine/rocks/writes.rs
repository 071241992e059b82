//! A batch in the bytes in which RocksDB takes one.
//!
//! ```text
//! sequence u64 = 0 | number of writes u32 | writes
//! write: what RocksDB puts before those to a table | key | value (of a put only)
//! ```
//!
//! Integers are little-endian; a key or value comes behind its length, a varint. So RocksDB writes its own log, and says
//! so of `WriteBatch::data`. A call of RocksDB for each row would cost several times what its bytes do.

use bytes::BufMut as _;
use rocksdb::{ColumnFamily, WriteBatch};

use crate::codec::put_prefixed;
use crate::engine::{Batch, Op, Table};

const TABLES: usize = Table::ALL.len();
/// The sequence and the number of writes.
const HEADER_BYTES: usize = COUNT_AT + 4;
const COUNT_AT: usize = 8;
/// Memory that is kept from one batch for the next, at most.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Makes RocksDB's batches out of ours.
pub(super) struct Writes {
    fronts: [Front; TABLES],
    /// What was written last: memory for what comes next.
    bytes: Vec<u8>,
}

/// Where the writes of a batch go.
struct Layout {
    /// Where those to each table begin.
    starts: [usize; TABLES],
    is_in_order: [bool; TABLES],
    end: usize,
}

impl Writes {
    /// For tables that are `family` of the database.
    pub(super) fn of<'a>(family: impl Fn(Table) -> &'a ColumnFamily) -> Self {
        Self {
            fronts: Table::ALL.map(|table| Front::of(family(table))),
            bytes: Vec::new(),
        }
    }

    /// The writes of `batch`, table by table; those to one row as they were. All of them become visible at once, so the
    /// order is nobody's business but that of the memory tables: what follows on the row before it is inserted without a
    /// search.
    pub(super) fn batch(&mut self, batch: &Batch) -> WriteBatch {
        let layout = self.layout(batch);
        let Self { fronts, bytes } = self;
        if bytes.len() < layout.end {
            bytes.resize(layout.end, 0);
        }
        let count = u32::try_from(batch.len()).expect("a batch has under 2^32 writes");
        bytes[..COUNT_AT].fill(0);
        bytes[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        let mut next = layout.starts;
        let mut unordered = Vec::new();
        for op in batch.ops() {
            let table = op.table.index();
            if layout.is_in_order[table] {
                next[table] = fronts[table].write(&op, bytes, next[table]);
            } else {
                unordered.push(op);
            }
        }
        // Stable: of two writes to one row the later one wins.
        unordered.sort_by(|a, b| a.table.cmp(&b.table).then_with(|| a.key.cmp(b.key)));
        for op in &unordered {
            let table = op.table.index();
            next[table] = fronts[table].write(op, bytes, next[table]);
        }
        debug_assert_eq!(next[TABLES - 1], layout.end);
        let writes = WriteBatch::from_data(&bytes[..layout.end]);
        if bytes.len() > KEPT_BYTES_MAX {
            *bytes = Vec::new();
        }
        writes
    }

    fn layout(&self, batch: &Batch) -> Layout {
        let mut sizes = [0; TABLES];
        let mut is_in_order = [true; TABLES];
        let mut last: [&[u8]; TABLES] = [&[]; TABLES];
        for op in batch.ops() {
            let table = op.table.index();
            sizes[table] += self.fronts[table].write_bytes(&op);
            if has_runs(op.table) {
                is_in_order[table] &= last[table] <= op.key;
                last[table] = op.key;
            }
        }
        let mut end = HEADER_BYTES;
        let starts = sizes.map(|bytes: usize| {
            let start = end;
            end += bytes;
            start
        });
        Layout {
            starts,
            is_in_order,
            end,
        }
    }
}

/// What RocksDB puts before the key of a write to a table: what is done, and the table's number.
struct Front {
    put: Box<[u8]>,
    delete: Box<[u8]>,
}

impl Front {
    /// What it puts there itself.
    fn of(family: &ColumnFamily) -> Self {
        let mut put = WriteBatch::new();
        put.put_cf(family, b"", b"");
        let mut delete = WriteBatch::new();
        delete.delete_cf(family, b"");
        // An empty key or value is its length, a byte.
        Self {
            put: without_ends(put.data(), 2),
            delete: without_ends(delete.data(), 1),
        }
    }

    fn write_bytes(&self, op: &Op<'_>) -> usize {
        match op.value {
            Some(value) => self.put.len() + prefixed_bytes(op.key) + prefixed_bytes(value),
            None => self.delete.len() + prefixed_bytes(op.key),
        }
    }

    /// Writes `op` from `at` on. Returns where it ends.
    fn write(&self, op: &Op<'_>, bytes: &mut [u8], at: usize) -> usize {
        let mut rest = &mut bytes[at..];
        let room = rest.len();
        match op.value {
            Some(value) => {
                rest.put_slice(&self.put);
                put_prefixed(&mut rest, op.key);
                put_prefixed(&mut rest, value);
            }
            None => {
                rest.put_slice(&self.delete);
                put_prefixed(&mut rest, op.key);
            }
        }
        at + (room - rest.len())
    }
}

/// What is between a batch's header and its last `end_bytes`.
fn without_ends(batch: &[u8], end_bytes: usize) -> Box<[u8]> {
    batch[HEADER_BYTES..batch.len() - end_bytes].into()
}

/// Bytes that [`put_prefixed`] appends.
const fn prefixed_bytes(bytes: &[u8]) -> usize {
    let length_bits = usize::BITS - (bytes.len() | 1).leading_zeros();
    length_bits.div_ceil(7) as usize + bytes.len()
}

/// Whether rows come in as many orders as there are kinds, values, parents, micro-clusters. Others come in order anyway, are
/// hashed, or are few.
const fn has_runs(table: Table) -> bool {
    match table {
        Table::Kinds | Table::Attributes | Table::Children | Table::Micros => true,
        Table::Headers | Table::Payloads | Table::Embeddings | Table::History => false,
        Table::Events | Table::PayloadDigests | Table::Clusters | Table::Meta => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RocksEngine, RocksOptions};
    use super::*;

    /// What RocksDB makes of the writes of `batch`, handed to it one by one, in the order that is wanted.
    fn expected(engine: &RocksEngine, batch: &Batch) -> Vec<u8> {
        let mut writes = WriteBatch::new();
        for table in Table::ALL {
            let family = engine.family(table);
            let mut ops: Vec<_> = batch.ops().filter(|op| op.table == table).collect();
            if has_runs(table) {
                ops.sort_by(|a, b| a.key.cmp(b.key));
            }
            for op in ops {
                match op.value {
                    Some(value) => writes.put_cf(family, op.key, value),
                    None => writes.delete_cf(family, op.key),
                }
            }
        }
        writes.data().to_vec()
    }

    #[test]
    fn a_batch_is_the_bytes_that_rocksdb_makes_of_its_rows() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = RocksOptions::default();
        let engine = RocksEngine::open(dir.path(), &options).expect("created");
        let mut writes = Writes::of(|table| engine.family(table));
        let mut is_same = |batch: &Batch| writes.batch(batch).data() == expected(&engine, batch);
        assert!(is_same(&Batch::new()), "empty");
        // Lengths about where they take a byte more; a batch whose memory is not kept, and one that takes less than is there.
        for bytes in [0, 1, 127, 128, 16_383, 16_384, 200_000, 3] {
            let mut batch = Batch::new();
            for table in Table::ALL {
                batch.put(table, vec![2; bytes.min(20_000)], vec![3; bytes]);
                batch.put(table, b"", vec![4; bytes]);
                batch.delete(table, vec![2; bytes.min(20_000)]);
            }
            assert!(is_same(&batch), "{bytes}");
        }
    }

    #[test]
    fn indexes_are_written_in_the_order_of_their_keys_and_a_row_in_that_of_its_writes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = RocksOptions::default();
        let engine = RocksEngine::open(dir.path(), &options).expect("created");
        let mut batch = Batch::new();
        for (key, value) in [(b"b2", b"1"), (b"a1", b"2"), (b"b1", b"3"), (b"b2", b"4")] {
            batch.put(Table::Kinds, key, value);
            batch.put(Table::Meta, key, value);
        }
        batch.delete(Table::Meta, b"a1");
        batch.put(Table::Headers, b"h", b"5");
        let mut in_order = Batch::new();
        in_order.put(Table::Headers, b"h", b"5");
        for (key, value) in [(b"a1", b"2"), (b"b1", b"3"), (b"b2", b"1"), (b"b2", b"4")] {
            in_order.put(Table::Kinds, key, value);
        }
        for (key, value) in [(b"b2", b"1"), (b"a1", b"2"), (b"b1", b"3"), (b"b2", b"4")] {
            in_order.put(Table::Meta, key, value);
        }
        in_order.delete(Table::Meta, b"a1");
        let mut writes = Writes::of(|table| engine.family(table));
        let written = writes.batch(&batch);
        assert_eq!(written.data(), writes.batch(&in_order).data());
    }
}
