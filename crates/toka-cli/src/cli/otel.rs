//! Flags of `toka otel`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use toka_otel::{Content, SpanId, TraceId};

use super::{Embed, Read};

#[derive(Debug, Subcommand)]
pub(crate) enum Otel {
    /// Receive traces by OTLP, over gRPC and HTTP, and store them as events.
    ///
    /// Each request shows a token of its own, as `authorization: Bearer`, and can do what that may. It is answered once the
    /// vault has acknowledged its spans.
    Serve(Box<Receive>),
    /// Find the spans of a trace, or one span, by their ids.
    Find(Find),
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// Addresses to listen on, each for both protocols.
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        default_values = ["127.0.0.1:4317", "127.0.0.1:4318"]
    )]
    pub(crate) listen: Vec<SocketAddr>,
    /// Certificate for exporters and those between it and its CA, PEM. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Listen to other machines without TLS, or before a vault that does not ask callers who they are: everybody who
    /// reaches an address may do what the vault lets anybody do, and read what others send.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// What models and tools were told and have answered, where spans have it: text stores it, none leaves it out. Another
    /// value makes another event of the same span.
    #[arg(long, value_enum, default_value_t = Contents::Text)]
    pub(crate) content: Contents,
    #[command(flatten)]
    pub(crate) embed: Embed,
}

/// Whether contents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contents {
    /// As they come.
    Text,
    /// Their names only.
    None,
}

impl From<Contents> for Content {
    fn from(contents: Contents) -> Self {
        match contents {
            Contents::Text => Self::Text,
            Contents::None => Self::None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Find {
    /// Id of the trace, 32 hexadecimal digits.
    #[arg(long, value_name = "ID")]
    pub(crate) trace: TraceId,
    /// Id of the span, 16 hexadecimal digits [default: all spans of the trace].
    #[arg(long, value_name = "ID")]
    pub(crate) span: Option<SpanId>,
    /// Show the steps in place of the spans: what a step comes from is what led to its span, what descends from it is what
    /// came of the span (`toka lineage`).
    #[arg(long)]
    pub(crate) steps: bool,
    /// Leave payloads out.
    #[arg(long)]
    pub(crate) no_payload: bool,
    #[command(flatten)]
    pub(crate) read: Read,
}
