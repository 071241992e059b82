//! 8-bit directions, and dot products of them, by the widest instructions that the CPU has.
//!
//! All kernels give the same integers: sums of products of bytes, whose order does not matter.
//! Directions are within ±127. Unsafe code of `intent` is only here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod line;
mod portable;
mod sums;
#[cfg(test)]
mod tests;

pub use line::{LINE_BYTES, Line, flat, flat_mut, lines_for};
pub(super) use sums::{Share, Sums};

/// Queries of a block.
pub const BLOCK_QUERIES_MAX: usize = 32;
/// Rows that are scored and sifted at once, so that both stay in the first-level cache.
pub const TILE_ROWS: usize = 32;

/// Instructions for dot products; only those that the CPU has can be obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

/// Scores of up to [`TILE_ROWS`] rows, and which of them are worth a closer look.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Tile {
    /// Row by row, `stride` values each.
    pub dots: [i32; TILE_ROWS * BLOCK_QUERIES_MAX],
    /// Of each row: what a dot product counts.
    pub slope: [f32; TILE_ROWS],
    /// Of each row: how much its dot products may fall short, per query.
    pub rest: [f32; TILE_ROWS],
    /// Of each row: a bit for each query that it passes, lowest first.
    pub hits: [u32; TILE_ROWS],
}

impl Tile {
    /// All zero.
    pub const ZERO: Self = Self {
        dots: [0; TILE_ROWS * BLOCK_QUERIES_MAX],
        slope: [0.0; TILE_ROWS],
        rest: [0.0; TILE_ROWS],
        hits: [0; TILE_ROWS],
    };
}

/// Per query: a row passes if
/// `slope * (dot * scale) + rest * sieve.rest >= floor`.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Sieve {
    /// What a dot product counts.
    pub scale: [f32; BLOCK_QUERIES_MAX],
    /// What a row's rest counts.
    pub rest: [f32; BLOCK_QUERIES_MAX],
    /// The lowest value that passes.
    pub floor: [f32; BLOCK_QUERIES_MAX],
}

impl Sieve {
    /// Nothing passes.
    pub const CLOSED: Self = Self {
        scale: [0.0; BLOCK_QUERIES_MAX],
        rest: [0.0; BLOCK_QUERIES_MAX],
        floor: [f32::INFINITY; BLOCK_QUERIES_MAX],
    };
}

/// The largest magnitude in `v`; 0 if that is empty.
pub(super) fn largest(v: &[i32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { avx2::largest(v) };
    }
    portable::largest(v)
}

/// Writes `(component * ratio + 2^31) >> 32` of each component of `v`, which must be within ±127, into `out` of the same
/// shape. Returns the sum of their squares.
pub fn directions(v: &[i32], ratio: i32, out: &mut [i8]) -> u32 {
    assert_eq!(v.len(), out.len(), "a direction keeps its shape");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { avx2::directions(v, ratio, out) };
    }
    portable::directions(v, ratio, out)
}

impl Kernel {
    /// The best kernel for this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available()
            .pop()
            .expect("the portable kernel runs anywhere")
    }

    /// All kernels for this CPU, the best last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self(Instructions::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2");
            if avx2 {
                kernels.push(Self(Instructions::Avx2));
            }
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                kernels.push(Self(Instructions::Avx512Vnni));
            }
        }
        kernels
    }

    /// As in benchmarks and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Instructions::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni => "avx512vnni",
        }
    }

    /// Values that each row's dot products take in a [`Tile`].
    #[must_use]
    pub fn stride(queries: usize) -> usize {
        if queries == 1 {
            1
        } else {
            queries.next_multiple_of(8)
        }
    }

    /// Writes the dot product of row `r` and query `q` to `out[r * stride + q]`.
    ///
    /// Rows and queries take `lines` lines each, at least one; a row of `out` holds all queries.
    pub fn dots(
        self,
        rows: &[Line],
        queries: &[Line],
        lines: usize,
        out: &mut [i32],
        stride: usize,
    ) {
        assert!(rows.len().is_multiple_of(lines) && queries.len().is_multiple_of(lines));
        assert!(queries.len() / lines <= stride);
        assert!(rows.len() / lines * stride <= out.len());
        match self.0 {
            Instructions::Portable => portable::dots(rows, queries, lines, out, stride),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes this kernel only where the CPU has AVX2.
            Instructions::Avx2 => unsafe { avx2::dots(rows, queries, lines, out, stride) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes this kernel only where the CPU has AVX-512 F, BW and VNNI.
            Instructions::Avx512Vnni => unsafe { avx512::dots(rows, queries, lines, out, stride) },
        }
    }

    /// The dot product of a row and a query of as many lines. Costs less than [`dots`](Self::dots) of one pair.
    pub(super) fn dot(self, row: &[Line], query: &[Line]) -> i32 {
        assert_eq!(row.len(), query.len(), "a query has the rows' shape");
        match self.0 {
            Instructions::Portable => portable::dot(row, query),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes this kernel only where the CPU has AVX2.
            Instructions::Avx2 => unsafe { avx2::dot(row, query) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes this kernel only where the CPU has AVX-512 F, BW and VNNI.
            Instructions::Avx512Vnni => unsafe { avx512::dot(row, query) },
        }
    }

    /// Sets `tile.hits` for all rows of the tile.
    pub fn sift(self, tile: &mut Tile, stride: usize, sieve: &Sieve) {
        assert!(stride == 1 || stride.is_multiple_of(8) && stride <= BLOCK_QUERIES_MAX);
        match self.0 {
            Instructions::Portable => portable::sift(tile, stride, sieve),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes both kernels only where the CPU has AVX2.
            Instructions::Avx2 | Instructions::Avx512Vnni => unsafe {
                avx2::sift(tile, stride, sieve);
            },
        }
    }
}
