//! Spans of calls and commits, in OpenTelemetry's terms, and what ties those of several processes together.
//!
//! A call carries its trace in the headers `traceparent` and `tracestate` of W3C's Trace Context. [`ServerSpans`] and
//! [`ClientSpans`] stand around a service and have a span for each call; in between, the span of the call that is
//! worked on is the current context of OpenTelemetry, so that nobody has to hand it on. What happens to a call in
//! other tasks is recorded afterwards, with its times, under a [`Parent`] that was taken where the call was known.
//!
//! Invariants: where tracing is off nothing is allocated for it; nothing here waits; no span has anything of what a
//! call carries, payloads and tokens least of all. It must not know what the calls mean.

#![deny(missing_docs)]

mod client;
mod endpoint;
mod headers;
#[cfg(feature = "otlp")]
pub mod otlp;
mod parent;
mod rpc;
mod server;
#[cfg(test)]
mod tests;
mod tracer;

pub use opentelemetry::KeyValue;

pub use self::client::ClientSpans;
pub use self::endpoint::{EndpointError, check_endpoint};
pub use self::parent::{Clock, Parent, Recorded, Stage};
pub use self::server::ServerSpans;
pub use self::tracer::{Carried, Current, QUEUE_SPANS_MAX, Root, Tracer, with_current};
