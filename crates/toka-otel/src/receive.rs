//! A request of an exporter: its spans become events, all of them before it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rmpv::Value;
use smart_embedder::SmartEmbedder;
use toka_ledger::core::limits::DIMENSIONS_MAX;
use toka_ledger::{Digest, EventDraft};

use crate::anchor::Identified;
use crate::content::Content;
use crate::error::Error;
use crate::span::{Mapped, Origin, SpanError, map};
use crate::step::{self, Stored};
use crate::vault::Vault;

/// Spans of one request; those behind them are refused.
pub(crate) const SPANS_MAX: usize = 10_000;
/// Events of one request, bytes, each with what it repeats of the resource and the scope: more than ordinary spans of
/// 16 MiB make. Those behind are refused.
const EVENTS_BYTES_MAX: usize = 128 << 20;
/// Events of one commit, of which the vault takes 1,000.
const COMMIT_EVENTS: usize = 900;
/// Payloads of one commit, bytes: with what surrounds them less than the 4 MiB that the vault takes.
const COMMIT_BYTES: usize = 2 << 20;
/// What an event has beside its payload and its embedding, bytes, on the average of a span's and its anchors'.
const EVENT_BYTES: usize = 3 << 10;
/// The largest embedding, bytes.
const EMBEDDING_BYTES: usize = 2 * DIMENSIONS_MAX;

/// Turns spans into events.
#[derive(Clone)]
pub struct Receiver {
    content: Content,
    embedder: Option<SmartEmbedder>,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Spans that are stored, or were before.
    pub(crate) stored: usize,
    /// Spans that cannot be stored.
    pub(crate) refused: usize,
    /// Why the first of these cannot.
    pub(crate) reason: Option<String>,
}

impl From<Received> for ExportTraceServiceResponse {
    fn from(received: Received) -> Self {
        let partial_success = received.reason.map(|reason| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(received.refused).unwrap_or(i64::MAX),
            error_message: reason,
        });
        Self { partial_success }
    }
}

impl Receiver {
    /// A receiver that stores contents or not, and embeds those that it stores if there is something to embed them with.
    #[must_use]
    pub fn new(content: Content, embedder: Option<SmartEmbedder>) -> Self {
        Self { content, embedder }
    }

    /// Stores the spans of a request. Returns once the vault has acknowledged all of them.
    pub(crate) async fn receive(
        &self,
        vault: &dyn Vault,
        request: ExportTraceServiceRequest,
    ) -> Result<Received, Error> {
        let (content, embeds) = (self.content, self.embedder.is_some());
        // Milliseconds of work where spans are many.
        let mapping = tokio::task::spawn_blocking(move || map_all(request, content, embeds));
        let (spans, mut received) = mapping.await.map_err(|_| Error::Interrupted)?;
        let mut stored = Vec::with_capacity(spans.len());
        let mut revision = 0;
        for commit in commits(spans) {
            stored.extend(commit.iter().map(|span| Stored {
                ids: span.ids,
                parent: span.parent,
                digest: span.event.digest,
            }));
            let drafts = self.drafts(&commit).await?;
            revision = vault.commit(drafts).await?.max(revision);
        }
        step::store(vault, &stored, revision).await?;
        received.stored = stored.len();
        Ok(received)
    }

    /// The events of spans: each behind what it depends on.
    async fn drafts(&self, spans: &[Mapped]) -> Result<Vec<EventDraft>, Error> {
        let mut vectors = self.embed(spans).await?;
        let mut batch = Batch::default();
        for (place, span) in spans.iter().enumerate() {
            for anchor in &span.anchors {
                batch.push(anchor, |draft| draft);
            }
            let vector = vectors.remove(&place);
            batch.push(&span.event, |draft| match (&self.embedder, vector) {
                (Some(embedder), Some(vector)) => {
                    draft.embedding(&vector).model(embedder.model_id())
                }
                _ => draft,
            });
        }
        Ok(batch.drafts)
    }

    /// Vectors of those spans that have something to embed, by their places.
    async fn embed(&self, spans: &[Mapped]) -> Result<BTreeMap<usize, Vec<f32>>, Error> {
        let Some(embedder) = &self.embedder else {
            return Ok(BTreeMap::new());
        };
        let with_meaning = spans.iter().enumerate().filter_map(|(place, span)| {
            let meaning = span.meaning.clone()?;
            Some((place, (span.kind.to_owned(), meaning)))
        });
        let (places, events): (Vec<usize>, Vec<(String, Value)>) = with_meaning.unzip();
        let vectors = embedder.embed_values(&events).await?;
        Ok(places.into_iter().zip(vectors).collect())
    }
}

/// Events of one commit, each once. A parent that is among them is named by its place: a caller who does not read all kinds can
/// name by its digest only what the vault has.
#[derive(Default)]
struct Batch {
    drafts: Vec<EventDraft>,
    places: BTreeMap<Digest, u16>,
}

impl Batch {
    fn push(&mut self, event: &Identified, finish: impl FnOnce(EventDraft) -> EventDraft) {
        if self.places.contains_key(&event.digest) {
            return;
        }
        let place = u16::try_from(self.drafts.len()).expect("a commit has few events");
        self.drafts.push(finish(event.draft_behind(&self.places)));
        self.places.insert(event.digest, place);
    }
}

/// All spans of a request that can be stored, and what is to be said of the others.
fn map_all(
    request: ExportTraceServiceRequest,
    content: Content,
    embeds: bool,
) -> (Vec<Mapped>, Received) {
    let mut received = Received::default();
    let mut refuse = |error: SpanError, spans: usize| {
        received.refused += spans;
        received.reason.get_or_insert_with(|| error.to_string());
    };
    let mut mapped = Vec::new();
    let (mut looked_at, mut bytes) = (0_usize, 0_usize);
    for (origin, spans) in scopes(request) {
        let common = origin.bytes();
        for span in spans {
            looked_at += 1;
            if looked_at > SPANS_MAX {
                refuse(SpanError::TooMany { max: SPANS_MAX }, 1);
                continue;
            }
            // Counted before it is mapped: a large resource is gone through, and stored, once for each span.
            bytes = bytes.saturating_add(common + span.encoded_len());
            if bytes > EVENTS_BYTES_MAX {
                let max = EVENTS_BYTES_MAX;
                refuse(SpanError::TooMuch { max }, 1);
                continue;
            }
            match map(&origin, span, content, embeds) {
                Ok(span) => mapped.push(span),
                Err(error) => refuse(error, 1),
            }
        }
    }
    (mapped, received)
}

/// The spans of each scope, and where they come from.
fn scopes(request: ExportTraceServiceRequest) -> impl Iterator<Item = (Origin, Vec<Span>)> {
    let resources = request.resource_spans.into_iter();
    resources.flat_map(|of_resource| {
        let resource = of_resource.resource.map(Arc::new);
        let resource_schema: Arc<str> = of_resource.schema_url.into();
        let scopes = of_resource.scope_spans.into_iter();
        let scopes = scopes.filter(|of_scope| !of_scope.spans.is_empty());
        scopes.map(move |of_scope| {
            let origin = Origin {
                resource: resource.clone(),
                resource_schema: Arc::clone(&resource_schema),
                scope: of_scope.scope,
                scope_schema: of_scope.schema_url,
            };
            (origin, of_scope.spans)
        })
    })
}

/// Spans in parts that one commit takes each.
fn commits(spans: Vec<Mapped>) -> Vec<Vec<Mapped>> {
    let mut commits: Vec<Vec<Mapped>> = Vec::new();
    let (mut events, mut bytes) = (usize::MAX, usize::MAX);
    for span in spans {
        let own_events = span.anchors.len() + 1;
        let embedding = span.meaning.as_ref().map_or(0, |_| EMBEDDING_BYTES);
        let own_bytes = span.event.payload_bytes() + embedding + own_events * EVENT_BYTES;
        let fits = events.saturating_add(own_events) <= COMMIT_EVENTS
            && bytes.saturating_add(own_bytes) <= COMMIT_BYTES;
        match commits.last_mut() {
            Some(commit) if fits => {
                commit.push(span);
                events += own_events;
                bytes += own_bytes;
            }
            _ => {
                commits.push(vec![span]);
                (events, bytes) = (own_events, own_bytes);
            }
        }
    }
    commits
}

#[cfg(test)]
mod tests;
