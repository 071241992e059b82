//! Whether calls are traced, and where their spans go.

use std::time::Duration;

use toka_trace::{QUEUE_SPANS_MAX, check_endpoint};

use super::{ConfigError, ConfigFile};

/// A collector that is there answers at once; one that is not costs no more than this at a time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of some hundred bytes each.
const QUEUE_SPANS: usize = 8_192;

/// Whether calls are traced, and where their spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Collector that takes OTLP over gRPC, `http://HOST:PORT` or `https://HOST:PORT`; absent: nothing is traced.
    pub endpoint: Option<String>,
    /// How long it may take to take a batch of spans.
    pub timeout: Duration,
    /// Spans that may wait for it; further ones are dropped.
    pub queue_spans: usize,
    /// Part of the traces that begin at this node which is recorded, 0 to 1.
    pub sampler_ratio: f64,
}

impl Tracing {
    pub(super) fn of(layer: &ConfigFile) -> Self {
        Self {
            endpoint: layer.otlp_endpoint.clone(),
            timeout: layer.otlp_timeout.map_or(TIMEOUT, |span| span.0),
            queue_spans: layer.otlp_queue_spans.unwrap_or(QUEUE_SPANS),
            sampler_ratio: layer.traces_sampler_ratio.unwrap_or(1.0),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)
                .map_err(|error| ConfigError::invalid("otlp_endpoint", error.to_string()))?;
        }
        if self.timeout.is_zero() {
            return Err(ConfigError::invalid("otlp_timeout", "is 0"));
        }
        if !(1..=QUEUE_SPANS_MAX).contains(&self.queue_spans) {
            let detail = format!(
                "{} is not between 1 and {QUEUE_SPANS_MAX}",
                self.queue_spans
            );
            return Err(ConfigError::invalid("otlp_queue_spans", detail));
        }
        if !(0.0..=1.0).contains(&self.sampler_ratio) {
            let detail = format!("{} is not between 0 and 1", self.sampler_ratio);
            return Err(ConfigError::invalid("traces_sampler_ratio", detail));
        }
        Ok(())
    }
}
