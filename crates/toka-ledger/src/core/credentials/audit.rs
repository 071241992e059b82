//! Who did what, as the vault keeps it.

use std::collections::BTreeMap;

use super::TokenId;
use crate::core::PrincipalName;
use crate::core::limits::{
    AUDIT_ACTION_BYTES_MAX, AUDIT_FIELD_NAME_BYTES_MAX, AUDIT_FIELD_VALUE_BYTES_MAX,
    AUDIT_FIELDS_MAX,
};
use crate::error::Invalid;

/// Kinds of events that the vault makes itself start with this. Nobody else can commit them.
pub const AUDIT_KIND_PREFIX: &str = "toka.audit.";

/// Whether events of that kind are made by the vault alone.
#[must_use]
pub fn is_audit_kind(kind: &str) -> bool {
    kind.starts_with(AUDIT_KIND_PREFIX)
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Its name; of a call without credentials, where none are needed, `anonymous`.
    pub principal: PrincipalName,
    /// The token by which it is known, where it is by one.
    pub token: Option<TokenId>,
}

impl Actor {
    /// Whoever calls where nobody has to show who they are.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            principal: PrincipalName::new("anonymous").expect("it is a name"),
            token: None,
        }
    }
}

/// Something that was done, or was not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// What: the event's kind is [`AUDIT_KIND_PREFIX`] and this. Up to 64 bytes of `a`-`z`, `0`-`9`, `_` and `.`.
    pub action: String,
    /// Who.
    pub actor: Actor,
    /// How often, for what is told once of several times; at least 1.
    pub count: u64,
    /// What else there is to say: up to 16, names of up to 32 bytes, values of up to 256.
    pub fields: BTreeMap<String, String>,
}

impl AuditRecord {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`Invalid`], naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        check_word("audit_action", &self.action, AUDIT_ACTION_BYTES_MAX)?;
        if self.count == 0 {
            return Err(Invalid::OutOfRange {
                field: "audit_count",
                min: 1,
                max: u64::MAX,
                actual: 0,
            });
        }
        if self.fields.len() > AUDIT_FIELDS_MAX {
            return Err(Invalid::TooMany {
                field: "audit_fields",
                max: AUDIT_FIELDS_MAX,
                actual: self.fields.len(),
            });
        }
        for (name, value) in &self.fields {
            check_word("audit_field", name, AUDIT_FIELD_NAME_BYTES_MAX)?;
            if value.len() > AUDIT_FIELD_VALUE_BYTES_MAX {
                return Err(Invalid::TooLong {
                    field: "audit_value",
                    max: AUDIT_FIELD_VALUE_BYTES_MAX,
                    actual: value.len(),
                });
            }
        }
        Ok(())
    }
}

fn check_word(field: &'static str, word: &str, max: usize) -> Result<(), Invalid> {
    if word.is_empty() {
        return Err(Invalid::Empty { field });
    }
    if word.len() > max {
        return Err(Invalid::TooLong {
            field,
            max,
            actual: word.len(),
        });
    }
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
    match word.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(Invalid::Syntax {
            field,
            expected: "of the characters a-z, 0-9, _ and .",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(action: &str) -> AuditRecord {
        AuditRecord {
            action: action.to_owned(),
            actor: Actor {
                principal: PrincipalName::new("alice").expect("valid"),
                token: None,
            },
            count: 1,
            fields: BTreeMap::new(),
        }
    }

    #[test]
    fn an_action_is_a_part_of_a_kind() {
        assert_eq!(record("node.added").check(), Ok(()));
        for wrong in [
            "",
            "Node",
            "a b",
            "a\n",
            &"a".repeat(AUDIT_ACTION_BYTES_MAX + 1),
        ] {
            assert!(record(wrong).check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_bounded() {
        let with = |name: String, value: String| AuditRecord {
            fields: BTreeMap::from([(name, value)]),
            ..record("denied")
        };
        assert_eq!(with("rpc".to_owned(), "Commit".to_owned()).check(), Ok(()));
        let long = "a".repeat(AUDIT_FIELD_VALUE_BYTES_MAX + 1);
        assert!(with("rpc".to_owned(), long.clone()).check().is_err());
        assert!(with(long, String::new()).check().is_err());
    }
}
