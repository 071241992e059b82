//! The 2,000 utterances, told as conversations.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::event::Event;

const KIND: &str = "utterance.user";

/// Utterances in one conversation; each has the one before it as its parent.
const TURNS: usize = 8;

#[derive(Deserialize)]
struct Utterance {
    text: String,
    label: String,
}

/// Reads the corpus and chains consecutive utterances.
pub(crate) fn conversations(path: &Path) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the corpus {}", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            let utterance: Utterance = serde_json::from_str(line)
                .with_context(|| format!("{}:{}", path.display(), index + 1))?;
            Ok(event(index, &utterance))
        })
        .collect()
}

fn event(index: usize, utterance: &Utterance) -> Event {
    let (conversation, turn) = (index / TURNS, index % TURNS);
    let parents = if turn == 0 {
        Vec::new()
    } else {
        vec![reference(index - 1)]
    };
    Event {
        reference: reference(index),
        parents,
        kind: KIND,
        // Conversation and turn make equal utterances different events.
        payload: json!({
            "conversation": conversation,
            "turn": turn,
            "text": utterance.text,
        }),
        source: "hwu64".into(),
        // What people called it is no part of the payload, which is embedded.
        attributes: BTreeMap::from([
            ("session", format!("conversation-{conversation:04}")),
            ("label", utterance.label.clone()),
        ]),
    }
}

fn reference(index: usize) -> String {
    format!("utterance:{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_the_repository_is_2000_chained_utterances() {
        let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
        let root = Path::new(&root).join("../..");
        let events = conversations(&root.join("tests/data/hwu64/utterances.jsonl"))
            .expect("the corpus is in the repository");
        assert_eq!(events.len(), 2_000);
        assert_eq!(
            events
                .iter()
                .filter(|event| event.parents.is_empty())
                .count(),
            250
        );
        assert_eq!(events[9].parents, ["utterance:8"]);
        assert!(events[9].payload.get("label").is_none());
        assert!(events[9].attributes.contains_key("label"));
    }
}
