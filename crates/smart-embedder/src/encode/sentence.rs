//! Sentence-transformer models from a local directory, on the CPU, in pure Rust.
//!
//! The directory is that of the model's repository: `config.json`, `model.safetensors`,
//! `tokenizer.json`, and where they exist `modules.json`, `sentence_bert_config.json` and
//! `1_Pooling/config.json`. BERT models are read, such as all-MiniLM-L6-v2, bge and gte.

mod files;
mod workers;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use self::files::{Files, Pooling};
use self::workers::Workers;
use super::pool::Pool;
use super::{Encoder, TEXT_BYTES_MAX, check_batch, normalize};
use crate::error::{Error, Source};
use crate::text::cut;

/// Texts in a batch at most: enough to find texts of equal length, and few enough to share out among
/// the cores.
const BATCH_TEXTS_MAX: usize = 64;

/// Tokens in one pass through the model at most, padding included, unless one text alone has more.
/// Activations of about this many tokens stay in a core's cache.
const PASS_TOKENS_MAX: usize = 512;

/// A sentence-transformer model.
///
/// Its vectors are those of the Python library to rounding, which differs between CPUs. Texts are cut
/// at the model's own limit of tokens; the empty text has the vector that the model gives it.
#[derive(Clone)]
pub struct Sentence {
    model: Arc<Model>,
    workers: Arc<Workers>,
    model_id: String,
    pool: Pool,
}

struct Model {
    bert: BertModel,
    tokenizer: Tokenizer,
    pooling: Pooling,
    dimension: usize,
}

impl Sentence {
    /// Loads the model in directory `dir`; blocks for as long as reading it takes.
    ///
    /// # Errors
    /// [`Error::Model`] names the file that is missing, damaged, or of a sort that is not supported.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let files = Files::read(dir)?;
        let model_id = files.model_id();
        let mut tokenizer = Tokenizer::from_bytes(&files.tokenizer)
            .map_err(|source| files::unusable(dir, files::TOKENIZER, source))?;
        let truncation = TruncationParams {
            max_length: files.tokens_max,
            ..TruncationParams::default()
        };
        tokenizer
            .with_padding(None)
            .with_truncation(Some(truncation))
            .map_err(|source| files::unusable(dir, files::TOKENIZER, source))?;
        let load = || {
            let weights =
                VarBuilder::from_buffered_safetensors(files.weights, DType::F32, &Device::Cpu)?;
            BertModel::load(weights, &files.config)
        };
        let bert = load().map_err(|source| files::unusable(dir, files::WEIGHTS, source))?;
        let pool = Pool::new();
        let workers = Workers::new(pool.cores())
            .map_err(|source| files::unusable(dir, files::WEIGHTS, source))?;
        Ok(Self {
            model: Arc::new(Model {
                bert,
                tokenizer,
                pooling: files.pooling,
                dimension: files.config.hidden_size,
            }),
            workers: Arc::new(workers),
            model_id,
            pool,
        })
    }
}

impl Encoder for Sentence {
    fn model_id(&self) -> &str {
        &self.model_id
    }

    fn dimension(&self) -> Option<usize> {
        Some(self.model.dimension)
    }

    fn batch_texts_max(&self) -> usize {
        BATCH_TEXTS_MAX
    }

    fn batches_in_flight(&self) -> usize {
        self.pool.cores()
    }

    fn encode<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        async move {
            check_batch(texts, BATCH_TEXTS_MAX)?;
            let (model, workers) = (Arc::clone(&self.model), Arc::clone(&self.workers));
            let texts = texts.to_vec();
            let job = move || workers.run(|| model.vectors(&texts));
            let vectors = self.pool.run(job).await;
            let mut vectors = vectors.map_err(|source| Error::Inference {
                model_id: self.model_id.clone(),
                source,
            })?;
            for (index, vector) in vectors.iter_mut().enumerate() {
                normalize(vector).ok_or_else(|| Error::NotFinite {
                    model_id: self.model_id.clone(),
                    index,
                })?;
            }
            Ok(vectors)
        }
        .boxed()
    }
}

impl Model {
    /// Vectors of any norm, in the texts' order.
    fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Source> {
        let mut tokens = texts
            .iter()
            .map(|text| self.tokenizer.encode(cut(text, TEXT_BYTES_MAX), true))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .enumerate()
            .collect::<Vec<_>>();
        // Texts of like length go through together, so that little is computed for padding.
        tokens.sort_by_key(|(_, tokens)| tokens.len());
        let mut vectors = vec![Vec::new(); texts.len()];
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_texts(rest));
            for ((index, _), vector) in pass.iter().zip(self.pass(pass)?) {
                vectors[*index] = vector;
            }
            rest = later;
        }
        Ok(vectors)
    }

    /// One pass through the model: the vectors of `texts`, which are padded to the longest.
    fn pass(&self, texts: &[(usize, Encoding)]) -> candle_core::Result<Vec<Vec<f32>>> {
        let length = texts.iter().map(|(_, tokens)| tokens.len()).max();
        let shape = (texts.len(), length.unwrap_or_default());
        let padded = |ids: fn(&Encoding) -> &[u32]| {
            let mut rows = Vec::with_capacity(shape.0 * shape.1);
            for (row, (_, tokens)) in texts.iter().enumerate() {
                rows.extend_from_slice(ids(tokens));
                // The mask hides the padding, whatever token it is.
                rows.resize((row + 1) * shape.1, 0);
            }
            Tensor::from_vec(rows, shape, &Device::Cpu)
        };
        let mask = padded(Encoding::get_attention_mask)?;
        let ids = padded(Encoding::get_ids)?;
        let types = padded(Encoding::get_type_ids)?;
        let hidden = self.bert.forward(&ids, &types, Some(&mask))?;
        let hidden = hidden.flatten_all()?.to_vec1::<f32>()?;
        let rows = hidden.chunks_exact(shape.1 * self.dimension);
        Ok(texts
            .iter()
            .zip(rows)
            .map(|((_, tokens), row)| self.pooled(&row[..tokens.len() * self.dimension]))
            .collect())
    }

    /// One vector from those of the tokens, shape `[tokens][dimension]`.
    fn pooled(&self, hidden: &[f32]) -> Vec<f32> {
        let mut tokens = hidden.chunks_exact(self.dimension);
        let mut sum = tokens.next().unwrap_or_default().to_vec();
        if self.pooling == Pooling::Mean {
            // The sum points where the mean does.
            for token in tokens {
                for (sum, x) in sum.iter_mut().zip(token) {
                    *sum += x;
                }
            }
        }
        sum
    }
}

/// How many of `texts`, sorted by length, go through the model together.
fn pass_texts(texts: &[(usize, Encoding)]) -> usize {
    let fits = |(place, (_, tokens)): &(usize, &(usize, Encoding))| {
        (place + 1) * tokens.len() <= PASS_TOKENS_MAX
    };
    texts.iter().enumerate().take_while(fits).count().max(1)
}
