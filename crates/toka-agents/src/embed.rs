//! Embeddings of what agents emit.

use std::fmt;

use futures::future::BoxFuture;

use crate::error::BoxError;

/// Makes an embedding of an event, so that the vault can group it by meaning.
pub trait Embedder: Send + Sync + fmt::Debug + 'static {
    /// Names the model, as the vault's settings do.
    fn model(&self) -> &str;

    /// The embedding of an event of `kind` with `payload`, shape `[dimension]`, f32, finite, any norm but zero.
    fn embed<'a>(
        &'a self,
        kind: &'a str,
        payload: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<f32>, BoxError>>;
}

/// [`SmartEmbedder`](smart_embedder::SmartEmbedder), for payloads that are MessagePack.
#[cfg(feature = "smart-embedder")]
#[derive(Clone)]
pub struct Smart(pub smart_embedder::SmartEmbedder);

#[cfg(feature = "smart-embedder")]
impl fmt::Debug for Smart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smart").field(&self.0.model_id()).finish()
    }
}

#[cfg(feature = "smart-embedder")]
impl Embedder for Smart {
    fn model(&self) -> &str {
        self.0.model_id()
    }

    fn embed<'a>(
        &'a self,
        kind: &'a str,
        payload: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<f32>, BoxError>> {
        Box::pin(async move {
            // What is no MessagePack is embedded by its kind alone.
            let event = smart_embedder::event::from_payload(payload);
            let event = event.unwrap_or(smart_embedder::Value::Nil);
            let mut vectors = self.0.embed_values(&[(kind.to_owned(), event)]).await?;
            Ok(vectors.pop().expect("one event, one vector"))
        })
    }
}
