//! How well vectors tell labelled texts apart.

use std::path::Path;

use anyhow::Context;

/// Texts and their labels, from JSON lines `{"text", "label"}`.
pub(crate) fn read(path: &Path) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let lines = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut read = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let field = |name| line[name].as_str().map(str::to_owned).context("a field");
        read.0.push(field("text")?);
        read.1.push(field("label")?);
    }
    Ok(read)
}

/// Share of the texts whose nearest other text, by cosine, has the same label; norms are 1.
pub(crate) fn accuracy(vectors: &[Vec<f32>], labels: &[String]) -> f64 {
    let nearest = |at: usize| {
        let similarity = |other: usize| -> f32 {
            let pairs = vectors[at].iter().zip(&vectors[other]);
            pairs.map(|(a, b)| a * b).sum()
        };
        let others = (0..vectors.len()).filter(|&other| other != at);
        others
            .map(|other| (similarity(other), other))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, other)| other)
    };
    let hits = (0..vectors.len())
        .filter(|&at| nearest(at).is_some_and(|other| labels[other] == labels[at]))
        .count();
    hits as f64 / vectors.len() as f64
}
