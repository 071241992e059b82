//! Who this node is, and whether a message is meant for it.

use std::sync::OnceLock;

use bytes::Bytes;
use toka_proto::raft_v1 as pb;

/// Version of what nodes say to each other. Raised only by a change that a node of the version before would
/// misread; fields that it may ignore do not count, and what it must not apply waits for a feature level.
const PROTOCOL: u32 = 1;

/// Cluster id and node id. The cluster id is set once, when the node is adopted.
#[derive(Debug)]
pub(crate) struct Identity {
    node_id: u64,
    cluster_id: OnceLock<u128>,
}

/// A message that is not for this node: one of the two was set up wrong, or an address was given to
/// another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// It does not say who sends it.
    #[error("the message does not say who sends it to whom")]
    Anonymous,
    /// In another version of the protocol.
    #[error(
        "the message is in version {theirs} of the protocol between nodes, this build speaks version {ours}: \
         upgrade one release at a time"
    )]
    Protocol { theirs: u32, ours: u32 },
    /// For another node.
    #[error("the message is for node {to}, this is node {this}")]
    Node { to: u64, this: u64 },
    /// From another cluster.
    #[error("the message is from cluster {theirs:032x}, this node belongs to cluster {ours:032x}")]
    Cluster { theirs: u128, ours: u128 },
    /// The sender has no cluster.
    #[error("the sender has no cluster yet, this node belongs to cluster {ours:032x}")]
    SenderHasNone { ours: u128 },
    /// This node has no cluster.
    #[error("the message is from cluster {theirs:032x}, this node has not been adopted by one yet")]
    NotAdopted { theirs: u128 },
}

impl Identity {
    pub(crate) fn new(node_id: u64, cluster_id: Option<u128>) -> Self {
        let cell = OnceLock::new();
        if let Some(cluster_id) = cluster_id {
            let _ = cell.set(cluster_id);
        }
        Self {
            node_id,
            cluster_id: cell,
        }
    }

    pub(crate) fn node_id(&self) -> u64 {
        self.node_id
    }

    pub(crate) fn cluster_id(&self) -> Option<u128> {
        self.cluster_id.get().copied()
    }

    /// Takes `cluster_id`, if there is none yet; returns the one that holds.
    pub(crate) fn adopt(&self, cluster_id: u128) -> u128 {
        *self.cluster_id.get_or_init(|| cluster_id)
    }

    /// What stands in every message to node `to`.
    pub(crate) fn peer(&self, to: u64) -> pb::Peer {
        pb::Peer {
            cluster_id: encode_cluster_id(self.cluster_id()),
            from: self.node_id,
            to,
            protocol: PROTOCOL,
        }
    }

    /// Checks a message; returns the sender.
    pub(crate) fn check(&self, peer: Option<&pb::Peer>) -> Result<u64, Mismatch> {
        let sender = check_protocol(peer)?;
        let (theirs, ours) = (decode_cluster_id(&sender.cluster_id), self.cluster_id());
        if let (Some(theirs), Some(ours)) = (theirs, ours)
            && theirs != ours
        {
            // Before the node: in another cluster an id is another node's.
            return Err(Mismatch::Cluster { theirs, ours });
        }
        let from = self.check_node(peer)?;
        match (theirs, ours) {
            (Some(_), Some(_)) => Ok(from),
            (None, Some(ours)) => Err(Mismatch::SenderHasNone { ours }),
            (Some(theirs), None) => Err(Mismatch::NotAdopted { theirs }),
            (None, None) => Err(Mismatch::Anonymous),
        }
    }

    /// Checks a message that is sent before there is a cluster; returns the sender.
    pub(crate) fn check_node(&self, peer: Option<&pb::Peer>) -> Result<u64, Mismatch> {
        let peer = check_protocol(peer)?;
        if peer.to != self.node_id {
            return Err(Mismatch::Node {
                to: peer.to,
                this: self.node_id,
            });
        }
        Ok(peer.from)
    }
}

/// First: in another version the rest may mean something else.
fn check_protocol(peer: Option<&pb::Peer>) -> Result<&pb::Peer, Mismatch> {
    let peer = peer.ok_or(Mismatch::Anonymous)?;
    if peer.protocol == PROTOCOL {
        Ok(peer)
    } else {
        Err(Mismatch::Protocol {
            theirs: peer.protocol,
            ours: PROTOCOL,
        })
    }
}

pub(crate) fn encode_cluster_id(cluster_id: Option<u128>) -> Bytes {
    cluster_id.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.to_be_bytes()))
}

/// `None` if it is absent, or is none.
pub(crate) fn decode_cluster_id(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_another_cluster_is_refused_with_both_names() {
        let ours = Identity::new(1, Some(10));
        let theirs = Identity::new(2, Some(11));
        // Also where it is for the node of another id, which was at this address.
        for to in [1, 3] {
            assert_eq!(
                ours.check(Some(&theirs.peer(to))),
                Err(Mismatch::Cluster {
                    theirs: 11,
                    ours: 10
                })
            );
        }
    }

    #[test]
    fn message_for_another_node_is_refused_with_both_names() {
        let ours = Identity::new(1, Some(10));
        let peer = Identity::new(2, Some(10));
        assert_eq!(
            ours.check(Some(&peer.peer(3))),
            Err(Mismatch::Node { to: 3, this: 1 })
        );
        assert_eq!(ours.check(Some(&peer.peer(1))), Ok(2));
    }

    #[test]
    fn message_of_another_protocol_is_refused_with_both_versions() {
        let ours = Identity::new(1, Some(10));
        let newer = pb::Peer {
            protocol: PROTOCOL + 1,
            ..Identity::new(2, Some(10)).peer(1)
        };
        let refused = ours.check(Some(&newer)).expect_err("another version");
        assert_eq!(refused, Mismatch::Protocol { theirs: 2, ours: 1 });
        let said = refused.to_string();
        assert!(
            said.contains("version 2") && said.contains("version 1"),
            "{said}"
        );
    }

    #[test]
    fn node_without_a_cluster_takes_no_raft_message() {
        let fresh = Identity::new(1, None);
        let peer = Identity::new(2, Some(10));
        assert_eq!(
            fresh.check(Some(&peer.peer(1))),
            Err(Mismatch::NotAdopted { theirs: 10 })
        );
        assert_eq!(fresh.adopt(10), 10);
        assert_eq!(fresh.check(Some(&peer.peer(1))), Ok(2));
        assert_eq!(fresh.adopt(11), 10);
    }
}
