//! Spans that wait for their export.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;

/// The end of the queue at which spans go in. Full means that they are dropped, and counted: the SDK's own batching
/// counts where nobody can see it.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Both ends of one for so many spans.
    pub(super) fn new(
        spans_max: usize,
        dropped: Arc<AtomicU64>,
    ) -> (Self, mpsc::Receiver<SpanData>) {
        let (spans, queued) = mpsc::channel(spans_max);
        (Self { spans, dropped }, queued)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for nothing: the worker exports what is queued when it is told to stop.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    #[test]
    fn spans_that_find_no_room_are_dropped_and_counted() {
        let dropped = Arc::new(AtomicU64::new(0));
        let (queue, mut queued) = Queue::new(2, Arc::clone(&dropped));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .build();
        let tracer = provider.tracer("test");
        for _ in 0..5 {
            drop(tracer.start("span"));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        assert!(queued.try_recv().is_ok() && queued.try_recv().is_ok());
        assert!(queued.try_recv().is_err());
    }
}
