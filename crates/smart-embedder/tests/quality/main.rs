//! The default encoder on a real corpus.

mod nearest;

use std::path::Path;

use smart_embedder::SmartEmbedder;

#[tokio::test]
async fn default_encoder_tells_intents_apart() {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let corpus = Path::new(&manifest_dir).join("../../tests/data/hwu64/utterances.jsonl");
    let (texts, labels) = nearest::read(&corpus).expect("the corpus is in the repository");
    let vectors = SmartEmbedder::default().embed_texts(&texts).await;
    // The vectors are deterministic; chance is 0.02, and all-MiniLM-L6-v2 has 0.78.
    let accuracy = nearest::accuracy(&vectors.expect("no failure"), &labels);
    assert!(accuracy > 0.69, "{accuracy}");
}
