//! Embeddings, which are made here: a node never runs a model.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{Stream, StreamExt as _};
use smart_embedder::{ApiKey, EmbedderSpec, SmartEmbedder, Value, event, http};
use toka_ledger::Embedding;
use toka_ledger::prepare::EventDraft;

use crate::cli;
use crate::failure::Failure;
use crate::target::Target;

/// The key of an endpoint.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// What is said of an event that is stored already, and has no embedding.
pub(crate) const STORED_WITHOUT: &str = "stored before without an embedding, and that stays so; \
    `toka reembed --all` makes a vault in which every event has one";

/// Kind and payload, as an embedder reads them.
pub(crate) type Event = (String, Value);

/// A draft, and what is to be embedded of it.
pub(crate) type Unembedded = (EventDraft, Option<Event>);

/// Events that are embedded together: enough for two batches of any encoder on each of many cores.
const EMBED_EVENTS: usize = 512;
/// So many times that are embedded at once, so that the model never waits for the vault.
const EMBED_CHUNKS: usize = 2;

/// Makes embeddings of one model.
#[derive(Clone)]
pub(crate) struct Embedder {
    embedder: SmartEmbedder,
}

impl Embedder {
    /// Reads the model; an endpoint is not asked for anything yet. A request to it may take `timeout`.
    pub(crate) async fn open(spec: &EmbedderSpec, timeout: Duration) -> Result<Self> {
        let key = match spec {
            EmbedderSpec::OpenAi { .. } => ApiKey::from_env(KEY_VARIABLE)?,
            _ => None,
        };
        let config = http::Config {
            timeout,
            ..http::Config::default()
        };
        let encoder = spec.open(key, config).await?;
        let embedder = SmartEmbedder::builder().shared_encoder(encoder).build();
        Ok(Self { embedder })
    }

    /// The embedder that was asked for, if any.
    pub(crate) async fn wanted(flags: &cli::Embed, timeout: Duration) -> Result<Option<Self>> {
        match flags.spec() {
            Some(spec) => Ok(Some(Self::open(spec, timeout).await?)),
            None => Ok(None),
        }
    }

    /// What makes the embeddings, for a program that has ways of its own.
    pub(crate) fn into_smart(self) -> SmartEmbedder {
        self.embedder
    }

    /// Names the model.
    pub(crate) fn model(&self) -> &str {
        self.embedder.model_id()
    }

    /// The drafts with the embeddings of their events; those without an event stay as they are.
    pub(crate) async fn embed(&self, drafts: Vec<Unembedded>) -> Result<Vec<EventDraft>> {
        let (drafts, events): (Vec<_>, Vec<_>) = drafts.into_iter().unzip();
        let is_embedded: Vec<_> = events.iter().map(Option::is_some).collect();
        let events: Vec<_> = events.into_iter().flatten().collect();
        let mut vectors = self.embedder.embed_values(&events).await?.into_iter();
        let model = self.model();
        let drafts = drafts.into_iter().zip(is_embedded);
        Ok(drafts
            .map(|(draft, is_embedded)| match is_embedded {
                true => {
                    let vector = vectors.next().expect("one vector for each event");
                    draft.embedding(&vector).model(model)
                }
                false => draft,
            })
            .collect())
    }

    /// Drafts with their embeddings: what is there is embedded in batches, while others are read and stored.
    pub(crate) fn embed_all<'a>(
        self,
        drafts: impl Stream<Item = Result<Unembedded>> + Send + 'a,
    ) -> impl Stream<Item = Result<EventDraft>> + Send + 'a {
        drafts
            // An error ends the stream: nothing that comes behind it is stored.
            .scan(false, |failed, draft| {
                let ended = std::mem::replace(failed, draft.is_err());
                futures::future::ready((!ended).then_some(draft))
            })
            .ready_chunks(EMBED_EVENTS)
            .map(move |chunk| {
                let embedder = self.clone();
                async move {
                    let mut drafts = Vec::with_capacity(chunk.len());
                    let mut failed = None;
                    for draft in chunk {
                        match draft {
                            Ok(draft) => drafts.push(draft),
                            Err(error) => failed = failed.or(Some(error)),
                        }
                    }
                    let mut results: Vec<_> = match embedder.embed(drafts).await {
                        Ok(drafts) => drafts.into_iter().map(Ok).collect(),
                        Err(error) => vec![Err(error)],
                    };
                    results.extend(failed.map(Err));
                    futures::stream::iter(results)
                }
            })
            .buffered(EMBED_CHUNKS)
            .flatten()
    }
}

/// The event of a draft. Payloads are MessagePack, or text.
pub(crate) fn event(kind: &str, payload: &[u8]) -> Result<Event> {
    let value = match (event::from_payload(payload), str::from_utf8(payload)) {
        (Ok(value), _) => value,
        (Err(_), Ok(text)) => Value::from(text),
        (Err(error), Err(_)) => {
            return Err(Failure::Refused(format!(
                "{error}, nor text, so it cannot be embedded; give an embedding, or say --embedder none"
            ))
            .into());
        }
    };
    Ok((kind.to_owned(), value))
}

/// The vector that `query` means to `target`.
pub(crate) async fn query(
    target: &Target,
    query: &cli::Query,
    flags: &cli::Embed,
    timeout: Duration,
) -> Result<Embedding> {
    let components = match (&query.text, &query.vector) {
        (Some(text), _) => {
            let embedder = of_vault(target, flags, timeout).await?;
            embedder.embedder.embed_text(text).await?
        }
        (None, vector) => {
            let vector = vector.as_deref().context("a text or --vector is needed")?;
            read_vector(vector)?
        }
    };
    Embedding::from_f32(&components).map_err(|error| Failure::Refused(error.to_string()).into())
}

/// A JSON array of numbers, or `@FILE` that holds one.
pub(crate) fn read_vector(text: &str) -> Result<Vec<f32>> {
    let text = match text.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?
        }
        None => text.to_owned(),
    };
    serde_json::from_str(&text).context("the embedding is not a JSON array of numbers")
}

/// The embedder that was asked for, if it is of the vault's model; else that of the vault's model, if
/// that needs nothing from outside.
async fn of_vault(target: &Target, flags: &cli::Embed, timeout: Duration) -> Result<Embedder> {
    if flags.is_none() {
        bail!(Failure::Usage(
            "--embedder none makes no vector of the text; give one with --vector, or another embedder"
                .to_owned()
        ));
    }
    let model = target.embedding_model().await?;
    if let Some(spec) = flags.spec() {
        let embedder = Embedder::open(spec, timeout).await?;
        let ours = embedder.model();
        return match model {
            Some(model) if !embedder.embedder.is_comparable(&model) => {
                bail!(Failure::Refused(format!(
                    "the embeddings of this vault are of {model:?}, this embedder makes those of {ours:?}; \
                 they cannot be compared. `toka reembed` copies the vault into one of another model"
                )))
            }
            _ => Ok(embedder),
        };
    }
    let Some(model) = model else {
        bail!(Failure::Usage(
            "no event of this vault says which model made its embedding, so the text cannot be embedded \
             as they were; name the model with --embedder"
                .to_owned()
        ));
    };
    let Some(spec) = EmbedderSpec::of_model(&model) else {
        bail!(Failure::Usage(format!(
            "the embeddings of this vault are of {model:?}; say where that model is with --embedder \
             (model:DIR or openai:URL#MODEL) or TOKA_EMBEDDER"
        )));
    };
    Embedder::open(&spec, timeout).await
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use smart_embedder::{Encoder, encode};
    use toka_ledger::{EventHeader, Invalid, Rejection, VaultBus};

    use super::*;

    #[test]
    fn text_and_messagepack_can_be_embedded_and_other_bytes_not() {
        let (_, value) = event("a", b"\x81\xa1b\x01").expect("MessagePack");
        assert_eq!(value["b"], Value::from(1));
        let (_, value) = event("a", b"plain text").expect("text");
        assert_eq!(value, Value::from("plain text"));
        let error = event("a", b"\xc1\xff").expect_err("neither");
        assert!(error.to_string().contains("--embedder"), "{error}");
    }

    /// Another model than the built-in one, of the same dimension.
    struct Other(encode::Hashed);

    impl Encoder for Other {
        fn model_id(&self) -> &str {
            "other/384"
        }

        fn dimension(&self) -> Option<usize> {
            self.0.dimension()
        }

        fn batch_texts_max(&self) -> usize {
            self.0.batch_texts_max()
        }

        fn batches_in_flight(&self) -> usize {
            self.0.batches_in_flight()
        }

        fn encode<'a>(
            &'a self,
            texts: &'a [String],
        ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, smart_embedder::Error>> {
            self.0.encode(texts)
        }
    }

    /// An event on the way that `docs/embedding.md` shows.
    async fn commit(
        vault: &VaultBus,
        embedder: &SmartEmbedder,
        text: &str,
    ) -> Result<EventHeader, toka_ledger::Error> {
        let embedding = embedder.embed_event("said", text).await.expect("embedded");
        let event = vault.event("said").payload(text);
        let event = event.embedding(&embedding).model(embedder.model_id());
        event.commit().await
    }

    #[tokio::test]
    async fn vectors_of_two_embedders_do_not_mix_in_a_vault() {
        let hashed = SmartEmbedder::default();
        let other = SmartEmbedder::builder()
            .encoder(Other(encode::Hashed::default()))
            .build();
        assert_eq!(hashed.dimension(), other.dimension());
        let vault = VaultBus::builder().open_in_memory().expect("opened");
        let header = commit(&vault, &hashed, "good morning").await;
        assert!(header.expect("committed").embedding.is_some());

        let refused = commit(&vault, &other, "good evening").await;
        let error = refused.expect_err("another model");
        assert!(
            matches!(
                &error,
                toka_ledger::Error::Rejected(Rejection::Invalid {
                    invalid: Invalid::Model { expected: Some(expected), actual, .. },
                    ..
                }) if expected == hashed.model_id() && actual == other.model_id()
            ),
            "{error}"
        );
        assert_eq!(vault.position().sequence, 1);
    }

    #[tokio::test]
    async fn a_vault_that_is_opened_for_an_embedder_takes_no_vectors_of_another() {
        let embedder = SmartEmbedder::default();
        let vault = VaultBus::builder()
            .model(embedder.model_id())
            .open_in_memory()
            .expect("opened");
        let embedding = embedder.embed_text("good morning").await.expect("embedded");
        let header = vault.commit("good morning", &[], "said", embedding.into());
        header.await.expect("committed");
        // What `toka commit --embedder` would do, with the model's name.
        commit(&vault, &embedder, "good evening")
            .await
            .expect("the same model");
        let other = SmartEmbedder::builder()
            .encoder(Other(encode::Hashed::default()))
            .build();
        assert!(commit(&vault, &other, "good night").await.is_err());
    }
}
