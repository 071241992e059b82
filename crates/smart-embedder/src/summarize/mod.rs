//! From structured event to text.

pub mod flatten;
pub mod llm;
mod tone;

use futures::future::BoxFuture;
use rmpv::Value;

pub use self::flatten::Flatten;
pub use self::llm::Llm;
use crate::error::Error;

/// Structured event to text: what is embedded is the text.
pub trait Summarizer: Send + Sync {
    /// Names what the text depends on beside the event: stable text, part of
    /// [`SmartEmbedder::model_id`](crate::SmartEmbedder::model_id).
    fn id(&self) -> &str;

    /// Calls of [`Summarizer::summarize`] that are worth having in flight at once.
    fn events_in_flight(&self) -> usize;

    /// What `event`, of this dotted `kind`, says, as bounded text.
    ///
    /// # Errors
    /// What the summarizer fails with.
    fn summarize<'a>(
        &'a self,
        kind: &'a str,
        event: &'a Value,
    ) -> BoxFuture<'a, Result<String, Error>>;
}
