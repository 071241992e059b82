//! `group/NAME`, rows of `meta`: consumer groups.
//!
//! ```text
//! key    "group/" | name
//! value  version u8 = 1 | incarnation varint | settings | position varint | unacknowledged varint | parked varint
//!        | created unix_ms varint | version varint | is ending u8 (0 or 1) | checksum
//! settings: number of kind prefixes varint | each text | number of attributes varint | each name text, value text
//!        | number of intents varint | each varint | ack timeout ms varint | unacknowledged max varint
//!        | deliveries max varint
//! ```

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::core::GroupName;
use crate::core::groups::{Group, Settings};
use crate::core::limits::{GROUP_PARKED_MAX, GROUP_UNACKNOWLEDGED_MAX};

/// What the keys start with.
pub const PREFIX: &[u8] = b"group/";

const VERSION: u8 = 1;

/// The key of a row.
#[must_use]
pub fn key(name: &GroupName) -> Vec<u8> {
    [PREFIX, name.as_str().as_bytes()].concat()
}

/// Reads a row's key; `None` for another row's key.
///
/// # Errors
/// [`DecodeError`] if it starts as one and is none.
pub fn decode_key(key: &[u8]) -> Result<Option<GroupName>, DecodeError> {
    key.strip_prefix(PREFIX).map(decode_name).transpose()
}

/// A name that is part of a key.
pub(super) fn decode_name(name: &[u8]) -> Result<GroupName, DecodeError> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| GroupName::new(name).ok())
        .ok_or(DecodeError::Invalid { field: "group" })
}

/// The value of a row.
#[must_use]
pub fn encode(group: &Group) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, group.incarnation);
    group.settings.encode(&mut out);
    put_varint(&mut out, group.position);
    put_varint(&mut out, group.unacknowledged.into());
    put_varint(&mut out, group.parked.into());
    put_varint(&mut out, group.created_unix_ms);
    put_varint(&mut out, group.version);
    out.put_u8(group.is_ending.into());
    seal(&key(&group.name), &mut out);
    out
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(name: &GroupName, value: Bytes) -> Result<Group, DecodeError> {
    let mut reader = Reader::new(unseal(&key(name), value)?);
    read_version(&mut reader, "group", VERSION)?;
    let group = Group {
        name: name.clone(),
        incarnation: reader.varint("incarnation")?,
        settings: Settings::decode(&mut reader)?,
        position: reader.varint("position")?,
        unacknowledged: number(&mut reader, "unacknowledged", GROUP_UNACKNOWLEDGED_MAX)?,
        parked: number(&mut reader, "parked", GROUP_PARKED_MAX)?,
        created_unix_ms: reader.varint("created unix_ms")?,
        version: reader.varint("version")?,
        is_ending: match reader.u8("is ending")? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Invalid { field: "is ending" }),
        },
    };
    reader.finish()?;
    Ok(group)
}

/// A varint of at most `max`.
pub(super) fn number(
    reader: &mut Reader,
    field: &'static str,
    max: u32,
) -> Result<u32, DecodeError> {
    match u32::try_from(reader.varint(field)?) {
        Ok(number) if number <= max => Ok(number),
        _ => Err(DecodeError::Invalid { field }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(
            name in "[a-zß/]{1,20}",
            incarnation: u64,
            position: u64,
            unacknowledged in 0..=GROUP_UNACKNOWLEDGED_MAX,
            parked in 0..=GROUP_PARKED_MAX,
            (created_unix_ms, version, is_ending) in any::<(u64, u64, bool)>(),
        ) {
            let name = GroupName::new(&name).expect("valid");
            let group = Group {
                name: name.clone(),
                incarnation,
                settings: Settings::default(),
                position,
                unacknowledged,
                parked,
                created_unix_ms,
                version,
                is_ending,
            };
            prop_assert_eq!(decode(&name, encode(&group).into()), Ok(group));
            prop_assert_eq!(decode_key(&key(&name)), Ok(Some(name)));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let name = GroupName::new("name").expect("valid");
            let mut sealed = bytes.clone();
            seal(&key(&name), &mut sealed);
            let _ = decode(&name, sealed.into());
            let _ = decode_key(&[PREFIX, &bytes].concat());
            let _ = decode_key(&bytes);
        }
    }
}
