//! Embeddings from a server that speaks OpenAI's protocol: OpenAI, Azure, vLLM, Ollama, TEI.

use std::sync::OnceLock;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{Encoder, TEXT_BYTES_MAX, check_batch, normalize};
use crate::error::Error;
use crate::http::{ApiKey, Config, Endpoint, model_name};
use crate::text::cut;

/// Sent for a text that is empty or blank, since servers refuse those.
const EMPTY_TEXT: &str = "(empty)";

/// The encoder behind `POST BASE/embeddings`.
///
/// The vector of an empty or blank text is that of `(empty)`; of a text of more than 16 KiB only the
/// beginning is sent. Whatever norm the server gives its vectors, they are scaled to 1.
#[derive(Debug)]
pub struct OpenAi {
    endpoint: Endpoint,
    model: String,
    model_id: String,
    /// Sent to the server, which then gives shorter vectors than its model has.
    requested: Option<usize>,
    /// Set once: by the request, or by the first reply.
    dimension: OnceLock<usize>,
}

impl OpenAi {
    /// Model `model` at `base`, such as `https://api.openai.com/v1`; nothing is sent yet.
    ///
    /// With `dimension`, the server is asked for vectors of that many components; not all can.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that cannot work.
    pub fn new(
        base: &str,
        model: &str,
        dimension: Option<usize>,
        key: Option<ApiKey>,
        config: Config,
    ) -> Result<Self, Error> {
        let model = model_name(model)?;
        let suffix = dimension.map(|dimension| format!("@{dimension}"));
        Ok(Self {
            endpoint: Endpoint::new(base, "embeddings", key, config)?,
            model_id: format!("openai/{model}{}", suffix.unwrap_or_default()),
            model,
            requested: dimension,
            dimension: dimension.map_or_else(OnceLock::new, OnceLock::from),
        })
    }

    fn vectors(&self, texts: usize, reply: Reply) -> Result<Vec<Vec<f32>>, Error> {
        if reply.data.len() != texts {
            return Err(Error::Count {
                model_id: self.model_id.clone(),
                expected: texts,
                actual: reply.data.len(),
            });
        }
        let mut data = reply.data;
        // The protocol numbers the vectors, so that their order need not be that of the texts.
        data.sort_by_key(|item| item.index);
        data.into_iter()
            .enumerate()
            .map(|(index, item)| {
                if item.index != index {
                    return Err(self
                        .endpoint
                        .makes_no_sense("its indices are not 0, 1, 2 and so on"));
                }
                self.vector(index, item.embedding)
            })
            .collect()
    }

    fn vector(&self, index: usize, components: Vec<Option<f32>>) -> Result<Vec<f32>, Error> {
        let not_finite = || Error::NotFinite {
            model_id: self.model_id.clone(),
            index,
        };
        // JSON has no NaN: servers write null.
        let mut vector: Vec<f32> = components
            .into_iter()
            .map(|component| component.unwrap_or(f32::NAN))
            .collect();
        normalize(&mut vector).ok_or_else(not_finite)?;
        let expected = *self.dimension.get_or_init(|| vector.len());
        if vector.len() != expected {
            return Err(Error::Dimension {
                model_id: self.model_id.clone(),
                expected,
                actual: vector.len(),
            });
        }
        Ok(vector)
    }
}

impl Encoder for OpenAi {
    fn model_id(&self) -> &str {
        &self.model_id
    }

    fn dimension(&self) -> Option<usize> {
        self.dimension.get().copied()
    }

    fn batch_texts_max(&self) -> usize {
        self.endpoint.config().batch_texts_max
    }

    fn batches_in_flight(&self) -> usize {
        self.endpoint.config().requests_in_flight
    }

    fn encode<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        async move {
            check_batch(texts, self.batch_texts_max())?;
            if texts.is_empty() {
                return Ok(Vec::new());
            }
            let request = Request {
                model: &self.model,
                input: texts.iter().map(|text| input(text)).collect(),
                dimensions: self.requested,
            };
            let reply = self.endpoint.post(&request).await?;
            self.vectors(texts.len(), reply)
        }
        .boxed()
    }
}

fn input(text: &str) -> &str {
    let text = cut(text, TEXT_BYTES_MAX);
    if text.trim().is_empty() {
        EMPTY_TEXT
    } else {
        text
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<Option<f32>>,
}
