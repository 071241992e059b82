//! The mean similarity of every two micro-clusters.

use super::dots::{self, LANES};

/// Largest absolute component of a centred mean, Q14: what a multiplier of i16 takes.
const COMPONENT_MAX: i32 = i16::MAX as i32;

/// Least squared spread, Q28: a stream of equal events would make it zero or less.
const SPREAD_MIN: i64 = 1 << 20;

/// Rows and columns of a tile of the matrix: at 768 components, the tile's rows fit the first cache.
const TILE: usize = 16;

/// The centred mean of a micro-cluster, Q14: its sums by its weight, less the mean of all
/// embeddings.
///
/// All are of shape `[d]`. Components are within ±32,767. `weight` is 1 to 4,096.
///
/// # Length
///
/// The dot product of two centred means fits an i32, and so does every partial sum of it. An embedding
/// has norm at most sqrt(1.01) * 2^14 (its norm is checked in prepare), hence so has every mean
/// of embeddings, and a centred mean at most twice that, apart from rounding. Rounding adds less than
/// 2 to each component: both divisions round down by less than 1, in opposite directions, and the
/// decay of sums at the cap rounds up by less than 1 (each decay adds less than 1/cap to the
/// component's mean, and shrinks what earlier ones added by 1 - 1/cap). So the norm is at most
/// 32,932 + 2 sqrt(4,096) = 33,060, clamping only shortens, and by Cauchy-Schwarz any subset of the
/// products sums to at most 33,060^2 < 1.1 * 10^9 < 2^31 in absolute value.
pub fn centred(sums: &[i32], weight: u32, mean: &[i32], out: &mut [i32]) {
    let weight = i32::try_from(weight).expect("a weight is at most 4,096");
    for ((out, &sum), &mean) in out.iter_mut().zip(sums).zip(mean) {
        let centred = sum.div_euclid(weight).saturating_sub(mean);
        *out = centred.clamp(-COMPONENT_MAX, COMPONENT_MAX);
    }
}

/// The squared spread of the embeddings about their mean, Q28: what makes the mean similarity of
/// an event with itself 1. At least 2^20.
#[must_use]
pub fn spread(mean: &[i32]) -> i64 {
    let squares = mean.iter().map(|&m| i64::from(m) * i64::from(m));
    ((1 << 28) - squares.sum::<i64>()).max(SPREAD_MIN)
}

/// Centred means, padded with zeros to whole lanes.
#[derive(Debug)]
pub(super) struct Rows {
    width: usize,
    cells: Vec<i16>,
}

impl Rows {
    /// `count` rows of zeros.
    pub(super) fn new(count: usize, dimension: usize) -> Self {
        let width = dimension.next_multiple_of(LANES);
        Self {
            width,
            cells: vec![0; count * width],
        }
    }

    /// Sets one row to what [`centred`] made.
    pub(super) fn set(&mut self, row: usize, centre: &[i32]) {
        let cells = &mut self.cells[row * self.width..][..centre.len()];
        for (cell, &component) in cells.iter_mut().zip(centre) {
            *cell = i16::try_from(component).expect("centred means are clamped");
        }
    }

    fn len(&self) -> usize {
        self.cells.len() / self.width
    }

    /// Rows `first..last`, one after the other.
    fn range(&self, first: usize, last: usize) -> &[i16] {
        &self.cells[first * self.width..last * self.width]
    }
}

/// A symmetric matrix of similarities in Q28: the upper triangle with its diagonal, row by row.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    len: usize,
    cells: Vec<i64>,
}

impl Pairs {
    /// A matrix of `len` rows of zeros.
    pub(super) fn new(len: usize) -> Self {
        Self {
            len,
            cells: vec![0; len * (len + 1) / 2],
        }
    }

    /// The similarity of each two rows: their dot product by the squared `spread`.
    ///
    /// A dot product is below 2^31 and the spread at least 2^20, so all are below 2^39.
    pub(super) fn between(rows: &Rows, spread: i64) -> Self {
        let mut pairs = Self::new(rows.len());
        let dots = dots::fastest();
        let mut out = [0; TILE];
        for top in (0..rows.len()).step_by(TILE) {
            for left in (top..rows.len()).step_by(TILE) {
                let last = rows.len().min(left + TILE);
                for row in top..rows.len().min(top + TILE) {
                    let first = left.max(row);
                    let out = &mut out[..last - first];
                    dots(rows.range(row, row + 1), rows.range(first, last), out);
                    let cells = &mut pairs.row_mut(row)[first - row..last - row];
                    for (cell, &dot) in cells.iter_mut().zip(&*out) {
                        *cell = (i64::from(dot) << 28).div_euclid(spread);
                    }
                }
            }
        }
        pairs
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The largest absolute value.
    pub(super) fn magnitude(&self) -> u64 {
        let magnitudes = self.cells.iter().map(|cell| cell.unsigned_abs());
        magnitudes.max().unwrap_or(0)
    }

    /// The cells of a row from the diagonal on.
    pub(super) fn row(&self, row: usize) -> &[i64] {
        &self.cells[self.start(row) + row..][..self.len - row]
    }

    fn row_mut(&mut self, row: usize) -> &mut [i64] {
        let start = self.start(row) + row;
        &mut self.cells[start..][..self.len - row]
    }

    /// The cell of two rows in any order.
    pub(super) fn at(&mut self, a: usize, b: usize) -> &mut i64 {
        let index = self.start(a.min(b)) + a.max(b);
        &mut self.cells[index]
    }

    /// Where column 0 of a row would be, if the row had its columns before the diagonal.
    fn start(&self, row: usize) -> usize {
        row * (2 * self.len - row - 1) / 2
    }
}
