//! What arguments of several tools have in common.

use std::collections::BTreeMap;

use toka_client::Selector;
use toka_ledger::{Digest, EventId, Filter};

use crate::error::ToolError;

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
    fn limit_has_bounds_and_a_default() {
        assert_eq!(limit(None, 10, 50).expect("the default"), 10);
        assert_eq!(limit(Some(50), 10, 50).expect("the most"), 50);
        for given in [0, 51] {
            assert!(limit(Some(given), 10, 50).is_err(), "{given}");
        }
    }
}
