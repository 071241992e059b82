//! The header of a stored event.

use serde::Serialize;

use super::attributes::Attributes;
use super::digest::Digest;
use super::event_id::EventId;
use super::intents::{IntentId, MicroClusterId};
use super::text::{Kind, Salt};

/// An event that another one depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Parent {
    /// Identity, which the child's digest covers.
    pub digest: Digest,
    /// Id, which leads to the parent's header.
    pub id: EventId,
}

/// What the header says of the event's embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EmbeddingInfo {
    /// BLAKE3 of the quantised components.
    pub digest: Digest,
    /// Number of components.
    pub dimension: u16,
}

/// Everything about an event but its payload and the components of its embedding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventHeader {
    /// UUID version 7 that carries time and sequence.
    pub id: EventId,
    /// Place in the vault's total order, from 1, without gaps.
    pub sequence: u64,
    /// Time of the commit, milliseconds since the Unix epoch; never runs backwards.
    pub unix_ms: u64,
    /// What the event is about.
    pub kind: Kind,
    /// The event's identity: covers payload, kind, salt and parents.
    pub digest: Digest,
    /// BLAKE3 of the payload.
    pub payload_digest: Digest,
    /// Size of the payload, bytes.
    pub payload_bytes: u32,
    /// Sequence of the first event with this payload, under which the payload is stored.
    pub payload_sequence: u64,
    /// What makes a repeat an event of its own; usually empty.
    #[serde(skip_serializing_if = "Salt::is_empty", serialize_with = "salt_as_hex")]
    pub salt: Salt,
    /// The events this one depends on, sorted by digest, without repeats.
    pub parents: Vec<Parent>,
    /// The event's embedding, if it came with one.
    pub embedding: Option<EmbeddingInfo>,
    /// Who, what type, and further pairs.
    pub attributes: Attributes,
    /// Micro-cluster of an event with an embedding; it never changes.
    pub micro_cluster: Option<MicroClusterId>,
    /// Intent as of the commit.
    pub intent: Option<IntentId>,
    /// True in the answer to a commit that found the event already stored. Not stored itself.
    pub deduplicated: bool,
}

fn salt_as_hex<S: serde::Serializer>(salt: &Salt, serializer: S) -> Result<S::Ok, S::Error> {
    let hex: String = salt
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    serializer.serialize_str(&hex)
}
