//! Flags of `toka get`, `toka log` and `toka watch`.

use clap::Args;
use toka_server::config::ByteSize;

use super::place::{From, Until, parse_history, parse_start, parse_time, parse_until};
use super::{Filter, Read};

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Id, sequence or digest.
    pub(crate) event: String,
    /// Show the embedding too.
    #[arg(long)]
    pub(crate) embedding: bool,
    /// Write only the payload's bytes.
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) read: Read,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Only events after this sequence.
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    pub(crate) after: u64,
    /// Only events from this time on, such as 2026-11-27T09:30:00Z or 15m (ago).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<u64>,
    /// Only events up to this sequence, or up to this time.
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = parse_until)]
    pub(crate) until: Option<Until>,
    /// At most so many events [default: 20 on a terminal, else all].
    #[arg(long, short = 'n', value_name = "N",
          conflicts_with_all = ["page_size", "page_token", "max_bytes"])]
    pub(crate) limit: Option<u64>,
    /// Newest first.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Leave payloads out.
    #[arg(long)]
    pub(crate) no_payload: bool,
    /// Show the embeddings too.
    #[arg(long)]
    pub(crate) embedding: bool,
    #[command(flatten)]
    pub(crate) paging: Paging,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) read: Read,
}

/// One page of a list, in place of all of it.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// Show one page of at most so many events, and the token that asks for the next one [default of a page: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) page_size: Option<u32>,
    /// Show the page that this token asks for; range, filter and order must be those of the page before.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) page_token: Option<String>,
    /// Show one page of at most so many bytes of events; one comes whatever its size [default of a page, and the most:
    /// 4MiB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_bytes: Option<ByteSize>,
}

impl Paging {
    /// Whether a page was asked for.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.page_size.is_some() || self.page_token.is_some() || self.max_bytes.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// beginning, now, the sequence after which to begin, or the time from which on.
    #[arg(long, default_value = "now", value_parser = parse_start, value_name = "WHERE")]
    pub(crate) from: From,
    /// Begin after the place of this cursor.
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub(crate) from_cursor: Option<String>,
    /// The history that the sequences are of (`history_id` of the JSON lines); refused if the vault has
    /// another one by now, since it was restored or recovered.
    #[arg(long, value_name = "ID", value_parser = parse_history)]
    pub(crate) history: Option<u128>,
    /// Stop when this sequence is reached.
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) until: Option<u64>,
    /// Leave payloads out.
    #[arg(long)]
    pub(crate) no_payload: bool,
    /// Show the embeddings too.
    #[arg(long)]
    pub(crate) embedding: bool,
    /// Show too how far it has come: `checkpoint`, `caught_up` and `fell_behind`.
    #[arg(long)]
    pub(crate) status: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
}
