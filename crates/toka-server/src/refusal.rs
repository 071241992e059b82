//! Which status a failure of the node is told to clients as. The statuses themselves are built in
//! [`toka_proto::convert::status`].

use std::time::Duration;

use toka_ledger::{Error, Invalid, Rejection};
use toka_proto::convert::{metadata, status};
use toka_raft::snapshot::SnapshotError;
use toka_raft::{ChangeError, CommitError, Leader, ReadError, TransferError};
use tonic::codegen::http::Response;
use tonic::{Code, Status};

/// What tonic says, with OUT_OF_RANGE, of a message above the limit of its size.
const MESSAGE_TOO_LONG: &str = "Error, decoded message length too large: ";

/// What was wrong with a message as it came: RESOURCE_EXHAUSTED where it is too long, as gRPC has it.
pub(crate) fn received(status: Status) -> Status {
    match status.message().strip_prefix(MESSAGE_TOO_LONG) {
        Some(lengths) if status.code() == Code::OutOfRange => {
            status::limit_reached("message", &format!("the message is too long: {lengths}"))
        }
        _ => status,
    }
}

/// As [`received`], of a call that was refused before its handler saw it.
pub(crate) fn received_response<B: Default>(response: Response<B>) -> Response<B> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.message().starts_with(MESSAGE_TOO_LONG) => {
            received(status).into_http()
        }
        _ => response,
    }
}

/// The leader as it is named to clients.
pub(crate) fn leader(leader: &Leader) -> metadata::Leader {
    metadata::Leader {
        node_id: leader.node_id,
        endpoint: leader.member.client_endpoint.clone(),
    }
}

/// FAILED_PRECONDITION: another node leads, or none.
pub(crate) fn not_leader(known: Option<&Leader>) -> Status {
    status::not_leader(known.map(leader).as_ref())
}

/// A commit without an outcome.
pub(crate) fn commit(error: &CommitError) -> Status {
    match error {
        CommitError::NotLeader { leader } => not_leader(leader.as_ref()),
        CommitError::Overloaded { retry_after_ms } => {
            status::overloaded(Duration::from_millis(*retry_after_ms))
        }
        CommitError::TooLarge { bytes, bytes_max } => status::invalid(&Invalid::TooLong {
            field: "commit",
            max: *bytes_max,
            actual: *bytes,
        }),
        CommitError::DiskFull { .. } | CommitError::DisksFull { .. } => {
            status::limit_reached("disk", &error.to_string())
        }
        CommitError::Invalid(invalid) => status::invalid(invalid),
        CommitError::FeatureLevel { needed, level } => {
            status::rejection(&Rejection::FeatureLevel {
                needed: *needed,
                level: *level,
            })
        }
        CommitError::Stopped => status::stopping(),
        // `CommitError` may grow; whatever has no better name is worth a retry, which is safe.
        error => status::no_leader(error.to_string()),
    }
}

/// A read that could not be served as it was wanted; `wanted_revision` is 0 but for `at_least`.
pub(crate) fn read(error: &ReadError, wanted_revision: u64) -> Status {
    match error {
        ReadError::Behind { position } => {
            status::node_behind(position.revision, position.sequence, wanted_revision)
        }
        ReadError::OutOfRange { revision, position } => {
            status::revision_out_of_range(*revision, position.revision, position.sequence)
        }
        ReadError::Stopped => status::stopping(),
        error => status::no_leader(error.to_string()),
    }
}

/// Leadership that was not handed over.
pub(crate) fn transfer(error: &TransferError) -> Status {
    match error {
        TransferError::NotLeader { leader } => not_leader(leader.as_ref()),
        TransferError::UnknownNode { node_id } => status::node_not_found(*node_id),
        TransferError::Learner { node_id } | TransferError::Unreachable { node_id } => {
            status::membership_refused(&format!("node {node_id}"), error.to_string())
        }
        TransferError::NoCandidate => status::membership_refused("voters", error.to_string()),
        TransferError::Stopped => status::stopping(),
        error => status::no_leader(error.to_string()),
    }
}

/// A copy for a backup that could not be made or read.
pub(crate) fn copy(error: &SnapshotError) -> Status {
    match error {
        SnapshotError::Ledger(error) => ledger(error),
        SnapshotError::Empty => status::no_leader(error.to_string()),
        SnapshotError::Stopped => status::stopping(),
        SnapshotError::NoRoom { .. } => status::limit_reached("disk", &error.to_string()),
        error => {
            tracing::error!(%error, "a copy for a backup failed");
            status::storage_failed()
        }
    }
}

/// INVALID_ARGUMENT: `field` is not what is `expected`.
pub(crate) fn field(field: &'static str, expected: &'static str) -> Status {
    status::invalid(&Invalid::Syntax { field, expected })
}

/// A change of the membership that was not made.
pub(crate) fn change(error: &ChangeError) -> Status {
    let refused =
        |node_id: u64| status::membership_refused(&format!("node {node_id}"), error.to_string());
    match error {
        ChangeError::NotLeader { leader } => not_leader(leader.as_ref()),
        ChangeError::Busy { .. } => status::change_in_progress(error.to_string()),
        ChangeError::UnknownNode { node_id } => status::node_not_found(*node_id),
        ChangeError::LastVoter { node_id }
        | ChangeError::NoQuorum { node_id, .. }
        | ChangeError::EndpointTaken { node_id, .. }
        | ChangeError::Elsewhere { node_id, .. }
        | ChangeError::ReplacedAlready { node_id, .. }
        | ChangeError::ReplacesItself { node_id }
        | ChangeError::NotALearner { node_id }
        | ChangeError::Unreachable { node_id }
        | ChangeError::Awaited { node_id } => refused(*node_id),
        ChangeError::FeatureLevel { .. } => {
            status::membership_refused("feature_level", error.to_string())
        }
        ChangeError::TooManyVoters { .. } => status::limit_reached("voters", &error.to_string()),
        ChangeError::TooManyLearners { .. } => {
            status::limit_reached("learners", &error.to_string())
        }
        ChangeError::Endpoint(_) => field("raft_endpoint", "host:port"),
        ChangeError::Transfer(error) => transfer(error),
        ChangeError::Stopped => status::stopping(),
        // Also of what is newer than this: a change can be repeated.
        error => status::no_leader(error.to_string()),
    }
}

/// A failure of the ledger; the node's log has what a client is not told.
pub(crate) fn ledger(error: &Error) -> Status {
    match error {
        Error::Invalid(_)
        | Error::Rejected(_)
        | Error::NotFound { .. }
        | Error::OutOfRange { .. }
        | Error::LineageLimit { .. }
        | Error::DescendantsLimit { .. }
        | Error::Closed => {}
        error => tracing::error!(%error, "the ledger cannot be read"),
    }
    status::error(error)
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::status::{Detail, parse};

    use super::*;

    #[test]
    fn a_message_that_is_too_long_is_a_limit_with_its_value() {
        let text =
            "Error, decoded message length too large: found 20 bytes, the limit is: 16 bytes";
        let refused = Status::out_of_range(text);
        let response: Response<()> = received_response(refused.into_http());
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().ends_with("the limit is: 16 bytes"),
            "{status:?}"
        );
        assert!(matches!(
            parse(&status).detail,
            Some(Detail::LimitReached { .. })
        ));

        let other = received(status::position_out_of_range(7, 3));
        assert_eq!(other.code(), Code::OutOfRange);
    }
}
