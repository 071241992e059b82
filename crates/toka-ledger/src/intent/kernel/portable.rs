//! Kernels for every CPU; the compiler vectorises them for what the build may assume.

use super::{BLOCK_QUERIES_MAX, Line, Sieve, Tile};

pub(super) fn dots(rows: &[Line], queries: &[Line], lines: usize, out: &mut [i32], stride: usize) {
    for (row, out) in rows.chunks_exact(lines).zip(out.chunks_mut(stride)) {
        for (query, out) in queries.chunks_exact(lines).zip(out) {
            *out = dot(row, query);
        }
    }
}

fn dot(row: &[Line], query: &[Line]) -> i32 {
    let mut sum = 0;
    for (a, b) in row.iter().zip(query) {
        for (a, b) in a.0.iter().zip(&b.0) {
            sum += i32::from(i16::from(*a) * i16::from(*b));
        }
    }
    sum
}

pub(super) fn directions(v: &[i32], ratio: i32, out: &mut [i8]) -> u32 {
    let mut square = 0;
    for (component, direction) in v.iter().zip(out) {
        let rounded = ((i64::from(*component) * i64::from(ratio) + (1 << 31)) >> 32) as i32;
        *direction = rounded as i8;
        square += (rounded * rounded) as u32;
    }
    square
}

pub(super) fn sift(tile: &mut Tile, stride: usize, sieve: &Sieve) {
    let rows = tile.slope.iter().zip(&tile.rest).zip(&mut tile.hits);
    for (((slope, rest), hits), dots) in rows.zip(tile.dots.chunks_exact(stride)) {
        let mut passing = [false; BLOCK_QUERIES_MAX];
        for (query, dot) in dots.iter().enumerate() {
            let height = slope * (*dot as f32 * sieve.scale[query]) + rest * sieve.rest[query];
            passing[query] = height >= sieve.floor[query];
        }
        *hits = 0;
        for (query, passes) in passing.iter().enumerate() {
            *hits |= u32::from(*passes) << query;
        }
    }
}
