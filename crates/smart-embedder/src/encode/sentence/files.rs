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
        // Everything of the model's own settings that its vectors depend on.
        let Config {
            vocab_size,
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size,
            hidden_act,
            hidden_dropout_prob: _,
            max_position_embeddings,
            type_vocab_size,
            initializer_range: _,
            layer_norm_eps,
            pad_token_id,
            position_embedding_type,
            use_cache: _,
            classifier_dropout: _,
            model_type: _,
        } = &self.config;
        let sizes = [
            vocab_size,
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size,
            max_position_embeddings,
            type_vocab_size,
            pad_token_id,
            &self.tokens_max,
        ];
        let settings = format!(
            "{sizes:?} {hidden_act:?} {layer_norm_eps:e} {position_embedding_type:?} {:?}",
            self.pooling
        );
        let digest = cache::key(&[
            weights.as_bytes(),
            settings.as_bytes(),
            self.tokenizer_rules().to_string().as_bytes(),
        ]);
        let digest = cache::short(&digest);
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

impl Files {
    /// What decides the tokens of a text. How the file is laid out does not, nor what it says of padding
    /// and truncation, which are set here.
    fn tokenizer_rules(&self) -> serde_json::Value {
        // A file that is no JSON is refused by whoever makes a tokenizer of it.
        let mut rules: serde_json::Value =
            serde_json::from_slice(&self.tokenizer).unwrap_or_default();
        if let Some(rules) = rules.as_object_mut() {
            for other in ["version", "padding", "truncation"] {
                rules.remove(other);
            }
        }
        rules.sort_all_objects();
        rules
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
