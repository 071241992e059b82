//! What can go wrong in a node, as its server and its callers see it.

mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;

use toka_ledger::engine::EngineError;
use toka_ledger::read::Position;

use crate::codec::DecodeError;
use crate::log_store::LogError;
use crate::type_config::Leader;

pub use self::snapshot::SnapshotError;

/// Why a node cannot start, or cannot form or join its cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// openraft refuses the timing.
    #[error("the configuration is not valid: {source}")]
    Config {
        /// Why.
        source: Box<openraft::ConfigError>,
    },
    /// This node is not among the initial members.
    #[error("node {node_id} is not among the initial members {members}; add it to the list")]
    NotInitialMember {
        /// This node.
        node_id: u64,
        /// The initial members.
        members: String,
    },
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] toka_ledger::Error),
    /// The Raft log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Raft's state cannot be recovered.
    #[error("Raft cannot be started: {reason}")]
    Raft {
        /// What openraft said.
        reason: String,
    },
    /// A file or directory of the node's own failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The snapshots cannot be opened.
    #[error(transparent)]
    Snapshot {
        /// Why.
        source: Box<SnapshotError>,
    },
    /// Threads could not be started.
    #[error("cannot start Raft's threads")]
    Threads {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Parts of the data directory do not belong together.
    #[error("the data directory {} contradicts itself: {detail}", path.display())]
    Contradiction {
        /// The data directory.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The cluster runs and knows this node, which has no data.
    #[error(
        "node {node_id} is a member of the running cluster {cluster_id:032x} but its data directory is \
         empty. A node whose volume was wiped may have acknowledged entries that it no longer has, so \
         it cannot return under its old id: remove node {node_id} from the cluster and add this \
         machine under a new id"
    )]
    WipedVolume {
        /// This node.
        node_id: u64,
        /// The cluster, as a peer told.
        cluster_id: u128,
    },
    /// The cluster runs and does not know this node.
    #[error(
        "peer {peer} belongs to the running cluster {cluster_id:032x}, of which node {node_id} is not \
         a member; add the node to the cluster first"
    )]
    NotAMember {
        /// This node.
        node_id: u64,
        /// The peer that told.
        peer: u64,
        /// Its cluster.
        cluster_id: u128,
    },
    /// A peer has other initial members.
    #[error(
        "node {node_id} and node {peer} were given different initial members: {ours} here, {theirs} \
         there; they must be the same on every node"
    )]
    MembersDiffer {
        /// This node.
        node_id: u64,
        /// The peer.
        peer: u64,
        /// This node's list.
        ours: String,
        /// The peer's list.
        theirs: String,
    },
    /// A peer belongs to another cluster.
    #[error("node {peer} belongs to cluster {theirs:032x}, this node to cluster {ours:032x}")]
    OtherCluster {
        /// The peer.
        peer: u64,
        /// This node's cluster.
        ours: u128,
        /// The peer's cluster.
        theirs: u128,
    },
    /// An endpoint of the initial members is none.
    #[error(transparent)]
    Endpoint(#[from] crate::transport::InvalidEndpoint),
    /// The node was stopped meanwhile.
    #[error("the node was stopped before its cluster had formed")]
    Stopped,
}

impl StartError {
    /// For `map_err`: a failure of `action` on `path`.
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

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
    /// The commit is none that nodes could read back; nothing was proposed.
    #[error(transparent)]
    Invalid(#[from] toka_ledger::Invalid),
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopped,
}

impl CommitError {
    /// Whether the same commit may succeed later, here or on another node.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::Overloaded { .. } | Self::Unknown | Self::Stopped => {
                true
            }
            Self::TooLarge { .. } | Self::Invalid(_) => false,
        }
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
    #[error("revision {revision} is not in the vault, which is at {}", position.revision)]
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
    /// There is no such voter, or no other one.
    #[error("there is no other voter to hand leadership to")]
    NoCandidate,
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
    /// The ledger cannot be written or read, or is damaged.
    #[error("the ledger has failed: {0}")]
    Ledger(Arc<toka_ledger::Error>),
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
    /// The cluster cannot be formed or joined.
    #[error("{0}")]
    Start(Arc<StartError>),
    /// A bug: an assumption of this program does not hold.
    #[error("a thread that applies entries has panicked; see the message before")]
    Panic,
    /// openraft has stopped.
    #[error("Raft has stopped: {0}")]
    Raft(String),
}

impl From<toka_ledger::Error> for FatalError {
    fn from(error: toka_ledger::Error) -> Self {
        Self::Ledger(Arc::new(error))
    }
}

impl From<EngineError> for FatalError {
    fn from(error: EngineError) -> Self {
        Self::Ledger(Arc::new(error.into()))
    }
}

impl From<Arc<LogError>> for FatalError {
    fn from(error: Arc<LogError>) -> Self {
        Self::Log(error)
    }
}

impl From<SnapshotError> for FatalError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(Arc::new(error))
    }
}

/// openraft takes storage errors as `io::Error`.
impl From<FatalError> for std::io::Error {
    fn from(error: FatalError) -> Self {
        Self::other(error)
    }
}
