//! Kernels for every CPU; the compiler vectorises them for what the build may assume.
//!
//! What is always inlined is compiled for AVX2 too, in functions that allow it.

use super::{BLOCK_QUERIES_MAX, Line, Share, Sieve, Tile};

pub(super) fn dots(rows: &[Line], queries: &[Line], lines: usize, out: &mut [i32], stride: usize) {
    for (row, out) in rows.chunks_exact(lines).zip(out.chunks_mut(stride)) {
        for (query, out) in queries.chunks_exact(lines).zip(out) {
            *out = dot(row, query);
        }
    }
}

pub(super) fn dot(row: &[Line], query: &[Line]) -> i32 {
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

#[inline(always)]
pub(super) fn largest(v: &[i32]) -> u32 {
    v.iter().fold(0, |largest: u32, component| {
        largest.max(component.unsigned_abs())
    })
}

#[inline(always)]
pub(super) fn relative(event: &[[u8; 2]], mean: &[i32], out: &mut [i32]) {
    for ((component, mean), out) in event.iter().zip(mean).zip(out) {
        *out = i32::from(i16::from_le_bytes(*component)) - mean;
    }
}

/// One pass for everything. The slices are arguments of their own, so that the compiler knows that none overlap: it
/// would check too many pairs of them otherwise, and then use no vectors.
#[inline(always)]
pub(super) fn join(
    event: &[[u8; 2]],
    share: Share,
    all: &mut [i64],
    intent: &mut [i64],
    micro: &mut [i32],
    mean: &[i32],
    centre: &mut [i32],
) {
    // So that no index is checked.
    let dimension = event.len();
    let (all, intent) = (&mut all[..dimension], &mut intent[..dimension]);
    let (micro, centre) = (&mut micro[..dimension], &mut centre[..dimension]);
    let mean = &mean[..dimension];
    for at in 0..dimension {
        let component = i32::from(i16::from_le_bytes(event[at]));
        all[at] += i64::from(component);
        let before = micro[at];
        let lost = share.decay_shift.map_or(0, |shift| before >> shift);
        let gained = component - lost;
        intent[at] += i64::from(gained);
        let sum = before + gained;
        micro[at] = sum;
        centre[at] = sum - share.weight * mean[at];
    }
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
