//! A receiver of OpenTelemetry traces: spans that exporters send by OTLP become events of a vault.
//!
//! ```text
//! serve -> receive -> span, step -> anchor, content, value -> ids
//!       -> error; step -> vault
//! ```
//!
//! Invariants: a request is answered once the vault has acknowledged what it holds; the same span is the same event,
//! whenever, however often, in whichever order and by whichever receiver it comes; a span is found by its ids alone; a
//! request can do what whoever sends it may do in the vault; everything has a bound, and what is cut off or refused is
//! said. This crate knows nothing of storage, of Raft or of command lines.

#![deny(missing_docs)]

pub mod anchor;
mod content;
mod error;
mod ids;
mod receive;
pub mod serve;
mod span;
mod step;
mod value;
mod vault;

pub use crate::content::Content;
pub use crate::error::Error;
pub use crate::ids::{IdError, SpanId, SpanRef, TraceId};
pub use crate::receive::Receiver;
pub use crate::span::SpanError;
pub use toka_bridge::Callers;
