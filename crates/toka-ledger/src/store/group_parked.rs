//! `group-parked/NAME`, rows of `meta`: events that a consumer group has put aside.
//!
//! ```text
//! key    "group-parked/" | name | 0 | sequence u64 big-endian
//! value  version u8 = 1 | deliveries varint | parked unix_ms varint | reason text | checksum
//! ```

use bytes::Bytes;

use super::checksum::{seal, unseal};
use super::{encode_sequence, group_items, groups, read_version};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::GroupName;
use crate::core::groups::Parked;
use crate::core::limits::REASON_BYTES_MAX;

/// What the keys start with.
pub const PREFIX: &[u8] = b"group-parked/";

const VERSION: u8 = 1;

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
    key.strip_prefix(PREFIX)
        .map(group_items::decode_place)
        .transpose()
}

/// The value of a row.
#[must_use]
pub fn encode(name: &GroupName, parked: &Parked) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, parked.deliveries.into());
    put_varint(&mut out, parked.parked_unix_ms);
    put_prefixed(&mut out, parked.reason.as_bytes());
    seal(&key(name, parked.sequence), &mut out);
    out
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(name: &GroupName, sequence: u64, value: Bytes) -> Result<Parked, DecodeError> {
    let mut reader = Reader::new(unseal(&key(name, sequence), value)?);
    read_version(&mut reader, "parked event", VERSION)?;
    let parked = Parked {
        sequence,
        deliveries: groups::number(&mut reader, "deliveries", u32::MAX)?,
        parked_unix_ms: reader.varint("parked unix_ms")?,
        reason: reader.text("reason", REASON_BYTES_MAX)?,
    };
    reader.finish()?;
    Ok(parked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(
            name in "[a-zß/]{1,20}",
            sequence in 1_u64..1 << 42,
            deliveries: u32,
            parked_unix_ms: u64,
            reason in "[a-zß/\n]{0,20}",
        ) {
            let name = GroupName::new(&name).expect("valid");
            let parked = Parked { sequence, deliveries, parked_unix_ms, reason };
            prop_assert_eq!(decode(&name, sequence, encode(&name, &parked).into()), Ok(parked));
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
