//! `kinds`: index of events by kind.
//!
//! ```text
//! key    kind | 0 | sequence u64 big-endian
//! value  empty
//! ```
//!
//! Kinds have no control characters, so the 0 ends them without doubt.

use super::encode_sequence;
use super::sequence::split_sequence;
use crate::codec::DecodeError;
use crate::core::Kind;
use crate::engine::{Batch, Table};

/// The key of a row.
#[must_use]
pub fn key(kind: &str, sequence: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind.len() + 9);
    key.extend_from_slice(kind.as_bytes());
    key.push(0);
    key.extend_from_slice(&encode_sequence(sequence));
    key
}

/// Puts the row into `batch`, with the key that [`key`] gives.
pub fn put(batch: &mut Batch, kind: &str, sequence: u64) {
    let sequence = encode_sequence(sequence);
    batch.put_index(Table::Kinds, &[kind.as_bytes(), &[0], &sequence]);
}

/// Reads a row's key.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_key(key: &[u8]) -> Result<(Kind, u64), DecodeError> {
    const FIELD: &str = "kind";
    let (front, sequence) = split_sequence(key)?;
    let kind = front
        .strip_suffix(&[0])
        .and_then(|kind| std::str::from_utf8(kind).ok())
        .and_then(|kind| Kind::new(kind).ok())
        .ok_or(DecodeError::Invalid { field: FIELD })?;
    Ok((kind, sequence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(kind in "[a-zäß.]{1,40}", sequence in 1_u64..1 << 42) {
            let kind = Kind::new(&kind).expect("valid");
            prop_assert_eq!(decode_key(&key(kind.as_str(), sequence)), Ok((kind, sequence)));
        }

        #[test]
        fn row_that_is_put_has_the_key(kind in "[a-zäß.]{1,40}", sequence: u64) {
            let mut batch = Batch::new();
            put(&mut batch, &kind, sequence);
            let mut expected = Batch::new();
            expected.put(Table::Kinds, key(&kind, sequence), b"");
            prop_assert_eq!(batch, expected);
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode_key(&bytes);
        }
    }

    #[test]
    fn a_kind_that_starts_with_another_does_not_come_between() {
        assert!(key("a", u64::MAX) < key("a!", 0));
    }
}
