//! What can go wrong in a node, as its server and its callers see it.

mod beyond;
mod change;
mod damage;
mod disk_full;
pub(crate) mod snapshot;
mod start;

use std::path::PathBuf;
use std::sync::Arc;

use toka_ledger::engine::EngineError;
use toka_ledger::read::Position;

use crate::amount::Amount;
use crate::codec::DecodeError;
use crate::log_store::LogError;
use crate::type_config::Leader;

pub use self::change::ChangeError;
pub use self::damage::Damage;
pub use self::snapshot::SnapshotError;
pub use self::start::StartError;

/// Why a commit has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Another node leads, or none; nothing was proposed.
    #[error("this node is not the leader{}", known(leader.as_ref()))]
    NotLeader {
        /// The leader, where one is known.
        leader: Option<Leader>,
    },
    /// Too much is queued; nothing was proposed.
    #[error("the node is overloaded; try again in {retry_after_ms} ms")]
    Overloaded {
        /// When to try again, milliseconds.
        retry_after_ms: u64,
    },
    /// The disk of the node that leads is nearly full; nothing was proposed.
    #[error(
        "the disk of the leader is nearly full: {} are free, {} are kept free; reads go on, and commits when there \
         is room again",
        Amount(*free_bytes),
        Amount(*reserve_bytes)
    )]
    DiskFull {
        /// Bytes that can still be written.
        free_bytes: u64,
        /// Bytes that are kept free.
        reserve_bytes: u64,
    },
    /// The disks of followers are so full that no majority could take the commit; nothing was proposed.
    #[error(
        "the disks of nodes {nodes:?} are nearly full, and no majority is left without them; reads go on, and \
         commits when there is room again"
    )]
    DisksFull {
        /// The nodes.
        nodes: Vec<u64>,
    },
    /// The clock of the node that leads is ahead of those of the others, or they could not be compared;
    /// nothing was proposed. Another node takes over.
    #[error("{}", clock(*ahead_ms))]
    Clock {
        /// How far, milliseconds; 0: not known.
        ahead_ms: u64,
    },
    /// The commit may have been applied, or may still be. Trying again is safe: what was applied is
    /// found by its digest.
    #[error("the commit's fate is unknown (leader changed or timed out); it is safe to repeat it")]
    Unknown,
    /// The commit is larger than an entry may be.
    #[error("the commit has {bytes} bytes encoded; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not every member could read the commit yet; nothing was proposed.
    #[error(
        "the commit needs feature level {needed}, and the vault is at {level}: it rises by itself once every \
         member runs a build that knows it"
    )]
    FeatureLevel {
        /// Needed by the commit.
        needed: u32,
        /// The vault's.
        level: u32,
    },
    /// The ledger could not be read; nothing was proposed.
    #[error("the vault's settings cannot be read: {reason}")]
    Settings {
        /// Why.
        reason: String,
    },
    /// The commit is none that nodes could read back; nothing was proposed.
    #[error(transparent)]
    Invalid(#[from] toka_ledger::Invalid),
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopped,
}

impl CommitError {
    /// Every [`CommitError::reason`].
    pub const REASONS: [&'static str; 11] = [
        "not_leader",
        "overloaded",
        "disk_full",
        "disks_full",
        "clock",
        "unknown",
        "too_large",
        "feature_level",
        "settings",
        "invalid",
        "stopped",
    ];

    /// In a word, for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "not_leader",
            Self::Overloaded { .. } => "overloaded",
            Self::DiskFull { .. } => "disk_full",
            Self::DisksFull { .. } => "disks_full",
            Self::Clock { .. } => "clock",
            Self::Unknown => "unknown",
            Self::TooLarge { .. } => "too_large",
            Self::FeatureLevel { .. } => "feature_level",
            Self::Settings { .. } => "settings",
            Self::Invalid(_) => "invalid",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the same commit may succeed later, here or on another node.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. }
            | Self::Overloaded { .. }
            | Self::Clock { .. }
            | Self::Unknown
            | Self::Stopped => true,
            Self::DiskFull { .. }
            | Self::DisksFull { .. }
            | Self::FeatureLevel { .. }
            | Self::Settings { .. }
            | Self::TooLarge { .. }
            | Self::Invalid(_) => false,
        }
    }
}

fn clock(ahead_ms: u64) -> String {
    match ahead_ms {
        0 => "the leader could not compare its clock with those of a quorum in time".to_owned(),
        ahead_ms => format!(
            "the clock of the leader is {ahead_ms} ms ahead of the median of the voters': it takes no commits, \
             and hands over"
        ),
    }
}

fn known(leader: Option<&Leader>) -> String {
    leader.map_or_else(String::new, |leader| {
        format!(", node {} is", leader.node_id)
    })
}

/// Why a read cannot be served at the wanted consistency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The node did not catch up before the deadline.
    #[error("the node is at revision {}, behind what the read needs", position.revision)]
    Behind {
        /// Where the node is.
        position: Position,
    },
    /// No leader confirmed a read index before the deadline.
    #[error("no leader confirmed the read before the deadline")]
    NoLeader {
        /// Where the node is.
        position: Position,
    },
    /// The vault has not got that far, as the leader has confirmed.
    #[error("revision {revision} is not in the vault, whose revisions go from 1 to {}", position.revision)]
    OutOfRange {
        /// What was asked for.
        revision: u64,
        /// Where the vault is.
        position: Position,
    },
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopped,
}

impl ReadError {
    /// Whether the same read may succeed later, here or on another node.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Behind { .. } | Self::NoLeader { .. } | Self::Stopped => true,
            Self::OutOfRange { .. } => false,
        }
    }
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Another node leads, or none.
    #[error("this node is not the leader")]
    NotLeader {
        /// The leader, where one is known.
        leader: Option<Leader>,
    },
    /// There is no such member.
    #[error("there is no node {node_id} in the cluster")]
    UnknownNode {
        /// As it was named.
        node_id: u64,
    },
    /// Whoever leads has to vote.
    #[error("node {node_id} is a learner and cannot lead; promote it first")]
    Learner {
        /// As it was named.
        node_id: u64,
    },
    /// It is down, or cut off.
    #[error("node {node_id} cannot be reached, so that it cannot lead")]
    Unreachable {
        /// As it was named.
        node_id: u64,
    },
    /// There is no other voter.
    #[error("there is no other voter to hand leadership to")]
    NoCandidate,
    /// The other node does not have the whole log, so nobody would vote for it.
    #[error("node {to} cannot take over: it still lacks {lacks} entries of the Raft log")]
    Behind {
        /// The node.
        to: u64,
        /// How many entries.
        lacks: u64,
    },
    /// The other node did not take over in time.
    #[error("node {to} did not take over in time")]
    TimedOut {
        /// The node.
        to: u64,
    },
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopped,
}

/// Why a node must stop. The process exits non-zero with this message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatalError {
    /// The Raft log cannot be written or read.
    #[error("the Raft log has failed: {0}")]
    Log(Arc<LogError>),
    /// The ledger cannot be written or read.
    #[error("the ledger has failed: {0}")]
    Ledger(Arc<toka_ledger::Error>),
    /// Stored data of the ledger is not what was written.
    #[error(
        "the ledger is damaged: {0}. The node must not serve it; started again it takes a copy from another \
         node of its cluster"
    )]
    LedgerDamaged(Arc<toka_ledger::Error>),
    /// A committed entry cannot be read: it was damaged, or a newer version wrote it.
    #[error("log entry {index} cannot be applied: {source}")]
    Entry {
        /// The entry's index.
        index: u64,
        /// What is wrong.
        source: toka_ledger::codec::DecodeError,
    },
    /// Entries that are to be applied do not follow on those that are.
    #[error("log entry {expected} is missing: {found} came in its place")]
    Gap {
        /// Index of the entry that is next.
        expected: u64,
        /// Index of the entry that came.
        found: u64,
    },
    /// What this node stored about Raft cannot be read.
    #[error("stored Raft state cannot be read: {0}")]
    State(#[from] DecodeError),
    /// A snapshot cannot be made or installed.
    #[error("snapshot: {0}")]
    Snapshot(Arc<SnapshotError>),
    /// Something did not fit on the disk. What the node had acknowledged was on it before.
    #[error(
        "the disk is full: {} cannot be written: {reason}. Make room there and start the node again: nothing \
         that was acknowledged is lost",
        path.display()
    )]
    DiskFull {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system or the storage engine says.
        reason: String,
    },
    /// The cluster cannot be formed or joined.
    #[error("{0}")]
    Start(Arc<StartError>),
    /// The node was removed from its cluster.
    #[error(
        "node {node_id} was removed from its cluster, for good: its id is not used again. To bring this \
         machine back, empty its data directory and start it with `toka serve --join ENDPOINT`"
    )]
    Removed {
        /// This node.
        node_id: u64,
    },
    /// The state of this node differs from that of a majority of the voters.
    #[error(
        "the state after event {sequence} differs from that of a majority of the voters. {}",
        StartError::Diverged { node_id: *node_id }
    )]
    Diverged {
        /// This node.
        node_id: u64,
        /// Sequence of the event after which the states were compared.
        sequence: u64,
    },
    /// A bug: an assumption of this program does not hold.
    #[error("a thread that applies entries has panicked; see the message before")]
    Panic,
    /// openraft has stopped.
    #[error("Raft has stopped: {0}")]
    Raft(String),
}

impl From<toka_ledger::Error> for FatalError {
    fn from(error: toka_ledger::Error) -> Self {
        if let Some(full) = disk_full::of_ledger(&error) {
            return full;
        }
        match error.is_damage() {
            true => Self::LedgerDamaged(Arc::new(error)),
            false => Self::Ledger(Arc::new(error)),
        }
    }
}

impl From<EngineError> for FatalError {
    fn from(error: EngineError) -> Self {
        toka_ledger::Error::from(error).into()
    }
}

impl From<Arc<LogError>> for FatalError {
    fn from(error: Arc<LogError>) -> Self {
        disk_full::of_log(&error).unwrap_or(Self::Log(error))
    }
}

impl From<SnapshotError> for FatalError {
    fn from(error: SnapshotError) -> Self {
        if let Some(full) = disk_full::of_snapshot(&error) {
            return full;
        }
        match error {
            // Of a copy that was made of the ledger.
            SnapshotError::Ledger(error) if error.is_damage() => error.into(),
            error => Self::Snapshot(Arc::new(error)),
        }
    }
}

/// openraft takes storage errors as `io::Error`.
impl From<FatalError> for std::io::Error {
    fn from(error: FatalError) -> Self {
        Self::other(error)
    }
}
