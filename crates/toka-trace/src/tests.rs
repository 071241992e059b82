//! Calls through both services, into an exporter in memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use http::{Request, Response};
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tower::{ServiceExt as _, service_fn};

use crate::{ClientSpans, Clock, Current, KeyValue, Parent, ServerSpans, Stage, Tracer};

const PATH: &str = "/toka.vault.v1.VaultService/Commit";

struct Spans {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
}

impl Spans {
    fn sampled(sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .build();
        Self { exporter, provider }
    }

    fn tracer(&self) -> Tracer {
        let tracer = self.provider.tracer("test");
        Tracer::own(
            BoxedTracer::new(Box::new(tracer)),
            Arc::new(AtomicU64::new(0)),
        )
    }

    fn ended(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().expect("in memory")
    }

    fn named(&self, name: &str) -> SpanData {
        let mut ended = self.ended().into_iter();
        ended.find(|span| span.name == name).expect(name)
    }
}

fn request(path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = path.parse().expect("a path");
    request
}

/// A client's call of a node, which records a stage under it.
async fn call(client: &Tracer, node: &Tracer, path: &str) -> Option<Parent> {
    let answer = |_: Request<()>| async {
        let parent = Parent::current();
        if let Some(parent) = &parent {
            let now = Instant::now();
            parent.record(Stage::new("stage", now, now), &Clock::now());
        }
        Ok::<_, Infallible>(Response::new(parent))
    };
    let node = ServerSpans::over(service_fn(answer), node.clone());
    let client = ClientSpans::over(node, client.clone(), || {
        KeyValue::new("server.address", "n")
    });
    let answer = client.oneshot(request(path)).await.expect("answered");
    answer.into_body()
}

#[tokio::test]
async fn client_node_and_stage_are_in_one_trace() {
    let spans = Spans::sampled(Sampler::AlwaysOn);
    let tracer = spans.tracer();
    let parent = call(&tracer, &tracer, PATH).await;
    assert!(parent.is_some());
    let ended = spans.ended();
    let kind = |kind: SpanKind| {
        let mut ended = ended.iter();
        ended.find(|span| span.span_kind == kind).expect("a span")
    };
    let (client, server, stage) = (
        kind(SpanKind::Client),
        kind(SpanKind::Server),
        kind(SpanKind::Internal),
    );
    assert_eq!(server.parent_span_id, client.span_context.span_id());
    assert_eq!(stage.parent_span_id, server.span_context.span_id());
    let trace = client.span_context.trace_id();
    assert!(
        ended
            .iter()
            .all(|span| span.span_context.trace_id() == trace)
    );
    assert_eq!(server.name, "toka.vault.v1.VaultService/Commit");
    assert!(server.parent_span_is_remote);
}

#[tokio::test]
async fn a_call_that_the_caller_does_not_record_is_recorded_nowhere() {
    let (off, on) = (
        Spans::sampled(Sampler::AlwaysOff),
        Spans::sampled(Sampler::AlwaysOn),
    );
    let parent = call(&off.tracer(), &on.tracer(), PATH).await;
    assert!(parent.is_none());
    assert!(off.ended().is_empty() && on.ended().is_empty());
}

#[tokio::test]
async fn health_and_names_that_are_too_long_have_no_spans() {
    let spans = Spans::sampled(Sampler::AlwaysOn);
    let tracer = spans.tracer();
    for path in [
        "/grpc.health.v1.Health/Check",
        &format!("/toka.x/{}", "y".repeat(128)),
    ] {
        assert!(call(&tracer, &tracer, path).await.is_none(), "{path}");
    }
    assert!(spans.ended().is_empty());
}

#[tokio::test]
async fn tracing_that_is_off_leaves_calls_as_they_are() {
    let answer = |request: Request<()>| async move {
        assert!(Parent::current().is_none() && Current::get().is_none());
        Ok::<_, Infallible>(Response::new(request.headers().clone()))
    };
    let node = ServerSpans::over(service_fn(answer), Tracer::off());
    let client = ClientSpans::over(node, Tracer::off(), || unreachable!("it is off"));
    let mut request = request(PATH);
    let carried = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let carried = carried.parse().expect("a value");
    request.headers_mut().insert("traceparent", carried);
    let sent = request.headers().clone();
    let answer = client.oneshot(request).await.expect("answered");
    assert_eq!(answer.into_body(), sent);
}

#[tokio::test]
async fn a_refusal_is_the_callers_failure_and_not_the_nodes() {
    let spans = Spans::sampled(Sampler::AlwaysOn);
    let answer = |_: Request<()>| async {
        let mut refusal = Response::new(());
        let code = "3".parse().expect("a value");
        refusal.headers_mut().insert("grpc-status", code);
        Ok::<_, Infallible>(refusal)
    };
    let node = ServerSpans::over(service_fn(answer), spans.tracer());
    let client = ClientSpans::over(node, spans.tracer(), || {
        KeyValue::new("server.address", "n")
    });
    client.oneshot(request(PATH)).await.expect("answered");
    for span in spans.ended() {
        let failed = matches!(span.status, Status::Error { .. });
        assert_eq!(failed, span.span_kind == SpanKind::Client, "{span:?}");
        let code = KeyValue::new("rpc.grpc.status_code", 3_i64);
        assert!(span.attributes.contains(&code), "{span:?}");
    }
}

#[tokio::test]
async fn a_span_ends_where_nobody_waited_for_the_answer() {
    let spans = Spans::sampled(Sampler::AlwaysOn);
    let never = |_: Request<()>| async {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(()))
    };
    let node = ServerSpans::over(service_fn(never), spans.tracer());
    let called = node.oneshot(request(PATH));
    let late = tokio::time::timeout(Duration::from_millis(1), called).await;
    assert!(late.is_err());
    assert_eq!(spans.ended().len(), 1);
}

#[tokio::test]
async fn a_stage_has_the_times_the_links_and_the_failure_that_it_is_given() {
    let spans = Spans::sampled(Sampler::AlwaysOn);
    let tracer = spans.tracer();
    let parent = call(&tracer, &tracer, PATH).await.expect("recorded");
    let clock = Clock::now();
    let began = Instant::now();
    let second = Duration::from_secs(1);
    let first = parent.record(Stage::new("first", began, began + second), &clock);
    let stage = Stage {
        links: vec![first.clone()],
        failure: Some("no quorum"),
        ..Stage::new("second", began, began + 2 * second)
    };
    parent.below(&first).record(stage, &clock);
    let (first, second_span) = (spans.named("first"), spans.named("second"));
    let took = |span: &SpanData| span.end_time.duration_since(span.start_time);
    assert_eq!(took(&first).expect("in order"), second);
    assert_eq!(took(&second_span).expect("in order"), 2 * second);
    assert_eq!(second_span.parent_span_id, first.span_context.span_id());
    assert_eq!(second_span.links[0].span_context, first.span_context);
    assert!(matches!(second_span.status, Status::Error { .. }));
}
