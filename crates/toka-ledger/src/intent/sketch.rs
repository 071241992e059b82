//! A filter in front of the scan: most rows need not be read to know that they score too low.
//!
//! A row `c` and a query `y` are split along a few directions `Q`, close to orthonormal:
//! `c = Q'p + r` with `p = Qc`. With `skew` the norm of `QQ' - 1`,
//!
//! `c.y <= p(c).p(y) + |r(c)| |r(y)| + skew (1 + skew)^2 |c| |y|`.
//!
//! Of `p` the sketch keeps `s`, rounded to bytes, and how far off that may be:
//!
//! `p(c).p(y) <= s(c).s(y) + |p(c) - s(c)| |p(y)| + |s(c)| |p(y) - s(y)|`.
//!
//! The bound holds for any directions; good ones make it tight. They are the rows' principal
//! directions, in integers, so that projections and the skew are exact. The rest is `f64`, whose
//! error is far inside [`MARGIN`], and one comparison in `f32`, which is inside it too. The filter
//! never changes a result.

mod train;

use self::train::DIRECTIONS;
use super::kernel::{Kernel, Line, Sieve, TILE_ROWS, Tile, flat_mut, lines_for};

/// No row's weight times its norm is above this: 2^30, as weights are rounded down, and a little,
/// as norms are, which are at least 127.
const UNIT: f64 = 1.000_01 * (1 << 30) as f64;
/// Covers rounding, relative to the product of the norms. At most five operations in `f32` on
/// values of at most three times that product are off by less than 2e-6.
const MARGIN: f64 = 1e-5;

/// Lines of a row's coordinates.
const LINES: usize = lines_for(DIRECTIONS);

/// Sketches of all rows of a table.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    basis: train::Basis,
    rows: Vec<[Line; LINES]>,
    slope: Vec<f32>,
    rest: Vec<f32>,
    /// The largest weighted rounding error of a row's coordinates.
    error_max: f64,
    /// The largest weighted norm of a row's rounded coordinates.
    extent_max: f64,
}

/// What the sketch keeps of a vector.
struct Coordinates {
    bytes: [Line; LINES],
    /// What 1 in `bytes` stands for.
    step: f64,
    /// Norm of the coordinates, before rounding.
    norm: f64,
    /// Norm of what the bytes stand for.
    extent: f64,
    /// Norm of the difference between the two.
    error: f64,
    /// Norm of what lies outside of all directions, at most.
    rest: f64,
}

/// Queries as the sketch sees them.
pub(super) struct Probe {
    lines: Vec<[Line; LINES]>,
    pub(super) sieve: Sieve,
    /// Per query: what the sieve leaves out of the bound.
    slack: Vec<f64>,
}

impl Sketch {
    /// Finds directions for `rows`, of `lines` lines each, with their squares and weights.
    ///
    /// The directions come from at most 1,024 of the rows, so the time is linear in the rows.
    pub(super) fn train(
        kernel: Kernel,
        rows: &[Line],
        lines: usize,
        weights: &[u32],
        capacity: usize,
    ) -> Self {
        let mut sketch = Self {
            basis: train::Basis::find(kernel, rows, lines),
            rows: Vec::new(),
            slope: Vec::new(),
            rest: Vec::new(),
            error_max: 0.0,
            extent_max: 0.0,
        };
        sketch.reserve_exact(capacity);
        let mut projections = vec![0; sketch.basis.len() * TILE_ROWS];
        let chunks = rows.chunks(TILE_ROWS * lines);
        for (rows, weights) in chunks.zip(weights.chunks(TILE_ROWS)) {
            sketch
                .basis
                .project(kernel, rows, &mut projections, TILE_ROWS);
            for (index, row) in rows.chunks_exact(lines).enumerate() {
                let square = square(row);
                let coordinates = sketch.coordinates(&projections[index..], TILE_ROWS, square);
                sketch.append(&coordinates, weights[index]);
            }
        }
        sketch
    }

    pub(super) fn bytes(&self) -> usize {
        self.basis.bytes()
            + self.rows.capacity() * size_of::<[Line; LINES]>()
            + (self.slope.capacity() + self.rest.capacity()) * size_of::<f32>()
    }

    /// Makes room for `rows` more rows.
    pub(super) fn reserve_exact(&mut self, rows: usize) {
        self.rows.reserve_exact(rows);
        self.slope.reserve_exact(rows);
        self.rest.reserve_exact(rows);
    }

    pub(super) fn push(&mut self, kernel: Kernel, row: &[Line], square: u32, weight: u32) {
        let coordinates = self.sketch_of(kernel, row, square);
        self.append(&coordinates, weight);
    }

    pub(super) fn set(
        &mut self,
        kernel: Kernel,
        index: usize,
        row: &[Line],
        square: u32,
        weight: u32,
    ) {
        let coordinates = self.sketch_of(kernel, row, square);
        self.rows[index] = coordinates.bytes;
        (self.slope[index], self.rest[index]) = self.weighted(&coordinates, weight);
    }

    /// Scores the sketches of rows from `first` on, as many as fit into `tile`.
    pub(super) fn load(&self, kernel: Kernel, first: usize, probe: &Probe, tile: &mut Tile) {
        let rows = first..self.rows.len().min(first + TILE_ROWS);
        let stride = Kernel::stride(probe.lines.len());
        kernel.dots(
            self.rows[rows.clone()].as_flattened(),
            probe.lines.as_flattened(),
            LINES,
            &mut tile.dots,
            stride,
        );
        tile.slope[..rows.len()].copy_from_slice(&self.slope[rows.clone()]);
        tile.rest[..rows.len()].copy_from_slice(&self.rest[rows]);
    }

    /// Queries of the rows' shape, with their squares.
    pub(super) fn probe(&self, kernel: Kernel, queries: &[Line], squares: &[u32]) -> Probe {
        let mut probe = Probe {
            lines: Vec::with_capacity(squares.len()),
            sieve: Sieve::CLOSED,
            slack: Vec::with_capacity(squares.len()),
        };
        let stride = Kernel::stride(squares.len());
        let mut projections = vec![0; self.basis.len() * stride];
        self.basis
            .project(kernel, queries, &mut projections, stride);
        for (query, square) in squares.iter().enumerate() {
            let coordinates = self.coordinates(&projections[query..], stride, *square);
            let norm = f64::from(*square).sqrt();
            let skew = self.basis.skew() * (1.0 + self.basis.skew()).powi(2);
            probe.slack.push(
                self.error_max * coordinates.norm
                    + self.extent_max * coordinates.error
                    + (skew + MARGIN) * UNIT * norm
                    + 1.0,
            );
            probe.sieve.scale[query] = coordinates.step as f32;
            probe.sieve.rest[query] = coordinates.rest as f32;
            probe.lines.push(coordinates.bytes);
        }
        probe
    }

    fn sketch_of(&self, kernel: Kernel, row: &[Line], square: u32) -> Coordinates {
        let mut projections = [0; 2 * DIRECTIONS];
        self.basis.project(kernel, row, &mut projections, 1);
        self.coordinates(&projections, 1, square)
    }

    fn coordinates(&self, projections: &[i32], stride: usize, square: u32) -> Coordinates {
        let exact = self.basis.coordinates(projections, stride);
        let inside: f64 = exact.iter().map(|p| p * p).sum();
        let largest = exact
            .iter()
            .fold(0.0, |largest: f64, p| largest.max(p.abs()));
        let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut bytes = [Line::ZERO; LINES];
        let (mut extent, mut error) = (0.0, 0.0);
        for (byte, p) in flat_mut(&mut bytes).iter_mut().zip(exact) {
            let rounded = (p / step).round();
            *byte = rounded as i8;
            extent += (step * rounded).powi(2);
            error += (p - step * rounded).powi(2);
        }
        let outside = f64::from(square) - inside * (1.0 - self.basis.skew());
        Coordinates {
            bytes,
            step,
            norm: inside.sqrt(),
            extent: f64::sqrt(extent),
            error: f64::sqrt(error),
            rest: outside.max(0.0).sqrt(),
        }
    }

    fn append(&mut self, coordinates: &Coordinates, weight: u32) {
        let (slope, rest) = self.weighted(coordinates, weight);
        self.rows.push(coordinates.bytes);
        self.slope.push(slope);
        self.rest.push(rest);
    }

    fn weighted(&mut self, coordinates: &Coordinates, weight: u32) -> (f32, f32) {
        let weight = f64::from(weight);
        self.error_max = self.error_max.max(coordinates.error * weight);
        self.extent_max = self.extent_max.max(coordinates.extent * weight);
        (
            (coordinates.step * weight) as f32,
            (coordinates.rest * weight) as f32,
        )
    }
}

impl Probe {
    /// Lets rows pass that may score `floor`.
    pub(super) fn set_floor(&mut self, query: usize, floor: i64) {
        self.sieve.floor[query] = ((floor as f64 - self.slack[query]) as f32).next_down();
    }

    /// What a row's score does not exceed, from its sketch in `tile`.
    pub(super) fn bound(&self, query: usize, tile: &Tile, row: usize) -> i64 {
        let dot = tile.dots[row * Kernel::stride(self.lines.len()) + query];
        let along = f64::from(tile.slope[row]) * f64::from(self.sieve.scale[query]);
        let rest = f64::from(tile.rest[row]) * f64::from(self.sieve.rest[query]);
        (along * f64::from(dot) + rest + self.slack[query]).ceil() as i64
    }
}

/// The sum of the squares of a row.
fn square(row: &[Line]) -> u32 {
    let squares = row
        .iter()
        .flat_map(|line| &line.0)
        .map(|x| u32::from(x.unsigned_abs()).pow(2));
    squares.sum()
}
