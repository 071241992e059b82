//! Events that anybody can name who knows ids: of a trace, of a span, and the steps of a trace.
//!
//! Children end before their parents, and so they are exported before them. Nothing of a parent is known then but its
//! id. What a span's event depends on is therefore made of ids alone, and the same for whoever makes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use toka_ledger::error::ParentName;
use toka_ledger::{Attributes, Digest, EventDraft, EventPayload as _, Kind, Salt, hash};

use crate::ids::{SpanRef, TraceId};

/// Every kind that is made of traces begins with this.
pub const KIND_PREFIX: &str = "otel.";
/// Kind of the event that stands for a trace.
pub const TRACE: &str = "otel.trace";
/// Kind of the event that stands for a span, whether it was exported or not.
pub const SPAN_REF: &str = "otel.span_ref";
/// Kind of the event that says which span came of which one.
pub const STEP: &str = "otel.step";

/// Attribute of a span's event: its trace.
pub const TRACE_ID: &str = "otel.trace_id";
/// Attribute of a span's event: its id.
pub const SPAN_ID: &str = "otel.span_id";
/// Attribute of a span's event: its parent, of the same process.
pub const PARENT_SPAN_ID: &str = "otel.parent_span_id";
/// Attribute of a span's event: its parent, of another process.
pub const REMOTE_PARENT_SPAN_ID: &str = "otel.remote_parent_span_id";
/// Attribute of a step: the span, as `TRACE-SPAN`.
pub const STEP_OF: &str = "otel.step_of";

/// An event, and the identity that it has in any vault.
#[derive(Clone, Debug)]
pub struct Identified {
    kind: &'static str,
    payload: Bytes,
    parents: Vec<Digest>,
    /// By what it is found; not part of its identity.
    pub(crate) attributes: Attributes,
    /// Its digest.
    pub digest: Digest,
}

impl Identified {
    /// The event, for a commit to a vault that has its parents.
    pub fn draft(&self) -> EventDraft {
        self.draft_behind(&BTreeMap::new())
    }

    /// The event, for a commit in which events of these digests are at these places before it. Named by their places, they
    /// need not be in the vault.
    pub(crate) fn draft_behind(&self, places: &BTreeMap<Digest, u16>) -> EventDraft {
        let draft = EventDraft::new(self.kind)
            .payload_bytes(self.payload.clone())
            .attributes(self.attributes.clone());
        let parents = self.parents.iter();
        parents.fold(draft, |draft, parent| {
            let place = places.get(parent).copied();
            draft.parent_by_name(place.map_or(ParentName::Digest(*parent), ParentName::Batch))
        })
    }

    /// Bytes of its payload.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }
}

#[derive(Serialize)]
struct Trace {
    trace_id: String,
}

#[derive(Serialize)]
struct Span {
    trace_id: String,
    span_id: String,
}

/// An event of a kind that is one, without a salt.
pub(crate) fn identified(kind: &'static str, payload: Bytes, parents: &[Digest]) -> Identified {
    let mut sorted = parents.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let name = Kind::new(kind).expect("kinds of this crate are kinds");
    let digest = hash::event_digest(
        &name,
        &hash::payload_digest(&payload),
        &Salt::default(),
        &sorted,
    );
    Identified {
        kind,
        payload,
        parents: sorted,
        attributes: Attributes::default(),
        digest,
    }
}

fn encoded(payload: &impl Serialize) -> Bytes {
    payload.to_bytes().expect("texts can be encoded")
}

fn ids(of: SpanRef) -> Bytes {
    encoded(&Span {
        trace_id: of.trace.to_string(),
        span_id: of.span.to_string(),
    })
}

/// The event of a trace: everything in the trace descends from it.
#[must_use]
pub fn trace(id: TraceId) -> Identified {
    let trace_id = id.to_string();
    identified(TRACE, encoded(&Trace { trace_id }), &[])
}

/// The event that stands for a span, a child of its trace's. Whoever knows the ids can make it, before the span has
/// ended, and have events descend from it.
#[must_use]
pub fn span_ref(of: SpanRef) -> Identified {
    identified(SPAN_REF, ids(of), &[trace(of.trace).digest])
}

/// The step of a span whose event is `span`, behind that of its parent: what descends from a step is what came of the
/// span, over any number of spans.
#[must_use]
pub fn step(of: SpanRef, span: Digest, parent: Option<Digest>) -> Identified {
    let parents: Vec<_> = parent.into_iter().chain([span]).collect();
    let mut step = identified(STEP, ids(of), &parents);
    let pairs = &mut step.attributes.pairs;
    pairs.insert(STEP_OF.to_owned(), of.to_string());
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> SpanRef {
        SpanRef {
            trace: "0af7651916cd43dd8448eb211c80319c".parse().expect("an id"),
            span: "b7ad6b7169203331".parse().expect("an id"),
        }
    }

    #[test]
    fn anchors_are_what_docs_otel_md_says() {
        let trace_digest = trace(span().trace).digest.to_string();
        let span_digest = span_ref(span()).digest.to_string();
        assert_ne!(trace_digest, span_digest);
        // Anybody makes the same ones, with a client of the vault alone.
        let by_hand = EventDraft::new("otel.trace").payload(&BTreeMap::from([(
            "trace_id",
            "0af7651916cd43dd8448eb211c80319c",
        )]));
        let prepared = by_hand.prepare().expect("valid");
        let digest = hash::event_digest(
            &prepared.kind,
            &prepared.payload_digest,
            &prepared.salt,
            &[],
        );
        assert_eq!(digest.to_string(), trace_digest);
    }

    #[test]
    fn a_step_depends_on_its_span_and_on_the_step_before() {
        let (event, before) = (Digest([1; 32]), Digest([2; 32]));
        let first = step(span(), event, None).digest;
        let second = step(span(), event, Some(before)).digest;
        assert_ne!(first, second);
        assert_eq!(second, step(span(), event, Some(before)).digest);
    }
}
