//! The vault itself: a causal, content-addressed event store on one node.
//!
//! Embedded use starts at [`VaultBus`]. A cluster replicates the same prepared
//! [`command`]s and feeds them to the same [`apply`].
//!
//! Invariants: a digest names one event; an event's place in the order never changes; `core`,
//! `hash`, `intent` and `apply` are deterministic (no clock, no randomness, no hash map order, no
//! float operation whose order matters). This crate knows nothing of consensus or of the network.

#![deny(missing_docs)]

pub mod apply;
pub mod bus;
pub mod codec;
pub mod command;
pub mod core;
pub mod dir;
pub mod disk;
pub mod engine;
pub mod error;
pub mod feed;
pub mod hash;
pub mod history;
pub mod intent;
pub mod prepare;
pub mod read;
pub mod seam;
pub mod store;
pub mod verify;

pub use crate::apply::{Ledger, LogMark, Outcome};
pub use crate::bus::{Subscription, VaultBus};
pub use crate::core::{
    Attributes, CursorName, Digest, Embedding, EmbeddingModel, EventHeader, EventId, EventPayload,
    IntentLabel, Kind, Parent, Salt,
};
pub use crate::error::{Error, Invalid, Rejection, Violation};
pub use crate::feed::Start;
pub use crate::prepare::EventDraft;
pub use crate::read::{Filter, Page, Position, Query, Reader, Selector, Settings, Stored};

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "storage"))]
#[doc = include_str!("../README.md")]
struct Readme;
