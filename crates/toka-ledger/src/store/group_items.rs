//! `group-item/NAME`, rows of `meta`: events that a consumer group has outstanding.
//!
//! ```text
//! key    "group-item/" | name | 0 | sequence u64 big-endian
//! value  version u8 = 1 | deliveries varint | forgiven varint
//!        | 1 u8 (leased) | consumer text | deadline unix_ms varint | checksum
//!        | 2 u8 (waiting) | not before unix_ms varint | reason text | checksum
//! ```
//!
//! Names have no control characters, so the 0 ends them without doubt.

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::sequence::split_sequence;
use super::{encode_sequence, groups, read_version};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::groups::{Item, ItemState};
use crate::core::limits::{CONSUMER_NAME_BYTES_MAX, REASON_BYTES_MAX};
use crate::core::{ConsumerName, GroupName};

/// What the keys start with.
pub const PREFIX: &[u8] = b"group-item/";

const VERSION: u8 = 1;
const LEASED: u8 = 1;
const WAITING: u8 = 2;

/// The key of a row.
#[must_use]
pub fn key(name: &GroupName, sequence: u64) -> Vec<u8> {
    [
        PREFIX,
        name.as_str().as_bytes(),
        &[0],
        &encode_sequence(sequence),
    ]
    .concat()
}

/// Reads a row's key; `None` for another row's key.
///
/// # Errors
/// [`DecodeError`] if it starts as one and is none.
pub fn decode_key(key: &[u8]) -> Result<Option<(GroupName, u64)>, DecodeError> {
    key.strip_prefix(PREFIX).map(decode_place).transpose()
}

/// A group and one of its events, as keys name them.
pub(super) fn decode_place(place: &[u8]) -> Result<(GroupName, u64), DecodeError> {
    let (front, sequence) = split_sequence(place)?;
    let name = front
        .strip_suffix(&[0])
        .ok_or(DecodeError::Invalid { field: "group" })?;
    Ok((groups::decode_name(name)?, sequence))
}

/// The value of a row.
#[must_use]
pub fn encode(name: &GroupName, item: &Item) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, item.deliveries.into());
    put_varint(&mut out, item.forgiven.into());
    match &item.state {
        ItemState::Leased {
            consumer,
            deadline_unix_ms,
        } => {
            out.put_u8(LEASED);
            put_prefixed(&mut out, consumer.as_str().as_bytes());
            put_varint(&mut out, *deadline_unix_ms);
        }
        ItemState::Waiting {
            not_before_unix_ms,
            reason,
        } => {
            out.put_u8(WAITING);
            put_varint(&mut out, *not_before_unix_ms);
            put_prefixed(&mut out, reason.as_bytes());
        }
    }
    seal(&key(name, item.sequence), &mut out);
    out
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(name: &GroupName, sequence: u64, value: Bytes) -> Result<Item, DecodeError> {
    let mut reader = Reader::new(unseal(&key(name, sequence), value)?);
    read_version(&mut reader, "group item", VERSION)?;
    let deliveries = groups::number(&mut reader, "deliveries", u32::MAX)?;
    let forgiven = groups::number(&mut reader, "forgiven", u32::MAX)?;
    let state = match reader.u8("group item")? {
        LEASED => {
            let consumer = reader.text("consumer", CONSUMER_NAME_BYTES_MAX)?;
            let invalid = |_| DecodeError::Invalid { field: "consumer" };
            ItemState::Leased {
                consumer: ConsumerName::new(&consumer).map_err(invalid)?,
                deadline_unix_ms: reader.varint("deadline")?,
            }
        }
        WAITING => ItemState::Waiting {
            not_before_unix_ms: reader.varint("not before")?,
            reason: reader.text("reason", REASON_BYTES_MAX)?,
        },
        _ => {
            return Err(DecodeError::Invalid {
                field: "group item",
            });
        }
    };
    reader.finish()?;
    Ok(Item {
        sequence,
        deliveries,
        forgiven,
        state,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> impl Strategy<Value = ItemState> {
        prop_oneof![
            ("[a-zß/]{1,20}", any::<u64>()).prop_map(|(consumer, deadline_unix_ms)| {
                ItemState::Leased {
                    consumer: ConsumerName::new(&consumer).expect("valid"),
                    deadline_unix_ms,
                }
            }),
            (any::<u64>(), "[a-zß/\n]{0,20}").prop_map(|(not_before_unix_ms, reason)| {
                ItemState::Waiting {
                    not_before_unix_ms,
                    reason,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            name in "[a-zß/]{1,20}",
            sequence in 1_u64..1 << 42,
            deliveries: u32,
            forgiven: u32,
            state in state(),
        ) {
            let name = GroupName::new(&name).expect("valid");
            let item = Item { sequence, deliveries, forgiven, state };
            prop_assert_eq!(decode(&name, sequence, encode(&name, &item).into()), Ok(item));
            prop_assert_eq!(decode_key(&key(&name, sequence)), Ok(Some((name, sequence))));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let name = GroupName::new("name").expect("valid");
            let mut sealed = bytes.clone();
            seal(&key(&name, 1), &mut sealed);
            let _ = decode(&name, 1, sealed.into());
            let _ = decode_key(&[PREFIX, &bytes].concat());
            let _ = decode_key(&bytes);
        }
    }
}
