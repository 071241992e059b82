//! Sequences as keys and as values.

use bytes::Bytes;

use super::read_version;
use crate::codec::{DecodeError, Reader};
use crate::core::limits::SEQUENCE_END;

const VERSION: u8 = 1;

/// A sequence as a key, or as the end of one: u64, big-endian.
#[must_use]
pub const fn encode_sequence(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

/// Reads [`encode_sequence`]'s bytes.
///
/// # Errors
/// [`DecodeError`] if these are not eight bytes of a sequence.
pub fn decode_sequence(key: &[u8]) -> Result<u64, DecodeError> {
    let bytes = key
        .try_into()
        .map_err(|_| DecodeError::Truncated { field: "sequence" })?;
    checked(u64::from_be_bytes(bytes))
}

/// Splits the sequence off the end of an index key.
pub(super) fn split_sequence(key: &[u8]) -> Result<(&[u8], u64), DecodeError> {
    let (front, sequence) = key
        .split_last_chunk()
        .ok_or(DecodeError::Truncated { field: "sequence" })?;
    Ok((front, checked(u64::from_be_bytes(*sequence))?))
}

/// A sequence as a value: version u8 | sequence u64 little-endian.
pub(super) fn encode_value(sequence: u64) -> [u8; 9] {
    let mut value = [VERSION; 9];
    value[1..].copy_from_slice(&sequence.to_le_bytes());
    value
}

pub(super) fn decode_value(value: Bytes) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(value);
    read_version(&mut reader, "sequence", VERSION)?;
    let sequence = checked(reader.u64("sequence")?)?;
    reader.finish()?;
    Ok(sequence)
}

/// An event's sequence: from 1, below 2^42.
pub(super) const fn checked(sequence: u64) -> Result<u64, DecodeError> {
    if 0 < sequence && sequence < SEQUENCE_END {
        Ok(sequence)
    } else {
        Err(DecodeError::Invalid { field: "sequence" })
    }
}
