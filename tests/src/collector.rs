//! A collector of spans, which takes OTLP over gRPC as a real one does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::cluster::PATIENCE;
use crate::wait;

/// A span as it was exported; ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace that it is in.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// The span above it; empty of a root.
    pub parent_id: String,
    /// What it is of.
    pub name: String,
    /// Server, client, or neither.
    pub kind: Kind,
    /// The process that it is of: `service.name`, `service.instance.id` and others.
    pub resource: BTreeMap<String, String>,
    /// What else it says.
    pub attributes: BTreeMap<String, String>,
    /// Ids of the spans that it is linked to.
    pub links: Vec<String>,
    /// Whether it says that something has failed.
    pub has_failed: bool,
}

/// What a span is of, as far as calls are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call that is answered.
    Server,
    /// A call that is made.
    Client,
    /// Something else.
    Internal,
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    sink: Sink,
    _server: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Listens on loopback.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let sink = Sink::default();
        let service = TraceServiceServer::new(sink.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await;
            served.expect("the collector serves until it is dropped");
        });
        Ok(Self {
            endpoint,
            sink,
            _server: server,
        })
    }

    /// The value of `--otlp-endpoint`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What has been exported so far.
    pub fn spans(&self) -> Vec<Span> {
        self.sink.lock().clone()
    }

    /// Looks at what has been exported until `find` gives a value.
    pub async fn until<T>(&self, what: &str, find: impl Fn(&[Span]) -> Result<T>) -> Result<T> {
        wait::until(what, PATIENCE, async || find(&self.spans())).await
    }
}

impl Sink {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            let resource = group.resource.unwrap_or_default();
            let resource = texts(&resource.attributes);
            let scopes = group.scope_spans.into_iter();
            let spans = scopes.flat_map(|scope| scope.spans);
            let spans = spans.map(|span| taken(span, resource.clone()));
            self.lock().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The one span that `is_wanted`.
///
/// # Errors
/// If there is none, or more than one.
pub fn only<'a>(
    spans: &'a [Span],
    what: &str,
    is_wanted: impl Fn(&Span) -> bool,
) -> Result<&'a Span> {
    let mut found = spans.iter().filter(|span| is_wanted(span));
    let first = found.next();
    let first = first.with_context(|| format!("there is no {what} among {spans:#?}"))?;
    anyhow::ensure!(
        found.next().is_none(),
        "there is more than one {what} among {spans:#?}"
    );
    Ok(first)
}

fn taken(span: otlp::Span, resource: BTreeMap<String, String>) -> Span {
    let kind = match span.kind() {
        otlp::span::SpanKind::Server => Kind::Server,
        otlp::span::SpanKind::Client => Kind::Client,
        _ => Kind::Internal,
    };
    let status = span.status.clone().unwrap_or_default();
    Span {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        kind,
        resource,
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        has_failed: status.code() == otlp::status::StatusCode::Error,
        name: span.name,
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|of| of.value.as_ref());
        match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    };
    let pairs = attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)));
    pairs.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
