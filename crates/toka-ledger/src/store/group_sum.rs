//! `groups`, a row of `meta`: what all rows of consumer groups and credentials come to.
//!
//! ```text
//! key    "groups"
//! value  version u8 = 1 | number of groups varint | sum [32] | checksum
//! ```
//!
//! The sum is that of the digests of all rows under `group/`, `group-item/`, `group-parked/`, `token/` and `role/`, and
//! of `audit`, each a number of 256 bits, little-endian, modulo 2^256. So it can be kept up to date row by row, and says
//! whether two vaults have the same groups and credentials. The row is there from the first of those rows on.

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::core::Digest;
use crate::core::limits::GROUPS_MAX;
use crate::hash;

/// The row's key.
pub const KEY: &[u8] = b"groups";

const VERSION: u8 = 1;
const FIELD: &str = "groups";

/// Number of groups, and the sum over the rows of groups and credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSum {
    /// How many groups there are.
    pub groups: u64,
    /// The sum, lowest 64 bits first.
    limbs: [u64; 4],
}

impl GroupSum {
    /// Adds a row.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut carry = false;
        for (limb, added) in self.limbs.iter_mut().zip(limbs(key, value)) {
            let (sum, first) = limb.overflowing_add(added);
            let (sum, second) = sum.overflowing_add(carry.into());
            *limb = sum;
            carry = first || second;
        }
    }

    /// Takes a row out.
    pub fn subtract(&mut self, key: &[u8], value: &[u8]) {
        let mut borrow = false;
        for (limb, taken) in self.limbs.iter_mut().zip(limbs(key, value)) {
            let (rest, first) = limb.overflowing_sub(taken);
            let (rest, second) = rest.overflowing_sub(borrow.into());
            *limb = rest;
            borrow = first || second;
        }
    }

    /// The sum's bytes, which tell vaults with other groups apart.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = [0; 32];
        for (bytes, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        Digest(bytes)
    }
}

/// The number that a row counts for.
fn limbs(key: &[u8], value: &[u8]) -> [u64; 4] {
    from_bytes(&hash::group_row(key, value).0)
}

fn from_bytes(bytes: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
        *limb = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
    }
    limbs
}

/// The row's value.
#[must_use]
pub fn encode(sum: &GroupSum) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, sum.groups);
    out.put_slice(sum.digest().as_bytes());
    seal(KEY, &mut out);
    out
}

/// Reads the row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(value: Bytes) -> Result<GroupSum, DecodeError> {
    let mut reader = Reader::new(unseal(KEY, value)?);
    read_version(&mut reader, FIELD, VERSION)?;
    let groups = reader.varint(FIELD)?;
    if groups > GROUPS_MAX {
        return Err(DecodeError::Invalid { field: FIELD });
    }
    let limbs = from_bytes(&reader.array(FIELD)?);
    reader.finish()?;
    Ok(GroupSum { groups, limbs })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (Vec<u8>, Vec<u8>);

    fn sum(rows: &[Row]) -> GroupSum {
        let mut sum = GroupSum::default();
        for (key, value) in rows {
            sum.add(key, value);
        }
        sum
    }

    proptest! {
        #[test]
        fn the_row_round_trips(rows: Vec<Row>, groups in 0..=GROUPS_MAX) {
            let sum = GroupSum { groups, ..sum(&rows) };
            prop_assert_eq!(decode(encode(&sum).into()), Ok(sum));
        }

        #[test]
        fn order_makes_no_difference_and_what_is_taken_out_is_gone(
            mut rows in prop::collection::vec(any::<Row>(), 1..9),
            at: prop::sample::Index,
        ) {
            let all = sum(&rows);
            rows.reverse();
            prop_assert_eq!(sum(&rows), all);
            let (key, value) = rows.swap_remove(at.index(rows.len()));
            let mut rest = all;
            rest.subtract(&key, &value);
            prop_assert_eq!(rest, sum(&rows));
            prop_assert_ne!(rest, all);
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let mut sealed = bytes.clone();
            seal(KEY, &mut sealed);
            let _ = decode(sealed.into());
            let _ = decode(bytes.into());
        }
    }

    #[test]
    fn carries_go_all_the_way() {
        let mut sum = GroupSum {
            groups: 0,
            limbs: [u64::MAX; 4],
        };
        let row = limbs(b"key", b"value");
        sum.add(b"key", b"value");
        // All ones are minus one.
        assert_eq!(sum.limbs, [row[0] - 1, row[1], row[2], row[3]]);
        sum.subtract(b"key", b"value");
        assert_eq!(sum.limbs, [u64::MAX; 4]);
    }
}
