//! The commands of `toka bench`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::BenchIntents;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Commit events and report throughput and latency.
    Commit(BenchCommit),
    /// Run a stream of vectors through an embedded vault and report how it groups them.
    Intents(BenchIntents),
}

/// How commits are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// One call a commit.
    Unary,
    /// One stream a client.
    Stream,
}

#[derive(Debug, Args)]
pub(crate) struct BenchCommit {
    /// Concurrent clients (unary), or commits in flight over all streams (stream).
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How long.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Not counted before that.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,
    /// Size of each payload.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) payload_bytes: u32,
    /// Dimension of each embedding; 0 for none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub(crate) dim: u16,
    /// How commits are sent.
    #[arg(long, value_enum, default_value_t = Mode::Unary)]
    pub(crate) mode: Mode,
    /// At most so many commits a second, all clients together.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
}
