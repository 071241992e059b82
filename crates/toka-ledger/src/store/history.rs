//! `history`: roots of full subtrees of the history tree.
//!
//! ```text
//! key    height u8 | index u64 big-endian
//! value  version u8 = 1 | root [32] | state digest [32] (height 8 only)
//! ```
//!
//! The subtree of height h and index i has the leaves of the sequences i * 2^h + 1 to
//! (i + 1) * 2^h. The state digest is the one right after the last of them.

use bytes::Bytes;

use super::read_version;
use crate::codec::{DecodeError, Reader};
use crate::core::Digest;

const VERSION: u8 = 1;
/// Height whose rows carry the state digest.
pub const STATE_HEIGHT: u8 = 8;
/// Events between two stored state digests.
pub const STATE_DIGEST_EVENTS: u64 = 1 << STATE_HEIGHT;

/// Value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// Root of the subtree.
    pub root: Digest,
    /// The state digest right after its last event, at height 8.
    pub state_digest: Option<Digest>,
}

/// The key of a row.
#[must_use]
pub fn key(height: u8, index: u64) -> [u8; 9] {
    let mut key = [height; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Reads a row's key, as (height, index).
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_key(key: &[u8]) -> Result<(u8, u64), DecodeError> {
    let key: [u8; 9] = key
        .try_into()
        .map_err(|_| DecodeError::Truncated { field: "subtree" })?;
    let [height, index @ ..] = key;
    Ok((height, u64::from_be_bytes(index)))
}

/// The value of a row.
#[must_use]
pub fn encode(subtree: &Subtree) -> Vec<u8> {
    let mut value = Vec::with_capacity(65);
    value.push(VERSION);
    value.extend_from_slice(subtree.root.as_bytes());
    if let Some(state_digest) = &subtree.state_digest {
        value.extend_from_slice(state_digest.as_bytes());
    }
    value
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(height: u8, value: Bytes) -> Result<Subtree, DecodeError> {
    let mut reader = Reader::new(value);
    read_version(&mut reader, "subtree", VERSION)?;
    let root = Digest(reader.array("subtree root")?);
    let state_digest = (height == STATE_HEIGHT)
        .then(|| reader.array("state digest").map(Digest))
        .transpose()?;
    reader.finish()?;
    Ok(Subtree { root, state_digest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_round_trip(index: u64, root: [u8; 32], state: [u8; 32]) {
            for (height, state_digest) in [(8, Some(Digest(state))), (16, None)] {
                let subtree = Subtree { root: Digest(root), state_digest };
                prop_assert_eq!(decode(height, encode(&subtree).into()), Ok(subtree));
                prop_assert_eq!(decode_key(&key(height, index)), Ok((height, index)));
            }
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode_key(&bytes);
            let _ = decode(8, bytes.clone().into());
            let _ = decode(16, bytes.into());
        }
    }
}
