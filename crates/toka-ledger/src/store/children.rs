//! `children`: index of events by parent and kind.
//!
//! ```text
//! key    parent's sequence u64 big-endian | child's kind | 0 | child's sequence u64 big-endian
//! value  empty
//! ```

use super::encode_sequence;
use super::kinds;
use crate::codec::DecodeError;
use crate::core::Kind;

/// The key of a row.
#[must_use]
pub fn key(parent: u64, kind: &str, child: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind.len() + 17);
    key.extend_from_slice(&encode_sequence(parent));
    key.extend_from_slice(kind.as_bytes());
    key.push(0);
    key.extend_from_slice(&encode_sequence(child));
    key
}

/// Reads a row's key, as (parent's sequence, child's kind, child's sequence).
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_key(key: &[u8]) -> Result<(u64, Kind, u64), DecodeError> {
    let (parent, rest) = key
        .split_at_checked(8)
        .ok_or(DecodeError::Truncated { field: "parent" })?;
    let parent = super::decode_sequence(parent)?;
    let (kind, child) = kinds::decode_key(rest)?;
    if child <= parent {
        return Err(DecodeError::Invalid { field: "child" });
    }
    Ok((parent, kind, child))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(parent in 1_u64..1 << 41, kind in "[a-z.]{1,9}", ahead in 1_u64..99) {
            let kind = Kind::new(&kind).expect("valid");
            let child = parent + ahead;
            let key = key(parent, kind.as_str(), child);
            prop_assert_eq!(decode_key(&key), Ok((parent, kind, child)));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode_key(&bytes);
        }
    }
}
