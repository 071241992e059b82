//! The order in which the writes of a batch are handed to RocksDB.

use crate::engine::{Batch, Op, Table};

const TABLES: usize = Table::ALL.len();

/// Hands the writes of `batch` to `each`: those to one row as they were, and those to an index in the order of their keys. All
/// of them become visible at once, so the order is nobody's business but that of the memory tables: what follows on the row
/// before it is inserted without a search. A table whose rows are in order already, as those of all are where events are of
/// one kind, costs a comparison for each.
pub(super) fn hand_over<'a>(batch: &'a Batch, mut each: impl FnMut(Op<'a>)) {
    let is_in_order = are_in_order(batch);
    let mut others = Vec::new();
    for op in batch.ops() {
        if is_in_order[op.table.index()] {
            each(op);
        } else {
            others.push(op);
        }
    }
    // Stable: of two writes to one row the later one wins.
    others.sort_by(|a, b| a.table.cmp(&b.table).then_with(|| a.key.cmp(b.key)));
    others.into_iter().for_each(each);
}

/// Whether the rows of each table may be written as they come.
fn are_in_order(batch: &Batch) -> [bool; TABLES] {
    let mut are_in_order = [true; TABLES];
    let mut last: [&[u8]; TABLES] = [&[]; TABLES];
    for op in batch.ops().filter(|op| has_runs(op.table)) {
        let table = op.table.index();
        are_in_order[table] &= last[table] <= op.key;
        last[table] = op.key;
    }
    are_in_order
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

    type Row<'a> = (Table, &'a [u8], Option<&'a [u8]>);

    fn row(table: Table, key: &'static str, value: &'static str) -> Row<'static> {
        let value = (!value.is_empty()).then_some(value.as_bytes());
        (table, key.as_bytes(), value)
    }

    fn handed_over(batch: &Batch) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        hand_over(batch, |op| rows.push((op.table, op.key, op.value)));
        rows
    }

    #[test]
    fn indexes_are_written_in_the_order_of_their_keys_and_a_row_in_that_of_its_writes() {
        let mut batch = Batch::new();
        for (key, value) in [(b"b2", b"1"), (b"a1", b"2"), (b"b1", b"3"), (b"b2", b"4")] {
            batch.put(Table::Kinds, key, value);
            batch.put(Table::Meta, key, value);
        }
        batch.delete(Table::Meta, b"a1");
        batch.put(Table::Headers, b"h", b"5");
        let expected = [
            row(Table::Meta, "b2", "1"),
            row(Table::Meta, "a1", "2"),
            row(Table::Meta, "b1", "3"),
            row(Table::Meta, "b2", "4"),
            row(Table::Meta, "a1", ""),
            row(Table::Headers, "h", "5"),
            row(Table::Kinds, "a1", "2"),
            row(Table::Kinds, "b1", "3"),
            row(Table::Kinds, "b2", "1"),
            row(Table::Kinds, "b2", "4"),
        ];
        assert_eq!(handed_over(&batch), expected);
    }

    #[test]
    fn rows_that_are_in_order_are_written_as_they_come() {
        let mut batch = Batch::new();
        for (key, value) in [(b"k1", b"1"), (b"k2", b"2"), (b"k2", b"3")] {
            batch.put(Table::Kinds, key, value);
            batch.put(Table::Headers, key, value);
        }
        let expected = [
            row(Table::Kinds, "k1", "1"),
            row(Table::Headers, "k1", "1"),
            row(Table::Kinds, "k2", "2"),
            row(Table::Headers, "k2", "2"),
            row(Table::Kinds, "k2", "3"),
            row(Table::Headers, "k2", "3"),
        ];
        assert_eq!(handed_over(&batch), expected);
    }
}
