//! Flattening: kind, field names and values, in their order.
//!
//! What differs between two events of the same meaning (ids, digests, times, numbers) becomes a word
//! for its sort, so that their texts are nearly equal. Numbers that matter, such as a status code,
//! belong into a name or a short text of the event: `"status": "404 not found"`.

use futures::FutureExt;
use futures::future::BoxFuture;
use rmpv::Value;

use super::Summarizer;
use super::tone::{split_name, tone};
use crate::error::Error;
use crate::text::cut;

/// Names the rules; others get another name.
const VERSION: &str = "flatten-v1";

/// Extension type of a MessagePack timestamp.
const TIMESTAMP_EXT: i8 = -1;

/// Length of a UUID in binary form, bytes.
const UUID_BYTES: usize = 16;

/// Bounds of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Levels of maps and lists that are entered; what is deeper is left out.
    pub depth_max: usize,
    /// Items of a list that are read; the rest is left out.
    pub items_max: usize,
    /// What is read of one string, bytes.
    pub value_bytes_max: usize,
    /// The text at most, bytes.
    pub text_bytes_max: usize,
}

impl Default for Config {
    /// Some 500 tokens, what most sentence models read.
    fn default() -> Self {
        Self {
            depth_max: 8,
            items_max: 32,
            value_bytes_max: 1_024,
            text_bytes_max: 2_048,
        }
    }
}

/// The default summarizer: `auth.login` of `{userId: "alice", time: 1234567890}` is
/// `auth login: user id alice, time number`.
///
/// Names are split at dots, underscores and changes of case. Null fields are left out, bytes are the
/// word `bytes`, variants of an enum are a field with the variant's name. Texts of more than a word
/// stay as they are but for long numbers, ids and times in them.
#[derive(Clone, Debug)]
pub struct Flatten {
    config: Config,
    id: String,
}

impl Default for Flatten {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Flatten {
    /// A summarizer with other bounds.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut id = VERSION.to_owned();
        if config != Config::default() {
            let Config {
                depth_max,
                items_max,
                value_bytes_max,
                text_bytes_max,
            } = config;
            id += &format!("({depth_max},{items_max},{value_bytes_max},{text_bytes_max})");
        }
        Self { config, id }
    }

    /// The text of an event; takes some microseconds.
    #[must_use]
    pub fn text(&self, kind: &str, event: &Value) -> String {
        let mut walk = Walk {
            config: &self.config,
            text: split_name(cut(kind, self.config.value_bytes_max)),
            names: Vec::new(),
            is_first: true,
        };
        walk.visit(event, 0);
        let mut text = walk.text;
        text.truncate(cut(&text, self.config.text_bytes_max).len());
        text
    }
}

impl Summarizer for Flatten {
    fn id(&self) -> &str {
        &self.id
    }

    fn events_in_flight(&self) -> usize {
        1
    }

    fn summarize<'a>(
        &'a self,
        kind: &'a str,
        event: &'a Value,
    ) -> BoxFuture<'a, Result<String, Error>> {
        async move { Ok(self.text(kind, event)) }.boxed()
    }
}

struct Walk<'c> {
    config: &'c Config,
    text: String,
    /// Names on the way to the next value that are not in the text yet.
    names: Vec<String>,
    is_first: bool,
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value, depth: usize) {
        if self.text.len() >= self.config.text_bytes_max {
            return;
        }
        match value {
            Value::Nil => {}
            Value::Boolean(value) => self.leaf(if *value { "true" } else { "false" }),
            Value::Integer(_) | Value::F32(_) | Value::F64(_) => self.leaf("number"),
            Value::String(text) => match text.as_str() {
                Some(text) => self.leaf(&self.string(text)),
                None => self.leaf("bytes"),
            },
            Value::Binary(bytes) if bytes.len() == UUID_BYTES => self.leaf("id"),
            Value::Binary(_) => self.leaf("bytes"),
            Value::Ext(TIMESTAMP_EXT, _) => self.leaf("time"),
            Value::Ext(..) => self.leaf("bytes"),
            Value::Array(_) | Value::Map(_) if depth >= self.config.depth_max => {}
            Value::Array(items) => {
                for item in items.iter().take(self.config.items_max) {
                    self.visit(item, depth + 1);
                }
            }
            Value::Map(fields) => {
                for (name, value) in fields {
                    let above = self.names.len();
                    self.names.push(self.name(name));
                    self.visit(value, depth + 1);
                    // A value takes all names along; without one, this name goes.
                    self.names.truncate(above);
                }
            }
        }
    }

    fn name(&self, name: &Value) -> String {
        match name.as_str() {
            Some(name) => split_name(&tone(cut(name, self.config.value_bytes_max))),
            None if name.is_number() => "number".to_owned(),
            None => "key".to_owned(),
        }
    }

    fn string(&self, text: &str) -> String {
        let text = cut(text, self.config.value_bytes_max);
        let toned = tone(text);
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text.chars().all(is_name) {
            split_name(&toned)
        } else {
            toned.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    }

    fn leaf(&mut self, value: &str) {
        let named = !self.names.is_empty();
        self.names.retain(|name| !name.is_empty());
        let mut segment = std::mem::take(&mut self.names).join(" ");
        if !segment.is_empty() && !value.is_empty() {
            segment.push(' ');
        }
        segment.push_str(value);
        // Lists of numbers or ids say it once.
        if segment.is_empty() || self.ends_with(&segment) {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(match (self.is_first, named) {
                (true, _) => ": ",
                (false, true) => ", ",
                (false, false) => " ",
            });
        }
        self.text.push_str(&segment);
        self.is_first = false;
    }

    /// Whether the last words of the fields so far are `segment`.
    fn ends_with(&self, segment: &str) -> bool {
        let before = self.text.strip_suffix(segment);
        !self.is_first && before.is_some_and(|before| before.ends_with(' '))
    }
}

#[cfg(test)]
mod tests;
