//! Causal hashing: every digest of the format (`docs/format.md`).

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};

use crate::core::{Digest, GroupName, Kind, Salt};

const EVENT_CONTEXT: &str = "toka-ledger v1 event";
const LEAF_CONTEXT: &str = "toka-ledger v1 leaf";
const NODE_CONTEXT: &str = "toka-ledger v1 node";
const STATE_CONTEXT: &str = "toka-ledger v1 state";
const GROUP_ROW_CONTEXT: &str = "toka-ledger v1 group row";
const RESTORED_CONTEXT: &str = "toka-ledger v1 restored history";
const DELIVERIES_CONTEXT: &str = "toka-ledger v1 deliveries of a group";

/// Of contexts with which every event is hashed: what a context comes to is always the same, and takes as long as the
/// hash itself.
static EVENT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(EVENT_CONTEXT));
static LEAF: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(LEAF_CONTEXT));
static NODE: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(NODE_CONTEXT));
static STATE: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(STATE_CONTEXT));

/// As `Hasher::new_derive_key` of that context.
fn hasher(context: &ContextKey) -> blake3::Hasher {
    blake3::Hasher::new_from_context_key(context)
}

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
    let mut hasher = hasher(&EVENT);
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
    let mut hasher = hasher(&LEAF);
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&unix_ms.to_le_bytes());
    hasher.update(digest.as_bytes());
    hasher.update(embedding.as_bytes());
    hasher.finalize().into()
}

/// An inner node of the history's Merkle tree.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = hasher(&NODE);
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
    hasher(&NODE).finalize().into()
}

/// The next link of the chain over everything that `apply` writes.
#[must_use]
pub fn state(previous: &Digest, written: &[u8]) -> Digest {
    let mut hasher = hasher(&STATE);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_that_are_kept_hash_as_their_names_do() {
        let kept = [
            (&EVENT, EVENT_CONTEXT),
            (&LEAF, LEAF_CONTEXT),
            (&NODE, NODE_CONTEXT),
            (&STATE, STATE_CONTEXT),
        ];
        for (key, name) in kept {
            let derived = blake3::derive_key(name, b"bytes");
            let hash = hasher(key).update(b"bytes").finalize();
            assert_eq!(hash.as_bytes(), &derived, "{name}");
        }
    }
}
