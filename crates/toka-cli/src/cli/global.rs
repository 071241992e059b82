//! Flags that most commands take.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Flags that most commands take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Client endpoints of the cluster, `host:port` or `https://host:port`, separated by commas [env: TOKA_ENDPOINTS].
    #[arg(
        long,
        short = 'e',
        global = true,
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub(crate) endpoint: Vec<String>,
    /// CA that the nodes' certificates must be signed by, PEM: TLS is spoken then [default: the system's, for endpoints
    /// that begin with https://].
    #[arg(long, global = true, env = "TOKA_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate that nodes are shown, PEM.
    #[arg(long, global = true, env = "TOKA_CERT", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, global = true, env = "TOKA_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Name that the nodes' certificates must have [default: the host of each endpoint].
    #[arg(long, global = true, env = "TOKA_SERVER_NAME", value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// File with the token, or the JWT, that says who calls [default: what TOKA_TOKEN holds].
    #[arg(long, global = true, env = "TOKA_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Send the token without TLS to other machines too, where everybody on the way can read it.
    #[arg(long, global = true, env = "TOKA_INSECURE_TOKEN")]
    pub(crate) insecure_token: bool,
    /// Named cluster (`toka context list`).
    #[arg(long, global = true, env = "TOKA_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Data directory: of the node for `serve` and `dev`, else of an embedded vault, which is
    /// then used without a server.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How results are written; `lineage` has more formats, by --format [default: table on a terminal, json otherwise for
    /// `log`, `watch`, `lineage`, `cursor` and `group`].
    #[arg(
        long,
        short = 'o',
        global = true,
        env = "TOKA_OUTPUT",
        value_name = "FORMAT"
    )]
    pub(crate) output: Option<Format>,
    /// How long a call may take, retries and elections included.
    #[arg(long, global = true, env = "TOKA_TIMEOUT", default_value = "30s", value_name = "TIME",
          value_parser = parse_timeout)]
    pub(crate) timeout: Duration,
    /// Collector that spans are sent to, of the command or of the node: OTLP over gRPC, `http://HOST:PORT` or
    /// `https://HOST:PORT` [env: OTEL_EXPORTER_OTLP_ENDPOINT; default: none].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout.is_zero() => {
            Err("no call can be answered in no time: give at least 1ms, such as 30s".to_owned())
        }
        Ok(timeout) => Ok(timeout),
        Err(error) => Err(error.to_string()),
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object a line, for scripts.
    Json,
}
