//! In which bucket of a hashed memtable a row is.
//!
//! RocksDB takes for a row's bucket the highest bits of a hash (XXPH3, its own first version of XXH3) of the row's prefix, and
//! a flush puts the rows of one bucket after the other into a skip list. Rows that come in order are put there without a
//! search, so a prefix here is bytes that hash to the beginning of the row's key: the buckets then are in the order of keys.
//! Should RocksDB hash in another way one day, the buckets are in no order, as they are with any other prefix, and flushes
//! take longer.

use std::sync::LazyLock;

/// How many beginnings of keys are told apart.
pub(super) const KEYS: usize = 1 << KEY_BITS;
const KEY_BITS: u32 = 16;

/// Bytes of a prefix. The hash is another one for other lengths.
const BYTES: usize = 8;
/// The first bytes of the hash's secret, as a number.
const SECRET: u64 = 0xbe4b_a423_396c_feb8;
/// The hash's primes, in the order in which it multiplies with them.
const PRIMES: [u64; 3] = [0x9e37_79b1, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9];

/// What hashes to each beginning of a key.
static PREFIXES: LazyLock<Vec<[u8; BYTES]>> = LazyLock::new(|| {
    let hashes = (0..KEYS as u64).map(|beginning| beginning << (u64::BITS - KEY_BITS));
    hashes.map(|hash| unhash(hash).to_le_bytes()).collect()
});

/// The prefix of a row with this key. Digests are longer than what is looked at; whatever else is a key here may be shorter.
pub(super) fn key(key: &[u8]) -> &[u8] {
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    let beginning = u16::from_be_bytes([byte(0), byte(1)]);
    &PREFIXES[usize::from(beginning)]
}

/// What [`BYTES`] bytes, a little-endian number, must be so that they have this hash.
///
/// Each step of the hash is undone, the last one first. A number that is xored with itself, shifted by half of its bits or
/// more, is undone by the same.
fn unhash(hash: u64) -> u64 {
    let [first, second, third] = PRIMES.map(inverse);
    let mut number = hash;
    number ^= number >> 32;
    number = number.wrapping_mul(third);
    number ^= number >> 37;
    number = number.wrapping_mul(second);
    number ^= number >> 47;
    number = number.wrapping_sub(BYTES as u64).wrapping_mul(first);
    number ^= number >> 51;
    number ^ SECRET
}

/// What undoes a multiplication with an odd number, modulo 2^64: each round doubles the bits that are right, of which an odd
/// number has three to begin with.
fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    for _ in 0..5 {
        let product = odd.wrapping_mul(inverse);
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(product));
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RocksDB's `XXPH3_len_4to8_64b`, of eight bytes.
    fn hash(bytes: &[u8]) -> u64 {
        let bytes: [u8; BYTES] = bytes.try_into().expect("a prefix");
        let mut number = u64::from_le_bytes(bytes) ^ SECRET;
        number ^= number >> 51;
        number = number.wrapping_mul(PRIMES[0]).wrapping_add(BYTES as u64);
        number ^= number >> 47;
        number = number.wrapping_mul(PRIMES[1]);
        number ^= number >> 37;
        number = number.wrapping_mul(PRIMES[2]);
        number ^ (number >> 32)
    }

    #[test]
    fn hash_is_that_of_rocksdb() {
        // What its util/xxph3.h gives.
        assert_eq!(hash(b"abcdefgh"), 0x5917_16e1_ea46_3467);
    }

    #[test]
    fn buckets_are_in_the_order_of_keys() {
        for beginning in 0..=u16::MAX {
            let [first, second] = beginning.to_be_bytes();
            let hash = hash(key(&[first, second, 7, 7]));
            assert_eq!(hash, u64::from(beginning) << 48, "{beginning}");
        }
    }

    #[test]
    fn keys_that_are_shorter_are_where_they_are_followed_by_zeros() {
        assert_eq!(key(b""), key(&[0, 0, 1]));
        assert_eq!(key(b"k"), key(b"k\0"));
    }
}
