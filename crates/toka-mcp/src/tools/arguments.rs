//! What arguments of several tools have in common.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toka_client::Selector;
use toka_ledger::{Digest, EventId, Filter};

use crate::error::ToolError;

/// How a caller names an event: a text, or a number where it is a sequence, as models write it.
///
/// Any number is taken here, so that one that names no event is refused with the argument that it was given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event by id, sequence or digest")
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<Name, E> {
        Ok(Name(given.to_owned()))
    }

    fn visit_u64<E: Error>(self, given: u64) -> Result<Name, E> {
        Ok(Name(given.to_string()))
    }

    fn visit_i64<E: Error>(self, given: i64) -> Result<Name, E> {
        Ok(Name(given.to_string()))
    }

    // To JSON Schema 1.0 is an integer, and programs that have no other numbers write it so.
    fn visit_f64<E: Error>(self, given: f64) -> Result<Name, E> {
        Ok(Name(given.to_string()))
    }
}

impl JsonSchema for Name {
    // Not every client follows references.
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Name")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

/// An event by id, sequence or digest, told apart by how they look.
pub(crate) fn selector(field: &'static str, text: &str) -> Result<Selector, ToolError> {
    // Before the sequence, since a digest may consist of decimal digits.
    if let Ok(digest) = text.parse::<Digest>() {
        return Ok(Selector::Digest(digest));
    }
    if let Ok(sequence) = text.parse::<u64>() {
        return Ok(Selector::Sequence(sequence));
    }
    text.parse::<EventId>().map(Selector::Id).map_err(|_| {
        let what =
            "is neither an id (a UUID), nor a sequence, nor a digest (64 hexadecimal digits)";
        ToolError::argument(field, format!("{text:?} {what}"))
    })
}

/// How many are wanted: `default` if nothing was said, and never more than `max`.
pub(super) fn limit(given: Option<u32>, default: u32, max: u32) -> Result<u32, ToolError> {
    match given {
        None => Ok(default),
        Some(given) if (1..=max).contains(&given) => Ok(given),
        Some(given) => Err(ToolError::argument(
            "limit",
            format!("{given} is not between 1 and {max}"),
        )),
    }
}

/// Events whose kind begins with any of the prefixes, and that have all of the attributes.
pub(super) fn filter(kind_prefixes: Vec<String>, attributes: BTreeMap<String, String>) -> Filter {
    Filter {
        kind_prefixes,
        attributes: attributes.into_iter().collect(),
        ..Filter::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_apart_by_how_they_are_named() {
        let by = |text: &str| selector("event", text);
        assert_eq!(by("17").expect("a sequence"), Selector::Sequence(17));
        let digest = by(&"1".repeat(64)).expect("a digest");
        assert!(matches!(digest, Selector::Digest(_)), "{digest:?}");
        let id = by("0190a5b4-7a3c-7000-8000-000000000001").expect("an id");
        assert!(matches!(id, Selector::Id(_)), "{id:?}");
        let error = by("yesterday").expect_err("neither");
        assert_eq!(error.code(), "invalid_argument");
    }

    #[test]
    fn sequence_is_named_by_a_number_or_a_text() {
        for given in [json!(17), json!(17.0), json!("17")] {
            let name: Name = serde_json::from_value(given).expect("a name");
            let selector = selector("event", name.as_str());
            assert_eq!(selector.expect("a sequence"), Selector::Sequence(17));
        }
        let largest: Name = serde_json::from_value(json!(u64::MAX)).expect("a name");
        assert_eq!(largest.as_str(), "18446744073709551615");
    }

    #[test]
    fn number_that_is_no_sequence_is_refused_by_its_argument() {
        for given in [json!(-1), json!(1.5)] {
            let name: Name = serde_json::from_value(given).expect("a name");
            let error = selector("parents", name.as_str()).expect_err("no sequence");
            assert_eq!(error.to_value()["error"]["field"], "parents");
        }
        for given in [json!(true), json!(null), json!([1])] {
            assert!(serde_json::from_value::<Name>(given).is_err());
        }
    }

    #[test]
    fn limit_has_bounds_and_a_default() {
        assert_eq!(limit(None, 10, 50).expect("the default"), 10);
        assert_eq!(limit(Some(50), 10, 50).expect("the most"), 50);
        for given in [0, 51] {
            assert!(limit(Some(given), 10, 50).is_err(), "{given}");
        }
    }
}
