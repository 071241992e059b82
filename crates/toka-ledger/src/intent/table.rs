//! The hot table: the directions of all micro-clusters, and the scan of it.

#[cfg(test)]
mod tests;

use super::kernel::{
    BLOCK_QUERIES_MAX, Kernel, Line, Sieve, TILE_ROWS, Tile, flat, flat_mut, lines_for,
};
use super::quantize::{isqrt, quantize};
use super::query::Query;
use super::shortlist::{Candidate, Shortlist};
use super::sketch::Sketch;

/// From this many rows on a sketch is worth its upkeep: two projections per event.
pub const SKETCH_MICROS_MIN: usize = 2_000;
/// Rows that room is made for at once.
const RESERVED_ROWS: usize = 32;
/// Candidates that are kept by their bounds alone; more are scored, and only the best stay.
const SKETCH_CANDIDATES_MAX: usize = 1_024;

/// The highest score, and the lowest row that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    /// Index in the table.
    pub row: usize,
    /// Dot product times weight: 2^30 times the cosine times the norm of the query, about.
    pub score: i64,
}

impl Best {
    /// `best`, or the given row if that is better and reaches `bar`.
    pub(super) fn better(best: Option<Self>, row: usize, score: i64, bar: i64) -> Option<Self> {
        let rank = |best: Self| (best.score, std::cmp::Reverse(best.row));
        let other = Self { row, score };
        if score < bar || best.is_some_and(|best| rank(best) > rank(other)) {
            return best;
        }
        Some(other)
    }
}

/// Directions and weights of micro-clusters, in rows.
#[derive(Clone, Debug)]
pub struct Table {
    dimension: usize,
    /// Per row.
    lines_per_row: usize,
    kernel: Kernel,
    lines: Vec<Line>,
    /// 2^30 divided by the norm of the row, rounded down; 0 if that is 0. Below 2^24.
    weights: Vec<u32>,
    sketch: Option<Sketch>,
    /// At most [`BLOCK_QUERIES_MAX`] rows that were pushed or set since the block began.
    touched: Vec<u32>,
    /// The number of the latest block that `touched` is complete for.
    block: u64,
}

impl Table {
    /// An empty table for directions of shape `[dimension]`, which is at least 1.
    #[must_use]
    pub fn new(dimension: usize, kernel: Kernel) -> Self {
        assert!(dimension > 0, "an embedding has a dimension");
        Self {
            dimension,
            lines_per_row: lines_for(dimension),
            kernel,
            lines: Vec::new(),
            weights: Vec::new(),
            sketch: None,
            touched: Vec::with_capacity(BLOCK_QUERIES_MAX),
            block: 0,
        }
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Memory that the table takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
            + (self.weights.capacity() + self.touched.capacity()) * size_of::<u32>()
            + self.sketch.as_ref().map_or(0, Sketch::bytes)
    }

    /// Makes room for `rows` more rows, and no more.
    pub fn reserve(&mut self, rows: usize) {
        self.lines.reserve_exact(rows * self.lines_per_row);
        self.weights.reserve_exact(rows);
        if let Some(sketch) = &mut self.sketch {
            sketch.reserve_exact(rows);
        }
    }

    /// Removes all rows and the sketch.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.weights.clear();
        self.sketch = None;
        self.begin_block();
    }

    /// Appends the direction of `centre`, shape `[dimension]`.
    pub fn push(&mut self, centre: &[i32]) {
        if self.weights.len() == self.weights.capacity() {
            // Doubling would leave up to half of the memory unused.
            self.reserve(RESERVED_ROWS);
        }
        let row = self.len();
        let end = self.lines.len() + self.lines_per_row;
        self.lines.resize(end, Line::ZERO);
        self.weights.push(0);
        let square = self.write(row, centre);
        if let Some(sketch) = &mut self.sketch {
            let lines = &self.lines[row * self.lines_per_row..];
            sketch.push(self.kernel, lines, square, self.weights[row]);
        }
    }

    /// Replaces a row with the direction of `centre`, shape `[dimension]`.
    pub fn set(&mut self, row: usize, centre: &[i32]) {
        let square = self.write(row, centre);
        if let Some(sketch) = &mut self.sketch {
            let lines = &self.lines[row * self.lines_per_row..][..self.lines_per_row];
            sketch.set(self.kernel, row, lines, square, self.weights[row]);
        }
    }

    /// The quantised direction of a row, shape `[dimension]`.
    #[must_use]
    pub fn row(&self, row: usize) -> &[i8] {
        &flat(self.lines_of(row))[..self.dimension]
    }

    /// The row's score for a query.
    #[must_use]
    pub fn score(&self, row: usize, query: &Query) -> i64 {
        self.score_of(row, &query.lines)
    }

    /// The best row, if there is any.
    #[must_use]
    pub fn best(&self, query: &Query) -> Option<Best> {
        self.best_above(query, i64::MIN)
    }

    /// The best row, if its score is at least `bar`.
    #[must_use]
    pub fn best_above(&self, query: &Query, bar: i64) -> Option<Best> {
        self.best_for(&query.lines, query.square, bar)
    }

    /// Finds directions to filter rows by, for [`SKETCH_MICROS_MIN`] rows or more; it changes no
    /// answer, only the time to find it. Replaces an earlier sketch.
    ///
    /// Takes about 35 ms for 10,000 rows at dimension 768 with AVX-512.
    pub fn train_sketch(&mut self) {
        if self.is_empty() {
            return;
        }
        // Not two at once in memory.
        self.sketch = None;
        self.sketch = Some(Sketch::train(
            self.kernel,
            &self.lines,
            self.lines_per_row,
            &self.weights,
            self.weights.capacity(),
        ));
    }

    pub(super) fn best_for(&self, query: &[Line], square: u32, bar: i64) -> Option<Best> {
        let mut shortlist = [Shortlist::new(bar, 1, self.shortlist_room(1))];
        self.scan(query, &[square], &mut shortlist);
        shortlist[0].best(bar, None, &[], |row| self.score_of(row, query))
    }

    pub(super) fn score_of(&self, row: usize, query: &[Line]) -> i64 {
        let dot = self.kernel.dot(self.lines_of(row), query);
        i64::from(dot) * i64::from(self.weights[row])
    }

    /// Forgets which rows were touched. Returns a number for [`touched_since`](Self::touched_since).
    pub(super) fn begin_block(&mut self) -> u64 {
        self.touched.clear();
        self.block += 1;
        self.block
    }

    /// The rows that were touched since that block began, if that is still known.
    pub(super) fn touched_since(&self, block: u64) -> Option<&[u32]> {
        (self.block == block).then_some(self.touched.as_slice())
    }

    /// Candidates that a list for [`scan`](Self::scan) that keeps `keep` needs room for.
    pub(super) fn shortlist_room(&self, keep: usize) -> usize {
        if self.sketch.is_some() {
            SKETCH_CANDIDATES_MAX
        } else {
            2 * keep
        }
    }

    /// Fills the shortlists of up to [`BLOCK_QUERIES_MAX`] queries.
    pub(super) fn scan(&self, queries: &[Line], squares: &[u32], shortlists: &mut [Shortlist]) {
        if !self.is_empty() && !squares.is_empty() {
            match &self.sketch {
                Some(sketch) => self.scan_sketch(sketch, queries, squares, shortlists),
                None => self.scan_rows(queries, shortlists),
            }
        }
    }

    fn scan_rows(&self, queries: &[Line], shortlists: &mut [Shortlist]) {
        let stride = Kernel::stride(shortlists.len());
        let mut tile = Tile::ZERO;
        let mut sieve = Sieve::CLOSED;
        for (query, shortlist) in shortlists.iter().enumerate() {
            sieve.scale[query] = 1.0;
            sieve.floor[query] = rounded_down(shortlist.floor());
        }
        let tiles = self.lines.chunks(TILE_ROWS * self.lines_per_row);
        for (index, (rows, weights)) in tiles.zip(self.weights.chunks(TILE_ROWS)).enumerate() {
            self.kernel
                .dots(rows, queries, self.lines_per_row, &mut tile.dots, stride);
            for (slope, weight) in tile.slope.iter_mut().zip(weights) {
                *slope = *weight as f32;
            }
            self.kernel.sift(&mut tile, stride, &sieve);
            for_each_hit(&tile.hits[..weights.len()], |row, query| {
                let dot = tile.dots[row * stride + query];
                let bound = i64::from(dot) * i64::from(weights[row]);
                let row = (index * TILE_ROWS + row) as u32;
                let shortlist = &mut shortlists[query];
                if shortlist.add(Candidate { bound, row }) {
                    shortlist.settle(|candidate| candidate.bound);
                    sieve.floor[query] = rounded_down(shortlist.floor());
                }
            });
        }
    }

    fn scan_sketch(
        &self,
        sketch: &Sketch,
        queries: &[Line],
        squares: &[u32],
        shortlists: &mut [Shortlist],
    ) {
        let stride = Kernel::stride(shortlists.len());
        let mut tile = Tile::ZERO;
        let mut probe = sketch.probe(self.kernel, queries, squares);
        for (query, shortlist) in shortlists.iter().enumerate() {
            probe.set_floor(query, shortlist.floor());
        }
        for first in (0..self.len()).step_by(TILE_ROWS) {
            sketch.load(self.kernel, first, &probe, &mut tile);
            self.kernel.sift(&mut tile, stride, &probe.sieve);
            let rows = TILE_ROWS.min(self.len() - first);
            for_each_hit(&tile.hits[..rows], |row, query| {
                let bound = probe.bound(query, &tile, row);
                let row = (first + row) as u32;
                let shortlist = &mut shortlists[query];
                if shortlist.add(Candidate { bound, row }) {
                    let lines = &queries[query * self.lines_per_row..][..self.lines_per_row];
                    shortlist.settle(|candidate| self.score_of(candidate.row as usize, lines));
                    probe.set_floor(query, shortlist.floor());
                }
            });
        }
    }

    /// Whether a sketch is in use.
    #[cfg(test)]
    pub(super) const fn has_sketch(&self) -> bool {
        self.sketch.is_some()
    }

    /// Goes on without a sketch.
    #[cfg(test)]
    pub(super) fn forget_sketch(&mut self) {
        self.sketch = None;
    }

    fn lines_of(&self, row: usize) -> &[Line] {
        &self.lines[row * self.lines_per_row..][..self.lines_per_row]
    }

    /// Writes a row and its weight. Returns the sum of its squares.
    fn write(&mut self, row: usize, centre: &[i32]) -> u32 {
        let lines = &mut self.lines[row * self.lines_per_row..][..self.lines_per_row];
        let square = quantize(centre, &mut flat_mut(lines)[..self.dimension]);
        let norm = isqrt(u64::from(square) << 20);
        // A direction that is not zero has a component of 127: the quotient is below 2^24.
        self.weights[row] = (1_u64 << 40).checked_div(norm).unwrap_or(0) as u32;
        self.touch(row as u32);
        square
    }

    fn touch(&mut self, row: u32) {
        if self.touched.contains(&row) {
            return;
        }
        if self.touched.len() == BLOCK_QUERIES_MAX {
            // More than a block's shortlists allow for: it has to scan anew.
            self.begin_block();
        }
        self.touched.push(row);
    }
}

/// Calls `visit` with each row and query of a tile that passed, in ascending order of rows.
fn for_each_hit(hits: &[u32], mut visit: impl FnMut(usize, usize)) {
    for (row, hits) in hits.iter().enumerate() {
        let mut hits = *hits;
        while hits != 0 {
            visit(row, hits.trailing_zeros() as usize);
            hits &= hits - 1;
        }
    }
}

/// A floor for scores computed in `f32`: three roundings are off by less than 2e-7.
fn rounded_down(floor: i64) -> f32 {
    let floor = floor as f64;
    (floor - floor.abs() * 1e-6 - 1.0) as f32
}
