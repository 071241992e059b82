//! The types that openraft is instantiated with, and short names for them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use openraft::type_config::alias;

openraft::declare_raft_types!(
    /// openraft's parameters: what is replicated, what comes back, who takes part.
    ///
    /// The leader id is openraft's default, `leader_id_adv`: several leaders may exist in a term, so
    /// a log id is (term, node id, index) and all three are kept on disk and on the wire.
    pub TypeConfig:
        D = Commands,
        R = Applied,
        NodeId = u64,
        Node = Member,
);

/// Identity of a log entry: term, node id of the leader that proposed it, index.
pub type LogId = alias::LogIdOf<TypeConfig>;
/// Term and node id of a leader.
pub type LeaderId = alias::LeaderIdOf<TypeConfig>;
/// The highest leader that a node has promised to follow.
pub type Vote = alias::VoteOf<TypeConfig>;
/// One entry of the Raft log.
pub type Entry = alias::EntryOf<TypeConfig>;
/// What an entry carries.
pub type EntryPayload = alias::EntryPayloadOf<TypeConfig>;
/// Voters and learners, with their addresses.
pub type Membership = openraft::Membership<u64, Member>;
/// A membership and the log id of the entry that set it.
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
/// Completion of an append, reported to openraft.
pub type IoFlushed = openraft::storage::IOFlushed<TypeConfig>;
/// First and last position of the log, as openraft asks for them.
pub type LogState = openraft::storage::LogState<TypeConfig>;

/// One encoded batch of ledger commands: what a Raft entry replicates.
///
/// It is encoded once, by the proposer; log, network and followers pass the same bytes on.
#[derive(Clone, PartialEq, Eq)]
pub struct Commands(pub Bytes);

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the length: openraft logs entries, and payloads must not reach a log file.
        write!(f, "Commands({} bytes)", self.0.len())
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying one entry gave: one outcome per command of the batch, in its order.
///
/// Empty for entries that carry no commands.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// One outcome per command.
    pub outcomes: Vec<toka_ledger::Outcome>,
    /// From when to when this node applied it, together with those that were there as well.
    pub during: Option<(Instant, Instant)>,
}

/// Where a member of the cluster can be reached, and how it came to be one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Advertised `host:port` for other nodes.
    pub raft_endpoint: String,
    /// Advertised `host:port` for clients.
    pub client_endpoint: String,
    /// How it joined; absent of a member that formed the cluster.
    pub joined: Option<Joined>,
}

impl Member {
    /// A member that is to form a cluster.
    #[must_use]
    pub fn new(raft_endpoint: impl Into<String>, client_endpoint: impl Into<String>) -> Self {
        Self {
            raft_endpoint: raft_endpoint.into(),
            client_endpoint: client_endpoint.into(),
            joined: None,
        }
    }

    /// Whether it has these addresses.
    pub(crate) fn is_at(&self, raft_endpoint: &str, client_endpoint: &str) -> bool {
        self.raft_endpoint == raft_endpoint && self.client_endpoint == client_endpoint
    }

    /// The member whose place it takes, or has taken.
    pub(crate) fn replaces(&self) -> Option<u64> {
        self.joined.and_then(|joined| joined.replaces)
    }
}

/// What a node asked for when it joined. It is kept with the member, so that a request which is
/// repeated is recognised, and a leader that takes over knows what is left to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What the node asked with.
    pub token: u128,
    /// Whether it is to vote, once it has caught up.
    pub votes: bool,
    /// The member that it takes the place of.
    pub replaces: Option<u64>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "raft {} client {}",
            self.raft_endpoint, self.client_endpoint
        )
    }
}

/// The leader, as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its node id.
    pub node_id: u64,
    /// Its addresses. Shared: each call of a client copies this.
    pub member: Arc<Member>,
    /// The term in which it leads.
    pub term: u64,
}
