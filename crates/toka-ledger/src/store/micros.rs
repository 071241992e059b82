//! `micros`: index of events by micro-cluster.
//!
//! ```text
//! key    micro-cluster u32 big-endian | sequence u64 big-endian
//! value  empty
//! ```

use super::encode_sequence;
use super::sequence::split_sequence;
use crate::codec::DecodeError;
use crate::core::MicroClusterId;

/// The key of a row.
#[must_use]
pub fn key(micro: MicroClusterId, sequence: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&micro.0.to_be_bytes());
    key[4..].copy_from_slice(&encode_sequence(sequence));
    key
}

/// Reads a row's key.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_key(key: &[u8]) -> Result<(MicroClusterId, u64), DecodeError> {
    let (micro, sequence) = split_sequence(key)?;
    let micro = micro.try_into().map_err(|_| DecodeError::Invalid {
        field: "micro-cluster",
    })?;
    Ok((MicroClusterId(u32::from_be_bytes(micro)), sequence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(micro: u32, sequence in 1_u64..1 << 42) {
            let micro = MicroClusterId(micro);
            prop_assert_eq!(decode_key(&key(micro, sequence)), Ok((micro, sequence)));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode_key(&bytes);
        }
    }
}
