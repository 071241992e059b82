//! Flags of `toka commit`, `toka import` and `toka export`.

use std::path::PathBuf;

use clap::Args;
use toka_proto::convert::coordination::Token;

use super::coordination::parse_delivery;
use super::place::{CursorWay, parse_cursor_way, parse_history, parse_named_sequence};
use super::{Embed, Filter, parse_pair};

#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// What the event is about, such as auth.login.
    pub(crate) kind: String,
    /// The payload as JSON; - reads it from standard input [default: null].
    #[arg(conflicts_with = "file")]
    pub(crate) payload: Option<String>,
    /// Read the payload from a file.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Store the payload's bytes as they are, instead of JSON as MessagePack.
    #[arg(long)]
    pub(crate) raw: bool,
    /// An event that this one depends on, by id, sequence or digest; may be repeated.
    #[arg(long, short = 'p', value_name = "EVENT")]
    pub(crate) parent: Vec<String>,
    /// Who emits the event.
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
    /// Media type of the payload.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// An attribute; may be repeated.
    #[arg(long, short = 'a', value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) attribute: Vec<(String, String)>,
    /// Makes a repeat an event of its own: up to 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", conflicts_with = "unique")]
    pub(crate) salt: Option<String>,
    /// Store the event even if the same one is stored already (with a random salt).
    #[arg(long)]
    pub(crate) unique: bool,
    /// The embedding as a JSON array of numbers, or @FILE that holds one; nothing is embedded then.
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) embedding: Option<String>,
    /// Model that made the embedding; a vault refuses those of another model than its own.
    #[arg(long, value_name = "NAME", requires = "embedding")]
    pub(crate) embedding_model: Option<String>,
    #[command(flatten)]
    pub(crate) embed: Embed,
    /// Only if the parent has no child of the kind yet (a claim).
    #[arg(long, value_name = "EVENT=KIND", value_parser = parse_pair)]
    pub(crate) no_child: Vec<(String, String)>,
    /// Only if the last event of the kind is at this sequence (0: there is none).
    #[arg(long, value_name = "KIND=SEQUENCE", value_parser = parse_named_sequence)]
    pub(crate) kind_sequence: Vec<(String, u64)>,
    /// Only if the last event whose kind begins with the prefix is at this sequence (0: there is none).
    #[arg(long, value_name = "PREFIX=SEQUENCE", value_parser = parse_named_sequence)]
    pub(crate) prefix_sequence: Vec<(String, u64)>,
    /// Acknowledge a delivery together with the commit (`toka group pull`), or do neither.
    #[arg(long, value_name = "GROUP=TOKEN", value_parser = parse_delivery)]
    pub(crate) acknowledge: Vec<(String, Token)>,
    /// Only if the vault's time has passed this, milliseconds since 1970.
    #[arg(long, value_name = "UNIX_MS")]
    pub(crate) time_passed: Option<u64>,
    /// Move a cursor together with the commit.
    #[arg(long, value_name = "NAME=FROM:TO", value_parser = parse_cursor_way)]
    pub(crate) cursor: Vec<CursorWay>,
    /// The history that the cursor's positions are of (`history_id`); refused if the vault has another one.
    #[arg(long, value_name = "ID", value_parser = parse_history, requires = "cursor")]
    pub(crate) history: Option<u128>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// JSON Lines with `kind` and, as wanted, `ref`, `parents` (by ref, id or digest),
    /// `payload`, `embedding`, `embedding_model`, `salt`, `source`, `content_type`, `attributes`; -
    /// for standard input. With an embedder, lines without `embedding` get one.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// At most so many events a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// At most so many commits without an answer.
    #[arg(long, default_value_t = 512, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,
    #[command(flatten)]
    pub(crate) embed: Embed,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where to write; - for standard output.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Only events after this sequence.
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    pub(crate) after: u64,
    /// Only events up to this sequence.
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) until: Option<u64>,
    /// Leave embeddings out.
    #[arg(long)]
    pub(crate) no_embedding: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
}
