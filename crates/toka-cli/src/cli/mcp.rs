//! Flags of `toka mcp`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::Embed;

#[derive(Debug, Args)]
pub(crate) struct Mcp {
    /// Serve streamable HTTP at this address, under `/mcp`, instead of standard input and output. Each request shows a
    /// token of its own, as `Authorization: Bearer`, and can do what that may.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Certificate for clients of --http and those between it and its CA, PEM. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "http", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "http", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A name by which clients may call --http, `host` or `host:port`, beside those of this machine to itself and the
    /// address; others are refused, so that a web site cannot lead a browser here.
    #[arg(long, value_name = "HOST", requires = "http", value_delimiter = ',')]
    pub(crate) allow_host: Vec<String>,
    /// Origin of web pages that may call --http, such as `https://app.example:443`, beside its own.
    #[arg(long, value_name = "ORIGIN", requires = "http", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<String>,
    /// Listen to other machines without TLS, or before a vault that does not ask callers who they are: everybody who reaches
    /// --http may do what the vault lets anybody do, and read what others say.
    #[arg(long, requires = "http")]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) embed: Embed,
}
