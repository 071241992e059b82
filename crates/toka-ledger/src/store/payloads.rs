//! `payloads`: the bytes that events carry, each payload once.
//!
//! ```text
//! key    sequence of the first event with the payload, u64 big-endian
//! value  version u8 = 1 | state u8: 1 stored, 2 erased | payload (stored only) | checksum
//! ```

use bytes::Bytes;

use super::checksum::{of_parts, seal, unseal};
use super::{Stored, encode_sequence, read_version};
use crate::codec::{DecodeError, Reader};
use crate::core::limits::PAYLOAD_BYTES_MAX;
use crate::engine::{Batch, Table};

const VERSION: u8 = 1;
// Persisted, never reused.
const STORED: u8 = 1;
const ERASED: u8 = 2;

/// The value of a row.
#[must_use]
pub fn encode(sequence: u64, payload: &Stored<Bytes>) -> Vec<u8> {
    let (state, bytes) = match payload {
        Stored::Present(bytes) => (STORED, &bytes[..]),
        Stored::Erased => (ERASED, &[][..]),
    };
    let mut value = Vec::with_capacity(bytes.len() + 6);
    value.extend_from_slice(&[VERSION, state]);
    value.extend_from_slice(bytes);
    seal(&encode_sequence(sequence), &mut value);
    value
}

/// Puts the row at `sequence` into `batch`, with the bytes that [`encode`] gives of a payload that is there.
pub fn put(batch: &mut Batch, sequence: u64, payload: &[u8]) {
    let key = encode_sequence(sequence);
    let front = [VERSION, STORED];
    let bytes = payload;
    let end = of_parts(&key, &[&front, bytes]);
    batch.put_parts(Table::Payloads, key, &[&front, bytes, &end]);
}

/// Reads the value of the row at `sequence`; the payload shares its memory.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(sequence: u64, value: Bytes) -> Result<Stored<Bytes>, DecodeError> {
    let mut reader = Reader::new(unseal(&encode_sequence(sequence), value)?);
    read_version(&mut reader, "payload", VERSION)?;
    let state = reader.u8("payload state")?;
    let payload = reader.bytes("payload", reader.remaining())?;
    match state {
        STORED if payload.len() <= PAYLOAD_BYTES_MAX => Ok(Stored::Present(payload)),
        ERASED if payload.is_empty() => Ok(Stored::Erased),
        _ => Err(DecodeError::Invalid {
            field: "payload state",
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn row_that_is_put_is_the_one_that_is_encoded(sequence: u64, payload: Vec<u8>) {
            let mut batch = Batch::new();
            put(&mut batch, sequence, &payload);
            let mut expected = Batch::new();
            let value = encode(sequence, &Stored::Present(payload.into()));
            expected.put(Table::Payloads, encode_sequence(sequence), value);
            prop_assert_eq!(batch, expected);
        }

        #[test]
        fn rows_round_trip(sequence: u64, payload: Vec<u8>) {
            for payload in [Stored::Present(payload.into()), Stored::Erased] {
                let value = encode(sequence, &payload);
                prop_assert_eq!(decode(sequence, value.into()), Ok(payload));
            }
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(mut bytes: Vec<u8>) {
            let _ = decode(1, bytes.clone().into());
            seal(&encode_sequence(1), &mut bytes);
            let _ = decode(1, bytes.into());
        }
    }
}
