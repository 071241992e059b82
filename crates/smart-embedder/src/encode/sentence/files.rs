//! The files of a model's directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use candle_transformers::models::bert::Config;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cache;
use crate::error::{Error, Source};

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const LIMITS: &str = "sentence_bert_config.json";

/// Largest file that is read, bytes: far above any model of this sort.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Bytes of a digest that stand in a model's id.
const DIGEST_BYTES: usize = 8;

/// Models with a name of their own, by the BLAKE3 of their weights: a directory may be called anything.
const KNOWN: &[(&str, &str)] = &[(
    "8087e9bf97c265f8435ed268733ecf3791825ad24850fd5d84d89e32ee3a589a",
    "all-MiniLM-L6-v2",
)];

/// What a model is made from.
pub(super) struct Files {
    pub(super) config: Config,
    pub(super) weights: Vec<u8>,
    pub(super) tokenizer: Vec<u8>,
    pub(super) pooling: Pooling,
    /// Tokens of a text at most, those that mark its ends included.
    pub(super) tokens_max: usize,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    /// The vector of the first token.
    First,
}

impl Files {
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let config: Config = required_json(dir, CONFIG)?;
        if config.model_type.as_deref().is_some_and(|t| t != "bert") {
            return Err(unusable(
                dir,
                CONFIG,
                "only models of type bert are supported",
            ));
        }
        let modules: Option<Vec<Module>> = json(dir, MODULES)?;
        let known = ["Transformer", "Pooling", "Normalize"];
        let is_known = |module: &Module| known.iter().any(|name| module.sort.ends_with(name));
        if !modules.iter().flatten().all(is_known) {
            return Err(unusable(
                dir,
                MODULES,
                "it has a module that is not supported",
            ));
        }
        let limits: Limits = json(dir, LIMITS)?.unwrap_or_default();
        let tokens_max = limits
            .max_seq_length
            .unwrap_or(config.max_position_embeddings)
            .min(config.max_position_embeddings);
        // Both ends of a text are marked.
        if tokens_max < 3 {
            return Err(unusable(dir, LIMITS, "it leaves no room for a text"));
        }
        Ok(Self {
            pooling: pooling(dir)?,
            weights: required(dir, WEIGHTS)?,
            tokenizer: required(dir, TOKENIZER)?,
            config,
            tokens_max,
        })
    }

    /// From what the files say, not from where they are.
    pub(super) fn model_id(&self) -> String {
        let weights = blake3::hash(&self.weights);
        let digest = cache::key(&[
            weights.as_bytes(),
            format!("{:?} {}", self.pooling, self.tokens_max).as_bytes(),
        ]);
        let digest: String = digest[..DIGEST_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let weights = weights.to_hex();
        match KNOWN.iter().find(|(known, _)| *known == weights.as_str()) {
            Some((_, name)) => format!("{name}/{digest}"),
            None => format!(
                "bert-{}x{}/{digest}",
                self.config.num_hidden_layers, self.config.hidden_size
            ),
        }
    }
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    sort: String,
}

#[derive(Default, Deserialize)]
struct Limits {
    max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct PoolingModes {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

fn pooling(dir: &Path) -> Result<Pooling, Error> {
    let Some(modes) = json::<PoolingModes>(dir, POOLING)? else {
        return Ok(Pooling::Mean);
    };
    match (modes.pooling_mode_cls_token, modes.pooling_mode_mean_tokens) {
        (false, true) => Ok(Pooling::Mean),
        (true, false) => Ok(Pooling::First),
        _ => Err(unusable(
            dir,
            POOLING,
            "neither the mean nor the first token",
        )),
    }
}

fn required_json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T, Error> {
    let bytes = required(dir, name)?;
    serde_json::from_slice(&bytes).map_err(|source| unusable(dir, name, source))
}

/// None if there is no such file.
fn json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, Error> {
    match fs::exists(dir.join(name)) {
        Ok(false) => Ok(None),
        Ok(true) => required_json(dir, name).map(Some),
        Err(source) => Err(unusable(dir, name, source)),
    }
}

fn required(dir: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let read = || {
        let path = dir.join(name);
        if fs::metadata(&path)?.len() > FILE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        fs::read(path)
    };
    read().map_err(|source: std::io::Error| unusable(dir, name, source))
}

pub(super) fn unusable(dir: &Path, name: &str, source: impl Into<Source>) -> Error {
    Error::Model {
        path: dir.join(name),
        source: source.into(),
    }
}
