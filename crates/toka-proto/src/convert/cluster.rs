//! State of the cluster, as clients see it.

use toka_ledger::{Digest, Invalid};

use super::ident;
use super::read::Header;
use crate::v1;

/// State of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStatus {
    /// State of the node that answered.
    pub header: Header,
    /// The leader's node id, if one is known.
    pub leader_id: Option<u64>,
    /// The vault's settings; absent before its creation.
    pub settings: Option<v1::VaultSettings>,
    /// All members, by node id.
    pub nodes: Vec<NodeStatus>,
    /// Who takes part, as the leader knows it, or else the node that answered.
    pub membership: v1::Membership,
    /// What needs an operator.
    pub alarms: Vec<v1::Alarm>,
    /// The cluster that this one goes on from, after that had lost its quorum.
    pub recovered_from: Option<RecoveredFrom>,
}

/// Where a vault was when it went on as a new cluster, from what one node had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredFrom {
    /// The cluster that was lost.
    pub cluster_id: u128,
    /// The history there.
    pub history_id: u128,
    /// Last event of the old history.
    pub sequence: u64,
    /// When it was recovered, milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl TryFrom<v1::RecoveredFrom> for RecoveredFrom {
    type Error = Invalid;

    fn try_from(from: v1::RecoveredFrom) -> Result<Self, Invalid> {
        Ok(Self {
            cluster_id: ident::u128("cluster_id", &from.cluster_id)?,
            history_id: ident::u128("history_id", &from.history_id)?,
            sequence: from.sequence,
            unix_ms: from.unix_ms,
        })
    }
}

/// State of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// Root of the history's Merkle tree; absent if the node did not answer.
    pub history_root: Option<Digest>,
    /// State digest; absent if the node did not answer.
    pub state_digest: Option<Digest>,
    /// Everything else.
    pub node: v1::NodeStatus,
}

impl TryFrom<v1::GetStatusResponse> for ClusterStatus {
    type Error = Invalid;

    fn try_from(status: v1::GetStatusResponse) -> Result<Self, Invalid> {
        Ok(Self {
            header: status.header.try_into()?,
            leader_id: status.leader_id,
            settings: status.settings,
            nodes: status
                .nodes
                .into_iter()
                .map(NodeStatus::try_from)
                .collect::<Result<_, _>>()?,
            membership: status.membership.unwrap_or_default(),
            alarms: status.alarms,
            recovered_from: status
                .recovered_from
                .map(RecoveredFrom::try_from)
                .transpose()?,
        })
    }
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = Invalid;

    fn try_from(node: v1::NodeStatus) -> Result<Self, Invalid> {
        let optional = |field, bytes: &[u8]| {
            (!bytes.is_empty())
                .then(|| ident::digest(field, bytes))
                .transpose()
        };
        Ok(Self {
            history_root: optional("history_root", &node.history_root)?,
            state_digest: optional("state_digest", &node.state_digest)?,
            node,
        })
    }
}
