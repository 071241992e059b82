//! Directions as 8-bit integers.

use super::kernel;

/// The largest magnitude that [`quantize`] takes.
pub const MAGNITUDE_MAX: i32 = 1 << 28;

/// The square root, rounded down, exact for every input.
#[must_use]
pub fn isqrt(v: u64) -> u64 {
    v.isqrt()
}

/// Writes the direction of `v`, shape `[dimension]`, into `out` of the same shape: the largest
/// magnitude becomes 127. A zero vector stays zero. Returns the sum of the squares of `out`.
///
/// Magnitudes are at most [`MAGNITUDE_MAX`].
pub fn quantize(v: &[i32], out: &mut [i8]) -> u32 {
    assert_eq!(v.len(), out.len(), "a direction keeps its shape");
    let largest = kernel::largest(v);
    debug_assert!(largest <= MAGNITUDE_MAX.unsigned_abs());
    if largest == 0 {
        out.fill(0);
        return 0;
    }
    let ratio = (127_i64 << 32) / i64::from(largest);
    if let Ok(ratio) = i32::try_from(ratio) {
        return kernel::directions(v, ratio, out);
    }
    // Hardly ever: no component is above 254.
    let mut square = 0;
    for (x, direction) in v.iter().zip(out) {
        // |x * ratio| <= 127 * 2^32, so the rounded quotient is in -127..=127.
        let rounded = (i64::from(*x) * ratio + (1 << 31)) >> 32;
        *direction = rounded as i8;
        square += (rounded * rounded) as u32;
    }
    square
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn directions(v: &[i32]) -> Vec<i8> {
        let mut out = vec![1; v.len()];
        quantize(v, &mut out);
        out
    }

    #[test]
    fn isqrt_rounds_down() {
        assert_eq!(isqrt(0), 0);
        assert_eq!(isqrt((1 << 52) - 1), (1 << 26) - 1);
        assert_eq!(isqrt(1 << 52), 1 << 26);
        assert_eq!(isqrt(u64::MAX), u64::from(u32::MAX));
    }

    #[test]
    fn largest_magnitude_becomes_127() {
        assert_eq!(directions(&[3, -3, 0, 1]), [127, -127, 0, 42]);
        assert_eq!(directions(&[-MAGNITUDE_MAX, MAGNITUDE_MAX]), [-127, 127]);
        assert_eq!(directions(&[0, 0]), [0, 0]);
        // Halves are rounded up, whatever the sign.
        assert_eq!(directions(&[254, 1, -1]), [127, 1, 0]);
        assert_eq!(directions(&[255, -1, 128]), [127, 0, 64]);
    }

    proptest! {
        #[test]
        fn quantize_stays_in_range(
            v in prop::collection::vec(-MAGNITUDE_MAX..=MAGNITUDE_MAX, 1..100)
        ) {
            let mut out = vec![0; v.len()];
            let square = quantize(&v, &mut out);
            let expected: i64 = out.iter().map(|&x| i64::from(x).pow(2)).sum();
            prop_assert_eq!(i64::from(square), expected);
            let largest = out.iter().map(|x| x.unsigned_abs()).max();
            let zero = v.iter().all(|&x| x == 0);
            prop_assert_eq!(largest, Some(if zero { 0 } else { 127 }));
        }
    }
}
