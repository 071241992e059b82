//! Steps: which span came of which one, over any number of spans.
//!
//! A span's step is stored once the steps of all spans above it are, up to the first span of its process. Spans come in any
//! order, from several exporters, by way of several receivers: whoever stores a span looks afterwards for the step of its
//! parent, and whoever stores a step looks afterwards for the children of its span. Of a parent and a child that are
//! stored at the same time the later one finds the other. So the steps that there are do not depend on the order.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use toka_ledger::{Digest, EventHeader, Filter};

use crate::anchor::{KIND_PREFIX, PARENT_SPAN_ID, SPAN_ID, STEP, STEP_OF, TRACE_ID, step};
use crate::error::Error;
use crate::ids::{SpanRef, TraceId};
use crate::vault::Vault;

/// Looks into the vault at once.
const LOOKS_AT_ONCE: usize = 16;
/// Events of one commit.
const COMMIT_EVENTS: usize = 500;
/// Children of one span that are found.
const CHILDREN_MAX: usize = 10_000;
/// Steps that one request makes, for its own spans and for those that have waited for them.
const STEPS_MAX: usize = 50_000;

/// A span whose event is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) ids: SpanRef,
    /// The span above it in the same process; `None`: it is the first one there.
    pub(crate) parent: Option<SpanRef>,
    /// Its event.
    pub(crate) digest: Digest,
}

/// A step that is to be stored.
#[derive(Clone, Copy)]
struct Next {
    span: Stored,
    /// The step before.
    before: Option<Digest>,
}

struct Steps<'v> {
    vault: &'v dyn Vault,
    /// As of when is looked.
    revision: u64,
    /// The first step of each span that was looked at, if it has one.
    first: BTreeMap<SpanRef, Option<Digest>>,
    /// Steps that were made.
    made: BTreeSet<Digest>,
}

/// Stores the steps that can be stored now that these spans are there, as of `revision`.
pub(crate) async fn store(vault: &dyn Vault, spans: &[Stored], revision: u64) -> Result<(), Error> {
    let mut steps = Steps {
        vault,
        revision,
        first: BTreeMap::new(),
        made: BTreeSet::new(),
    };
    let parents = spans.iter().filter_map(|span| span.parent);
    steps.look(parents.collect()).await?;
    let mut wave: Vec<Next> = spans.iter().filter_map(|span| steps.next(*span)).collect();
    while !wave.is_empty() {
        wave.retain(|next| steps.made.insert(step_of(next).digest));
        if steps.made.len() > STEPS_MAX {
            tracing::warn!(
                STEPS_MAX,
                "more spans have waited for one than are looked at: some are without a step"
            );
            return Ok(());
        }
        wave = steps.advance(&wave).await?;
    }
    Ok(())
}

fn step_of(next: &Next) -> crate::anchor::Identified {
    step(next.span.ids, next.span.digest, next.before)
}

impl Steps<'_> {
    /// The step of a span, if all before it are there.
    fn next(&self, span: Stored) -> Option<Next> {
        let before = match span.parent {
            None => None,
            Some(parent) => Some((*self.first.get(&parent)?)?),
        };
        Some(Next { span, before })
    }

    /// Stores steps, and finds those that follow.
    async fn advance(&mut self, wave: &[Next]) -> Result<Vec<Next>, Error> {
        // Two spans with the same ids are both kept. What came of them stands behind the one that was first.
        self.look(wave.iter().map(|next| next.span.ids).collect())
            .await?;
        for chunk in wave.chunks(COMMIT_EVENTS) {
            let drafts = chunk.iter().map(|next| step_of(next).draft()).collect();
            let revision = self.vault.commit(drafts).await?;
            self.revision = self.revision.max(revision);
        }
        let mut lead = Vec::new();
        for next in wave {
            let digest = step_of(next).digest;
            let first = self.first.entry(next.span.ids).or_default();
            if *first.get_or_insert(digest) == digest {
                lead.push((next.span.ids, digest));
            }
        }
        let (vault, revision) = (self.vault, self.revision);
        let found = lead.into_iter().map(move |(ids, before)| async move {
            let children = children(vault, ids, revision).await?;
            let next = children.into_iter().map(move |span| Next {
                span,
                before: Some(before),
            });
            Ok::<_, Error>(next.collect::<Vec<_>>())
        });
        let found = stream::iter(found).buffered(LOOKS_AT_ONCE);
        let found: Vec<Vec<Next>> = found.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Looks for the first steps of spans, where that was not done.
    async fn look(&mut self, spans: BTreeSet<SpanRef>) -> Result<(), Error> {
        let (vault, revision) = (self.vault, self.revision);
        let unknown = spans.into_iter();
        let unknown: Vec<SpanRef> = unknown
            .filter(|ids| !self.first.contains_key(ids))
            .collect();
        let found = unknown.into_iter().map(move |ids| async move {
            let step = first_step(vault, ids, revision).await?;
            Ok::<_, Error>((ids, step))
        });
        let found = stream::iter(found).buffered(LOOKS_AT_ONCE);
        let found: Vec<(SpanRef, Option<Digest>)> = found.try_collect().await?;
        self.first.extend(found);
        Ok(())
    }
}

async fn first_step(
    vault: &dyn Vault,
    of: SpanRef,
    revision: u64,
) -> Result<Option<Digest>, Error> {
    let filter = Filter {
        kind_prefixes: vec![STEP.to_owned()],
        attributes: vec![(STEP_OF.to_owned(), of.to_string())],
        ..Filter::default()
    };
    let found = vault.list(filter, revision, 1).await?;
    Ok(found.first().map(|header| header.digest))
}

async fn children(vault: &dyn Vault, of: SpanRef, revision: u64) -> Result<Vec<Stored>, Error> {
    let filter = Filter {
        kind_prefixes: vec![KIND_PREFIX.to_owned()],
        // The rarest first: its index is walked.
        attributes: vec![
            (PARENT_SPAN_ID.to_owned(), of.span.to_string()),
            (TRACE_ID.to_owned(), of.trace.to_string()),
        ],
        ..Filter::default()
    };
    let found = vault.list(filter, revision, CHILDREN_MAX).await?;
    let children = found.iter();
    Ok(children
        .filter_map(|header| child(of.trace, of, header))
        .collect())
}

/// What anybody may have written is looked at as such: an event without a span's id is none.
fn child(trace: TraceId, parent: SpanRef, header: &EventHeader) -> Option<Stored> {
    let span = header.attributes.get(SPAN_ID)?.parse().ok()?;
    let ids = SpanRef { trace, span };
    Some(Stored {
        ids,
        parent: Some(parent),
        digest: header.digest,
    })
}
