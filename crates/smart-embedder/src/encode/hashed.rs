//! Hashed n-grams: no model, no download, the same vectors on every CPU.
//!
//! A text is its words, pairs of neighbouring words, and the 3- to 5-grams of characters within each
//! word, boundaries marked. Each feature is hashed to a component and a sign (Weinberger et al.,
//! *Feature Hashing for Large Scale Multitask Learning*, 2009) and adds its weight there. Repeats
//! count logarithmically; a word's n-grams weigh as much together as another word's, and function
//! words half. All sums are of integers; the one step in floating point, scaling to unit norm, is
//! exact in IEEE 754.
//!
//! The weights were chosen by nearest-neighbour accuracy on HWU64 (`examples/measure.rs` measures it).

mod stopwords;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::stopwords::is_stopword;
use super::pool::Pool;
use super::{Encoder, TEXT_BYTES_MAX, check_batch};
use crate::error::Error;
use crate::text::cut;

/// Texts in a batch at most.
const BATCH_TEXTS_MAX: usize = 256;

/// Components at least and at most; the latter is the vault's limit.
const DIMENSION_RANGE: std::ops::RangeInclusive<usize> = 16..=4_096;

/// Characters in an n-gram.
const GRAM_CHARS: std::ops::RangeInclusive<usize> = 3..=5;

/// Weights in Q8: 256 is 1.
const WORD_WEIGHT: u32 = 256;
const PAIR_WEIGHT: u32 = 128;
/// Norm of all n-grams of one word.
const GRAMS_WEIGHT: u32 = 384;

/// A change of any vector is a new version.
const MODEL: &str = "hashed-v1";

/// The built-in encoder: deterministic, and quick enough to be the default.
///
/// A text without a letter or digit has a vector of its own, the same for all such texts.
#[derive(Clone, Debug)]
pub struct Hashed {
    dimension: usize,
    model_id: String,
    pool: Pool,
}

impl Hashed {
    /// Components of a vector unless told otherwise.
    pub const DIMENSION: usize = 384;

    /// An encoder to vectors of `dimension` components.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `dimension` is 16 to 4,096.
    pub fn new(dimension: usize) -> Result<Self, Error> {
        if !DIMENSION_RANGE.contains(&dimension) {
            return Err(Error::Invalid {
                field: "dimension",
                value: dimension.to_string(),
                expected: "16 to 4,096",
            });
        }
        Ok(Self::with_dimension(dimension))
    }

    fn with_dimension(dimension: usize) -> Self {
        Self {
            dimension,
            model_id: format!("{MODEL}/{dimension}"),
            pool: Pool::new(),
        }
    }

    /// The dimension in a model id of this encoder.
    pub(crate) fn dimension_in(model_id: &str) -> Option<usize> {
        let (model, digits) = model_id.split_once('/')?;
        let dimension = digits.parse().ok()?;
        // As it is written, and not +16 or 016.
        let is_ours = model == MODEL && Self::with_dimension(dimension).model_id == model_id;
        is_ours.then_some(dimension)
    }

    /// The vector of `text`, shape `[dimension]`, of unit norm; takes some ten microseconds.
    #[must_use]
    pub fn vector(&self, text: &str) -> Vec<f32> {
        vector(text, self.dimension)
    }
}

impl Default for Hashed {
    fn default() -> Self {
        Self::with_dimension(Self::DIMENSION)
    }
}

impl Encoder for Hashed {
    fn model_id(&self) -> &str {
        &self.model_id
    }

    fn dimension(&self) -> Option<usize> {
        Some(self.dimension)
    }

    fn batch_texts_max(&self) -> usize {
        BATCH_TEXTS_MAX
    }

    fn batches_in_flight(&self) -> usize {
        self.pool.cores()
    }

    fn encode<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        async move {
            check_batch(texts, BATCH_TEXTS_MAX)?;
            let (texts, dimension) = (texts.to_vec(), self.dimension);
            let job = move || texts.iter().map(|text| vector(text, dimension)).collect();
            Ok(self.pool.run(job).await)
        }
        .boxed()
    }
}

fn vector(text: &str, dimension: usize) -> Vec<f32> {
    let mut sums = vec![0_i64; dimension];
    let mut features = features(cut(text, TEXT_BYTES_MAX));
    features.sort_unstable();
    for group in features.chunk_by(|a, b| a.hash == b.hash) {
        // Sorted, so the last is the heaviest.
        let weight = group.last().map_or(0, |feature| feature.weight);
        add(
            &mut sums,
            group[0].hash,
            i64::from(weight) * repeats(group.len()),
        );
    }
    let mut squared: i64 = sums.iter().map(|&sum| sum * sum).sum();
    if squared == 0 {
        // No word, or words that cancel out: the vector of nothing.
        add(&mut sums, Hash::of(Tag::Nothing).finish(), 1);
        squared = 1;
    }
    #[allow(clippy::cast_precision_loss)]
    let norm = (squared as f64).sqrt();
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let unit = |sum: i64| (sum as f64 / norm) as f32;
    sums.into_iter().map(unit).collect()
}

/// Adds `weight` to the component that `hash` names, with the sign that it names.
fn add(sums: &mut [i64], hash: u64, weight: i64) {
    // A usize is 64 bits or less, and the remainder fits either.
    #[allow(clippy::cast_possible_truncation)]
    let component = ((hash >> 1) % sums.len() as u64) as usize;
    sums[component] += if hash & 1 == 1 { weight } else { -weight };
}

/// What a feature that occurs `count` times counts, Q8: about 1 + log2(count).
fn repeats(count: usize) -> i64 {
    let count = count as u64;
    let exponent = count.ilog2();
    // Linear between the powers of two.
    let weight = 256 * u64::from(exponent) + ((count << 8) >> exponent);
    i64::try_from(weight).expect("a logarithm is small")
}

/// Ordered by hash, then weight.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Feature {
    hash: u64,
    /// Q8.
    weight: u32,
}

fn features(text: &str) -> Vec<Feature> {
    let words = words(text);
    let mut features = Vec::with_capacity(words.len() * 16);
    for (index, word) in words.iter().enumerate() {
        let hash = Hash::of(Tag::Word).text(word);
        features.push(feature(hash, word_weight(word, WORD_WEIGHT)));
        if let Some(next) = words.get(index + 1) {
            // The geometric mean of the two.
            let weight = match (is_stopword(word), is_stopword(next)) {
                (false, false) => PAIR_WEIGHT,
                (true, true) => PAIR_WEIGHT / 2,
                _ => PAIR_WEIGHT * 181 / 256,
            };
            let hash = Hash::of(Tag::Pair).text(word).text(" ").text(next);
            features.push(feature(hash, weight));
        }
        push_grams(&mut features, word);
    }
    features
}

fn push_grams(features: &mut Vec<Feature>, word: &str) {
    let marked: Vec<char> = std::iter::once('<')
        .chain(word.chars())
        .chain(std::iter::once('>'))
        .collect();
    let count: usize = GRAM_CHARS
        .map(|chars| (marked.len() + 1).saturating_sub(chars))
        .sum();
    let Some(count) = u32::try_from(count).ok().filter(|&count| count > 0) else {
        return;
    };
    let weight = word_weight(word, (GRAMS_WEIGHT * GRAMS_WEIGHT / count).isqrt());
    for gram in GRAM_CHARS.flat_map(|chars| marked.windows(chars)) {
        let hash = gram.iter().fold(Hash::of(Tag::Gram), |hash, &c| {
            hash.text(c.encode_utf8(&mut [0; 4]))
        });
        features.push(feature(hash, weight));
    }
}

fn feature(hash: Hash, weight: u32) -> Feature {
    Feature {
        hash: hash.finish(),
        weight,
    }
}

fn word_weight(word: &str, weight: u32) -> u32 {
    if is_stopword(word) {
        weight / 2
    } else {
        weight
    }
}

/// Runs of letters and digits, in lower case, without apostrophes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else if !matches!(c, '\'' | '\u{2019}') && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Keeps features of different sorts apart.
#[derive(Clone, Copy)]
enum Tag {
    Nothing = 0,
    Word = 1,
    Pair = 2,
    Gram = 3,
}

/// FNV-1a, 64 bits, with the finalizer of `MurmurHash3`.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn of(tag: Tag) -> Self {
        Self(0xcbf2_9ce4_8422_2325).byte(tag as u8)
    }

    fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn text(self, text: &str) -> Self {
        text.bytes().fold(self, Self::byte)
    }

    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests;
