//! Causal hashing: every digest of the format (`docs/format.md`).

use crate::core::{Digest, GroupName, Kind, Salt};

const EVENT_CONTEXT: &str = "toka-ledger v1 event";
const LEAF_CONTEXT: &str = "toka-ledger v1 leaf";
const NODE_CONTEXT: &str = "toka-ledger v1 node";
const STATE_CONTEXT: &str = "toka-ledger v1 state";
const GROUP_ROW_CONTEXT: &str = "toka-ledger v1 group row";
const RESTORED_CONTEXT: &str = "toka-ledger v1 restored history";
const DELIVERIES_CONTEXT: &str = "toka-ledger v1 deliveries of a group";

/// BLAKE3 of the payload.
#[must_use]
pub fn payload_digest(payload: &[u8]) -> Digest {
    blake3::hash(payload).into()
}

/// The identity of an event.
///
/// `parents` must be sorted bytewise and without repeats.
#[must_use]
pub fn event_digest(kind: &Kind, payload: &Digest, salt: &Salt, parents: &[Digest]) -> Digest {
    debug_assert!(parents.is_sorted_by(|a, b| a < b));
    let mut hasher = blake3::Hasher::new_derive_key(EVENT_CONTEXT);
    hasher.update(&length(kind.as_str().len()).to_le_bytes());
    hasher.update(kind.as_str().as_bytes());
    hasher.update(payload.as_bytes());
    let salt_bytes = u8::try_from(salt.as_bytes().len()).expect("a salt has at most 32 bytes");
    hasher.update(&[salt_bytes]);
    hasher.update(salt.as_bytes());
    hasher.update(&length(parents.len()).to_le_bytes());
    for parent in parents {
        hasher.update(parent.as_bytes());
    }
    hasher.finalize().into()
}

/// What the history's Merkle tree holds of an event; `embedding` is zero where there is none.
#[must_use]
pub fn leaf(sequence: u64, unix_ms: u64, digest: &Digest, embedding: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(LEAF_CONTEXT);
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&unix_ms.to_le_bytes());
    hasher.update(digest.as_bytes());
    hasher.update(embedding.as_bytes());
    hasher.finalize().into()
}

/// An inner node of the history's Merkle tree.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(NODE_CONTEXT);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    hasher.finalize().into()
}

/// Identity of the history of a vault that was restored into another cluster than its own: the same on
/// each node of that cluster, and another one than that of any other copy.
#[must_use]
pub fn restored_history_id(history_id: u128, cluster_id: u128) -> u128 {
    let mut hasher = blake3::Hasher::new_derive_key(RESTORED_CONTEXT);
    hasher.update(&history_id.to_le_bytes());
    hasher.update(&cluster_id.to_le_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    u128::from_le_bytes(id)
}

/// The root of a history without events.
#[must_use]
pub fn empty_history() -> Digest {
    blake3::Hasher::new_derive_key(NODE_CONTEXT)
        .finalize()
        .into()
}

/// The next link of the chain over everything that `apply` writes.
#[must_use]
pub fn state(previous: &Digest, written: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(STATE_CONTEXT);
    hasher.update(previous.as_bytes());
    hasher.update(written);
    hasher.finalize().into()
}

/// What a row of consumer groups counts for in the sum over all of them.
#[must_use]
pub fn group_row(key: &[u8], value: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(GROUP_ROW_CONTEXT);
    hasher.update(&length(key.len()).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().into()
}

/// What the tokens of a group's deliveries are mixed with, so that they mean nothing to another group or history.
#[must_use]
pub fn deliveries(history_id: u128, group: &GroupName) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key(DELIVERIES_CONTEXT);
    hasher.update(&history_id.to_le_bytes());
    hasher.update(group.as_str().as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn length(n: usize) -> u32 {
    u32::try_from(n).expect("lengths are checked to be small in prepare")
}
