//! Small texts that describe an event and can be filtered by.

use std::collections::BTreeMap;

use serde::Serialize;

use super::limits::{ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX};
use super::text::check_controls;
use crate::error::Invalid;

/// Name under which [`Attributes::source`] is indexed.
pub const SOURCE: &str = "source";
/// Name under which [`Attributes::content_type`] is indexed.
pub const CONTENT_TYPE: &str = "content_type";

/// In the header, not in the digest; indexed by name and value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// Who emitted the event.
    pub source: Option<String>,
    /// Media type of the payload; `application/msgpack` by convention where absent.
    pub content_type: Option<String>,
    /// Up to 16 further pairs: trace and span id, session, tenant.
    pub pairs: BTreeMap<String, String>,
}

impl Attributes {
    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.source.is_none() && self.content_type.is_none() && self.pairs.is_empty()
    }

    /// All of them as (name, value), `source` and `content_type` first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = [(SOURCE, &self.source), (CONTENT_TYPE, &self.content_type)];
        let pairs = self
            .pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        named
            .into_iter()
            .filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
            .chain(pairs)
    }

    /// The value under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        match name {
            SOURCE => self.source.as_deref(),
            CONTENT_TYPE => self.content_type.as_deref(),
            _ => self.pairs.get(name).map(String::as_str),
        }
    }

    /// Checks number, lengths and characters.
    ///
    /// # Errors
    /// [`Invalid`], naming what is too many, too long or not allowed.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.pairs.len() > ATTRIBUTES_MAX {
            return Err(Invalid::TooMany {
                field: "attributes",
                max: ATTRIBUTES_MAX,
                actual: self.pairs.len(),
            });
        }
        for name in self.pairs.keys() {
            check_name(name)?;
        }
        self.iter().try_for_each(|(_, value)| check_value(value))
    }
}

fn check_name(name: &str) -> Result<(), Invalid> {
    const FIELD: &str = "attributes.name";
    if name.is_empty() {
        return Err(Invalid::Empty { field: FIELD });
    }
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        return Err(Invalid::TooLong {
            field: FIELD,
            max: ATTRIBUTE_NAME_BYTES_MAX,
            actual: name.len(),
        });
    }
    if name == SOURCE || name == CONTENT_TYPE {
        return Err(Invalid::ReservedName {
            field: FIELD,
            name: name.to_owned(),
        });
    }
    check_controls(FIELD, name)
}

fn check_value(value: &str) -> Result<(), Invalid> {
    const FIELD: &str = "attributes.value";
    if value.len() > ATTRIBUTE_VALUE_BYTES_MAX {
        return Err(Invalid::TooLong {
            field: FIELD,
            max: ATTRIBUTE_VALUE_BYTES_MAX,
            actual: value.len(),
        });
    }
    check_controls(FIELD, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seventeen_pairs_are_too_many() {
        let mut attributes = Attributes::default();
        for i in 0..17 {
            attributes
                .pairs
                .insert(format!("name-{i}"), "value".to_owned());
        }
        assert_eq!(
            attributes.check(),
            Err(Invalid::TooMany {
                field: "attributes",
                max: 16,
                actual: 17
            })
        );
    }

    #[test]
    fn source_is_no_name_for_a_pair() {
        let mut attributes = Attributes::default();
        attributes
            .pairs
            .insert("source".to_owned(), "me".to_owned());
        assert!(matches!(
            attributes.check(),
            Err(Invalid::ReservedName { .. })
        ));
    }
}
