//! Flags of commands that make embeddings.

use std::path::PathBuf;

use clap::Args;
use smart_embedder::EmbedderSpec;

/// What makes embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Embedder {
    /// Nothing does.
    None,
    /// This does.
    Spec(EmbedderSpec),
}

fn parse_embedder(text: &str) -> Result<Embedder, smart_embedder::Error> {
    match text {
        // An environment variable that is set to nothing.
        "" | "none" => Ok(Embedder::None),
        spec => spec.parse().map(Embedder::Spec),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// Embed with this model: hashed (built in), model:DIR (a sentence-transformer model),
    /// openai:URL (an endpoint; URL#MODEL names its model, OPENAI_API_KEY is its key), or none.
    #[arg(long, env = "TOKA_EMBEDDER", value_name = "MODEL", value_parser = parse_embedder)]
    embedder: Option<Embedder>,
}

impl Embed {
    /// What was asked for.
    pub(crate) const fn spec(&self) -> Option<&EmbedderSpec> {
        match &self.embedder {
            Some(Embedder::Spec(spec)) => Some(spec),
            Some(Embedder::None) | None => None,
        }
    }
}

/// A vector, or a text that becomes one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Query {
    /// The text, which is embedded. Without --embedder the vault's own model is used, if it is the
    /// built-in one.
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// The vector as a JSON array of numbers, or @FILE that holds one.
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) vector: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Reembed {
    /// Directory of the new embedded vault; one that an earlier run began is continued.
    #[arg(required_unless_present = "to", conflicts_with = "to")]
    pub(crate) directory: Option<PathBuf>,
    /// Client endpoints of the new cluster, `host:port`, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT")]
    pub(crate) to: Vec<String>,
    /// Embed events that have no embedding as well.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) embed: Embed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_turns_an_embedder_of_the_environment_off() {
        for text in ["", "none"] {
            let embedder = Some(parse_embedder(text).expect("valid"));
            assert_eq!(Embed { embedder }.spec(), None, "{text:?}");
        }
        let embedder = Some(parse_embedder("hashed:64").expect("valid"));
        let spec = EmbedderSpec::Hashed { dimension: 64 };
        assert_eq!(Embed { embedder }.spec(), Some(&spec));
        assert!(parse_embedder("hash").is_err());
    }
}
