//! Event to text to vector.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use rmpv::Value;
use serde::Serialize;

use crate::cache::{self, Cache, Key};
use crate::encode::{Encoder, Hashed};
use crate::error::Error;
use crate::event;
use crate::summarize::{Flatten, Summarizer};

/// Vectors that are kept unless told otherwise: 15 MB at 384 dimensions.
const CACHE_ENTRIES: usize = 10_000;

/// Stands between the encoder and the summarizer in a model's id.
const SUMMARIZER_MARK: char = '+';

/// An encoder's id in which no mark stands; other ids stay as they are.
fn escaped(encoder_id: &str) -> String {
    encoder_id
        .replace('%', "%25")
        .replace(SUMMARIZER_MARK, "%2B")
}

/// The id of the encoder in a [`SmartEmbedder::model_id`].
pub(crate) fn encoder_of(model_id: &str) -> &str {
    let parts = model_id.split_once(SUMMARIZER_MARK);
    parts.map_or(model_id, |(encoder, _)| encoder)
}

/// Turns events into vectors; shared by cloning.
///
/// Vectors have unit norm. They have a meaning only beside others of the same
/// [`SmartEmbedder::model_id`].
#[derive(Clone)]
pub struct SmartEmbedder {
    inner: Arc<Inner>,
}

struct Inner {
    /// The encoder's part of the model's id.
    encoder_id: String,
    model_id: String,
    summarizer: Arc<dyn Summarizer>,
    encoder: Arc<dyn Encoder>,
    cache: Cache<Arc<[f32]>>,
}

/// Parts of a [`SmartEmbedder`].
#[must_use]
pub struct Builder {
    summarizer: Arc<dyn Summarizer>,
    encoder: Arc<dyn Encoder>,
    cache_entries: usize,
}

impl Builder {
    /// What turns events into text; [`Flatten`] by default.
    pub fn summarizer(mut self, summarizer: impl Summarizer + 'static) -> Self {
        self.summarizer = Arc::new(summarizer);
        self
    }

    /// What turns text into vectors; [`Hashed`] by default.
    pub fn encoder(mut self, encoder: impl Encoder + 'static) -> Self {
        self.encoder = Arc::new(encoder);
        self
    }

    /// The encoder of an [`EmbedderSpec`](crate::EmbedderSpec).
    pub fn shared_encoder(mut self, encoder: Arc<dyn Encoder>) -> Self {
        self.encoder = encoder;
        self
    }

    /// Vectors that are kept, those used last; 0: none.
    pub const fn cache_entries(mut self, cache_entries: usize) -> Self {
        self.cache_entries = cache_entries;
        self
    }

    /// The embedder of these parts.
    #[must_use]
    pub fn build(self) -> SmartEmbedder {
        let encoder_id = escaped(self.encoder.model_id());
        let (encoder, summarizer) = (&encoder_id, self.summarizer.id());
        let model_id = match summarizer == Flatten::default().id() {
            true => encoder_id.clone(),
            false => format!("{encoder}{SUMMARIZER_MARK}{summarizer}"),
        };
        SmartEmbedder {
            inner: Arc::new(Inner {
                encoder_id,
                model_id,
                summarizer: self.summarizer,
                encoder: self.encoder,
                cache: Cache::new(self.cache_entries),
            }),
        }
    }
}

impl Default for SmartEmbedder {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl SmartEmbedder {
    /// A [`Flatten`] summarizer, a [`Hashed`] encoder, and a cache of 10,000 vectors, to be replaced.
    pub fn builder() -> Builder {
        Builder {
            summarizer: Arc::new(Flatten::default()),
            encoder: Arc::new(Hashed::default()),
            cache_entries: CACHE_ENTRIES,
        }
    }

    /// Names what makes the vectors of events, which travels with the vault's settings: the encoder, and
    /// after a `+` the summarizer unless that is [`Flatten`] as it is by default. A `+` in the encoder's own id
    /// is `%2B`.
    #[must_use]
    pub fn model_id(&self) -> &str {
        &self.inner.model_id
    }

    /// Whether a text's vector may be compared with those of `model_id`: the encoder is the same. How
    /// events were made text does not matter to a text.
    #[must_use]
    pub fn is_comparable(&self, model_id: &str) -> bool {
        encoder_of(model_id) == self.inner.encoder_id
    }

    /// Components of a vector; none until the first reply of a model on the network.
    #[must_use]
    pub fn dimension(&self) -> Option<usize> {
        self.inner.encoder.dimension()
    }

    /// Vectors in the cache.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.inner.cache.len()
    }

    /// The vector of one event, shape `[dimension]`. For many, [`SmartEmbedder::embed_events`] is
    /// quicker.
    ///
    /// # Errors
    /// What the event's `Serialize`, the summarizer or the encoder fails with.
    pub fn embed_event<'a, T: Serialize + ?Sized>(
        &'a self,
        kind: &'a str,
        event: &T,
    ) -> impl Future<Output = Result<Vec<f32>, Error>> + Send + use<'a, T> {
        // Serialized now, so that the future does not hold the event.
        let event = event::to_value(event);
        async move {
            let text = self.inner.summarizer.summarize(kind, &event?).await?;
            self.embed_text(&text).await
        }
    }

    /// The vectors of events and their kinds, in their order, in batches and in parallel.
    ///
    /// # Errors
    /// As [`SmartEmbedder::embed_event`]; no vector is returned for part of the events.
    pub fn embed_events<'a, K, T, I>(
        &'a self,
        events: I,
    ) -> impl Future<Output = Result<Vec<Vec<f32>>, Error>> + Send + use<'a, K, T, I>
    where
        K: Into<String>,
        T: Serialize,
        I: IntoIterator<Item = (K, T)>,
    {
        let events: Result<Vec<_>, Error> = events
            .into_iter()
            .map(|(kind, event)| Ok((kind.into(), event::to_value(&event)?)))
            .collect();
        async move { self.embed_values(&events?).await }
    }

    /// The vectors of kinds and events as [`event::to_value`] or [`event::from_payload`] give them.
    ///
    /// # Errors
    /// As [`SmartEmbedder::embed_events`].
    pub async fn embed_values(&self, events: &[(String, Value)]) -> Result<Vec<Vec<f32>>, Error> {
        let texts = self.summarize_values(events).await?;
        self.embed_texts(&texts).await
    }

    /// The text of an event, which is what is embedded.
    ///
    /// # Errors
    /// What the event's `Serialize` or the summarizer fails with.
    pub fn summarize<'a, T: Serialize + ?Sized>(
        &'a self,
        kind: &'a str,
        event: &T,
    ) -> impl Future<Output = Result<String, Error>> + Send + use<'a, T> {
        let event = event::to_value(event);
        async move { self.inner.summarizer.summarize(kind, &event?).await }
    }

    /// The vector of a text as it is, such as a query; shape `[dimension]`.
    ///
    /// # Errors
    /// What the encoder fails with.
    pub async fn embed_text(&self, text: &str) -> Result<Vec<f32>, Error> {
        let vectors = self.embed_texts(&[text.to_owned()]).await?;
        Ok(vectors.into_iter().next().expect("one text, one vector"))
    }

    /// The vectors of texts, in their order: shape `[texts][dimension]`.
    ///
    /// A text that occurs again, here or in the cache, is not encoded again.
    ///
    /// # Errors
    /// What the encoder fails with; no vector is returned for part of the texts.
    pub async fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let keys: Vec<Key> = texts.iter().map(|text| self.key(text)).collect();
        let mut vectors: HashMap<Key, Arc<[f32]>> = HashMap::new();
        let mut missing = HashSet::new();
        let mut to_encode = Vec::new();
        for (key, text) in keys.iter().zip(texts) {
            if vectors.contains_key(key) || missing.contains(key) {
                continue;
            }
            if let Some(vector) = self.inner.cache.get(key) {
                vectors.insert(*key, vector);
            } else {
                missing.insert(*key);
                to_encode.push((*key, text.clone()));
            }
        }
        let (missing, texts): (Vec<Key>, Vec<String>) = to_encode.into_iter().unzip();
        for (key, vector) in missing.iter().zip(self.encode(&texts).await?) {
            let vector: Arc<[f32]> = vector.into();
            self.inner.cache.insert(*key, Arc::clone(&vector));
            vectors.insert(*key, vector);
        }
        Ok(keys.iter().map(|key| vectors[key].to_vec()).collect())
    }

    async fn summarize_values(&self, events: &[(String, Value)]) -> Result<Vec<String>, Error> {
        let summarizer = &self.inner.summarizer;
        let summaries: Vec<_> = events
            .iter()
            .map(|(kind, event)| summarizer.summarize(kind, event))
            .collect();
        stream::iter(summaries)
            .buffered(summarizer.events_in_flight().max(1))
            .try_collect()
            .await
    }

    /// One vector for each of `texts`, in batches, several at a time.
    async fn encode(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let encoder = &self.inner.encoder;
        let batches: Vec<_> = texts
            .chunks(encoder.batch_texts_max().max(1))
            .map(|batch| self.encode_batch(batch))
            .collect();
        let batches: Vec<Vec<Vec<f32>>> = stream::iter(batches)
            .buffered(encoder.batches_in_flight().max(1))
            .try_collect()
            .await?;
        Ok(batches.into_iter().flatten().collect())
    }

    async fn encode_batch(&self, batch: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let vectors = self.inner.encoder.encode(batch).await?;
        self.check(batch.len(), &vectors)?;
        Ok(vectors)
    }

    /// Encoders come from anywhere: what they promise is checked before it is cached.
    fn check(&self, texts: usize, vectors: &[Vec<f32>]) -> Result<(), Error> {
        let model_id = || self.inner.encoder.model_id().to_owned();
        if vectors.len() != texts {
            return Err(Error::Count {
                model_id: model_id(),
                expected: texts,
                actual: vectors.len(),
            });
        }
        for (index, vector) in vectors.iter().enumerate() {
            let expected = self.dimension().unwrap_or(vectors[0].len());
            if vector.len() != expected {
                return Err(Error::Dimension {
                    model_id: model_id(),
                    expected,
                    actual: vector.len(),
                });
            }
            if !vector.iter().all(|x| x.is_finite()) {
                return Err(Error::NotFinite {
                    model_id: model_id(),
                    index,
                });
            }
        }
        Ok(())
    }

    fn key(&self, text: &str) -> Key {
        cache::key(&[text.as_bytes()])
    }
}
