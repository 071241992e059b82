//! Sets of rows, told apart by sums over them.
//!
//! An index is sound if it has the rows that the headers ask for, and no others. To look up each of them costs most of
//! a verification, since the keys lie all over the table. Instead both sets are summed up, the one along the headers and
//! the other along the index: sets that differ have other sums, but for one case in some 10^38. Only where they differ
//! is each row looked up, to say which.
//!
//! That holds for rows that somebody has chosen too: sums that are known beforehand could be made equal by choosing some
//! thousand rows, and so they are keyed.

use crate::engine::Table;
use crate::seam::Entropy;

/// Tables whose rows are summed up. Those of the others are walked along with the headers, or are not asked for by them.
pub(super) const SUMMED: [Table; 6] = [
    Table::PayloadDigests,
    Table::Events,
    Table::Kinds,
    Table::Attributes,
    Table::Children,
    Table::Micros,
];

/// What the sums of one verification are keyed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SumKey([u8; 32]);

impl SumKey {
    /// One that nobody knows beforehand.
    pub(super) fn draw(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }
}

/// Some of [`SUMMED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables(u16);

impl Tables {
    /// None of them.
    pub(super) const NONE: Self = Self(0);

    /// All of them.
    pub(super) fn all() -> Self {
        SUMMED.into_iter().fold(Self::NONE, Self::with)
    }

    /// These, and `table`.
    pub(super) const fn with(self, table: Table) -> Self {
        Self(self.0 | Self::bit(table))
    }

    const fn contains(self, table: Table) -> bool {
        self.0 & Self::bit(table) != 0
    }

    const fn bit(table: Table) -> u16 {
        1 << table.index()
    }
}

/// How the rows of indexes are compared with what headers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookups {
    /// All at once, by their sums.
    Summed(SumKey),
    /// One by one in these tables, whose sums are others or are not known: what is wrong is named.
    EachRow(Tables),
}

impl Lookups {
    /// Whether rows of the table need not be looked at one by one: they are summed up, or were.
    pub(super) fn spares(self, table: Table) -> bool {
        let is_wanted = match self {
            Self::Summed(_) => false,
            Self::EachRow(tables) => tables.contains(table),
        };
        SUMMED.contains(&table) && !is_wanted
    }

    /// What makes their sums, if they are summed up.
    pub(super) fn row_sums(self) -> Option<RowSums> {
        match self {
            Self::Summed(key) => Some(RowSums::new(key)),
            Self::EachRow(_) => None,
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
pub(super) struct RowSums {
    key: SumKey,
    /// The row, as it is hashed.
    row: Vec<u8>,
}

impl RowSums {
    pub(super) const fn new(key: SumKey) -> Self {
        Self {
            key,
            row: Vec::new(),
        }
    }

    /// Half of the keyed BLAKE3 of the key's length, the key, and the value.
    pub(super) fn of(&mut self, key: &[u8], value: &[u8]) -> Sum {
        self.row.clear();
        self.row
            .extend_from_slice(&(key.len() as u64).to_le_bytes());
        self.row.extend_from_slice(key);
        self.row.extend_from_slice(value);
        let hash = blake3::keyed_hash(&self.key.0, &self.row);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Sum(u128::from_le_bytes(half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_by(key: SumKey, rows: &[(&[u8], &[u8])]) -> Sum {
        let (mut sums, mut all) = (RowSums::new(key), Sum::ZERO);
        for (key, value) in rows {
            all.add(sums.of(key, value));
        }
        all
    }

    fn sum(rows: &[(&[u8], &[u8])]) -> Sum {
        sum_by(SumKey([7; 32]), rows)
    }

    #[test]
    fn sums_are_of_the_set_and_not_of_its_order() {
        let a: (&[u8], &[u8]) = (b"a", b"1");
        let b: (&[u8], &[u8]) = (b"b", b"");
        assert_eq!(sum(&[a, b]), sum(&[b, a]));
        assert_ne!(sum(&[a, b]), sum(&[a]));
        assert_ne!(sum(&[a, b]), sum(&[a, a]));
        // Where the key ends counts.
        assert_ne!(sum(&[(b"ab", b"c")]), sum(&[(b"a", b"bc")]));
        assert_eq!(sum(&[]), Sum::ZERO);
    }

    #[test]
    fn rows_are_spared_where_their_sums_tell_enough() {
        let (all, one) = (Tables::all(), Tables::NONE.with(Table::Kinds));
        let summed = Lookups::Summed(SumKey([7; 32]));
        for table in Table::ALL {
            let is_summed = SUMMED.contains(&table);
            assert_eq!(summed.spares(table), is_summed, "{table}");
            assert!(!Lookups::EachRow(all).spares(table), "{table}");
            let is_spared = is_summed && table != Table::Kinds;
            assert_eq!(Lookups::EachRow(one).spares(table), is_spared, "{table}");
        }
    }

    #[test]
    fn sums_are_others_with_another_key() {
        let rows: [(&[u8], &[u8]); 1] = [(b"a", b"1")];
        assert_ne!(sum(&rows), sum_by(SumKey([8; 32]), &rows));
    }
}
