//! The commands of `toka debug`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Debug {
    /// Collect what a report of a bug needs into an archive: no payloads, no embeddings, no secrets.
    ///
    /// Versions, the settings that a node started here would have, the state of the cluster as each node sees it,
    /// alarms, metrics, the ends of log files, and the names of environment variables. What cannot be had is left out,
    /// and said: a cluster that is down has a bundle too. What looks like a secret or a payload is replaced by
    /// `[redacted]`, also in logs; addresses, names of nodes and paths are not. Look through it before you send it.
    Bundle(Bundle),
}

#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The archive, a new file (.tar.gz).
    pub(crate) file: PathBuf,
    /// The file with the node's settings.
    #[arg(long, env = "TOKA_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where a node has /metrics; `https://HOST:PORT` where it serves HTTP over TLS, whose certificate is checked as `--ca`
    /// and `--server-name` say; may be repeated [default: where the settings say, of this machine].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Vec<String>,
    /// A file with a node's log; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Vec<PathBuf>,
    /// So many lines from the end of each log.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) log_lines: u32,
}
