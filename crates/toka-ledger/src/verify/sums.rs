//! Sets of rows, told apart by sums over them.
//!
//! An index is sound if it has the rows that the headers ask for, and no others. To look up each of them costs most of
//! a verification, since the keys lie all over the table. Instead both sets are summed up, the one along the headers and
//! the other along the index: sets that differ have other sums, but for one case in some 10^38. Only where they differ
//! is each row looked up, to say which.

use crate::engine::Table;

/// How the rows of indexes are compared with what headers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookups {
    /// All at once, by their sums.
    Summed,
    /// One by one: what is wrong is named.
    EachRow,
}

impl Lookups {
    /// Whether the rows of the table are summed up. Those of the others are walked along with the headers, or are not
    /// asked for by them.
    pub(super) const fn sums(self, table: Table) -> bool {
        match self {
            Self::Summed => matches!(
                table,
                Table::PayloadDigests
                    | Table::Events
                    | Table::Kinds
                    | Table::Attributes
                    | Table::Children
                    | Table::Micros
            ),
            Self::EachRow => false,
        }
    }
}

/// A sum over rows, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum(u128);

impl Sum {
    /// Of no row.
    pub(super) const ZERO: Self = Self(0);

    /// Adds those of another sum.
    pub(super) const fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// Makes sums of single rows.
#[derive(Debug, Default)]
pub(super) struct RowSums {
    /// The row, as it is hashed.
    row: Vec<u8>,
}

impl RowSums {
    /// Half of the BLAKE3 of the key's length, the key, and the value.
    pub(super) fn of(&mut self, key: &[u8], value: &[u8]) -> Sum {
        self.row.clear();
        self.row
            .extend_from_slice(&(key.len() as u64).to_le_bytes());
        self.row.extend_from_slice(key);
        self.row.extend_from_slice(value);
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::hash(&self.row).as_bytes()[..16]);
        Sum(u128::from_le_bytes(half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[(&[u8], &[u8])]) -> Sum {
        let (mut sums, mut all) = (RowSums::default(), Sum::ZERO);
        for (key, value) in rows {
            all.add(sums.of(key, value));
        }
        all
    }

    #[test]
    fn sums_are_of_the_set_and_not_of_its_order() {
        let (a, b): ((&[u8], &[u8]), (&[u8], &[u8])) = ((b"a", b"1"), (b"b", b""));
        assert_eq!(sum(&[a, b]), sum(&[b, a]));
        assert_ne!(sum(&[a, b]), sum(&[a]));
        assert_ne!(sum(&[a, b]), sum(&[a, a]));
        // Where the key ends counts.
        assert_ne!(sum(&[(b"ab", b"c")]), sum(&[(b"a", b"bc")]));
        assert_eq!(sum(&[]), Sum::ZERO);
    }
}
