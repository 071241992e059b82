//! The one place in this crate that builds a [`tonic::Status`], and reads one.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::identity::Mismatch;
use crate::snapshot::SnapshotError;
use crate::wire::WireError;

const DOMAIN: &str = "toka.raft";
const MISMATCH: &str = "IDENTITY_MISMATCH";
const NOT_LEADER: &str = "NOT_LEADER";

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
    status
        .get_details_error_info()
        .is_some_and(|info| info.domain == DOMAIN && info.reason == MISMATCH)
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

/// A request that may succeed a little later.
pub(super) fn unavailable(reason: impl std::fmt::Display) -> Status {
    Status::unavailable(reason.to_string())
}

/// A proposal of a cluster that this node does not agree to.
pub(super) fn refused(reason: impl std::fmt::Display) -> Status {
    Status::failed_precondition(reason.to_string())
}

/// A snapshot that was not taken.
pub(super) fn snapshot(error: &SnapshotError) -> Status {
    match error {
        SnapshotError::Transfer { .. } => Status::invalid_argument(error.to_string()),
        SnapshotError::Busy => Status::unavailable(error.to_string()),
        SnapshotError::Position { .. } | SnapshotError::HistoryRoot { .. } => {
            Status::data_loss(error.to_string())
        }
        SnapshotError::File { .. }
        | SnapshotError::Contents { .. }
        | SnapshotError::Ledger(_)
        | SnapshotError::NotDurable { .. }
        | SnapshotError::Node(_) => Status::internal(error.to_string()),
    }
}
