//! What an agent would commit.

use bytes::Bytes;
use toka_agents::Batch;
use toka_ledger::command::ParentName;
use toka_ledger::{Digest, EventHeader, Invalid, Kind, hash};

/// An event that an agent would commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// What it is about.
    pub kind: Kind,
    /// The payload.
    pub payload: Bytes,
    /// The digest that it would have.
    pub digest: Digest,
    /// The events that it depends on, sorted, without repeats.
    pub parents: Vec<Digest>,
}

/// What is committed as the reaction to `cause`.
pub(super) fn of_batch(batch: Batch, cause: &EventHeader) -> Result<Vec<Emitted>, Invalid> {
    let mut emitted: Vec<Emitted> = Vec::with_capacity(batch.events.len());
    for draft in batch.events {
        let event = draft.prepare()?;
        let mut parents = Vec::with_capacity(event.parents.len());
        for parent in &event.parents {
            parents.push(digest_of(*parent, cause, &emitted)?);
        }
        parents.sort_unstable();
        parents.dedup();
        emitted.push(Emitted {
            digest: hash::event_digest(&event.kind, &event.payload_digest, &event.salt, &parents),
            kind: event.kind,
            payload: event.payload,
            parents,
        });
    }
    Ok(emitted)
}

/// The digest of a parent. Agents name parents by digests or places in the reaction; of ids only that of the cause is known.
fn digest_of(
    parent: ParentName,
    cause: &EventHeader,
    earlier: &[Emitted],
) -> Result<Digest, Invalid> {
    const UNKNOWN: Invalid = Invalid::Syntax {
        field: "parents",
        expected: "a digest, or the place of an earlier event of the reaction",
    };
    match parent {
        ParentName::Digest(digest) => Ok(digest),
        ParentName::Id(id) if id == cause.id => Ok(cause.digest),
        ParentName::Id(_) => Err(UNKNOWN),
        ParentName::Batch(place) => {
            let event = earlier.get(usize::from(place)).ok_or(UNKNOWN)?;
            Ok(event.digest)
        }
    }
}
