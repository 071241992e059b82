//! `embeddings`: the quantised vectors.
//!
//! ```text
//! key    sequence u64 big-endian
//! value  version u8 = 1 | state u8: 1 stored, 2 erased | components i16 little-endian (stored
//!        only) | checksum
//! ```

use bytes::Bytes;

use super::checksum::{of_parts, seal, unseal};
use super::{Stored, encode_sequence, read_version};
use crate::codec::{DecodeError, Reader};
use crate::core::Embedding;
use crate::engine::{Batch, Table};

const VERSION: u8 = 1;
// Persisted, never reused.
const STORED: u8 = 1;
const ERASED: u8 = 2;

/// The value of a row.
#[must_use]
pub fn encode(sequence: u64, embedding: &Stored<Embedding>) -> Vec<u8> {
    let (state, bytes) = match embedding {
        Stored::Present(embedding) => (STORED, &embedding.as_bytes()[..]),
        Stored::Erased => (ERASED, &[][..]),
    };
    let mut value = Vec::with_capacity(bytes.len() + 6);
    value.extend_from_slice(&[VERSION, state]);
    value.extend_from_slice(bytes);
    seal(&encode_sequence(sequence), &mut value);
    value
}

/// Puts the row at `sequence` into `batch`, with the bytes that [`encode`] gives of an embedding that is there.
pub fn put(batch: &mut Batch, sequence: u64, embedding: &Embedding) {
    let key = encode_sequence(sequence);
    let front = [VERSION, STORED];
    let bytes = &embedding.as_bytes()[..];
    let end = of_parts(&key, &[&front, bytes]);
    batch.put_parts(Table::Embeddings, key, &[&front, bytes, &end]);
}

/// Reads the value of the row at `sequence`; the components share its memory.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(sequence: u64, value: Bytes) -> Result<Stored<Embedding>, DecodeError> {
    const FIELD: &str = "embedding";
    let mut reader = Reader::new(unseal(&encode_sequence(sequence), value)?);
    read_version(&mut reader, FIELD, VERSION)?;
    let state = reader.u8("embedding state")?;
    let components = reader.bytes(FIELD, reader.remaining())?;
    match state {
        STORED => Embedding::from_quantized_bytes(components)
            .map(Stored::Present)
            .map_err(|_| DecodeError::Invalid { field: FIELD }),
        ERASED if components.is_empty() => Ok(Stored::Erased),
        _ => Err(DecodeError::Invalid {
            field: "embedding state",
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn row_that_is_put_is_the_one_that_is_encoded(
            sequence: u64,
            components in prop::collection::vec(1.0_f32..2.0, 1..50),
        ) {
            let embedding = Embedding::from_f32(&components).expect("valid");
            let mut batch = Batch::new();
            put(&mut batch, sequence, &embedding);
            let mut expected = Batch::new();
            let value = encode(sequence, &Stored::Present(embedding));
            expected.put(Table::Embeddings, encode_sequence(sequence), value);
            prop_assert_eq!(batch, expected);
        }

        #[test]
        fn rows_round_trip(sequence: u64, components in prop::collection::vec(1.0_f32..2.0, 1..50)) {
            let embedding = Embedding::from_f32(&components).expect("valid");
            for embedding in [Stored::Present(embedding), Stored::Erased] {
                let value = encode(sequence, &embedding);
                prop_assert_eq!(decode(sequence, value.into()), Ok(embedding));
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
