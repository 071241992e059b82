//! The id of an event: a UUID of version 7 that carries time, sequence and a part of the digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::Digest;
use super::limits::{SEQUENCE_END, UNIX_MS_END};
use crate::error::Invalid;

/// 128-bit UUID, version 7 (RFC 9562, section 5.7).
///
/// Layout, from the highest bit: 48 bits of Unix milliseconds; version `0111`; bits 41..30 of the
/// sequence (`rand_a`); variant `10`; bits 29..0 of the sequence and the first 32 bits of the
/// digest (`rand_b`). Ids therefore sort in commit order and lead to the header without an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// The id of the event at `sequence` (below 2^42), committed at `unix_ms` (below 2^48).
    #[must_use]
    pub fn new(unix_ms: u64, sequence: u64, digest: &Digest) -> Self {
        debug_assert!(unix_ms < UNIX_MS_END && sequence < SEQUENCE_END);
        let [d0, d1, d2, d3, ..] = digest.0;
        let digest_head = u32::from_be_bytes([d0, d1, d2, d3]);
        let high = (unix_ms & (UNIX_MS_END - 1)) << 16 | 0x7000 | (sequence >> 30 & 0xfff);
        let low = 0b10 << 62 | (sequence & 0x3fff_ffff) << 32 | u64::from(digest_head);
        Self(Uuid::from_u64_pair(high, low))
    }

    /// The id with these 16 bytes, which need not be one that this vault gave out.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The place in the vault's order that the id claims.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        (high & 0xfff) << 30 | low >> 32 & 0x3fff_ffff
    }

    /// The time of the commit that the id claims, milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.0.as_u64_pair().0 >> 16
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", self.0)
    }
}

impl FromStr for EventId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|_| Invalid::Syntax {
                field: "id",
                expected: "a UUID",
            })
    }
}

impl TryFrom<&[u8]> for EventId {
    type Error = Invalid;

    fn try_from(bytes: &[u8]) -> Result<Self, Invalid> {
        let bytes = bytes.try_into().map_err(|_| Invalid::Length {
            field: "id",
            expected: 16,
            actual: bytes.len(),
        })?;
        Ok(Self::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_carries_time_and_sequence_and_is_version_7() {
        let digest = Digest([0xab; 32]);
        for sequence in [1, 2, (1 << 30) - 1, 1 << 30, (1 << 42) - 1] {
            let id = EventId::new(1_700_000_000_123, sequence, &digest);
            assert_eq!(id.sequence(), sequence);
            assert_eq!(id.unix_ms(), 1_700_000_000_123);
            assert_eq!(id.0.get_version_num(), 7);
            assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(&id.as_bytes()[12..], &[0xab; 4]);
        }
    }

    #[test]
    fn ids_sort_by_time_then_sequence() {
        let digest = Digest([0xff; 32]);
        let zero = Digest([0; 32]);
        let ids = [
            EventId::new(5, 1, &digest),
            EventId::new(5, 2, &zero),
            EventId::new(5, 1 << 30, &zero),
            EventId::new(6, (1 << 30) + 1, &zero),
        ];
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
