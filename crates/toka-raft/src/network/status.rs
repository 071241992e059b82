//! The one place in this crate that builds a [`tonic::Status`], and reads one.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::CommitError;
use crate::identity::Mismatch;
use crate::snapshot::SnapshotError;
use crate::wire::WireError;

const DOMAIN: &str = "toka.raft";
const MISMATCH: &str = "IDENTITY_MISMATCH";
const NOT_LEADER: &str = "NOT_LEADER";
const REMOVED: &str = "NODE_REMOVED";
const NO_ROOM: &str = "NO_ROOM";

fn with_reason(
    code: Code,
    message: String,
    reason: &str,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// A message that is not for this node; says whose it is and whose this node is.
pub(super) fn mismatch(mismatch: Mismatch) -> Status {
    let metadata = match mismatch {
        Mismatch::Anonymous => vec![],
        Mismatch::Protocol { theirs, ours } => vec![
            ("sender_protocol", theirs.to_string()),
            ("protocol", ours.to_string()),
        ],
        Mismatch::Node { to, this } => {
            vec![
                ("to_node_id", to.to_string()),
                ("node_id", this.to_string()),
            ]
        }
        Mismatch::Cluster { theirs, ours } => vec![
            ("sender_cluster_id", format!("{theirs:032x}")),
            ("cluster_id", format!("{ours:032x}")),
        ],
        Mismatch::SenderHasNone { ours } => vec![("cluster_id", format!("{ours:032x}"))],
        Mismatch::NotAdopted { theirs } => vec![("sender_cluster_id", format!("{theirs:032x}"))],
    };
    with_reason(
        Code::FailedPrecondition,
        mismatch.to_string(),
        MISMATCH,
        metadata,
    )
}

/// Whether `status` came from [`mismatch`].
pub(super) fn is_mismatch(status: &Status) -> bool {
    has_reason(status, MISMATCH)
}

/// The cluster that the node belongs to which has refused a message as one from another cluster; `None`: that is not
/// why it was refused.
pub(crate) fn other_cluster(status: &Status) -> Option<u128> {
    let info = status.get_details_error_info()?;
    let is_other = info.domain == DOMAIN
        && info.reason == MISMATCH
        && info.metadata.contains_key("sender_cluster_id");
    let cluster_id = info.metadata.get("cluster_id").filter(|_| is_other)?;
    u128::from_str_radix(cluster_id, 16).ok()
}

/// Whether nobody listens where a call was to go: the machine is there, and says so.
pub(crate) fn is_connection_refused(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        let found = error.downcast_ref::<io::Error>();
        if found.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

/// A message from a node that was a member and is none any more, nor ever will be.
pub(super) fn removed(node_id: u64) -> Status {
    let message = format!("node {node_id} was removed from the cluster");
    let metadata = [("node_id", node_id.to_string())];
    with_reason(Code::FailedPrecondition, message, REMOVED, metadata)
}

/// Whether `status` came from [`removed`].
pub(crate) fn is_removed(status: &Status) -> bool {
    has_reason(status, REMOVED)
}

fn has_reason(status: &Status, reason: &str) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.domain == DOMAIN && info.reason == reason)
}

/// A message that makes no sense.
pub(super) fn garbled(error: &WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A request for which another node must be asked.
pub(super) fn not_leader(leader: Option<u64>) -> Status {
    let metadata = leader.map(|leader| ("leader_node_id", leader.to_string()));
    let message = "this node is not the leader".to_owned();
    with_reason(Code::FailedPrecondition, message, NOT_LEADER, metadata)
}

/// A command of a peer's that was not proposed, or whose fate is not known.
pub(super) fn not_proposed(error: CommitError) -> Status {
    match error {
        CommitError::NotLeader { leader } => not_leader(leader.map(|leader| leader.node_id)),
        error => unavailable(error),
    }
}

/// A request that may succeed a little later.
pub(super) fn unavailable(reason: impl std::fmt::Display) -> Status {
    Status::unavailable(reason.to_string())
}

/// A request for a copy of this node's ledger, which holds another state than that of another node.
pub(super) fn differs() -> Status {
    unavailable(
        "its state differs from that of another node, so it gives no copy: find out who is right, and start that one \
         again",
    )
}

/// A proposal of a cluster that this node does not agree to.
pub(super) fn refused(reason: impl std::fmt::Display) -> Status {
    Status::failed_precondition(reason.to_string())
}

/// A snapshot that was not taken.
pub(super) fn snapshot(error: &SnapshotError) -> Status {
    match error {
        // The sender has to look at what it sends.
        error if error.is_damaged_copy() => Status::data_loss(error.to_string()),
        SnapshotError::Transfer { .. } => Status::invalid_argument(error.to_string()),
        SnapshotError::Busy
        | SnapshotError::Sending
        | SnapshotError::Stopped
        | SnapshotError::Behind { .. } => Status::unavailable(error.to_string()),
        SnapshotError::NoRoom {
            free_bytes,
            needed_bytes,
        } => {
            let metadata = [
                ("free_bytes", free_bytes.to_string()),
                ("needed_bytes", needed_bytes.to_string()),
            ];
            with_reason(
                Code::ResourceExhausted,
                error.to_string(),
                NO_ROOM,
                metadata,
            )
        }
        SnapshotError::Empty
        | SnapshotError::Position { .. }
        | SnapshotError::HistoryRoot { .. }
        | SnapshotError::File { .. }
        | SnapshotError::Contents { .. }
        | SnapshotError::Ledger(_)
        | SnapshotError::NotDurable { .. }
        | SnapshotError::Node(_) => Status::internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_without_room_is_refused_with_the_bytes_that_are_free_and_needed() {
        let refused = snapshot(&SnapshotError::NoRoom {
            free_bytes: 10,
            needed_bytes: 20,
        });
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(has_reason(&refused, NO_ROOM));
        let info = refused.get_details_error_info().expect("details");
        assert_eq!(info.metadata["free_bytes"], "10");
        assert_eq!(info.metadata["needed_bytes"], "20");
    }

    #[test]
    fn only_a_node_of_another_cluster_names_one() {
        let other = mismatch(Mismatch::Cluster { theirs: 7, ours: 8 });
        assert_eq!(other_cluster(&other), Some(8));
        for refusal in [
            Mismatch::SenderHasNone { ours: 8 },
            Mismatch::NotAdopted { theirs: 7 },
            Mismatch::Node { to: 1, this: 2 },
        ] {
            assert_eq!(other_cluster(&mismatch(refusal)), None, "{refusal}");
        }
        assert_eq!(other_cluster(&removed(1)), None);
    }
}
