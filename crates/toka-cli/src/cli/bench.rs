//! Flags of `toka bench`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::dev::parse_nodes;
use super::{BenchIntents, Consistency, parse_consistency};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Commit events and report throughput and latency.
    Commit(BenchCommit),
    /// Get events by id, one or several with a call.
    Get(BenchGet),
    /// List pages of events.
    List(BenchList),
    /// Follow events while they are committed, or from the beginning.
    Subscribe(BenchSubscribe),
    /// Let the consumers of groups pull and acknowledge events while they are committed.
    Groups(BenchGroups),
    /// Kill, stop or change the leader of a cluster of its own, and report how long nothing is acknowledged.
    Failover(BenchFailover),
    /// Start a node of a cluster of its own again, and report how long it takes.
    Restart(BenchRestart),
    /// Import events from JSON Lines.
    Import(BenchImport),
    /// Commit to an embedded vault, and write the same to bare RocksDB.
    Embedded(BenchEmbedded),
    /// Run a stream of vectors through an embedded vault and report how it groups them.
    Intents(BenchIntents),
}

/// Which cluster is measured.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Start a cluster for it: processes of this binary on loopback, with an empty vault, which are stopped and removed
    /// afterwards. Then what the nodes spend is reported too.
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) own: OwnNodes,
}

/// A cluster that a benchmark starts.
#[derive(Debug, Args)]
pub(crate) struct OwnNodes {
    /// How many nodes a cluster has that is started: 1, 3, 5 or 7.
    #[arg(long, default_value_t = 3, value_parser = parse_nodes)]
    pub(crate) nodes: u64,
    /// Where it puts its data for the time being [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// A further argument of `toka serve` for each node, such as --node-argument=--state-check-interval=1s; may be
    /// repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) node_argument: Vec<OsString>,
}

/// How much, how fast, for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadShape {
    /// Concurrent clients (unary), or commits in flight over all streams (stream).
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How long.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Not counted before that.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,
    /// So many calls a second, all clients together, each due at a time that is fixed before. Latencies count from
    /// there, also where a call had to wait for those before it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
}

/// What is committed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct EventShape {
    /// Size of each payload, of bytes that cannot be compressed.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(24..=1_048_576))]
    pub(crate) payload_bytes: u32,
    /// Dimension of each embedding; 0 for none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub(crate) dim: u16,
}

/// How commits are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// One call an event.
    Unary,
    /// One call for --batch-events of them.
    Batch,
    /// Streams of commits, one event each.
    Stream,
}

#[derive(Debug, Args)]
pub(crate) struct BenchCommit {
    #[command(flatten)]
    pub(crate) load: LoadShape,
    #[command(flatten)]
    pub(crate) events: EventShape,
    /// How commits are sent.
    #[arg(long, value_enum, default_value_t = Mode::Unary)]
    pub(crate) mode: Mode,
    /// Events of one call (batch).
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch_events: u32,
    /// Wait for so long after the load, and count what the nodes spend meanwhile too (--local): compaction.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

/// What is there to be read.
#[derive(Debug, Args)]
pub(crate) struct Stock {
    /// Commit events before, until the vault has so many.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub(crate) fill_events: u64,
    #[command(flatten)]
    pub(crate) events: EventShape,
    /// Read the embeddings too.
    #[arg(long)]
    pub(crate) embedding: bool,
    /// Read headers alone.
    #[arg(long)]
    pub(crate) no_payload: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchGet {
    #[command(flatten)]
    pub(crate) load: LoadShape,
    #[command(flatten)]
    pub(crate) stock: Stock,
    /// Events of one call.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch_events: u32,
    /// local or linearizable.
    #[arg(long, default_value = "local", value_parser = parse_consistency)]
    pub(crate) consistency: Consistency,
    /// Ask one follower alone (one event a call).
    #[arg(long)]
    pub(crate) follower: bool,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

#[derive(Debug, Args)]
pub(crate) struct BenchList {
    #[command(flatten)]
    pub(crate) load: LoadShape,
    #[command(flatten)]
    pub(crate) stock: Stock,
    /// Events of a page.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) page_events: u32,
    /// local or linearizable.
    #[arg(long, default_value = "local", value_parser = parse_consistency)]
    pub(crate) consistency: Consistency,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

#[derive(Debug, Args)]
pub(crate) struct BenchSubscribe {
    /// How many follow.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) subscribers: u32,
    #[command(flatten)]
    pub(crate) load: LoadShape,
    #[command(flatten)]
    pub(crate) events: EventShape,
    /// Commit so many events before, start a node of the cluster again (--local), and follow from the beginning there;
    /// nothing is committed meanwhile.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) catch_up: Option<u64>,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

#[derive(Debug, Args)]
pub(crate) struct BenchGroups {
    /// How many groups there are; each gets every event.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) groups: u32,
    /// How many consumers share each group.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) consumers: u32,
    /// Events that a consumer pulls at once, and acknowledges at once.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) pull_events: u32,
    /// Events of a group that are outstanding at most.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) unacknowledged: u32,
    #[command(flatten)]
    pub(crate) load: LoadShape,
    #[command(flatten)]
    pub(crate) events: EventShape,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

/// What happens to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Incident {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// Leadership is handed to another node.
    Transfer,
}

#[derive(Debug, Args)]
pub(crate) struct BenchFailover {
    /// How often.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    /// What happens to the leader.
    #[arg(long, value_enum, default_value_t = Incident::Kill)]
    pub(crate) incident: Incident,
    /// Clients that commit meanwhile.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    #[command(flatten)]
    pub(crate) events: EventShape,
    #[command(flatten)]
    pub(crate) own: OwnNodes,
}

#[derive(Debug, Args)]
pub(crate) struct BenchRestart {
    /// Events that the vault has.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) fill_events: u64,
    #[command(flatten)]
    pub(crate) events: EventShape,
    /// How often.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    /// SIGKILL instead of SIGTERM.
    #[arg(long)]
    pub(crate) kill: bool,
    #[command(flatten)]
    pub(crate) own: OwnNodes,
}

#[derive(Debug, Args)]
pub(crate) struct BenchImport {
    /// How many.
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) import_events: u64,
    #[command(flatten)]
    pub(crate) events: EventShape,
    /// Commits without an answer.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

/// How an embedded vault is committed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmbeddedMode {
    /// Concurrent committers, one event each.
    Unary,
    /// Concurrent committers, --batch-events each.
    Batch,
}

#[derive(Debug, Args)]
pub(crate) struct BenchEmbedded {
    #[command(flatten)]
    pub(crate) load: LoadShape,
    #[command(flatten)]
    pub(crate) events: EventShape,
    /// How commits are made.
    #[arg(long, value_enum, default_value_t = EmbeddedMode::Unary)]
    pub(crate) mode: EmbeddedMode,
    /// Events of one commit (batch).
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch_events: u32,
    /// Instead, commit in batches until there are so many events, and report each tenfold from ten thousand on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10_000..))]
    pub(crate) grow_to: Option<u64>,
    /// Where the vault is put for the time being [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}
