//! An encoder, named by one line of text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::encode::{Encoder, Hashed, OpenAi};
use crate::error::Error;
use crate::http::{self, ApiKey, without_credentials};
use crate::pipeline::encoder_of;

/// Model of an endpoint where none is named.
const OPENAI_MODEL: &str = "text-embedding-3-small";

/// Which encoder to use, as in `--embedder`.
///
/// | text | encoder |
/// |---|---|
/// | `hashed` | [`Hashed`], 384 dimensions |
/// | `hashed:DIM` | [`Hashed`] |
/// | `model:DIR` | `Sentence`, a sentence-transformer model in directory DIR |
/// | `openai:URL` | [`OpenAi`] with `text-embedding-3-small`, such as `openai:https://api.openai.com/v1` |
/// | `openai:URL#MODEL` | the same with another model |
/// | `openai:URL#MODEL@DIM` | the same, where the server is asked for DIM dimensions |
///
/// It holds no secret: the API key is given when the encoder is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmbedderSpec {
    /// The built-in encoder.
    Hashed {
        /// Components of a vector.
        dimension: usize,
    },
    /// A sentence-transformer model.
    Model {
        /// The model's directory.
        dir: PathBuf,
    },
    /// A server that speaks OpenAI's protocol.
    OpenAi {
        /// Such as `https://api.openai.com/v1`.
        base: String,
        /// The model's name at the server.
        model: String,
        /// What the server is asked for; none: the model's own.
        dimension: Option<usize>,
    },
}

impl EmbedderSpec {
    /// The encoder that makes vectors of `model_id`, whatever made the texts, where the id alone tells: of
    /// models that need nothing from outside.
    #[must_use]
    pub fn of_model(model_id: &str) -> Option<Self> {
        let dimension = Hashed::dimension_in(encoder_of(model_id))?;
        Some(Self::Hashed { dimension })
    }

    /// Opens the encoder; a model is read from disk, off the caller's thread.
    ///
    /// `key` is for a server; other encoders do not look at it.
    ///
    /// # Errors
    /// What the encoder's constructor fails with; [`Error::NotBuilt`] for a model in a build without
    /// the feature `sentence`.
    pub async fn open(
        &self,
        key: Option<ApiKey>,
        http: http::Config,
    ) -> Result<Arc<dyn Encoder>, Error> {
        match self {
            Self::Hashed { dimension } => Ok(Arc::new(Hashed::new(*dimension)?)),
            Self::Model { dir } => open_model(dir.clone()).await,
            Self::OpenAi {
                base,
                model,
                dimension,
            } => Ok(Arc::new(OpenAi::new(base, model, *dimension, key, http)?)),
        }
    }
}

#[cfg(feature = "sentence")]
async fn open_model(dir: PathBuf) -> Result<Arc<dyn Encoder>, Error> {
    use crate::encode::Sentence;

    let opened = tokio::task::spawn_blocking(move || Sentence::open(&dir)).await;
    match opened {
        Ok(model) => Ok(Arc::new(model?)),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(not(feature = "sentence"))]
async fn open_model(dir: PathBuf) -> Result<Arc<dyn Encoder>, Error> {
    Err(Error::NotBuilt {
        spec: format!("model:{}", dir.display()),
        feature: "sentence",
    })
}

impl Default for EmbedderSpec {
    fn default() -> Self {
        Self::Hashed {
            dimension: Hashed::DIMENSION,
        }
    }
}

impl FromStr for EmbedderSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (sort, rest) = match text.split_once(':') {
            Some((sort, rest)) => (sort, Some(rest)),
            None => (text, None),
        };
        let parsed = match (sort, rest) {
            ("hashed", None) => Some(Self::default()),
            ("hashed", Some(dimension)) => dimension
                .parse()
                .ok()
                .map(|dimension| Self::Hashed { dimension }),
            ("model", Some(dir)) if !dir.is_empty() => Some(Self::Model { dir: dir.into() }),
            ("openai", Some(url)) => open_ai(url),
            _ => None,
        };
        parsed.ok_or_else(|| Error::Invalid {
            field: "embedder",
            value: without_credentials(text),
            expected: "hashed, hashed:DIM, model:DIR, openai:URL, openai:URL#MODEL or \
                       openai:URL#MODEL@DIM",
        })
    }
}

fn open_ai(url: &str) -> Option<EmbedderSpec> {
    let (base, model) = url.split_once('#').unwrap_or((url, OPENAI_MODEL));
    // Names of models may have an @ of their own.
    let (model, dimension) = match model.rsplit_once('@') {
        Some((name, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(digits.parse().ok().filter(|&dim| dim > 0)?))
        }
        _ => (model, None),
    };
    let has_credentials = base.contains('@');
    (!base.is_empty() && !model.is_empty() && !has_credentials).then(|| EmbedderSpec::OpenAi {
        base: base.to_owned(),
        model: model.to_owned(),
        dimension,
    })
}

impl fmt::Display for EmbedderSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashed { dimension } => write!(f, "hashed:{dimension}"),
            Self::Model { dir } => write!(f, "model:{}", dir.display()),
            Self::OpenAi {
                base,
                model,
                dimension,
            } => {
                write!(f, "openai:{base}#{model}")?;
                dimension.map_or(Ok(()), |dimension| write!(f, "@{dimension}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_is_read_and_shown() {
        for text in [
            "hashed:512",
            "model:/models/all-MiniLM-L6-v2",
            "openai:https://api.openai.com/v1#text-embedding-3-small",
            "openai:http://127.0.0.1:8080#BAAI/bge-small@256",
            "openai:http://h/v1#@cf/baai/bge",
        ] {
            let spec: EmbedderSpec = text.parse().expect(text);
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!(
            "hashed".parse::<EmbedderSpec>().expect("default"),
            EmbedderSpec::default()
        );
        let small: EmbedderSpec = "openai:http://h/v1".parse().expect("a default model");
        assert_eq!(
            small.to_string(),
            "openai:http://h/v1#text-embedding-3-small"
        );
    }

    #[test]
    fn built_in_encoder_is_known_by_its_model() {
        let spec = EmbedderSpec::of_model("hashed-v1/512");
        assert_eq!(spec, Some(EmbedderSpec::Hashed { dimension: 512 }));
        for other in ["hashed-v2/512", "hashed-v1/", "hashed-v1/+16", "sentence/x"] {
            assert_eq!(EmbedderSpec::of_model(other), None, "{other}");
        }
    }

    #[test]
    fn text_that_is_no_encoder_says_what_would_be() {
        for text in [
            "",
            "hash",
            "hashed:",
            "hashed:x",
            "model",
            "model:",
            "openai:",
            "openai:http://h#",
            "openai:#m",
            "openai:http://h#m@0",
            "openai:http://h#m@",
        ] {
            let error = text.parse::<EmbedderSpec>().expect_err(text);
            assert!(error.to_string().contains("openai:URL#MODEL"), "{error}");
        }
    }

    #[test]
    fn password_in_the_url_is_refused_without_showing_it() {
        let error = "openai:http://u:secret@h/v1#m".parse::<EmbedderSpec>();
        let error = error.expect_err("credentials");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn dimension_is_checked_when_the_encoder_is_opened() {
        let open = |dimension| async move {
            let spec = EmbedderSpec::Hashed { dimension };
            spec.open(None, http::Config::default()).await
        };
        for dimension in [0, 15, 4_097] {
            assert!(open(dimension).await.is_err(), "{dimension}");
        }
        let encoder = open(768).await.expect("in range");
        assert_eq!(
            (encoder.model_id(), encoder.dimension()),
            ("hashed-v1/768", Some(768))
        );
    }
}
