//! Why a node does not start.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Damage, FatalError, SnapshotError};
use crate::log_store::LogError;

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
    #[error(
        "node {node_id} has not been in a cluster yet, and is not among the initial members ({members}): give \
         --node-id, and --initial-member for each of them, this one too"
    )]
    NotInitialMember {
        /// This node.
        node_id: u64,
        /// The initial members.
        members: String,
    },
    /// The cluster knows this node under other addresses.
    #[error(
        "node {node_id} advertises {ours}, and its cluster knows it as {known}, where it would not be found: a \
         member's addresses cannot be changed. Set advertise_raft and advertise_client to what the cluster knows, or \
         replace the node under a new node id, with an empty data directory and `toka serve --join ENDPOINT \
         --replace {node_id}`"
    )]
    AddressDiffers {
        /// This node.
        node_id: u64,
        /// What it was told to advertise.
        ours: String,
        /// What the membership says.
        known: String,
    },
    /// The only voter has moved to where another member is known.
    #[error(
        "node {node_id} advertises {ours}, where its cluster knows node {other}: nobody would find either. Set \
         advertise_raft and advertise_client to addresses of its own"
    )]
    AddressTaken {
        /// This node.
        node_id: u64,
        /// What it was told to advertise.
        ours: String,
        /// The other member.
        other: u64,
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
        /// What was lost, if that is why.
        damage: Option<Damage>,
    },
    /// The cluster runs and knows this node, which has no data.
    #[error(
        "node {node_id} is a member of the running cluster {cluster_id:032x} but its data directory is \
         empty. A node whose volume was wiped may have acknowledged entries that it no longer has, so \
         it cannot return under its old id: replace node {node_id} by this machine under a new id, with \
         `toka serve --join ENDPOINT --replace {node_id}` and without --node-id and --initial-member"
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
         a member; join it under a new id, with `toka serve --join ENDPOINT` and without --node-id \
         and --initial-member"
    )]
    NotAMember {
        /// This node.
        node_id: u64,
        /// The peer that told.
        peer: u64,
        /// Its cluster.
        cluster_id: u128,
    },
    /// The node was removed from its cluster, or its vault was recovered into another directory.
    #[error(
        "{}. Or its vault was recovered elsewhere: if `toka cluster recover` was run with this data directory, start \
         the one that was named with --into, and never this one",
        FatalError::Removed { node_id: *node_id }
    )]
    Removed {
        /// This node.
        node_id: u64,
    },
    /// The node's state differed from that of the others.
    #[error(
        "node {node_id} was found to differ from the other nodes of its cluster, and must not serve: its \
         memory or disk has failed, or there is a bug. Keep its data directory for whoever looks into it, \
         and replace the node: start it with an empty one and `toka serve --join ENDPOINT --replace {node_id}`"
    )]
    Diverged {
        /// This node.
        node_id: u64,
    },
    /// The marker of the data directory is damaged.
    #[error(
        "{source}. It says which node this is and whether it may run, so it must not: replace it under a new \
         node id, with an empty data directory and `toka serve --join ENDPOINT --replace ID`"
    )]
    MarkerDamaged {
        /// What is wrong with it.
        source: toka_ledger::Error,
    },
    /// The Raft log was found to be damaged.
    #[error("{}", Damage::log(*node_id))]
    LogDamaged {
        /// This node.
        node_id: u64,
    },
    /// The ledger is damaged, and there is no other node to take a copy from.
    #[error(
        "the ledger of node {node_id} is damaged, and no other node is known that has a copy of it: {detail}. \
         Keep the data directory for whoever looks into it, and restore the last backup into a new one with \
         `toka restore`"
    )]
    LedgerLost {
        /// This node.
        node_id: u64,
        /// What is damaged.
        detail: String,
    },
    /// Damage of the ledger was found while Raft was started. It is noted.
    #[error("{}", FatalError::LedgerDamaged(Arc::clone(source)))]
    LedgerDamaged {
        /// What is damaged.
        source: Arc<toka_ledger::Error>,
    },
    /// The vault is at a higher feature level than this node knows, or is allowed to.
    #[error(
        "the vault is at feature level {level}; this build knows up to {build}, and this node was started \
         for up to {known}: start it with a build that knows {level} (`toka cluster status` shows which level \
         each node knows), and without a lower --feature-level-max; a vault's level is never lowered"
    )]
    FeatureLevel {
        /// The vault's.
        level: u32,
        /// What this build knows.
        build: u32,
        /// What the node may say that it knows.
        known: u32,
    },
    /// A newer build has written what this one cannot read.
    #[error(
        "a newer build has written what this one does not know: {detail}. Nothing is damaged: start that build again"
    )]
    Newer {
        /// What, and where.
        detail: String,
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
    /// A peer was restored with another vault, or with none.
    #[error(
        "node {node_id} was restored with {ours} and node {peer} with {theirs}; run `toka restore` with \
         the same backup, and the same point in time, for every initial member"
    )]
    VaultsDiffer {
        /// This node.
        node_id: u64,
        /// The peer.
        peer: u64,
        /// What this node begins with.
        ours: String,
        /// What the peer begins with.
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
    /// The data directory cannot be opened.
    #[must_use]
    pub fn directory(error: toka_ledger::Error) -> Self {
        match error.is_damage() {
            true => Self::MarkerDamaged { source: error },
            false => error.into(),
        }
    }

    /// The snapshots cannot be opened.
    pub(crate) fn snapshot(error: SnapshotError) -> Self {
        match error.is_newer() {
            true => Self::Newer {
                detail: error.to_string(),
            },
            false => Self::Snapshot {
                source: Box::new(error),
            },
        }
    }

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
