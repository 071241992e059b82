//! Why a change of the membership is not made.

use crate::limits::{LEARNERS_MAX, VOTERS_MAX};
use crate::type_config::Leader;

/// Why a change of the membership was not made, or is not known to have been. It can be repeated in
/// any case: what has been done already is found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another node leads, or none; nothing was changed.
    #[error("this node is not the leader")]
    NotLeader {
        /// The leader, where one is known.
        leader: Option<Leader>,
    },
    /// Changes are made one at a time, and another one takes long.
    #[error(
        "another change of the membership is in progress ({change}); try again when it is done"
    )]
    Busy {
        /// The other one.
        change: String,
    },
    /// There is no such member.
    #[error("there is no node {node_id} in the cluster")]
    UnknownNode {
        /// As it was named.
        node_id: u64,
    },
    /// A cluster without voters cannot be.
    #[error("node {node_id} is the last voter: a cluster cannot be without one")]
    LastVoter {
        /// The node.
        node_id: u64,
    },
    /// Those that would be left could not agree on anything.
    #[error(
        "without node {node_id} only {reachable} of {voters} voters would be reachable, which is no \
         majority; bring back or replace {} first, or force it",
        list(unreachable)
    )]
    NoQuorum {
        /// The node that was to go.
        node_id: u64,
        /// Voters that would be left,
        voters: usize,
        /// and how many of them the leader can reach.
        reachable: usize,
        /// The others.
        unreachable: Vec<u64>,
    },
    /// A node that is to vote must be there to catch up.
    #[error(
        "node {node_id} does not answer, and could not catch up: nothing is changed. Start it again first, or remove it \
         with `toka cluster remove {node_id}`"
    )]
    Unreachable {
        /// The node.
        node_id: u64,
    },
    /// A node that is to vote, as was asked for before, is not there to catch up.
    #[error(
        "node {node_id} does not answer: what was asked for before stays asked for, and is done once it has been started \
         again and has caught up. To take it back, remove it with `toka cluster remove {node_id}`"
    )]
    Awaited {
        /// The node.
        node_id: u64,
    },
    /// Two members cannot have one address.
    #[error(
        "{endpoint} is the address of node {node_id}, which is a member. If the new node has taken its \
         place, say so with --replace {node_id}: a node whose volume was wiped may have acknowledged \
         what it no longer has, and cannot come back under its old id"
    )]
    EndpointTaken {
        /// The address.
        endpoint: String,
        /// Whose it is.
        node_id: u64,
    },
    /// The only voter has moved to an address that another member has, so that its membership cannot say where it is.
    #[error(
        "node {node_id} is known at {known}, and is at {advertised}, an address of another member: a new node would not \
         find it. Start node {node_id} with addresses of its own first"
    )]
    Elsewhere {
        /// The only voter.
        node_id: u64,
        /// Where it is known.
        known: String,
        /// Where it says that it is.
        advertised: String,
    },
    /// The node takes the place of another one already.
    #[error("node {node_id} is to be replaced by node {by} already")]
    ReplacedAlready {
        /// The node to replace.
        node_id: u64,
        /// The one that does.
        by: u64,
    },
    /// The node cannot do that to itself.
    #[error("node {node_id} cannot replace itself")]
    ReplacesItself {
        /// The node.
        node_id: u64,
    },
    /// Only a learner can take a voter's place.
    #[error("node {node_id} votes already; a learner can take another node's place")]
    NotALearner {
        /// The node.
        node_id: u64,
    },
    /// There are as many voters as there may be.
    #[error(
        "voters: the cluster has {voters}, with those that are to become voters; at most {VOTERS_MAX} are allowed"
    )]
    TooManyVoters {
        /// Voters, and learners that are to vote.
        voters: usize,
    },
    /// There are as many learners as there may be.
    #[error("learners: the cluster has {learners}; at most {LEARNERS_MAX} are allowed")]
    TooManyLearners {
        /// Learners.
        learners: usize,
    },
    /// A new node could not apply what the vault is made of.
    #[error(
        "the vault is at feature level {level}, and the new node knows up to {known}: start it with a build \
         that knows {level}, and without a lower --feature-level-max"
    )]
    FeatureLevel {
        /// The highest level that the new node knows.
        known: u32,
        /// The vault's.
        level: u32,
    },
    /// An address is none.
    #[error(transparent)]
    Endpoint(#[from] crate::transport::InvalidEndpoint),
    /// Leadership could not be handed over before the leader is removed.
    #[error("leadership cannot be handed over: {0}")]
    Transfer(#[from] super::TransferError),
    /// The leader changed, or did not get an answer: what became of the change is not known.
    #[error("the change was interrupted ({reason}); it is safe to repeat it")]
    Interrupted {
        /// By what.
        reason: String,
    },
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopped,
}

/// For messages: `node 3`, or `nodes 3, 4`.
fn list(ids: &[u64]) -> String {
    let all: Vec<_> = ids.iter().map(u64::to_string).collect();
    match all.as_slice() {
        [one] => format!("node {one}"),
        all => format!("nodes {}", all.join(", ")),
    }
}
