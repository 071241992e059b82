//! From text to vector.

mod hashed;
mod http;
mod pool;
#[cfg(feature = "sentence")]
mod sentence;

use futures::future::BoxFuture;

pub use self::hashed::Hashed;
pub use self::http::OpenAi;
#[cfg(feature = "sentence")]
pub use self::sentence::Sentence;
use crate::error::Error;

/// What an encoder reads of a text, bytes; the rest is ignored.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Text to vector.
///
/// Vectors of two encoders with the same [`Encoder::model_id`] may be compared; others may not.
pub trait Encoder: Send + Sync {
    /// Names the model and its version: stable text that travels with the vault's settings.
    fn model_id(&self) -> &str;

    /// Components of a vector. None until the first reply of a model that is asked over the network;
    /// fixed from then on.
    fn dimension(&self) -> Option<usize>;

    /// Texts in one call of [`Encoder::encode`] at most.
    fn batch_texts_max(&self) -> usize;

    /// Calls of [`Encoder::encode`] that are worth having in flight at once.
    fn batches_in_flight(&self) -> usize;

    /// Vectors of `texts`, in their order: shape `[texts][dimension]`, each finite and of unit norm.
    ///
    /// Every text has a vector, the empty one too. Work on the CPU runs off the caller's thread.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than [`Encoder::batch_texts_max`] texts; what the model fails
    /// with. No vector is returned for part of a batch.
    fn encode<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>>;
}

/// Refuses a batch that is too large.
fn check_batch(texts: &[String], limit: usize) -> Result<(), Error> {
    if texts.len() <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        field: "batch, texts",
        limit,
        actual: texts.len(),
    })
}

/// Scales `vector` to unit norm; `None` if a component is not finite or all are zero.
fn normalize(vector: &mut [f32]) -> Option<()> {
    // The largest magnitude is divided out first, so that squares neither vanish nor overflow.
    let mut largest = 0.0_f64;
    for &x in vector.iter() {
        if !x.is_finite() {
            return None;
        }
        largest = largest.max(f64::from(x).abs());
    }
    if largest == 0.0 {
        return None;
    }
    let scaled = |x: f32| f64::from(x) / largest;
    let norm = vector
        .iter()
        .map(|&x| scaled(x) * scaled(x))
        .sum::<f64>()
        .sqrt();
    for x in vector {
        #[allow(clippy::cast_possible_truncation)]
        let unit = (scaled(*x) / norm) as f32;
        *x = unit;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalize_survives_extremes() {
        for largest in [f32::MAX, f32::MIN_POSITIVE, 1.0] {
            let mut vector = [largest, -largest, 0.0];
            normalize(&mut vector).expect("finite and not zero");
            let half = 0.5_f32.sqrt();
            assert_eq!(vector, [half, -half, 0.0]);
        }
    }

    #[test]
    fn normalize_refuses_what_has_no_direction() {
        for mut vector in [
            vec![],
            vec![0.0; 3],
            vec![1.0, f32::NAN],
            vec![f32::INFINITY],
        ] {
            assert_eq!(normalize(&mut vector), None);
        }
    }
}
