//! AVX-512 VNNI: 64 products an instruction.
//!
//! `dpbusd` multiplies unsigned by signed bytes and adds fours into 32 bits, without saturation.
//! The row goes in as `row + 128`; what that adds, 128 times the sum of the query, is the same
//! for all rows and is taken off at the end.

use std::arch::x86_64::*;

use super::{Line, avx2};

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dots(rows: &[Line], queries: &[Line], lines: usize, out: &mut [i32], stride: usize) {
    let mut fours = queries.chunks_exact(4 * lines);
    let mut first = 0;
    for four in &mut fours {
        let four: [&[Line]; 4] = std::array::from_fn(|query| &four[query * lines..][..lines]);
        column(rows, four, lines, &mut out[first..], stride);
        first += 4;
    }
    for query in fours.remainder().chunks_exact(lines) {
        column(rows, [query], lines, &mut out[first..], stride);
        first += 1;
    }
}

/// Four chains of sums, so that none waits for itself.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dot(row: &[Line], query: &[Line]) -> i32 {
    let mut even = [_mm512_setzero_si512(); 2];
    let mut odd = even;
    let (row_pairs, row_rest) = row.as_chunks::<2>();
    let (query_pairs, query_rest) = query.as_chunks::<2>();
    for (row, query) in row_pairs.iter().zip(query_pairs) {
        even = add_line(even, &row[0], &query[0]);
        odd = add_line(odd, &row[1], &query[1]);
    }
    for (row, query) in row_rest.iter().zip(query_rest) {
        even = add_line(even, row, query);
    }
    let sums = _mm512_add_epi32(even[0], odd[0]);
    let offsets = _mm512_add_epi32(even[1], odd[1]);
    _mm512_reduce_add_epi32(_mm512_sub_epi32(sums, offsets))
}

/// Adds the products of a line: to the first sum those of the row plus 128, to the second those of 128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_line(sums: [__m512i; 2], row: &Line, query: &Line) -> [__m512i; 2] {
    let flip = _mm512_set1_epi8(i8::MIN);
    let (row, query) = (_mm512_xor_si512(load(row), flip), load(query));
    [
        _mm512_dpbusd_epi32(sums[0], row, query),
        _mm512_dpbusd_epi32(sums[1], flip, query),
    ]
}

/// `Q` queries with all rows, four of these at once: sixteen sums and eight operands of 32
/// registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn column<const Q: usize>(
    rows: &[Line],
    queries: [&[Line]; Q],
    lines: usize,
    out: &mut [i32],
    stride: usize,
) {
    let mut offsets = [0; Q];
    for (offset, query) in offsets.iter_mut().zip(queries) {
        let mut sum = _mm512_setzero_si512();
        for line in query {
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(i8::MIN), load(line));
        }
        *offset = _mm512_reduce_add_epi32(sum);
    }
    for (rows, out) in rows.chunks(4 * lines).zip(out.chunks_mut(4 * stride)) {
        if rows.len() == 4 * lines {
            let four: [&[Line]; 4] = std::array::from_fn(|row| &rows[row * lines..][..lines]);
            store(products(four, queries, lines), offsets, out, stride);
            continue;
        }
        for (row, out) in rows.chunks_exact(lines).zip(out.chunks_mut(stride)) {
            store(products([row], queries, lines), offsets, out, stride);
        }
    }
}

/// The products of every row plus 128 with every query, added up in sixteen lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn products<const R: usize, const Q: usize>(
    rows: [&[Line]; R],
    queries: [&[Line]; Q],
    lines: usize,
) -> [[__m512i; Q]; R] {
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut sums = [[_mm512_setzero_si512(); Q]; R];
    for line in 0..lines {
        let mut row = [_mm512_setzero_si512(); R];
        for r in 0..R {
            // Flipping the highest bit adds 128.
            row[r] = _mm512_xor_si512(load(&rows[r][line]), flip);
        }
        for q in 0..Q {
            let query = load(&queries[q][line]);
            for r in 0..R {
                sums[r][q] = _mm512_dpbusd_epi32(sums[r][q], row[r], query);
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const R: usize, const Q: usize>(
    sums: [[__m512i; Q]; R],
    offsets: [i32; Q],
    out: &mut [i32],
    stride: usize,
) {
    if Q == 1
        && let &[a, b, c, d] = sums.as_flattened()
    {
        let mut four = [0; 4];
        let offset = _mm_set1_epi32(offsets[0]);
        avx2::store(_mm_sub_epi32(sum_of_each(a, b, c, d), offset), &mut four);
        for (row, dot) in four.into_iter().enumerate() {
            out[row * stride] = dot;
        }
        return;
    }
    for (row, sums) in sums.into_iter().enumerate() {
        let out = &mut out[row * stride..][..Q];
        if let (&[a, b, c, d], &[e, f, g, h]) = (sums.as_slice(), offsets.as_slice()) {
            let offsets = _mm_setr_epi32(e, f, g, h);
            avx2::store(_mm_sub_epi32(sum_of_each(a, b, c, d), offsets), out);
            continue;
        }
        for ((out, sum), offset) in out.iter_mut().zip(sums).zip(offsets) {
            *out = _mm512_reduce_add_epi32(sum) - offset;
        }
    }
}

/// A third of the instructions of four sums, each by itself.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_of_each(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m128i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    // Each quarter has a sum of each.
    let quarters = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let halves = _mm256_add_epi32(
        _mm512_castsi512_si256(quarters),
        _mm512_extracti64x4_epi64::<1>(quarters),
    );
    _mm_add_epi32(
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    )
}
