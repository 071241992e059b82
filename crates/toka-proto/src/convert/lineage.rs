//! Lineage.

use std::sync::Arc;

use toka_ledger::core::limits::KIND_BYTES_MAX;
use toka_ledger::read::lineage::{Relation, Relative};
use toka_ledger::{EventHeader, Invalid, Selector};

use super::read::{KIND_PREFIXES_MAX, check_count};
use crate::v1;

impl From<Relation> for v1::Relation {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Ancestors => Self::Ancestors,
            Relation::Descendants => Self::Descendants,
        }
    }
}

/// The relation of a request.
///
/// # Errors
/// [`Invalid::Syntax`] for one of a newer version.
pub fn relation(number: i32) -> Result<Relation, Invalid> {
    match v1::Relation::try_from(number) {
        Ok(v1::Relation::Unspecified | v1::Relation::Ancestors) => Ok(Relation::Ancestors),
        Ok(v1::Relation::Descendants) => Ok(Relation::Descendants),
        Err(_) => Err(Invalid::Syntax {
            field: "relation",
            expected: "ancestors or descendants",
        }),
    }
}

/// The event that `field` of a request names.
///
/// # Errors
/// [`Invalid::Empty`], naming `field`; as a selector.
pub fn selector(
    field: &'static str,
    selector: Option<v1::EventSelector>,
) -> Result<Selector, Invalid> {
    selector.ok_or(Invalid::Empty { field })?.try_into()
}

/// The prefixes of kinds of a request.
///
/// # Errors
/// [`Invalid::TooMany`], [`Invalid::TooLong`].
pub fn kind_prefixes(prefixes: Vec<String>) -> Result<Vec<String>, Invalid> {
    const FIELD: &str = "kind_prefixes";
    check_count(FIELD, KIND_PREFIXES_MAX, prefixes.len())?;
    match prefixes.iter().find(|prefix| prefix.len() > KIND_BYTES_MAX) {
        Some(long) => Err(Invalid::TooLong {
            field: FIELD,
            max: KIND_BYTES_MAX,
            actual: long.len(),
        }),
        None => Ok(prefixes),
    }
}

impl From<&Relative> for v1::Relative {
    fn from(relative: &Relative) -> Self {
        Self {
            event: Some((&*relative.header).into()),
            depth: relative.depth,
        }
    }
}

impl TryFrom<v1::Relative> for Relative {
    type Error = Invalid;

    fn try_from(relative: v1::Relative) -> Result<Self, Invalid> {
        let event = relative.event.ok_or(Invalid::Empty { field: "event" })?;
        Ok(Self {
            header: Arc::new(EventHeader::try_from(event)?),
            depth: relative.depth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_those_of_the_messages() {
        for of in [Relation::Ancestors, Relation::Descendants] {
            assert_eq!(relation(v1::Relation::from(of).into()), Ok(of));
        }
        assert_eq!(relation(0), Ok(Relation::Ancestors));
        let newer = relation(17).expect_err("there is none");
        assert_eq!(newer.field(), "relation");
    }

    #[test]
    fn an_event_must_be_named() {
        let empty = Err(Invalid::Empty { field: "without" });
        assert_eq!(selector("without", None), empty);
        let message = v1::EventSelector::from(&Selector::Sequence(7));
        assert_eq!(selector("of", Some(message)), Ok(Selector::Sequence(7)));
        let unnamed = selector("of", Some(v1::EventSelector::default()));
        assert!(unnamed.is_err(), "{unnamed:?}");
    }

    #[test]
    fn prefixes_are_bounded_in_number_and_length() {
        let prefixes = vec!["a.".to_owned(); KIND_PREFIXES_MAX];
        assert_eq!(kind_prefixes(prefixes.clone()), Ok(prefixes));
        let many = kind_prefixes(vec![String::new(); KIND_PREFIXES_MAX + 1]);
        let long = kind_prefixes(vec!["a".repeat(KIND_BYTES_MAX + 1)]);
        for refused in [many, long] {
            let error = refused.expect_err("too much");
            assert_eq!(error.field(), "kind_prefixes");
        }
    }

    #[test]
    fn a_relative_without_an_event_is_refused() {
        let message = v1::Relative {
            event: None,
            depth: 3,
        };
        let refused = Relative::try_from(message).expect_err("no event");
        assert_eq!(refused, Invalid::Empty { field: "event" });
    }
}
