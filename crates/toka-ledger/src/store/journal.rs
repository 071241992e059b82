//! The journal, rows of `meta`: what changed the vault beside events, in its order.
//!
//! ```text
//! key    "journal/" | sequence u64 | revision u64 | index u8 (big-endian)
//! value  version u8 = 1 | 1 u8 (a cursor moved) | name text | position varint | checksum
//!                       | 2 u8 (an intent was labelled) | intent varint | label text (empty: none) | checksum
//!                       | 3 u8 (the feature level was raised) | level varint | checksum
//!                       | 4 u8 (a cursor was deleted) | name text | checksum
//!                       | 5 u8 (a cursor was saved) | name text | position varint | checksum
//! ```
//!
//! The sequence is that of the last event before it; where the change is part of a commit, the commit's
//! last. A cursor moves with a commit, and is saved by a command of its own. The revision is the command's, the index counts what one command did. So the rows behind an
//! event, in the order of their keys, are what the state chain goes on with before the next event.

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::limits::{CURSOR_NAME_BYTES_MAX, INTENT_LABEL_BYTES_MAX};
use crate::core::{CursorName, IntentId, IntentLabel};

/// What the keys start with.
pub const PREFIX: &[u8] = b"journal/";

const VERSION: u8 = 1;
const CURSOR: u8 = 1;
const LABEL: u8 = 2;
const LEVEL: u8 = 3;
const CURSOR_DELETED: u8 = 4;
const CURSOR_SAVED: u8 = 5;

/// Where a change stands in the vault's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Sequence of the last event before it.
    pub sequence: u64,
    /// Revision of the command.
    pub revision: u64,
    /// Which of the command's changes.
    pub index: u8,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cursor moved, together with the event before.
    Cursor {
        /// The cursor.
        name: CursorName,
        /// Where it went.
        position: u64,
    },
    /// An intent was labelled.
    Label {
        /// The intent, not retired then.
        intent: IntentId,
        /// Its label; absent: none.
        label: Option<IntentLabel>,
    },
    /// The feature level was raised.
    FeatureLevel {
        /// To this one.
        level: u32,
    },
    /// A cursor was deleted.
    CursorDeleted {
        /// The cursor.
        name: CursorName,
    },
    /// A cursor was saved, by a command of its own.
    CursorSaved {
        /// The cursor.
        name: CursorName,
        /// Where it went.
        position: u64,
    },
}

/// The key of a row.
#[must_use]
pub fn key(place: Place) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.put_u64(place.sequence);
    key.put_u64(place.revision);
    key.put_u8(place.index);
    key
}

/// Reads a row's key; `None` for another row's key.
///
/// # Errors
/// [`DecodeError`] if it starts as one and is none.
pub fn decode_key(key: &[u8]) -> Result<Option<Place>, DecodeError> {
    let Some(place) = key.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let mut reader = Reader::new(Bytes::copy_from_slice(place));
    let sequence = u64::from_be_bytes(reader.array("journal")?);
    let revision = u64::from_be_bytes(reader.array("journal")?);
    let index = reader.u8("journal")?;
    reader.finish()?;
    Ok(Some(Place {
        sequence,
        revision,
        index,
    }))
}

/// The value of a row.
#[must_use]
pub fn encode(place: Place, change: &Change) -> Vec<u8> {
    let mut out = vec![VERSION];
    match change {
        Change::Cursor { name, position } => {
            out.put_u8(CURSOR);
            put_prefixed(&mut out, name.as_str().as_bytes());
            put_varint(&mut out, *position);
        }
        Change::Label { intent, label } => {
            out.put_u8(LABEL);
            put_varint(&mut out, intent.0);
            let label = label.as_ref().map_or("", IntentLabel::as_str);
            put_prefixed(&mut out, label.as_bytes());
        }
        Change::FeatureLevel { level } => {
            out.put_u8(LEVEL);
            put_varint(&mut out, u64::from(*level));
        }
        Change::CursorDeleted { name } => {
            out.put_u8(CURSOR_DELETED);
            put_prefixed(&mut out, name.as_str().as_bytes());
        }
        Change::CursorSaved { name, position } => {
            out.put_u8(CURSOR_SAVED);
            put_prefixed(&mut out, name.as_str().as_bytes());
            put_varint(&mut out, *position);
        }
    }
    seal(&key(place), &mut out);
    out
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(place: Place, value: Bytes) -> Result<Change, DecodeError> {
    const FIELD: &str = "journal";
    let invalid = DecodeError::Invalid { field: FIELD };
    let mut reader = Reader::new(unseal(&key(place), value)?);
    read_version(&mut reader, FIELD, VERSION)?;
    let change = match reader.u8(FIELD)? {
        CURSOR => Change::Cursor {
            name: read_cursor(&mut reader)?,
            position: reader.varint("cursor")?,
        },
        LABEL => {
            let intent = IntentId(reader.varint("intent")?);
            let label = reader.text("label", INTENT_LABEL_BYTES_MAX)?;
            let label = (!label.is_empty()).then(|| IntentLabel::new(&label));
            Change::Label {
                intent,
                label: label.transpose().map_err(|_| invalid)?,
            }
        }
        LEVEL => Change::FeatureLevel {
            level: u32::try_from(reader.varint("feature level")?).map_err(|_| invalid)?,
        },
        CURSOR_DELETED => Change::CursorDeleted {
            name: read_cursor(&mut reader)?,
        },
        CURSOR_SAVED => Change::CursorSaved {
            name: read_cursor(&mut reader)?,
            position: reader.varint("cursor")?,
        },
        _ => return Err(invalid),
    };
    reader.finish()?;
    Ok(change)
}

fn read_cursor(reader: &mut Reader) -> Result<CursorName, DecodeError> {
    const FIELD: &str = "cursor";
    let name = reader.text(FIELD, CURSOR_NAME_BYTES_MAX)?;
    CursorName::new(&name).map_err(|_| DecodeError::Invalid { field: FIELD })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let cursor = ("[a-zß/]{1,20}", any::<u64>()).prop_map(|(name, position)| Change::Cursor {
            name: CursorName::new(&name).expect("valid"),
            position,
        });
        let label =
            (any::<u64>(), prop::option::of("[a-zß ]{1,20}")).prop_map(|(intent, label)| {
                Change::Label {
                    intent: IntentId(intent),
                    label: label.map(|label| IntentLabel::new(&label).expect("valid")),
                }
            });
        let level = any::<u32>().prop_map(|level| Change::FeatureLevel { level });
        let deleted = "[a-zß/]{1,20}".prop_map(|name| Change::CursorDeleted {
            name: CursorName::new(&name).expect("valid"),
        });
        let saved =
            ("[a-zß/]{1,20}", any::<u64>()).prop_map(|(name, position)| Change::CursorSaved {
                name: CursorName::new(&name).expect("valid"),
                position,
            });
        prop_oneof![cursor, label, level, deleted, saved]
    }

    proptest! {
        #[test]
        fn rows_round_trip(sequence: u64, revision: u64, index: u8, change in change()) {
            let place = Place { sequence, revision, index };
            prop_assert_eq!(decode_key(&key(place)), Ok(Some(place)));
            prop_assert_eq!(decode(place, encode(place, &change).into()), Ok(change));
        }

        #[test]
        fn keys_are_in_the_vaults_order(a: (u64, u64, u8), b: (u64, u64, u8)) {
            let place = |(sequence, revision, index)| Place { sequence, revision, index };
            prop_assert_eq!(key(place(a)).cmp(&key(place(b))), a.cmp(&b));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let place = Place { sequence: 1, revision: 2, index: 3 };
            let mut sealed = bytes.clone();
            seal(&key(place), &mut sealed);
            let _ = decode(place, sealed.into());
            let _ = decode_key(&[PREFIX, &bytes].concat());
            let _ = decode_key(&bytes);
        }
    }
}
