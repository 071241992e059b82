//! Vectors of texts and events, made here as `toka search` and `toka commit --embedder` make them.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use smart_embedder::{ApiKey, EmbedderSpec, SmartEmbedder, event, http};
use toka_client::Client;
use toka_ledger::Embedding;
use tokio::sync::OnceCell;

use crate::error::ToolError;

/// The key of an endpoint.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// What makes vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The model that the vault's events have, where that needs nothing from outside.
    OfVault,
    /// This one.
    Spec(EmbedderSpec),
    /// Nothing: events are stored without vectors, and nothing is searched for by its meaning.
    Nothing,
}

/// Makes vectors of the model that the vault has.
pub struct Meaning {
    wanted: Wanted,
    /// Of a request to a model on the network.
    timeout: Duration,
    embedder: OnceCell<SmartEmbedder>,
    /// The vault's model, which never changes once there is one.
    model: OnceLock<String>,
}

/// A vector, and the model that made it.
pub(crate) struct Vector {
    pub(crate) components: Vec<f32>,
    pub(crate) model: String,
}

impl Meaning {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(wanted: Wanted, timeout: Duration) -> Self {
        Self {
            wanted,
            timeout,
            embedder: OnceCell::new(),
            model: OnceLock::new(),
        }
    }

    /// What `text` means to the vault.
    pub(crate) async fn of_text(
        &self,
        client: &Client,
        text: &str,
    ) -> Result<Embedding, ToolError> {
        let embedder = self.embedder(client).await?;
        let components = embedder.embed_text(text).await?;
        Ok(Embedding::from_f32(&components)?)
    }

    /// What an event means, with a payload of MessagePack.
    pub(crate) async fn of_event(
        &self,
        client: &Client,
        kind: &str,
        payload: &[u8],
    ) -> Result<Vector, ToolError> {
        let embedder = self.embedder(client).await?;
        let event = (kind.to_owned(), event::from_payload(payload)?);
        let mut vectors = embedder.embed_values(&[event]).await?;
        Ok(Vector {
            components: vectors.pop().expect("one event, one vector"),
            model: embedder.model_id().to_owned(),
        })
    }

    async fn embedder(&self, client: &Client) -> Result<&SmartEmbedder, ToolError> {
        let model = self.model(client).await?;
        let open = || self.open(model.as_deref());
        let embedder = self.embedder.get_or_try_init(open).await?;
        match &model {
            Some(model) if !embedder.is_comparable(model) => {
                let ours = embedder.model_id();
                Err(no_embedder(format!(
                    "the embeddings of this vault are of {model:?}, and toka mcp was started with an embedder that makes \
                     those of {ours:?}; they cannot be compared"
                )))
            }
            _ => Ok(embedder),
        }
    }

    async fn open(&self, model: Option<&str>) -> Result<SmartEmbedder, ToolError> {
        let of_vault;
        let spec = match (&self.wanted, model) {
            (Wanted::Spec(spec), _) => spec,
            (Wanted::Nothing, _) => {
                return Err(no_embedder("toka mcp was started with --embedder none"));
            }
            (Wanted::OfVault, None) => {
                return Err(no_embedder(
                    "no event of this vault has an embedding yet, so it is not known how to make one; start toka mcp \
                     with --embedder (hashed is built in)",
                ));
            }
            (Wanted::OfVault, Some(model)) => {
                of_vault = EmbedderSpec::of_model(model).ok_or_else(|| {
                    no_embedder(format!(
                        "the embeddings of this vault are of {model:?}; start toka mcp with --embedder and say where that \
                         model is (model:DIR or openai:URL#MODEL)"
                    ))
                })?;
                &of_vault
            }
        };
        let key = match spec {
            EmbedderSpec::OpenAi { .. } => ApiKey::from_env(KEY_VARIABLE)?,
            _ => None,
        };
        let config = http::Config {
            timeout: self.timeout,
            ..http::Config::default()
        };
        let encoder = spec.open(key, config).await?;
        Ok(SmartEmbedder::builder().shared_encoder(encoder).build())
    }

    /// The vault's model, if it has one already.
    async fn model(&self, client: &Client) -> Result<Option<String>, ToolError> {
        if let Some(model) = self.model.get() {
            return Ok(Some(model.clone()));
        }
        let status = client.node_status().await?;
        let model = status.settings.map(|settings| settings.embedding_model);
        let model = model.filter(|model| !model.is_empty());
        if let Some(model) = &model {
            // Another call that was quicker has found the same.
            let _ = self.model.set(model.clone());
        }
        Ok(model)
    }
}

fn no_embedder(reason: impl Into<String>) -> ToolError {
    ToolError::NoEmbedder {
        reason: reason.into(),
    }
}

impl fmt::Debug for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meaning")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(wanted: Wanted, model: Option<&str>) -> Result<String, ToolError> {
        let meaning = Meaning::new(wanted, Duration::from_secs(1));
        let embedder = meaning.open(model).await?;
        Ok(embedder.model_id().to_owned())
    }

    #[tokio::test]
    async fn model_of_the_vault_is_opened_where_it_is_built_in() {
        let model = opened(Wanted::OfVault, Some("hashed-v1/64")).await;
        assert_eq!(model.expect("built in"), "hashed-v1/64");
        let spec = Wanted::Spec(EmbedderSpec::default());
        assert_eq!(opened(spec, None).await.expect("built in"), "hashed-v1/384");
    }

    #[tokio::test]
    async fn without_an_embedder_it_is_said_what_to_do() {
        for (wanted, model) in [
            (Wanted::OfVault, None),
            (Wanted::OfVault, Some("sentence/x")),
            (Wanted::Nothing, Some("hashed-v1/64")),
        ] {
            let error = opened(wanted, model).await.expect_err("none");
            assert_eq!(error.code(), "no_embedder");
            assert!(error.to_string().contains("--embedder"), "{error}");
        }
    }
}
