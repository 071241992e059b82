//! `attributes`: index of events by attribute.
//!
//! ```text
//! key    name | 0 | value | 0 | sequence u64 big-endian
//! value  empty
//! ```
//!
//! Names and values have no control characters, so each 0 ends one without doubt. A value may be
//! empty.

use super::encode_sequence;
use super::sequence::split_sequence;
use crate::codec::DecodeError;

/// The key of a row.
#[must_use]
pub fn key(name: &str, value: &str, sequence: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + value.len() + 10);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(value.as_bytes());
    key.push(0);
    key.extend_from_slice(&encode_sequence(sequence));
    key
}

/// Reads a row's key, as (name, value, sequence).
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_key(key: &[u8]) -> Result<(&str, &str, u64), DecodeError> {
    let (front, sequence) = split_sequence(key)?;
    let (name, value) = std::str::from_utf8(front)
        .ok()
        .and_then(|front| front.strip_suffix('\0'))
        .and_then(|front| front.split_once('\0'))
        .filter(|(name, value)| !name.is_empty() && !value.contains('\0'))
        .ok_or(DecodeError::Invalid { field: "attribute" })?;
    Ok((name, value, sequence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(
            name in "[a-zß]{1,10}", value in "[a-zß]{0,10}", sequence in 1_u64..1 << 42,
        ) {
            let key = key(&name, &value, sequence);
            prop_assert_eq!(decode_key(&key), Ok((&*name, &*value, sequence)));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode_key(&bytes);
        }
    }
}
