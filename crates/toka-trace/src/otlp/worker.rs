//! The task that exports what is queued.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Settings;

/// Spans of one request to the collector.
const BATCH_SPANS_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Between two lines of the log about spans that are lost.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Takes spans from the queue and sends them, batch after batch.
pub(super) struct Worker {
    queued: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    settings: Settings,
    dropped: Arc<AtomicU64>,
    instance: Arc<OnceLock<String>>,
    stopping: CancellationToken,
    /// Whether the resource has the instance's id already.
    is_identified: bool,
    /// When the log last said that spans are lost, and how many it has spoken of.
    complained: Option<Instant>,
    reported: u64,
}

impl Worker {
    pub(super) fn new(
        queued: mpsc::Receiver<SpanData>,
        mut exporter: SpanExporter,
        settings: Settings,
        (dropped, instance): (Arc<AtomicU64>, Arc<OnceLock<String>>),
        stopping: CancellationToken,
    ) -> Self {
        exporter.set_resource(&resource(&settings, None));
        Self {
            queued,
            exporter,
            settings,
            dropped,
            instance,
            stopping,
            is_identified: false,
            complained: None,
            reported: 0,
        }
    }

    /// Exports until it is told to stop, and then what is queued.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            self.send(std::mem::take(&mut batch)).await;
        }
        // Nothing more comes in, so that this has an end.
        self.queued.close();
        loop {
            if batch.len() < BATCH_SPANS_MAX {
                let room = BATCH_SPANS_MAX - batch.len();
                self.queued.recv_many(&mut batch, room).await;
            }
            if batch.is_empty() {
                return;
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Fills `batch`; false if it is time to stop, with what was taken until then in it.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let Self {
            queued, stopping, ..
        } = self;
        let mut until = None;
        while batch.len() < BATCH_SPANS_MAX {
            let room = BATCH_SPANS_MAX - batch.len();
            let waited = async move {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopping.cancelled() => return false,
                taken = queued.recv_many(batch, room) => {
                    if taken == 0 {
                        return false;
                    }
                    until.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
                }
                () = waited => break,
            }
        }
        true
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        self.identify();
        let spans = batch.len() as u64;
        let sent = timeout(self.settings.timeout, self.exporter.export(batch)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer in {:?}", self.settings.timeout)),
        };
        if failure.is_some() {
            self.dropped.fetch_add(spans, Ordering::Relaxed);
        }
        self.complain(failure.as_deref());
    }

    fn identify(&mut self) {
        if !self.is_identified
            && let Some(instance) = self.instance.get()
        {
            let resource = resource(&self.settings, Some(instance));
            self.exporter.set_resource(&resource);
            self.is_identified = true;
        }
    }

    /// Says that spans are lost, if there are any of which that was not said, and if it was not said a moment ago.
    fn complain(&mut self, failure: Option<&str>) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let now = Instant::now();
        let is_early = self
            .complained
            .is_some_and(|last| now.duration_since(last) < COMPLAINT_INTERVAL);
        if dropped == self.reported || is_early {
            return;
        }
        tracing::warn!(
            endpoint = self.settings.endpoint,
            dropped,
            reason = failure.unwrap_or("the queue was full"),
            "spans are dropped"
        );
        self.reported = dropped;
        self.complained = Some(now);
    }
}

/// What every span is of. `OTEL_RESOURCE_ATTRIBUTES` adds to it, and wins.
fn resource(settings: &Settings, instance: Option<&str>) -> Resource {
    let own = [
        KeyValue::new("service.name", settings.service),
        KeyValue::new("service.version", settings.version),
    ];
    let instance = instance.map(|id| KeyValue::new("service.instance.id", id.to_owned()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(own.into_iter().chain(instance))
        .with_detector(Box::new(EnvResourceDetector::new()))
        .build()
}
