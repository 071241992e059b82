//! Short checked texts: kinds, salts, names.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::limits::{
    CONSUMER_NAME_BYTES_MAX, CURSOR_NAME_BYTES_MAX, EMBEDDING_MODEL_BYTES_MAX,
    GROUP_NAME_BYTES_MAX, INTENT_LABEL_BYTES_MAX, KIND_BYTES_MAX, PRINCIPAL_NAME_BYTES_MAX,
    ROLE_NAME_BYTES_MAX, SALT_BYTES_MAX,
};
use crate::error::Invalid;

fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty { field });
    }
    if text.len() > max {
        return Err(Invalid::TooLong {
            field,
            max,
            actual: text.len(),
        });
    }
    check_controls(field, text)
}

/// Refuses control characters, which index keys use as separators.
pub(crate) fn check_controls(field: &'static str, text: &str) -> Result<(), Invalid> {
    if is_plain(text) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((offset, c)) => Err(Invalid::ControlCharacter {
            field,
            offset,
            code: u32::from(c),
        }),
        None => Ok(()),
    }
}

/// Whether no byte is one that a control character has: below the space, the last one of ASCII, and 0xc2, which is the
/// first one of those beyond ASCII. Nearly all texts are. Looks at all bytes, many at once.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| (byte >= b' ') & (byte != 0x7f) & (byte != 0xc2);
    text.bytes().fold(true, |all, byte| all & is_plain(byte))
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes `text`.
            ///
            /// # Errors
            /// [`Invalid`] if it is empty, too long, or has a control character.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                check_text($field, text, $max)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Invalid;

            fn try_from(text: &str) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

text!(
    /// What an event is about: a dotted name such as `auth.login`; UTF-8, 1 to 255 bytes, no
    /// control characters.
    Kind, "kind", KIND_BYTES_MAX
);
text!(
    /// Name of a cursor: UTF-8, 1 to 255 bytes, no control characters.
    CursorName, "cursor", CURSOR_NAME_BYTES_MAX
);
text!(
    /// Name of a consumer group: UTF-8, 1 to 255 bytes, no control characters.
    GroupName, "group", GROUP_NAME_BYTES_MAX
);
text!(
    /// Name of a consumer in a group: UTF-8, 1 to 255 bytes, no control characters.
    ConsumerName, "consumer", CONSUMER_NAME_BYTES_MAX
);
text!(
    /// Name of the model that makes embeddings, such as `all-MiniLM-L6-v2`: UTF-8, 1 to 255 bytes, no
    /// control characters. Vectors of two models have nothing to do with each other.
    EmbeddingModel, "embedding_model", EMBEDDING_MODEL_BYTES_MAX
);
text!(
    /// What people call an intent: UTF-8, 1 to 256 bytes, no control characters.
    IntentLabel, "label", INTENT_LABEL_BYTES_MAX
);
text!(
    /// Name of whoever holds a credential: UTF-8, 1 to 128 bytes, no control characters.
    PrincipalName, "principal", PRINCIPAL_NAME_BYTES_MAX
);
text!(
    /// Name of a role: UTF-8, 1 to 64 bytes, no control characters.
    RoleName, "role", ROLE_NAME_BYTES_MAX
);

/// 0 to 32 bytes that make a repeated event an event of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Salt(Box<[u8]>);

impl Salt {
    /// Checks and takes `bytes`.
    ///
    /// # Errors
    /// [`Invalid::TooLong`] above 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, Invalid> {
        if bytes.len() > SALT_BYTES_MAX {
            return Err(Invalid::TooLong {
                field: "salt",
                max: SALT_BYTES_MAX,
                actual: bytes.len(),
            });
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the default salt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(")?;
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_checked() {
        assert_eq!(
            Kind::new("auth.login").map(|k| k.to_string()),
            Ok("auth.login".to_owned())
        );
        assert_eq!(Kind::new(""), Err(Invalid::Empty { field: "kind" }));
        let long = "k".repeat(256);
        assert_eq!(
            Kind::new(&long),
            Err(Invalid::TooLong {
                field: "kind",
                max: 255,
                actual: 256
            })
        );
        assert_eq!(
            Kind::new("a\nb"),
            Err(Invalid::ControlCharacter {
                field: "kind",
                offset: 1,
                code: 10
            })
        );
    }

    #[test]
    fn control_characters_are_found_wherever_they_are() {
        let first = (0..=0x2ff).filter_map(char::from_u32);
        for c in first.chain(['\u{20ac}', '\u{c200}', '\u{1f600}']) {
            let checked = check_controls("kind", &format!("k{c}k"));
            assert_eq!(checked.is_err(), c.is_control(), "{c:?}");
        }
    }

    #[test]
    fn salt_is_bounded() {
        assert!(Salt::new(&[7; 32]).is_ok());
        assert_eq!(
            Salt::new(&[7; 33]),
            Err(Invalid::TooLong {
                field: "salt",
                max: 32,
                actual: 33
            })
        );
    }
}
