//! The end of a row that nothing else covers: CRC-32C of the key and the value before it, u32
//! little-endian. The key is in it so that a row under a wrong key is found too.

use bytes::Bytes;

use crate::codec::DecodeError;

const BYTES: usize = 4;
const FIELD: &str = "checksum";

/// Appends the checksum to `value`.
pub fn seal(key: &[u8], value: &mut Vec<u8>) {
    let checksum = checksum(key, value);
    value.extend_from_slice(&checksum.to_le_bytes());
}

/// What [`seal`] appends to a value that is `parts`, one after the other.
#[must_use]
pub fn of_parts(key: &[u8], parts: &[&[u8]]) -> [u8; BYTES] {
    let checksum = parts.iter().fold(crc32c::crc32c(key), |sum, part| {
        crc32c::crc32c_append(sum, part)
    });
    checksum.to_le_bytes()
}

/// Checks the checksum and takes it off.
///
/// # Errors
/// [`DecodeError`] if it is not there or does not match.
pub fn unseal(key: &[u8], mut row: Bytes) -> Result<Bytes, DecodeError> {
    let at = row
        .len()
        .checked_sub(BYTES)
        .ok_or(DecodeError::Truncated { field: FIELD })?;
    let stored = row.split_off(at);
    if stored[..] != checksum(key, &row).to_le_bytes() {
        return Err(DecodeError::Invalid { field: FIELD });
    }
    Ok(row)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sealed_rows_open_and_flipped_ones_do_not(
            key: Vec<u8>,
            value: Vec<u8>,
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let mut row = value.clone();
            seal(&key, &mut row);
            prop_assert_eq!(unseal(&key, row.clone().into()), Ok(Bytes::from(value)));
            let at = at.index(row.len());
            row[at] ^= flip;
            prop_assert_eq!(
                unseal(&key, row.into()),
                Err(DecodeError::Invalid { field: "checksum" })
            );
        }
    }

    proptest! {
        #[test]
        fn parts_are_sealed_as_the_whole_is(key: Vec<u8>, first: Vec<u8>, second: Vec<u8>) {
            let mut row = [&first[..], &second].concat();
            let end = of_parts(&key, &[&first, &second]);
            let expected = [&row[..], &end].concat();
            seal(&key, &mut row);
            prop_assert_eq!(row, expected);
        }
    }

    #[test]
    fn a_row_under_another_key_is_refused() {
        let mut row = vec![1];
        seal(b"a", &mut row);
        assert!(unseal(b"b", row.into()).is_err());
        assert!(unseal(b"a", Bytes::from_static(&[1, 2, 3])).is_err());
    }
}
