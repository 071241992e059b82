//! Semantic embeddings of structured events: event to text to vector, at the edge, never in a node.
//!
//! A vault groups events into intents by the vectors that they are committed with. This crate makes
//! the vectors, in two steps that can be replaced: a [`Summarizer`] turns a structured event into
//! text, an [`Encoder`] turns text into a vector.
//!
//! ```
//! use serde::Serialize;
//! use smart_embedder::SmartEmbedder;
//!
//! #[derive(Serialize)]
//! struct UserLogin {
//!     user_id: String,
//!     timestamp: u64,
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), smart_embedder::Error> {
//! let embedder = SmartEmbedder::default();
//! let login = UserLogin { user_id: "alice".to_string(), timestamp: 1234567890 };
//!
//! let text = embedder.summarize("auth.login", &login).await?;
//! assert_eq!(text, "auth login: user id alice, timestamp number");
//!
//! let embedding = embedder.embed_event("auth.login", &login).await?;
//! assert_eq!(embedding.len(), 384);
//! assert_eq!(embedder.model_id(), "hashed-v1/384");
//!
//! // Another login of the same user is the same to the embedder; another event is far from it.
//! let later = UserLogin { timestamp: 1234599999, ..login };
//! assert_eq!(embedder.embed_event("auth.login", &later).await?, embedding);
//! let other = embedder.embed_event("payment.refused", "card expired").await?;
//! let cosine: f32 = embedding.iter().zip(&other).map(|(a, b)| a * b).sum();
//! assert!(cosine < 0.3, "{cosine}");
//! # Ok(())
//! # }
//! ```
//!
//! It is committed with the model's name, so that the vault can refuse vectors of another one. Two models may
//! well have the same dimension, as this one and all-MiniLM-L6-v2 have:
//!
//! ```text
//! let event = vault.event("auth.login").payload(&login);        // or `EventDraft::new`, for a client
//! event.embedding(&embedding).model(embedder.model_id()).commit().await?;
//! ```
//!
//! Or the vault is opened for the embedder, and takes its vectors as they are:
//!
//! ```text
//! let vault = VaultBus::builder().model(embedder.model_id()).open("./vault-data")?;
//! vault.commit(&login, &[], "auth.login", embedding.into()).await?;
//! ```
//!
//! # Encoders
//!
//! | encoder | needs | good for |
//! |---|---|---|
//! | [`Hashed`](encode::Hashed) (default) | nothing | tests, logs, texts that share words |
//! | `Sentence` (feature `sentence`, on by default) | a model's directory | meaning, offline |
//! | [`OpenAi`](encode::OpenAi) | a server, perhaps a key | any other model |
//!
//! [`EmbedderSpec`] names one in a line of text: `hashed`, `model:DIR`, `openai:URL`.
//!
//! # Invariants
//!
//! - Vectors are finite and of unit norm, also that of the empty text.
//! - [`SmartEmbedder::model_id`] says which vectors may be compared. It depends on everything that
//!   makes them (weights, tokenizer, limits, the summarizer's rules or prompt), not on where the model
//!   lies, and travels with the vault's settings.
//! - Everything is bounded: events, texts, batches, replies, retries, the cache.
//! - API keys, events and texts are in no error and no log; an endpoint's own error message is quoted.
//! - This crate knows nothing of vaults. Nodes do not use it: they never run a model.

#![deny(missing_docs)]

mod cache;
pub mod encode;
mod error;
pub mod event;
pub mod http;
mod pipeline;
mod spec;
pub mod summarize;
mod text;

pub use rmpv::Value;

pub use crate::encode::Encoder;
pub use crate::error::{Error, Source};
pub use crate::http::ApiKey;
pub use crate::pipeline::{Builder, SmartEmbedder};
pub use crate::spec::EmbedderSpec;
pub use crate::summarize::Summarizer;
