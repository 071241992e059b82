//! Flags of commands that make embeddings.

use std::path::PathBuf;

use clap::Args;
use smart_embedder::EmbedderSpec;

/// What makes embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Embedder {
    /// Nothing was said: an environment variable that is set to nothing.
    Unset,
    /// Nothing does.
    None,
    /// This does.
    Spec(EmbedderSpec),
}

fn parse_embedder(text: &str) -> Result<Embedder, smart_embedder::Error> {
    match text {
        "" => Ok(Embedder::Unset),
        "none" => Ok(Embedder::None),
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
            Some(Embedder::None | Embedder::Unset) | None => None,
        }
    }

    /// Whether embedding was turned off.
    pub(crate) fn is_none(&self) -> bool {
        self.embedder == Some(Embedder::None)
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
    /// Copy events that cannot be embedded without an embedding, instead of stopping at the first: those
    /// whose payload is neither MessagePack nor text.
    #[arg(long)]
    pub(crate) skip_unreadable: bool,
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
            let embed = Embed { embedder };
            assert_eq!(embed.spec(), None, "{text:?}");
            assert_eq!(embed.is_none(), text == "none");
        }
        let embedder = Some(parse_embedder("hashed:64").expect("valid"));
        let spec = EmbedderSpec::Hashed { dimension: 64 };
        assert_eq!(Embed { embedder }.spec(), Some(&spec));
        assert!(parse_embedder("hash").is_err());
    }
}
