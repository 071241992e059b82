//! Flags of `toka verify`.

use clap::Args;
use toka_server::config::ByteSize;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Threads that read [default: one for each processor; on a running node half as many].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: Option<u16>,
    /// Bytes that a running node reads in a second at most [default: 64MiB]; 0: no limit, and its table files are read
    /// as wholes besides.
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate_limit: Option<ByteSize>,
}
