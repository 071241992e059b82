//! The order in which the writes of a batch are handed to RocksDB.

use crate::engine::{Batch, Op, Table};

/// The writes of `batch`, table by table; those to one row as they were. All of them become visible at once, so the order
/// is nobody's business but that of the memory tables: what follows on the row before it is inserted without a search.
pub(super) fn by_table(batch: &Batch) -> impl Iterator<Item = Op<'_>> {
    let mut counts = [0; Table::ALL.len()];
    for op in batch.ops() {
        counts[op.table.index()] += 1;
    }
    let mut tables = counts.map(Vec::with_capacity);
    for op in batch.ops() {
        tables[op.table.index()].push(op);
    }
    for table in Table::ALL.into_iter().filter(|&table| has_runs(table)) {
        // Stable: of two writes to one row the later one wins.
        tables[table.index()].sort_by(|a, b| a.key.cmp(b.key));
    }
    tables.into_iter().flatten()
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
    use super::*;

    #[test]
    fn indexes_are_written_in_the_order_of_their_keys_and_a_row_in_that_of_its_writes() {
        let mut batch = Batch::new();
        for (key, value) in [(b"b2", b"1"), (b"a1", b"2"), (b"b1", b"3"), (b"b2", b"4")] {
            batch.put(Table::Kinds, key, value);
            batch.put(Table::Meta, key, value);
        }
        batch.delete(Table::Meta, b"a1");
        batch.put(Table::Headers, b"h", b"5");
        let rows: Vec<_> = by_table(&batch)
            .map(|op| (op.table, op.key, op.value))
            .collect();
        let row = |table, key: &'static str, value: &'static str| {
            let value = (!value.is_empty()).then_some(value.as_bytes());
            (table, key.as_bytes(), value)
        };
        let expected = [
            row(Table::Headers, "h", "5"),
            row(Table::Kinds, "a1", "2"),
            row(Table::Kinds, "b1", "3"),
            row(Table::Kinds, "b2", "1"),
            row(Table::Kinds, "b2", "4"),
            row(Table::Meta, "b2", "1"),
            row(Table::Meta, "a1", "2"),
            row(Table::Meta, "b1", "3"),
            row(Table::Meta, "b2", "4"),
            row(Table::Meta, "a1", ""),
        ];
        assert_eq!(rows, expected);
    }
}
