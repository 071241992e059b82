//! Events as `toka import` reads them.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// The most parents an event may have.
pub(crate) const PARENTS_MAX: usize = 64;

/// One line of JSON Lines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Event {
    /// Names the event within its file.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// References of events on earlier lines.
    pub(crate) parents: Vec<String>,
    pub(crate) kind: &'static str,
    pub(crate) payload: Value,
    pub(crate) source: String,
    pub(crate) attributes: BTreeMap<&'static str, String>,
}

/// Writes `events` to `path`, one per line.
pub(crate) fn write_jsonl(path: &Path, events: &[Event]) -> Result<()> {
    let file =
        std::fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut writer = BufWriter::new(file);
    for event in events {
        serde_json::to_writer(&mut writer, event)?;
        writer.write_all(b"\n")?;
    }
    writer
        .flush()
        .with_context(|| format!("writing {}", path.display()))
}

/// The longest prefix of at most `bytes_max` bytes that is whole characters.
pub(crate) fn truncated(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// An event whose payload is a number.
#[cfg(test)]
pub(crate) fn for_test(reference: &str, parents: &[&str], payload: u64) -> Event {
    Event {
        reference: reference.into(),
        parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        kind: "test",
        payload: payload.into(),
        source: "test".into(),
        attributes: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_keys_of_import() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("events.jsonl");
        write_jsonl(&path, &[for_test("b", &["a"], 7)]).expect("the file is written");
        let text = std::fs::read_to_string(&path).expect("the file is there");
        assert_eq!(
            text,
            "{\"ref\":\"b\",\"parents\":[\"a\"],\"kind\":\"test\",\"payload\":7,\
             \"source\":\"test\",\"attributes\":{}}\n"
        );
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncated("aé", 2), "a");
        assert_eq!(truncated("aé", 3), "aé");
        assert_eq!(truncated("", 3), "");
    }
}
