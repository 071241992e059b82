//! `audit`, a row of `meta`: the end of the chain of audit events.
//!
//! ```text
//! key    "audit"
//! value  version u8 = 1 | sequence of the last audit event varint | number of audit events varint | checksum
//! ```
//!
//! The row is there from the first audit event on. Each has the one before it as its parent.

use bytes::Bytes;

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::core::limits::SEQUENCE_END;

/// The row's key.
pub const KEY: &[u8] = b"audit";

const VERSION: u8 = 1;
const FIELD: &str = "audit";

/// Where the chain of audit events ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHead {
    /// The last one; 0: there is none.
    pub sequence: u64,
    /// How many there are.
    pub events: u64,
}

/// The row's value.
#[must_use]
pub fn encode(head: &AuditHead) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, head.sequence);
    put_varint(&mut out, head.events);
    seal(KEY, &mut out);
    out
}

/// Reads the row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(value: Bytes) -> Result<AuditHead, DecodeError> {
    let mut reader = Reader::new(unseal(KEY, value)?);
    read_version(&mut reader, FIELD, VERSION)?;
    let head = AuditHead {
        sequence: reader.varint(FIELD)?,
        events: reader.varint(FIELD)?,
    };
    reader.finish()?;
    // There are no more of them than events.
    match head.sequence < SEQUENCE_END && head.events <= head.sequence {
        true => Ok(head),
        false => Err(DecodeError::Invalid { field: FIELD }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_row_round_trips(sequence in 0..SEQUENCE_END, share in 0_u64..4) {
            let head = AuditHead { sequence, events: sequence / (share + 1) };
            prop_assert_eq!(decode(encode(&head).into()), Ok(head));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let mut sealed = bytes.clone();
            seal(KEY, &mut sealed);
            let _ = decode(sealed.into());
            let _ = decode(bytes.into());
        }
    }
}
