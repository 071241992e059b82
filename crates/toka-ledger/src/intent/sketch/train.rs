//! Principal directions of a table's rows.
//!
//! Block power iteration (Golub and Van Loan, Matrix Computations, 8.2.4), a few rounds, with the
//! table's own kernel: the vectors are rounded to bytes in every round. That costs accuracy that
//! a filter does not need.

use super::super::kernel::{Kernel, LINE_BYTES, Line, flat, flat_mut, lines_for};

/// Directions of a sketch. They hold three quarters of what centred embeddings of sentences vary by
/// (docs/intents.md, "Cost").
pub(super) const DIRECTIONS: usize = 96;
/// Rows that the directions are found from.
const SAMPLE_ROWS_MAX: usize = 1_024;
const ROUNDS: usize = 3;
/// The largest component of a direction: 127 times 128.
const COMPONENT_MAX: f32 = 16_256.0;

/// Directions, close to orthonormal once divided by their lengths. Some may be zero.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    /// Of each direction the upper part, in units of 128, then of each the lower part.
    parts: Vec<Line>,
    lengths: [f64; DIRECTIONS],
    skew: f64,
    lines: usize,
}

impl Basis {
    /// From `rows` of `lines` lines each.
    pub(super) fn find(kernel: Kernel, rows: &[Line], lines: usize) -> Self {
        let count = rows.len() / lines;
        let sampled = count.min(SAMPLE_ROWS_MAX);
        // Evenly spread over the table: nothing here is random.
        let sample: Vec<Line> = (0..sampled)
            .flat_map(|index| &rows[index * count / sampled * lines..][..lines])
            .copied()
            .collect();
        let transposed = transpose(&sample, lines);
        let mut vectors: Vec<Vec<f32>> = (0..DIRECTIONS)
            .map(|direction| {
                let row = &sample[direction * sampled / DIRECTIONS * lines..][..lines];
                flat(row).iter().map(|x| f32::from(*x)).collect()
            })
            .collect();
        orthonormalise(&mut vectors);
        for _ in 0..ROUNDS {
            let along = products(kernel, &sample, &vectors, lines);
            vectors = products(kernel, &transposed, &along, lines_for(sampled));
            orthonormalise(&mut vectors);
        }
        Self::from_vectors(&vectors, lines)
    }

    fn from_vectors(vectors: &[Vec<f32>], lines: usize) -> Self {
        let mut parts = vec![Line::ZERO; 2 * DIRECTIONS * lines];
        let (upper, lower) = flat_mut(&mut parts).split_at_mut(DIRECTIONS * lines * LINE_BYTES);
        let uppers = upper.chunks_exact_mut(lines * LINE_BYTES);
        let lowers = lower.chunks_exact_mut(lines * LINE_BYTES);
        let mut directions = Vec::with_capacity(DIRECTIONS);
        for ((vector, upper), lower) in vectors.iter().zip(uppers).zip(lowers) {
            let scale = scale_to(COMPONENT_MAX, vector);
            let direction: Vec<i64> = vector.iter().map(|x| (x * scale).round() as i64).collect();
            for ((x, upper), lower) in direction.iter().zip(upper).zip(lower) {
                let high = (x + 64) >> 7;
                *upper = high as i8;
                *lower = (x - (high << 7)) as i8;
            }
            directions.push(direction);
        }
        let lengths = std::array::from_fn(|i| (dot(&directions[i], &directions[i]) as f64).sqrt());
        Self {
            parts,
            lengths,
            skew: skew(&directions, &lengths),
            lines,
        }
    }

    /// Projections that a vector has.
    pub(super) fn len(&self) -> usize {
        2 * DIRECTIONS
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.capacity() * size_of::<Line>()
    }

    /// A bound of the norm of the directions' Gram matrix less the identity.
    pub(super) fn skew(&self) -> f64 {
        self.skew
    }

    /// Writes projection `p` of vector `v` to `out[p * stride + v]`.
    pub(super) fn project(&self, kernel: Kernel, vectors: &[Line], out: &mut [i32], stride: usize) {
        kernel.dots(&self.parts, vectors, self.lines, out, stride);
    }

    /// A vector's coordinates, from its projections, `stride` apart.
    pub(super) fn coordinates(&self, projections: &[i32], stride: usize) -> [f64; DIRECTIONS] {
        std::array::from_fn(|direction| {
            let upper = i64::from(projections[direction * stride]);
            let lower = i64::from(projections[(DIRECTIONS + direction) * stride]);
            let length = self.lengths[direction];
            if length > 0.0 {
                (128 * upper + lower) as f64 / length
            } else {
                0.0
            }
        })
    }
}

/// The largest sum of magnitudes in a row of the Gram matrix less the identity, which no
/// eigenvalue exceeds.
fn skew(directions: &[Vec<i64>], lengths: &[f64; DIRECTIONS]) -> f64 {
    let mut sums = [0.0; DIRECTIONS];
    for (i, a) in directions.iter().enumerate() {
        for (j, b) in directions[..i].iter().enumerate() {
            let lengths = lengths[i] * lengths[j];
            if lengths > 0.0 {
                let cosine = dot(a, b).abs() as f64 / lengths;
                sums[i] += cosine;
                sums[j] += cosine;
            }
        }
    }
    // Lengths are off by less than 1e-15 of themselves.
    sums.into_iter().fold(0.0, f64::max) + 1e-12
}

fn dot(a: &[i64], b: &[i64]) -> i64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of each vector its products with all `rows`, of `lines` lines each.
fn products(kernel: Kernel, rows: &[Line], vectors: &[Vec<f32>], lines: usize) -> Vec<Vec<f32>> {
    let mut bytes = vec![Line::ZERO; vectors.len() * lines];
    for (vector, lines) in vectors.iter().zip(bytes.chunks_exact_mut(lines)) {
        let scale = scale_to(127.0, vector);
        for (byte, x) in flat_mut(lines).iter_mut().zip(vector) {
            *byte = (x * scale).round() as i8;
        }
    }
    let count = vectors.len();
    let mut out = vec![0; rows.len() / lines * count];
    kernel.dots(rows, &bytes, lines, &mut out, count);
    let column = |vector| out[vector..].iter().step_by(count).map(|x| *x as f32);
    (0..count).map(|vector| column(vector).collect()).collect()
}

/// What makes the largest magnitude of `vector` to `largest`.
fn scale_to(largest: f32, vector: &[f32]) -> f32 {
    let magnitude = vector.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    if magnitude > 0.0 {
        largest / magnitude
    } else {
        0.0
    }
}

fn transpose(rows: &[Line], lines: usize) -> Vec<Line> {
    let row_bytes = lines * LINE_BYTES;
    let count = rows.len() / lines;
    let column_bytes = lines_for(count) * LINE_BYTES;
    let mut transposed = vec![Line::ZERO; row_bytes * lines_for(count)];
    let out = flat_mut(&mut transposed);
    for (row, bytes) in flat(rows).chunks_exact(row_bytes).enumerate() {
        for (column, byte) in bytes.iter().enumerate() {
            out[column * column_bytes + row] = *byte;
        }
    }
    transposed
}

/// Gram and Schmidt, each step twice. A vector that depends on earlier ones becomes zero.
fn orthonormalise(vectors: &mut [Vec<f32>]) {
    for index in 0..vectors.len() {
        let (earlier, rest) = vectors.split_at_mut(index);
        let vector = &mut rest[0];
        let before = float_dot(vector, vector);
        for _ in 0..2 {
            for other in &*earlier {
                let along = float_dot(vector, other);
                for (x, y) in vector.iter_mut().zip(other) {
                    *x -= along * y;
                }
            }
        }
        let square = float_dot(vector, vector);
        let scale = if square > 1e-6 * before {
            1.0 / square.sqrt()
        } else {
            0.0
        };
        for x in vector.iter_mut() {
            *x *= scale;
        }
    }
}

/// In sixteen lanes, so that the compiler can use vectors.
fn float_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}
