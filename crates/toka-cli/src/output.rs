//! What goes to standard output: lines, JSON Lines, tables.
//!
//! A reader that closes the pipe (`toka log | head`) ends the program quietly.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Map, Value, json};
use toka_ledger::EventHeader;

use crate::cli::Format;
use crate::payload::{self, Shown};

/// On a narrower terminal the cells of a table are not wrapped: what comes out of that cannot be read.
const TABLE_WIDTH_MIN: u16 = 100;

/// What was asked for, else a table on a terminal and JSON in a pipe.
pub(crate) fn format(asked: Option<Format>) -> Format {
    asked.unwrap_or_else(|| {
        if io::stdout().is_terminal() {
            Format::Table
        } else {
            Format::Json
        }
    })
}

/// One line of text.
pub(crate) fn line(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// One line that matters less than others: dim on a terminal.
pub(crate) fn dim(text: &str) -> Result<()> {
    match io::stdout().is_terminal() {
        true => line(&format!("\x1b[2m{text}\x1b[0m")),
        false => line(text),
    }
}

/// Bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// One value as a line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    bytes(&text)
}

/// An empty table with a header, as wide as the terminal. In a pipe, and on a narrow terminal, each row is one line.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.iter().map(|name| name.to_uppercase()));
    table.set_content_arrangement(arrangement(table.width()));
    table
}

/// How cells are laid out on a terminal that is so wide; `None`: it is none. One that does not tell its width
/// tells 0.
fn arrangement(width: Option<u16>) -> ContentArrangement {
    match width {
        Some(TABLE_WIDTH_MIN..) => ContentArrangement::Dynamic,
        Some(_) | None => ContentArrangement::Disabled,
    }
}

/// Whether an error is only that nobody reads the output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// A history's identity as it is written everywhere.
pub(crate) fn history(history_id: u128) -> String {
    format!("{history_id:032x}")
}

/// An event as JSON; `payload` is absent where it was not read.
pub(crate) fn event_json(header: &EventHeader, payload: Option<&PayloadView>) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), json!(header.id));
    object.insert("sequence".into(), json!(header.sequence));
    object.insert("unix_ms".into(), json!(header.unix_ms));
    object.insert("kind".into(), json!(header.kind));
    object.insert("digest".into(), json!(header.digest));
    object.insert("payload_digest".into(), json!(header.payload_digest));
    object.insert("payload_bytes".into(), json!(header.payload_bytes));
    let parents: Vec<_> = header
        .parents
        .iter()
        .map(|parent| json!(parent.id))
        .collect();
    object.insert("parents".into(), parents.into());
    if !header.salt.is_empty() {
        object.insert("salt".into(), hex(header.salt.as_bytes()).into());
    }
    let attributes = &header.attributes;
    if let Some(source) = &attributes.source {
        object.insert("source".into(), json!(source));
    }
    if let Some(content_type) = &attributes.content_type {
        object.insert("content_type".into(), json!(content_type));
    }
    object.insert("attributes".into(), json!(attributes.pairs));
    if let Some(embedding) = &header.embedding {
        object.insert("dimension".into(), json!(embedding.dimension));
    }
    if let Some(micro_cluster) = header.micro_cluster {
        object.insert("micro_cluster".into(), json!(micro_cluster));
    }
    if let Some(intent) = header.intent {
        object.insert("intent".into(), json!(intent));
    }
    if let Some(payload) = payload {
        let (name, value) = payload.json();
        object.insert(name.into(), value);
    }
    Value::Object(object)
}

/// A payload that was read.
#[derive(Clone, Debug)]
pub(crate) enum PayloadView {
    /// Its bytes.
    Present(bytes::Bytes),
    /// It was erased.
    Erased,
}

impl PayloadView {
    /// Name and value in an event's JSON.
    pub(crate) fn json(&self) -> (&'static str, Value) {
        match self {
            Self::Erased => ("payload_erased", true.into()),
            Self::Present(bytes) => match payload::show(bytes) {
                Shown::Json(value) => ("payload", value),
                Shown::Base64(text) => ("payload_base64", text.into()),
            },
        }
    }

    /// One line for a table, cut to `max` characters.
    pub(crate) fn short(&self, max: usize) -> String {
        let text = match self {
            Self::Erased => "(erased)".to_owned(),
            Self::Present(bytes) => match payload::show(bytes) {
                Shown::Json(value) => value.to_string(),
                Shown::Base64(text) => text,
            },
        };
        cut(&text, max)
    }
}

/// At most `max` characters of a text.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let cut: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text with what has no shape of its own written as its number: what turns the writing around, joins or divides
/// lines, or is not seen at all could make a text look like another one. Control characters are no concern of this.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Characters of Unicode's categories Cf, Zl and Zp.
const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_written_as_its_number() {
        assert_eq!(visible("plain äλ語"), "plain äλ語");
        assert_eq!(visible("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
    }

    #[test]
    fn rows_are_wrapped_on_wide_terminals_alone() {
        let lines = |width: Option<u16>| {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_content_arrangement(arrangement(width));
            table.set_width(width.unwrap_or(80));
            table.add_row(["some words ".repeat(30), "more".to_owned()]);
            table.to_string().lines().count()
        };
        for narrow in [None, Some(0), Some(40), Some(TABLE_WIDTH_MIN - 1)] {
            assert_eq!(lines(narrow), 1, "{narrow:?}");
        }
        assert!(lines(Some(TABLE_WIDTH_MIN)) > 1);
    }
}
