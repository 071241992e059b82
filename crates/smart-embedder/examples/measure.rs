//! Measures an encoder on labelled texts: how well it tells them apart, and how quick it is.
//!
//! ```text
//! cargo run -p smart-embedder --example measure -- hashed tests/data/hwu64/utterances.jsonl
//! taskset -c 0 target/debug/examples/measure model:DIR FILE.jsonl
//! ```
//!
//! With OUT.f32 it also writes the vectors: rows of little-endian f32, in the order of the texts.

#[path = "../tests/quality/nearest.rs"]
mod nearest;

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use smart_embedder::{ApiKey, EmbedderSpec, SmartEmbedder, http};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: measure EMBEDDER FILE.jsonl [LINES [OUT.f32]]";
    let spec: EmbedderSpec = args.next().context(usage)?.parse()?;
    let (mut texts, mut labels) = nearest::read(Path::new(&args.next().context(usage)?))?;
    if let Some(lines) = args.next() {
        let lines = lines.parse()?;
        texts.truncate(lines);
        labels.truncate(lines);
    }
    let started = Instant::now();
    let key = ApiKey::from_env("OPENAI_API_KEY")?;
    let encoder = spec.open(key, http::Config::default()).await?;
    println!("{} opened in {:.2?}", encoder.model_id(), started.elapsed());
    let embedder = SmartEmbedder::builder().shared_encoder(encoder).build();
    let started = Instant::now();
    let vectors = embedder.embed_texts(&texts).await?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} texts in {seconds:.2} s: {:.0} texts/s",
        texts.len(),
        texts.len() as f64 / seconds
    );
    let accuracy = nearest::accuracy(&vectors, &labels);
    println!("nearest neighbour has the same label: {accuracy:.4}");
    if let Some(out) = args.next() {
        let components = vectors.iter().flatten();
        let bytes: Vec<u8> = components.flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&out, bytes).context(out)?;
    }
    Ok(())
}
