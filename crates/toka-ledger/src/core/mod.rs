//! The fundamental types: what an event is.

mod attributes;
pub(crate) mod credentials;
mod digest;
mod embedding;
mod event_id;
mod filter;
pub(crate) mod groups;
mod header;
mod intents;
pub mod limits;
pub(crate) mod payload;
mod selector;
mod text;

pub use attributes::{Attributes, CONTENT_TYPE, SOURCE};
pub use digest::Digest;
pub use embedding::Embedding;
pub use event_id::EventId;
pub use filter::Filter;
pub use header::{EmbeddingInfo, EventHeader, Parent};
pub use intents::{IntentId, MicroClusterId, Parameters};
pub use payload::EventPayload;
pub use selector::Selector;
pub use text::{
    ConsumerName, CursorName, EmbeddingModel, GroupName, IntentLabel, Kind, PrincipalName,
    RoleName, Salt,
};
