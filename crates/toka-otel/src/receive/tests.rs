use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use proptest::prelude::*;
use toka_ledger::read::Query;
use toka_ledger::{EventHeader, Filter, VaultBus};

use super::*;
use crate::anchor::{SPAN_REF, STEP, STEP_OF, TRACE, span_ref};
use crate::ids::{SpanId, SpanRef, TraceId};

/// A vault in this process, and how often something was committed to it.
struct InMemory {
    bus: VaultBus,
    commits: AtomicUsize,
    /// Commits after which it is away.
    away_after: usize,
}

impl InMemory {
    fn new() -> Self {
        Self {
            bus: VaultBus::builder().open_in_memory().expect("opened"),
            commits: AtomicUsize::new(0),
            away_after: usize::MAX,
        }
    }

    fn all(&self) -> Vec<Arc<EventHeader>> {
        let page = self.bus.reader().list(&Query::default());
        page.expect("read").headers
    }

    fn digests(&self) -> BTreeSet<Digest> {
        self.all().iter().map(|header| header.digest).collect()
    }

    fn of_kind(&self, kind: &str) -> Vec<Arc<EventHeader>> {
        let mut all = self.all();
        all.retain(|header| header.kind == kind);
        all
    }
}

impl Vault for InMemory {
    fn commit(&self, events: Vec<EventDraft>) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            if self.commits.fetch_add(1, Ordering::Relaxed) >= self.away_after {
                return Err(Error::Interrupted);
            }
            self.bus.commit_batch(events).await.expect("committed");
            Ok(self.bus.position().sequence)
        })
    }

    fn list(
        &self,
        filter: Filter,
        _revision: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<EventHeader>, Error>> {
        let query = Query {
            filter,
            limit: max.min(1_000),
            ..Query::default()
        };
        let page = self.bus.reader().list(&query).expect("read");
        let headers = page.headers.into_iter().map(Arc::unwrap_or_clone);
        let headers: Vec<EventHeader> = headers.collect();
        Box::pin(async move { Ok(headers) })
    }
}

/// Span `id` of trace 1; above it is `parent`, 0: none.
fn span(id: u8, parent: u8) -> Span {
    let parent_span_id = match parent {
        0 => Vec::new(),
        parent => vec![parent; 8],
    };
    Span {
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        parent_span_id,
        name: format!("span {id}"),
        start_time_unix_nano: u64::from(id),
        ..Span::default()
    }
}

fn ids(id: u8) -> SpanRef {
    SpanRef {
        trace: TraceId::try_from(&[1_u8; 16][..]).expect("an id"),
        span: SpanId::try_from(&[id; 8][..]).expect("an id"),
    }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = ScopeSpans {
        spans,
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource],
    }
}

async fn receive(vault: &InMemory, spans: Vec<Span>) -> Received {
    let receiver = Receiver::new(Content::Text, None);
    let received = receiver.receive(vault, request(spans)).await;
    received.expect("received")
}

/// An agent (1) that calls a model (2) and a tool (3), which calls a model (4).
fn agent() -> Vec<Span> {
    vec![span(4, 3), span(2, 1), span(3, 1), span(1, 0)]
}

#[tokio::test]
async fn a_trace_is_stored_with_a_step_for_each_span() {
    let vault = InMemory::new();
    let received = receive(&vault, agent()).await;
    assert_eq!((received.stored, received.refused), (4, 0));
    for (kind, number) in [(TRACE, 1), (SPAN_REF, 4), ("otel.span", 4), (STEP, 4)] {
        assert_eq!(vault.of_kind(kind).len(), number, "{kind}");
    }
    let steps = vault.of_kind(STEP);
    let step_of = |id: u8| {
        let name = ids(id).to_string();
        let mut steps = steps.iter();
        let step = steps.find(|step| step.attributes.get(STEP_OF) == Some(&*name));
        step.expect("a step").clone()
    };
    // The model that the tool has called is behind the tool, which is behind the agent.
    for (id, before) in [(4, 3), (3, 1), (2, 1)] {
        let before = step_of(before).digest;
        let parents = &step_of(id).parents;
        assert!(parents.iter().any(|parent| parent.digest == before), "{id}");
    }
    assert_eq!(step_of(1).parents.len(), 1);
}

#[tokio::test]
async fn a_span_is_found_by_its_ids_alone() {
    let vault = InMemory::new();
    receive(&vault, agent()).await;
    let by_ids = Filter {
        attributes: vec![("otel.span_id".to_owned(), "0303030303030303".to_owned())],
        ..Filter::default()
    };
    let found = vault.list(by_ids, 0, 10).await.expect("listed");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].attributes.get("otel.name"), Some("span 3"));
    let anchor = span_ref(ids(3)).digest;
    assert!(
        found[0]
            .parents
            .iter()
            .any(|parent| parent.digest == anchor)
    );
}

#[tokio::test]
async fn a_child_that_came_long_before_its_parents_gets_its_step_with_the_first_of_them() {
    let vault = InMemory::new();
    receive(&vault, vec![span(4, 3)]).await;
    receive(&vault, vec![span(3, 2)]).await;
    receive(&vault, vec![span(2, 1)]).await;
    assert_eq!(vault.of_kind(STEP).len(), 0);
    receive(&vault, vec![span(1, 0)]).await;
    assert_eq!(vault.of_kind(STEP).len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_parent_and_a_child_that_come_at_the_same_time_the_later_one_finds_the_other() {
    const TRACES: u8 = 40;
    let vault = InMemory::new();
    for trace in 1..=TRACES {
        let of_trace = |span: Span| Span {
            trace_id: vec![trace; 16],
            ..span
        };
        let child = receive(&vault, vec![of_trace(span(2, 1))]);
        let parent = receive(&vault, vec![of_trace(span(1, 0))]);
        tokio::join!(child, parent);
    }
    assert_eq!(vault.of_kind(STEP).len(), 2 * usize::from(TRACES));
}

#[tokio::test]
async fn a_span_whose_parent_is_in_another_process_begins_a_chain_and_hangs_at_its_anchor() {
    let vault = InMemory::new();
    let mut remote = span(2, 1);
    remote.flags = 0x300;
    receive(&vault, vec![span(3, 2), remote]).await;
    assert_eq!(vault.of_kind(STEP).len(), 2);
    let anchor = span_ref(ids(1)).digest;
    let spans = vault.of_kind("otel.span");
    let of_remote = spans
        .iter()
        .find(|span| span.attributes.get("otel.name") == Some("span 2"));
    let parents = &of_remote.expect("it is stored").parents;
    assert!(parents.iter().any(|parent| parent.digest == anchor));
    // The parent changes nothing of that when it comes.
    let before = vault.digests();
    receive(&vault, vec![span(1, 0)]).await;
    assert!(vault.digests().is_superset(&before));
    assert_eq!(vault.of_kind(STEP).len(), 3);
}

#[tokio::test]
async fn what_a_failure_has_left_out_is_made_by_the_repeat() {
    let whole = InMemory::new();
    receive(&whole, agent()).await;
    // The request is one commit, and a trace of three levels needs three for its steps.
    for away_after in 0..4 {
        let mut vault = InMemory {
            away_after,
            ..InMemory::new()
        };
        let receiver = Receiver::new(Content::Text, None);
        let failed = receiver.receive(&vault, request(agent())).await;
        assert!(failed.is_err(), "{away_after}");
        vault.away_after = usize::MAX;
        receive(&vault, agent()).await;
        assert_eq!(vault.digests(), whole.digests(), "{away_after}");
    }
}

#[tokio::test]
async fn two_spans_with_the_same_ids_are_both_kept_and_what_came_of_them_once() {
    let vault = InMemory::new();
    receive(&vault, agent()).await;
    let mut other = span(1, 0);
    other.name = "another one".to_owned();
    receive(&vault, vec![other]).await;
    assert_eq!(vault.of_kind("otel.span").len(), 5);
    assert_eq!(vault.of_kind(STEP).len(), 5);
    let before = vault.digests();
    receive(&vault, agent()).await;
    assert_eq!(vault.digests(), before);
}

#[tokio::test]
async fn spans_in_a_circle_have_no_steps() {
    let vault = InMemory::new();
    receive(&vault, vec![span(1, 2), span(2, 1)]).await;
    assert_eq!(vault.of_kind("otel.span").len(), 2);
    assert_eq!(vault.of_kind(STEP).len(), 0);
}

#[tokio::test]
async fn spans_that_cannot_be_stored_do_not_keep_others_from_it() {
    let vault = InMemory::new();
    let mut nameless = span(2, 1);
    nameless.span_id.clear();
    let received = receive(&vault, vec![nameless, span(1, 0)]).await;
    assert_eq!((received.stored, received.refused), (1, 1));
    let answer = ExportTraceServiceResponse::from(received);
    let partial = answer.partial_success.expect("not all were taken");
    assert_eq!(partial.rejected_spans, 1);
    assert_eq!(partial.error_message, "span_id has 0 bytes; it must have 8");
    let all = receive(&vault, vec![span(1, 0)]).await;
    assert_eq!(ExportTraceServiceResponse::from(all).partial_success, None);
}

#[tokio::test]
async fn contents_are_embedded_and_found_by_their_meaning() {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    let mut chat = span(2, 1);
    chat.attributes = vec![KeyValue {
        key: "gen_ai.input.messages".to_owned(),
        value: Some(AnyValue {
            value: Some(Any::StringValue("wake me up at seven".to_owned())),
        }),
        ..KeyValue::default()
    }];
    let vault = InMemory::new();
    let receiver = Receiver::new(Content::Text, Some(SmartEmbedder::default()));
    let spans = vec![chat, span(1, 0)];
    let received = receiver.receive(&vault, request(spans)).await;
    received.expect("received");
    let embedded = vault.of_kind("otel.span");
    let embedded: Vec<bool> = embedded
        .iter()
        .map(|header| header.embedding.is_some())
        .collect();
    assert_eq!(embedded, [true, false]);
}

#[tokio::test]
async fn commits_are_as_large_as_the_vault_takes_them() {
    let spans: Vec<Span> = (0..SPANS_MAX + 3)
        .map(|place| Span {
            span_id: (place as u64 + 1).to_be_bytes().to_vec(),
            trace_state: "x".repeat(place % 5_000),
            ..span(1, 0)
        })
        .collect();
    let (mapped, received) = map_all(request(spans), Content::Text, false);
    assert_eq!((mapped.len(), received.refused), (SPANS_MAX, 3));
    for commit in commits(mapped) {
        let drafts = Receiver::new(Content::Text, None).drafts(&commit).await;
        let drafts = drafts.expect("nothing is embedded");
        let commit = toka_ledger::prepare::prepare_commit(drafts, Vec::new(), 0);
        commit.expect("the vault takes it");
    }
}

#[test]
fn what_all_spans_repeat_counts_for_each_of_them() {
    let spans: Vec<Span> = (1..=200).map(|id| span(id, 0)).collect();
    let mut request = request(spans);
    // Less than 2 MiB to send, and 200 MiB to go through.
    request.resource_spans[0].schema_url = "x".repeat(1 << 20);
    let (mapped, received) = map_all(request, Content::Text, false);
    assert_eq!(mapped.len(), EVENTS_BYTES_MAX / (1 << 20) - 1);
    assert_eq!(received.refused, 200 - mapped.len());
    let reason = received.reason.expect("some are refused");
    assert!(reason.contains("134217728"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Each span's parent is one with a lower number, or none; spans are exported in any order, in requests of any size, some
    /// of them more than once.
    #[test]
    fn order_parts_and_repeats_of_exports_do_not_matter(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        order in Just((0..24_usize).collect::<Vec<_>>()).prop_shuffle(),
        parts in prop::collection::vec(1..5_usize, 24),
    ) {
        let spans: Vec<Span> = (1_u8..)
            .zip(&parents)
            .map(|(id, parent)| {
                let parent = parent.index(usize::from(id));
                span(id, u8::try_from(parent).expect("small"))
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (whole, parted) = runtime.block_on(async { (InMemory::new(), InMemory::new()) });
        // Everything twice, in the order that was drawn.
        let mut exported: Vec<Span> = order
            .iter()
            .filter_map(|place| spans.get(place % 12).cloned())
            .collect();
        runtime.block_on(async {
            receive(&whole, spans).await;
            for part in parts {
                let part = part.min(exported.len());
                receive(&parted, exported.drain(..part).collect()).await;
            }
            receive(&parted, exported).await;
        });
        prop_assert_eq!(whole.digests(), parted.digests());
        let steps = whole.of_kind(STEP).len();
        prop_assert_eq!(steps, parents.len(), "each span has its step");
        let sequence = parted.bus.position().sequence;
        prop_assert_eq!(sequence, parted.digests().len() as u64);
    }
}
