//! What unit tests of several modules make alike.

use toka_ledger::{Attributes, Digest, EventHeader, EventId, Kind, Salt};

/// The header of an event of kind `k` that has nothing: no payload, no parents, no embedding, no attributes.
pub(crate) fn header(sequence: u64) -> EventHeader {
    EventHeader {
        id: EventId::new(1, sequence, &Digest::ZERO),
        sequence,
        unix_ms: 1,
        kind: Kind::new("k").expect("valid"),
        digest: Digest::ZERO,
        payload_digest: Digest::ZERO,
        payload_bytes: 0,
        payload_sequence: sequence,
        salt: Salt::default(),
        parents: Vec::new(),
        embedding: None,
        attributes: Attributes::default(),
        micro_cluster: None,
        intent: None,
        deduplicated: false,
    }
}
