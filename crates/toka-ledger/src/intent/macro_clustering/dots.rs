//! Dot products of one i16 row with many.
//!
//! Integer sums are associative: every implementation gives the same results, whatever its width.

/// Rows are padded with zeros to a multiple of this many components.
pub(super) const LANES: usize = 16;

/// Writes the dot product of `x` with each of `rows`, which lie one after the other in memory.
///
/// All rows are as long as `x`, a multiple of [`LANES`]. Sums must fit an i32; they wrap if not.
pub(super) type Dots = fn(x: &[i16], rows: &[i16], out: &mut [i32]);

/// The fastest implementation that this CPU runs.
pub(super) fn fastest() -> Dots {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return |x, rows, out| {
            // SAFETY: the CPU has AVX2: it was detected before this function was handed out.
            unsafe { avx2::dots(x, rows, out) }
        };
    }
    portable
}

/// For every CPU; optimised builds turn the inner loop into multiply-and-add of pairs.
pub(super) fn portable(x: &[i16], rows: &[i16], out: &mut [i32]) {
    for (row, out) in rows.chunks_exact(x.len()).zip(out) {
        let products = x
            .iter()
            .zip(row)
            .map(|(&x, &y)| i32::from(x) * i32::from(y));
        *out = products.fold(0, i32::wrapping_add);
    }
}

/// 16 products to an instruction, and four rows at once, so that `x` is loaded once for them.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
        _mm256_storeu_si256,
    };

    use super::LANES;

    const AT_ONCE: usize = 4;

    #[target_feature(enable = "avx2")]
    pub(super) fn dots(x: &[i16], rows: &[i16], out: &mut [i32]) {
        let mut blocks = rows.chunks_exact(AT_ONCE * x.len());
        let mut outs = out.chunks_exact_mut(AT_ONCE);
        for (block, out) in blocks.by_ref().zip(outs.by_ref()) {
            out.copy_from_slice(&dots_of::<AT_ONCE>(x, block));
        }
        let rest = blocks.remainder().chunks_exact(x.len());
        for (row, out) in rest.zip(outs.into_remainder()) {
            [*out] = dots_of::<1>(x, row);
        }
    }

    #[target_feature(enable = "avx2")]
    fn dots_of<const N: usize>(x: &[i16], rows: &[i16]) -> [i32; N] {
        let (chunks, _) = x.as_chunks::<LANES>();
        let rows: [&[[i16; LANES]]; N] = std::array::from_fn(|n| {
            let (row, _) = rows[n * x.len()..].as_chunks();
            &row[..chunks.len()]
        });
        let mut sums = [_mm256_setzero_si256(); N];
        for (at, chunk) in chunks.iter().enumerate() {
            let x = load(chunk);
            for (sum, row) in sums.iter_mut().zip(&rows) {
                // Two products of i16 fit an i32: centred means are clamped to +-32,767.
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, load(&row[at])));
            }
        }
        let mut totals = [0; N];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = add_lanes(sum);
        }
        totals
    }

    #[target_feature(enable = "avx2")]
    fn load(chunk: &[i16; LANES]) -> __m256i {
        // SAFETY: the chunk's 32 bytes can be read, and the instruction needs no alignment.
        unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    fn add_lanes(sum: __m256i) -> i32 {
        let mut lanes = [0_i32; 8];
        // SAFETY: the array's 32 bytes can be written, and the instruction needs no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
        lanes.into_iter().fold(0, i32::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(x: &[i16], rows: &[i16]) -> Vec<i64> {
        let products = |row: &[i16]| {
            let pairs = x.iter().zip(row);
            pairs.map(|(&x, &y)| i64::from(x) * i64::from(y)).sum()
        };
        rows.chunks_exact(x.len()).map(products).collect()
    }

    /// `x` and its rows: short ones of any components, and long ones whose sums still fit.
    fn any_input() -> impl Strategy<Value = (Vec<i16>, Vec<i16>)> {
        (1_usize..4, 0_usize..11).prop_flat_map(|(chunks, rows)| {
            let width = chunks * LANES;
            let largest = 32_767 / i16::try_from(8 * chunks).expect("small");
            let component = prop_oneof![-largest..=largest, Just(largest), Just(-largest)];
            let x = proptest::collection::vec(component.clone(), width);
            (x, proptest::collection::vec(component, width * rows))
        })
    }

    proptest! {
        #[test]
        fn every_implementation_is_exact((x, rows) in any_input()) {
            let expected = exact(&x, &rows);
            for dots in [portable as Dots, fastest()] {
                let mut out = vec![7; expected.len()];
                dots(&x, &rows, &mut out);
                let out: Vec<i64> = out.into_iter().map(i64::from).collect();
                prop_assert_eq!(&out, &expected);
            }
        }
    }

    #[test]
    fn the_largest_components_do_not_saturate() {
        let mut x = [0_i16; LANES];
        x[..2].fill(-i16::MAX);
        for dots in [portable as Dots, fastest()] {
            let mut out = [0];
            dots(&x, &x, &mut out);
            assert_eq!(out, [2 * 32_767 * 32_767]);
        }
    }
}
