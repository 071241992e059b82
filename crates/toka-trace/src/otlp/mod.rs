//! Export of spans to a collector, by OTLP over gRPC.
//!
//! Invariants: whoever ends a span does not wait, and neither does a node that stops, beyond a deadline; what is
//! queued is bounded, and what is lost is counted.

mod queue;
mod worker;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::ClientTlsConfig;

use self::queue::Queue;
use self::worker::Worker;
use crate::endpoint::{EndpointError, check_endpoint};
use crate::tracer::{QUEUE_SPANS_MAX, SCOPE, Tracer};

/// What is exported, and where to.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The collector, as `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoint: String,
    /// How long it may take to take a batch, repeated tries included.
    pub timeout: Duration,
    /// Spans that may wait for their export, 1 to [`QUEUE_SPANS_MAX`]; further ones are dropped.
    pub queue_spans: usize,
    /// Part of the traces that begin here which is recorded, 0 to 1. A call whose caller has decided is recorded as
    /// the caller has it.
    pub ratio: f64,
    /// The resource's `service.name`.
    pub service: &'static str,
    /// The resource's `service.version`.
    pub version: &'static str,
}

/// Settings with which nothing can be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There can be no collector at the endpoint.
    #[error("the OTLP endpoint: {source}")]
    Endpoint {
        /// Why.
        #[source]
        source: EndpointError,
    },
    /// The exporter cannot be made.
    #[error("spans cannot be exported: {source}")]
    Exporter {
        /// Why.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// An export that goes on until it is shut down.
pub struct Exporting {
    tracer: Tracer,
    provider: SdkTracerProvider,
    instance: Arc<OnceLock<String>>,
    stopping: CancellationToken,
    worker: JoinSet<()>,
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporting").finish_non_exhaustive()
    }
}

impl Exporting {
    /// Begins to export, on the runtime that this is called on. The collector need not be there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(settings: Settings) -> Result<Self, Error> {
        check_endpoint(&settings.endpoint).map_err(|source| Error::Endpoint { source })?;
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&settings.endpoint)
            .with_timeout(settings.timeout);
        if settings.endpoint.starts_with("https:") {
            // Those of the system, or of SSL_CERT_FILE.
            let roots = ClientTlsConfig::new().with_native_roots();
            exporter = exporter.with_tls_config(roots);
        }
        let exporter = exporter
            .build()
            .map_err(|source| Error::Exporter { source })?;
        let dropped = Arc::new(AtomicU64::new(0));
        let queue_spans = settings.queue_spans.clamp(1, QUEUE_SPANS_MAX);
        let (queue, queued) = Queue::new(queue_spans, Arc::clone(&dropped));
        let sampler = Sampler::TraceIdRatioBased(settings.ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .build();
        let tracer = BoxedTracer::new(Box::new(provider.tracer(SCOPE)));
        let instance = Arc::new(OnceLock::new());
        let stopping = CancellationToken::new();
        let ended = (Arc::clone(&dropped), Arc::clone(&instance));
        let work = Worker::new(queued, exporter, settings, ended, stopping.clone());
        let mut worker = JoinSet::new();
        worker.spawn(work.run());
        Ok(Self {
            tracer: Tracer::own(tracer, dropped),
            provider,
            instance,
            stopping,
            worker,
        })
    }

    /// Makes the spans that are exported.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Takes the spans of everything in this process that uses OpenTelemetry's global provider, as `toka-client` does.
    pub fn make_global(&self) {
        global::set_tracer_provider(self.provider.clone());
    }

    /// Says what the resource's `service.instance.id` is, once that is known. Later calls do nothing.
    pub fn identify(&self, instance: impl Into<String>) {
        let _ = self.instance.set(instance.into());
    }

    /// Exports what is queued, for no longer than `limit`, and makes no further spans. True if none was lost since the
    /// start.
    pub async fn shutdown(mut self, limit: Duration) -> bool {
        // It only says that it has been shut down, and our processor has nothing to do then.
        let _ = self.provider.shutdown();
        self.stopping.cancel();
        if timeout(limit, self.worker.join_next()).await.is_err() {
            tracing::warn!(?limit, "spans are lost: there was no time to export them");
            return false;
        }
        self.tracer.spans_dropped() == 0
    }
}
