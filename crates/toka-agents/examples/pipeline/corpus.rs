//! What people have said to an assistant.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Kind of an utterance.
pub(crate) const UTTERANCE: &str = "utterance";

/// One of them, and what it was about, as people have said: `scenario_intent`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Utterance {
    pub(crate) text: String,
    label: String,
}

impl Utterance {
    /// The scenario: `alarm`, `calendar`, `music`.
    pub(crate) fn scenario(&self) -> &str {
        self.label.split('_').next().unwrap_or_default()
    }
}

/// The first `events` utterances, each text once.
pub(crate) fn read(events: usize) -> Result<Vec<Utterance>> {
    // Where cargo runs it, and not where it was compiled: a target directory may be used by several clones.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let path = package.join("../../tests/data/hwu64/utterances.jsonl");
    let lines =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut texts = BTreeSet::new();
    let mut utterances = Vec::new();
    for line in lines.lines().take(events) {
        let utterance: Utterance = serde_json::from_str(line)?;
        if texts.insert(utterance.text.clone()) {
            utterances.push(utterance);
        }
    }
    Ok(utterances)
}
