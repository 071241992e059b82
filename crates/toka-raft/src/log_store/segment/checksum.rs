//! Checksums of what is put together from parts, without a second look at the parts.

/// CRC-32C's, without its highest power; the lowest one is in the highest bit, as in all that follows.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// x^8, x^16, x^32 and so on: what so many bytes of zeros behind something multiply its checksum by.
const POWERS: [u32; usize::BITS as usize] = powers();

/// `a` times `b`, modulo the polynomial.
const fn product(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0_u32, 1_u32 << 31);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        bit >>= 1;
    }
    product
}

const fn powers() -> [u32; usize::BITS as usize] {
    let mut powers = [1_u32 << 23; usize::BITS as usize];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = product(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
}

/// The checksum of something whose own is `first`, followed by `second_len` bytes whose own is `second`. Takes as long as
/// the checksum of some thousand bytes.
pub(super) fn joined(first: u32, second: u32, second_len: usize) -> u32 {
    let (mut shifted, mut rest) = (first, second_len);
    for power in POWERS {
        if rest == 0 || shifted == 0 {
            break;
        }
        if rest & 1 == 1 {
            shifted = product(power, shifted);
        }
        rest >>= 1;
    }
    shifted ^ second
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(first: &[u8], second: &[u8]) -> bool {
        let whole = crc32c::crc32c_append(crc32c::crc32c(first), second);
        joined(crc32c::crc32c(first), crc32c::crc32c(second), second.len()) == whole
    }

    #[test]
    fn long_parts_are_joined() {
        for len in [1, 4_096, 65_535, 1 << 20, (1 << 22) + 3] {
            assert!(check(b"first", &vec![7; len]), "{len}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_joined(first in prop::collection::vec(any::<u8>(), 0..50), second in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(check(&first, &second));
        }
    }
}
