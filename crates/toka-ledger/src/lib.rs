//! The vault itself: a causal, content-addressed event store on one node.
//!
//! Embedded use starts at [`VaultBus`]. A cluster replicates the same prepared
//! [`command`]s and feeds them to the same [`apply`].
//!
//! # Embeddings of one model
//!
//! Vectors of two models mean nothing to each other, also where they have the same dimension. So a vector
//! is committed with the name of its model, and the vault refuses those of another one than its own:
//!
//! ```
//! use toka_ledger::{Error, Invalid, Rejection, VaultBus};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Error> {
//! let vault = VaultBus::builder().open_in_memory()?;
//!
//! // What `embed_event` and `model_id` of a `smart_embedder::SmartEmbedder` give.
//! let (embedding, model_id) = (vec![0.1, 0.5, -0.2], "hashed-v1/384");
//! let login = vault.event("auth.login").payload("alice");
//! login.embedding(&embedding).model(model_id).commit().await?;
//!
//! let (embedding, model_id) = (vec![0.3, -0.1, 0.9], "minilm/384");
//! let login = vault.event("auth.login").payload("bob");
//! let refused = login.embedding(&embedding).model(model_id).commit().await;
//! let Err(Error::Rejected(Rejection::Invalid { invalid, .. })) = refused else { panic!("accepted") };
//! let Invalid::Model { expected, actual, .. } = invalid else { panic!("{invalid}") };
//! assert_eq!((expected.as_deref(), &*actual), (Some("hashed-v1/384"), "minilm/384"));
//! # Ok(())
//! # }
//! ```
//!
//! [`VaultBus::commit`] takes the vector alone: open the vault with [`bus::Builder::model`] for it.
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
pub mod credentials;
pub mod dir;
pub mod disk;
pub mod engine;
pub mod error;
pub mod feed;
pub mod fork;
pub mod group;
pub mod hash;
pub mod history;
pub mod intent;
pub mod prepare;
pub mod read;
pub mod restore;
pub mod seam;
#[cfg(simulation)]
pub mod simulation;
pub mod store;
pub mod verify;

pub use crate::apply::{Ledger, LogMark, Outcome};
pub use crate::bus::{Subscription, VaultBus};
pub use crate::core::{
    Attributes, ConsumerName, CursorName, Digest, Embedding, EmbeddingModel, EventHeader, EventId,
    EventPayload, GroupName, IntentLabel, Kind, Parent, PrincipalName, RoleName, Salt,
};
pub use crate::error::{Error, Invalid, Rejection, Violation};
pub use crate::feed::Start;
pub use crate::prepare::EventDraft;
pub use crate::read::{Filter, Page, Position, Query, Reader, Selector, Settings, Stored};

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "storage"))]
#[doc = include_str!("../README.md")]
struct Readme;
