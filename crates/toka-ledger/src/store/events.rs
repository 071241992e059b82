//! `events`: the place of an event in the order.
//!
//! ```text
//! key    event digest [32]
//! value  version u8 = 1 | sequence u64 little-endian
//! ```

use bytes::Bytes;

use super::sequence;
use crate::codec::DecodeError;
use crate::core::Digest;

/// The key of a row.
#[must_use]
pub const fn key(digest: &Digest) -> &[u8; 32] {
    digest.as_bytes()
}

/// The value of a row.
#[must_use]
pub fn encode(sequence: u64) -> [u8; 9] {
    sequence::encode_value(sequence)
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(value: Bytes) -> Result<u64, DecodeError> {
    sequence::decode_value(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(sequence in 1_u64..1 << 42) {
            prop_assert_eq!(decode(encode(sequence).to_vec().into()), Ok(sequence));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode(bytes.into());
        }
    }
}
