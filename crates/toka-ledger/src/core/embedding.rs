//! Dense vectors, quantised to 16-bit integers.

use bytes::Bytes;

use super::digest::Digest;
use super::limits::DIMENSIONS_MAX;
use crate::error::Invalid;

/// Scale of a component: Q14, so 1.0 is 16,384.
pub(crate) const SCALE: f64 = 16_384.0;

/// Square of the norm of a unit vector in Q14.
const UNIT_NORM_SQUARED: i64 = 1 << 28;

/// A unit vector, shape `[dimension]`, each component an `i16` in Q14.
///
/// Normalised and rounded once, in `f64`, when it is prepared; what is replicated, stored and
/// clustered are the integers, the same on every CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// The components as `i16`, little-endian.
    components: Bytes,
}

impl Embedding {
    /// Normalises and quantises `components`, shape `[dimension]`.
    ///
    /// # Errors
    /// [`Invalid`] if there are none or more than 4,096, if one is not finite, or if all are zero.
    pub fn from_f32(components: &[f32]) -> Result<Self, Invalid> {
        check_dimension(components.len())?;
        // The largest magnitude is divided out first, so that squares neither vanish nor overflow. Magnitudes are in the
        // order of their bits, and CPUs compare many of those at once; infinities and NaNs are above all others.
        let largest = components.iter().map(|x| x.abs().to_bits()).max();
        let largest = f32::from_bits(largest.unwrap_or(0));
        if !largest.is_finite() {
            let index = components.iter().position(|x| !x.is_finite());
            return Err(Invalid::NotFinite {
                field: "embedding",
                index: index.unwrap_or(0),
            });
        }
        if largest == 0.0 {
            return Err(Invalid::ZeroNorm { field: "embedding" });
        }
        let largest = f64::from(largest);
        let scaled: Vec<f64> = components.iter().map(|&x| f64::from(x) / largest).collect();
        let norm = scaled.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut bytes = vec![0; components.len() * 2];
        for (pair, x) in bytes.chunks_exact_mut(2).zip(&scaled) {
            // In -16,384 ..= 16,384, since no component is longer than the vector.
            let q = nearest(x / norm * SCALE);
            pair.copy_from_slice(&q.to_le_bytes());
        }
        Ok(Self {
            components: bytes.into(),
        })
    }

    /// Takes components that are already quantised, shape `[dimension]`.
    ///
    /// # Errors
    /// [`Invalid`] if there are none or more than 4,096, or if the norm is off by more than 1 %.
    pub fn from_quantized(components: &[i16]) -> Result<Self, Invalid> {
        let bytes: Vec<u8> = components.iter().flat_map(|q| q.to_le_bytes()).collect();
        Self::from_quantized_bytes(bytes.into())
    }

    /// Takes quantised components as little-endian bytes, two each.
    ///
    /// # Errors
    /// As [`Embedding::from_quantized`], and for an odd number of bytes.
    pub fn from_quantized_bytes(components: Bytes) -> Result<Self, Invalid> {
        if !components.len().is_multiple_of(2) {
            return Err(Invalid::Syntax {
                field: "embedding",
                expected: "two bytes for each component",
            });
        }
        check_dimension(components.len() / 2)?;
        let embedding = Self { components };
        // A square is at most 2^30. CPUs multiply many of these at once, and of 64 bits they do not.
        let square = |q: i16| i64::from(i32::from(q) * i32::from(q));
        let norm_squared: i64 = embedding.iter().map(square).sum();
        if norm_squared == 0 {
            return Err(Invalid::ZeroNorm { field: "embedding" });
        }
        if (norm_squared - UNIT_NORM_SQUARED).abs() > UNIT_NORM_SQUARED / 100 {
            return Err(Invalid::NotUnitNorm {
                field: "embedding",
                norm_squared,
            });
        }
        Ok(embedding)
    }

    /// Number of components.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.components.len() / 2
    }

    /// The components, Q14.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i16> + '_ {
        self.components
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
    }

    /// The components, Q14, little-endian.
    pub(crate) fn pairs(&self) -> &[[u8; 2]] {
        self.components.as_chunks().0
    }

    /// The components as little-endian bytes, two each.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.components
    }

    /// The same, in memory of its own: what was decoded shares that of the message it came in.
    pub(crate) fn copied(&self) -> Self {
        Self {
            components: Bytes::copy_from_slice(&self.components),
        }
    }

    /// The components as floats; their norm is 1 within the rounding.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        self.iter().map(|q| f32::from(q) / 16_384.0).collect()
    }

    /// BLAKE3 of the little-endian components.
    #[must_use]
    pub fn digest(&self) -> Digest {
        blake3::hash(&self.components).into()
    }
}

/// The nearest integer, of two the even one. `x` must be in the range of an `i16`.
fn nearest(x: f64) -> i16 {
    // From 2^52 to 2^53 the floats are the integers, so that the sum is rounded to one, half to even, and its lowest
    // bits are those of `x`. CPUs do this to several at once, and without a function of its own.
    const ROUNDS: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    let [low, high, ..] = (x + ROUNDS).to_bits().to_le_bytes();
    i16::from_le_bytes([low, high])
}

fn check_dimension(dimension: usize) -> Result<(), Invalid> {
    if dimension == 0 {
        return Err(Invalid::Empty { field: "embedding" });
    }
    if dimension > DIMENSIONS_MAX {
        return Err(Invalid::TooMany {
            field: "embedding",
            max: DIMENSIONS_MAX,
            actual: dimension,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_and_halves_to_even() {
        let parts = [0.0, 0.25, 0.499_999_999_9, 0.5, 0.500_000_000_1, 0.75];
        for whole in -16_384..16_384_i32 {
            for part in parts {
                let x = f64::from(whole) + part;
                assert_eq!(f64::from(nearest(x)), x.round_ties_even(), "{x}");
            }
        }
        for (x, rounded) in [
            (0.5, 0),
            (1.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (16_384.0, 16_384),
        ] {
            assert_eq!(nearest(x), rounded);
        }
        assert_eq!(nearest(0.499_999_999_999_999_94), 0);
    }

    #[test]
    fn quantises_the_normalised_vector() {
        let embedding = Embedding::from_f32(&[3.0, -4.0]).expect("valid");
        assert_eq!(embedding.iter().collect::<Vec<_>>(), [9830, -13107]);
    }

    #[test]
    fn tiny_and_huge_vectors_are_normalised() {
        for x in [f32::MIN_POSITIVE / 8.0, f32::MAX] {
            let embedding = Embedding::from_f32(&[x, x]).expect("valid");
            assert_eq!(embedding.iter().collect::<Vec<_>>(), [11585, 11585]);
        }
    }

    #[test]
    fn bad_vectors_are_refused_by_name() {
        assert_eq!(
            Embedding::from_f32(&[]),
            Err(Invalid::Empty { field: "embedding" })
        );
        assert_eq!(
            Embedding::from_f32(&[0.0, f32::NAN]),
            Err(Invalid::NotFinite {
                field: "embedding",
                index: 1
            })
        );
        assert_eq!(
            Embedding::from_f32(&[0.0; 3]),
            Err(Invalid::ZeroNorm { field: "embedding" })
        );
        assert!(matches!(
            Embedding::from_f32(&vec![1.0; 4097]),
            Err(Invalid::TooMany {
                max: 4096,
                actual: 4097,
                ..
            })
        ));
        assert!(matches!(
            Embedding::from_quantized(&[16_384, 16_384]),
            Err(Invalid::NotUnitNorm { .. })
        ));
    }

    #[test]
    fn quantised_form_round_trips() {
        let embedding = Embedding::from_f32(&[0.1, 0.5, -0.2]).expect("valid");
        let again = Embedding::from_quantized_bytes(embedding.as_bytes().clone());
        assert_eq!(again, Ok(embedding));
    }
}
