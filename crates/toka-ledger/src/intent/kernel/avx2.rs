//! AVX2: 32 products an instruction.
//!
//! `maddubs` multiplies unsigned by signed bytes and adds pairs into 16 bits. The row goes in as
//! its magnitude and the query with the row's sign, so that a pair is at most 2 * 127 * 127 =
//! 32,258 and never saturates: directions are within ±127 (a byte of -128 does not occur).

use std::arch::x86_64::*;

use super::{Line, Share, Sieve, Tile, portable};

#[target_feature(enable = "avx2")]
pub(super) fn dots(rows: &[Line], queries: &[Line], lines: usize, out: &mut [i32], stride: usize) {
    // Two rows and four queries are what fits into sixteen registers. A single query leaves
    // room for more rows.
    let alone = queries.len() == lines;
    let rows_at_once = if alone { 4 } else { 2 };
    let chunks = rows.chunks(rows_at_once * lines);
    for (rows, out) in chunks.zip(out.chunks_mut(rows_at_once * stride)) {
        match rows.len() / lines {
            4 => strip::<4>(rows, queries, lines, out, stride),
            2 => strip::<2>(rows, queries, lines, out, stride),
            _ => {
                for (row, out) in rows.chunks_exact(lines).zip(out.chunks_mut(stride)) {
                    strip::<1>(row, queries, lines, out, stride);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn dot(row: &[Line], query: &[Line]) -> i32 {
    let [[sum]] = products([row], [query], row.len());
    _mm_cvtsi128_si32(sum_of_each(sum, sum, sum, sum))
}

/// `R` rows with all queries.
#[inline]
#[target_feature(enable = "avx2")]
fn strip<const R: usize>(
    rows: &[Line],
    queries: &[Line],
    lines: usize,
    out: &mut [i32],
    stride: usize,
) {
    let rows: [&[Line]; R] = std::array::from_fn(|row| &rows[row * lines..][..lines]);
    let mut fours = queries.chunks_exact(4 * lines);
    let mut first = 0;
    for four in &mut fours {
        let four: [&[Line]; 4] = std::array::from_fn(|query| &four[query * lines..][..lines]);
        let sums = products(rows, four, lines);
        for (row, [a, b, c, d]) in sums.into_iter().enumerate() {
            store(sum_of_each(a, b, c, d), &mut out[row * stride + first..]);
        }
        first += 4;
    }
    for query in fours.remainder().chunks_exact(lines) {
        let sums = products(rows, [query], lines);
        for (row, [sum]) in sums.into_iter().enumerate() {
            let four = sum_of_each(sum, sum, sum, sum);
            out[row * stride + first] = _mm_cvtsi128_si32(four);
        }
        first += 1;
    }
}

/// The products of every row with every query, added up in eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn products<const R: usize, const Q: usize>(
    rows: [&[Line]; R],
    queries: [&[Line]; Q],
    lines: usize,
) -> [[__m256i; Q]; R] {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); Q]; R];
    for line in 0..lines {
        for half in 0..2 {
            let mut row = [_mm256_setzero_si256(); R];
            let mut magnitude = row;
            for r in 0..R {
                row[r] = load(&rows[r][line], half);
                magnitude[r] = _mm256_abs_epi8(row[r]);
            }
            for q in 0..Q {
                let query = load(&queries[q][line], half);
                for r in 0..R {
                    let signed = _mm256_sign_epi8(query, row[r]);
                    let pairs = _mm256_maddubs_epi16(magnitude[r], signed);
                    let fours = _mm256_madd_epi16(pairs, ones);
                    sums[r][q] = _mm256_add_epi32(sums[r][q], fours);
                }
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(line: &Line, half: usize) -> __m256i {
    let half = &line.0.as_chunks::<32>().0[half];
    // SAFETY: `half` is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_each(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m128i {
    let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_add_epi32(
        _mm256_castsi256_si128(sums),
        _mm256_extracti128_si256(sums, 1),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(four: __m128i, out: &mut [i32]) {
    let out: &mut [i32; 4] = out.first_chunk_mut().expect("a stride holds all queries");
    // SAFETY: `out` is 16 writable bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), four) }
}

#[target_feature(enable = "avx2")]
pub(super) fn directions(v: &[i32], ratio: i32, out: &mut [i8]) -> u32 {
    let ratios = _mm256_set1_epi64x(i64::from(ratio));
    // Packing works on each half of a vector: of eight fours of components the even ones come first.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let (chunks, rest) = v.as_chunks::<32>();
    let (out_chunks, out_rest) = out.as_chunks_mut::<32>();
    let mut squares = _mm256_setzero_si256();
    for (chunk, out) in chunks.iter().zip(out_chunks) {
        let (sixteens, _) = chunk.as_chunks::<16>();
        let first = rounded(&sixteens[0], ratios);
        let second = rounded(&sixteens[1], ratios);
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(first, first));
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(second, second));
        let packed = _mm256_packs_epi16(first, second);
        let packed = _mm256_permutevar8x32_epi32(packed, order);
        // SAFETY: `out` is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), packed) };
    }
    let square: i32 = lanes(squares).iter().sum();
    square as u32 + portable::directions(rest, ratio, out_rest)
}

/// Sixteen directions of 16 bits, in fours: the first, third, second and last ones.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(sixteen: &[i32; 16], ratios: __m256i) -> __m256i {
    let (eights, _) = sixteen.as_chunks::<8>();
    let first = rounded_eight(&eights[0], ratios);
    let second = rounded_eight(&eights[1], ratios);
    _mm256_packs_epi32(first, second)
}

/// The products of every other component are 64 bits wide each, and of each the upper half is the result.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded_eight(eight: &[i32; 8], ratios: __m256i) -> __m256i {
    let half = _mm256_set1_epi64x(1 << 31);
    // SAFETY: `eight` is 32 readable bytes, and the load needs no alignment.
    let eight = unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) };
    let even = _mm256_add_epi64(_mm256_mul_epi32(eight, ratios), half);
    let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(eight), ratios);
    let odd = _mm256_add_epi64(odd, half);
    _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd)
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(eight: __m256i) -> [i32; 8] {
    let mut lanes = [0; 8];
    // SAFETY: `lanes` is 32 writable bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), eight) };
    lanes
}

#[target_feature(enable = "avx2")]
pub(super) fn largest(v: &[i32]) -> u32 {
    portable::largest(v)
}

#[target_feature(enable = "avx2")]
pub(super) fn relative(event: &[[u8; 2]], mean: &[i32], out: &mut [i32]) {
    portable::relative(event, mean, out);
}

#[target_feature(enable = "avx2")]
pub(super) fn join(
    event: &[[u8; 2]],
    share: Share,
    all: &mut [i64],
    intent: &mut [i64],
    micro: &mut [i32],
    mean: &[i32],
    centre: &mut [i32],
) {
    portable::join(event, share, all, intent, micro, mean, centre);
}

#[target_feature(enable = "avx2")]
pub(super) fn sift(tile: &mut Tile, stride: usize, sieve: &Sieve) {
    if stride == 1 {
        return sift_one(tile, sieve);
    }
    let rows = tile.slope.iter().zip(&tile.rest).zip(&mut tile.hits);
    for (((slope, rest), hits), dots) in rows.zip(tile.dots.chunks_exact(stride)) {
        let slope = _mm256_set1_ps(*slope);
        let rest = _mm256_set1_ps(*rest);
        *hits = 0;
        let (dots, _) = dots.as_chunks::<8>();
        for (eight, dots) in dots.iter().enumerate() {
            let sieve_at = |values: &[f32]| floats(&values.as_chunks::<8>().0[eight]);
            let dots = _mm256_mul_ps(integers(dots), sieve_at(&sieve.scale));
            let rests = _mm256_mul_ps(rest, sieve_at(&sieve.rest));
            let height = _mm256_add_ps(_mm256_mul_ps(slope, dots), rests);
            *hits |= not_below(height, sieve_at(&sieve.floor)) << (8 * eight);
        }
    }
}

/// One query: the lanes are rows.
#[target_feature(enable = "avx2")]
fn sift_one(tile: &mut Tile, sieve: &Sieve) {
    let scale = _mm256_set1_ps(sieve.scale[0]);
    let rest = _mm256_set1_ps(sieve.rest[0]);
    let floor = _mm256_set1_ps(sieve.floor[0]);
    let slopes = tile.slope.as_chunks::<8>().0.iter();
    let rows = slopes.zip(tile.rest.as_chunks::<8>().0);
    let dots = tile.dots.as_chunks::<8>().0;
    for (((slope, rests), hits), dots) in rows.zip(tile.hits.chunks_exact_mut(8)).zip(dots) {
        let dots = _mm256_mul_ps(integers(dots), scale);
        let rests = _mm256_mul_ps(floats(rests), rest);
        let height = _mm256_add_ps(_mm256_mul_ps(floats(slope), dots), rests);
        let passing = not_below(height, floor);
        for (row, hit) in hits.iter_mut().enumerate() {
            *hit = passing >> row & 1;
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn not_below(height: __m256, floor: __m256) -> u32 {
    _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(height, floor)) as u32
}

#[inline]
#[target_feature(enable = "avx2")]
fn floats(values: &[f32; 8]) -> __m256 {
    // SAFETY: `values` is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn integers(values: &[i32; 8]) -> __m256 {
    // SAFETY: `values` is 32 readable bytes, and the load needs no alignment.
    _mm256_cvtepi32_ps(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
}
