use proptest::prelude::*;

use super::*;

fn cosine(a: &str, b: &str) -> f32 {
    let encoder = Hashed::default();
    let (a, b) = (encoder.vector(a), encoder.vector(b));
    a.iter().zip(&b).map(|(a, b)| a * b).sum()
}

/// BLAKE3 of the components as little-endian bytes, the first 16 digits.
fn digest(text: &str, dimension: usize) -> String {
    let bytes: Vec<u8> = vector(text, dimension)
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    blake3::hash(&bytes).to_hex()[..16].to_owned()
}

// A change of these is a change of the model: it needs another model id.
#[test]
fn vectors_are_the_same_everywhere() {
    let golden = [
        ("", 384, "9815476ba9c26117"),
        ("Please wake me up at 8 AM.", 384, "f0dd58af8e6f4dfd"),
        ("Please wake me up at 8 AM.", 768, "d3f4fa04fe364a06"),
        (
            "auth login: user id alice, timestamp number",
            384,
            "176432d60d809c90",
        ),
        (
            "Crème brûlée, l'été — ÅNGSTRÖM 東京の天気 \u{1F680}",
            384,
            "0b80839744e1f5da",
        ),
        (
            &"to be, or not to be: that's the question. ".repeat(99),
            384,
            "c52b0d03a46adf14",
        ),
    ];
    let actual = golden.map(|(text, dimension, _)| digest(text, dimension));
    assert_eq!(actual, golden.map(|(_, _, digest)| digest));
}

#[test]
fn text_without_words_has_one_vector_of_its_own() {
    let empty = vector("", 384);
    assert_eq!(empty.iter().filter(|x| **x != 0.0).count(), 1);
    for text in [" ", "...", "\u{1F680}", "\n\t—'"] {
        assert_eq!(vector(text, 384), empty, "{text:?}");
    }
}

#[test]
fn case_and_punctuation_do_not_matter() {
    assert_eq!(
        vector("It's RAINING, again!", 384),
        vector("its raining again", 384)
    );
}

#[test]
fn like_texts_are_nearer_than_unlike_ones() {
    let query = "payment refused: card expired";
    let same = cosine(query, "payments were refused, the card has expired");
    let typo = cosine(query, "paymnt refusd: card expird");
    let other = cosine(query, "user alice logged in from a new device");
    assert!(
        same > 0.6 && typo > 0.3 && other < 0.2,
        "{same} {typo} {other}"
    );
}

#[test]
fn function_words_weigh_less() {
    let topic = cosine("the weather in the city", "weather city");
    let words = cosine("the weather in the city", "the news in the paper");
    assert!(topic > 2.0 * words, "{topic} {words}");
}

#[test]
fn order_of_words_matters_a_little() {
    let swapped = cosine("dog bites man", "man bites dog");
    assert!((0.8..0.999).contains(&swapped), "{swapped}");
}

#[test]
fn repeats_count_logarithmically() {
    let weights = [1, 2, 3, 4, 8, 1_024].map(repeats);
    assert_eq!(weights, [256, 512, 640, 768, 1_024, 2_816]);
}

#[test]
fn rest_of_a_long_text_is_ignored() {
    let long = "word ".repeat(TEXT_BYTES_MAX.div_ceil(5));
    let read = vector(&long, 384);
    assert_eq!(vector(&format!("{long} other words follow"), 384), read);
}

#[test]
fn dimension_out_of_range_is_refused() {
    for dimension in [0, 15, 4_097] {
        let error = Hashed::new(dimension).expect_err("out of range");
        assert!(error.to_string().contains("16 to 4,096"), "{error}");
    }
}

#[tokio::test]
async fn batch_is_encoded_in_order_and_bounded() {
    let encoder = Hashed::new(64).expect("in range");
    let texts: Vec<String> = (0..BATCH_TEXTS_MAX).map(|i| format!("text {i}")).collect();
    let vectors = encoder.encode(&texts).await.expect("no failure");
    for (text, vector) in texts.iter().zip(vectors) {
        assert_eq!(vector, encoder.vector(text));
    }
    let too_many = vec![String::new(); BATCH_TEXTS_MAX + 1];
    let error = encoder.encode(&too_many).await.expect_err("too many");
    assert_eq!(error.to_string(), "batch, texts is 257, at most 256");
}

proptest! {
    #[test]
    fn every_text_has_a_unit_vector(text in "\\PC{0,200}", dimension in 16_usize..1_024) {
        let vector = vector(&text, dimension);
        let norm: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        prop_assert_eq!(vector.len(), dimension);
        prop_assert!((norm - 1.0).abs() < 1e-5, "{}", norm);
    }
}
