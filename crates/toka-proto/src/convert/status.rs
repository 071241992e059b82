//! The one place that makes a [`Status`] of an error, and the one that reads one.
//!
//! `proto/toka/vault/v1/errors.proto` has the table of codes, reasons and details.

mod access;
mod coordination;
mod credentials;
mod details;
mod parse;
mod violation;

use std::time::Duration;

use toka_ledger::command::ParentName;
use toka_ledger::engine::EngineError;
use toka_ledger::error::extent;
use toka_ledger::intent::IntentId;
use toka_ledger::{Error, Invalid, Rejection};
use tonic::{Code, Status};
use tonic_types::pb;

pub use self::access::{permission_denied, throttled, unauthenticated};
use self::details::Details;
pub use self::parse::{Detail, Failure, parse};
use super::ident;
use super::metadata::Leader;
use crate::v1;

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "toka.vault";

/// `reason` of every `google.rpc.ErrorInfo`; part of the API.
pub mod reason {
    /// A field of the request breaks a rule.
    pub const INVALID_FIELD: &str = "INVALID_FIELD";
    /// The vault does not have the event.
    pub const EVENT_NOT_FOUND: &str = "EVENT_NOT_FOUND";
    /// The vault does not have an event that a commit names as a parent.
    pub const PARENT_NOT_FOUND: &str = "PARENT_NOT_FOUND";
    /// The vault does not have the intent.
    pub const INTENT_NOT_FOUND: &str = "INTENT_NOT_FOUND";
    /// The cluster does not have the node.
    pub const NODE_NOT_FOUND: &str = "NODE_NOT_FOUND";
    /// The vault does not have the cursor.
    pub const CURSOR_NOT_FOUND: &str = "CURSOR_NOT_FOUND";
    /// The vault does not have the consumer group, or not any more.
    pub const GROUP_NOT_FOUND: &str = "GROUP_NOT_FOUND";
    /// There is a consumer group of that name with other settings.
    pub const GROUP_EXISTS: &str = "GROUP_EXISTS";
    /// The vault does not have the token.
    pub const TOKEN_NOT_FOUND: &str = "TOKEN_NOT_FOUND";
    /// The vault does not have the role.
    pub const ROLE_NOT_FOUND: &str = "ROLE_NOT_FOUND";
    /// There is a token of that id already.
    pub const TOKEN_EXISTS: &str = "TOKEN_EXISTS";
    /// The token was revoked, has expired, or would have by the time that was given.
    pub const TOKEN_ENDED: &str = "TOKEN_ENDED";
    /// Valid tokens have the role.
    pub const ROLE_IN_USE: &str = "ROLE_IN_USE";
    /// There is a token with which the vault can be administered.
    pub const ADMIN_EXISTS: &str = "ADMIN_EXISTS";
    /// Changes of the membership are made one at a time.
    pub const CHANGE_IN_PROGRESS: &str = "CHANGE_IN_PROGRESS";
    /// The cluster could not work, or not safely, if its membership were changed like that.
    pub const MEMBERSHIP_REFUSED: &str = "MEMBERSHIP_REFUSED";
    /// Preconditions of a commit did not hold.
    pub const PRECONDITIONS_FAILED: &str = "PRECONDITIONS_FAILED";
    /// The node is not the leader, and the call asked for the leader.
    pub const NOT_LEADER: &str = "NOT_LEADER";
    /// The vault has another history.
    pub const HISTORY_CHANGED: &str = "HISTORY_CHANGED";
    /// The node belongs to another cluster than the one that the call is for.
    pub const OTHER_CLUSTER: &str = "OTHER_CLUSTER";
    /// The command needs a newer feature level.
    pub const FEATURE_LEVEL: &str = "FEATURE_LEVEL";
    /// The vault exists already.
    pub const ALREADY_CREATED: &str = "ALREADY_CREATED";
    /// A position that is not in the vault.
    pub const POSITION_OUT_OF_RANGE: &str = "POSITION_OUT_OF_RANGE";
    /// Too much is waiting; try again soon.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// A limit that does not pass by itself.
    pub const LIMIT_REACHED: &str = "LIMIT_REACHED";
    /// No leader is known, or it could not be reached.
    pub const NO_LEADER: &str = "NO_LEADER";
    /// The vault's first command has not been applied yet.
    pub const NOT_CREATED: &str = "NOT_CREATED";
    /// The node had not seen enough in time.
    pub const NODE_BEHIND: &str = "NODE_BEHIND";
    /// The node is stopping, or its vault is closed.
    pub const STOPPING: &str = "STOPPING";
    /// The deadline came before all of a stream was sent.
    pub const OUT_OF_TIME: &str = "OUT_OF_TIME";
    /// It is not known whether the call was carried out, and to repeat it might undo what others did since.
    pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
    /// Stored data is damaged.
    pub const DATA_DAMAGED: &str = "DATA_DAMAGED";
    /// The caller has not shown who it is, or not in a way that counts.
    pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
    /// The caller may not do that.
    pub const PERMISSION_DENIED: &str = "PERMISSION_DENIED";
    /// The disk or the operating system failed.
    pub const STORAGE_FAILED: &str = "STORAGE_FAILED";
}

/// How long a client waits where nothing better is known.
const RETRY_SOON: Duration = Duration::from_millis(100);

/// INVALID_ARGUMENT, with the field.
#[must_use]
pub fn invalid(invalid: &Invalid) -> Status {
    invalid_field(field_path(invalid), invalid)
}

fn invalid_field(field: String, invalid: &Invalid) -> Status {
    let violation = pb::bad_request::FieldViolation {
        field,
        description: invalid.to_string(),
        ..Default::default()
    };
    Details::new(Code::InvalidArgument, reason::INVALID_FIELD)
        .with(&pb::BadRequest {
            field_violations: vec![violation],
        })
        .status(invalid.to_string())
}

/// Where in the request the field is, as `events[3].kind`.
fn field_path(invalid: &Invalid) -> String {
    match invalid {
        Invalid::InBatch { event, invalid } => format!("events[{event}].{}", field_path(invalid)),
        Invalid::BatchParent { event, .. } => format!("events[{event}].parents"),
        Invalid::ClaimWithoutSalt { event } => format!("events[{event}].salt"),
        other => other.field().to_owned(),
    }
}

/// A commit that was not applied.
#[must_use]
pub fn rejection(rejection: &Rejection) -> Status {
    let message = rejection.to_string();
    let of_its_kind = coordination::status(rejection, &message)
        .or_else(|| credentials::status(rejection, &message));
    if let Some(status) = of_its_kind {
        return status;
    }
    let details = match rejection {
        Rejection::Invalid { event, invalid } => {
            return invalid_field(format!("events[{event}].{}", field_path(invalid)), invalid);
        }
        Rejection::UnknownParent { event, parent } => {
            let place = v1::unknown_parent::Place::EventIndex(index(*event));
            Details::new(Code::NotFound, reason::PARENT_NOT_FOUND).with(&v1::UnknownParent {
                place: Some(place),
                parent: Some(parent.into()),
            })
        }
        Rejection::UnknownPreconditionParent {
            precondition,
            parent,
        } => Details::new(Code::NotFound, reason::PARENT_NOT_FOUND)
            .with(&unknown_in_precondition(*precondition, parent)),
        Rejection::UnknownIntent { intent } => return intent_not_found(*intent),
        Rejection::Preconditions { violations } => {
            let violations = violations.iter().map(violation::message).collect();
            Details::new(Code::Aborted, reason::PRECONDITIONS_FAILED)
                .with(&v1::CommitAborted { violations })
        }
        Rejection::Full => return limit_reached("sequences", &message),
        Rejection::NotCreated => {
            Details::new(Code::Unavailable, reason::NOT_CREATED).retry(RETRY_SOON)
        }
        Rejection::AlreadyCreated => {
            Details::new(Code::FailedPrecondition, reason::ALREADY_CREATED)
        }
        Rejection::FeatureLevel { .. } => {
            let violation = pb::precondition_failure::Violation {
                r#type: reason::FEATURE_LEVEL.to_owned(),
                subject: "feature_level".to_owned(),
                description: message.clone(),
            };
            Details::new(Code::FailedPrecondition, reason::FEATURE_LEVEL).with(
                &pb::PreconditionFailure {
                    violations: vec![violation],
                },
            )
        }
        // A rejection that is newer than this crate: the message says what it is.
        _ => return Status::aborted(message),
    };
    details.status(message)
}

/// A precondition that names an event that there is not.
fn unknown_in_precondition(precondition: usize, parent: &ParentName) -> v1::UnknownParent {
    let place = v1::unknown_parent::Place::PreconditionIndex(index(precondition));
    v1::UnknownParent {
        place: Some(place),
        parent: Some(parent.into()),
    }
}

fn index(index: usize) -> u32 {
    u32::try_from(index).expect("a commit has at most 1,000 events and 64 preconditions")
}

/// Any failure of the ledger. What concerns the node's disk is not told to clients in detail: it is
/// in the node's log.
#[must_use]
pub fn error(error: &Error) -> Status {
    match error {
        Error::Invalid(source) => invalid(source),
        Error::Rejected(source) => rejection(source),
        Error::NotFound { name } => event_not_found(name),
        Error::OutOfRange { sequence, last } => position_out_of_range(*sequence, *last),
        Error::LineageLimit { limit, .. } => limit_reached(limit, &error.to_string()),
        Error::DescendantsLimit { .. } => {
            limit_reached("filter.descendants_of", &error.to_string())
        }
        Error::Closed => stopping(),
        Error::Corrupt { .. } | Error::Engine(EngineError::Corruption { .. }) => {
            Details::new(Code::DataLoss, reason::DATA_DAMAGED)
                .status("stored data of this node is damaged; see its log")
        }
        _ => storage_failed(),
    }
}

/// INTERNAL: the node's disk or operating system failed.
#[must_use]
pub fn storage_failed() -> Status {
    Details::new(Code::Internal, reason::STORAGE_FAILED)
        .status("storage of this node failed; see its log")
}

/// INTERNAL: a message is none of its type. As the codec of generated clients and services says it.
pub(crate) fn undecodable(error: &prost::DecodeError) -> Status {
    Status::internal(error.to_string())
}

/// UNAVAILABLE: the call may have been carried out, and must not be repeated without a look.
#[must_use]
pub fn outcome_unknown(message: impl Into<String>) -> Status {
    Details::new(Code::Unavailable, reason::OUTCOME_UNKNOWN).status(message)
}

/// NOT_FOUND: there is no such event.
#[must_use]
pub fn event_not_found(name: &str) -> Status {
    Details::new(Code::NotFound, reason::EVENT_NOT_FOUND)
        .with(&pb::ResourceInfo {
            resource_type: "event".to_owned(),
            resource_name: name.to_owned(),
            ..Default::default()
        })
        .status(format!("there is no event {name}"))
}

/// NOT_FOUND: there never was such an intent.
#[must_use]
pub fn intent_not_found(intent: IntentId) -> Status {
    Details::new(Code::NotFound, reason::INTENT_NOT_FOUND)
        .with(&pb::ResourceInfo {
            resource_type: "intent".to_owned(),
            resource_name: intent.to_string(),
            ..Default::default()
        })
        .status(format!("there is no intent {intent}"))
}

/// NOT_FOUND: there is no such member of the cluster.
#[must_use]
pub fn node_not_found(node_id: u64) -> Status {
    Details::new(Code::NotFound, reason::NODE_NOT_FOUND)
        .with(&pb::ResourceInfo {
            resource_type: "node".to_owned(),
            resource_name: node_id.to_string(),
            ..Default::default()
        })
        .status(format!("there is no node {node_id} in the cluster"))
}

/// ABORTED: another change of the membership is in progress; the message says which.
#[must_use]
pub fn change_in_progress(message: impl Into<String>) -> Status {
    Details::new(Code::Aborted, reason::CHANGE_IN_PROGRESS)
        .retry(RETRY_SOON)
        .status(message)
}

/// FAILED_PRECONDITION: the membership cannot be changed like that. `subject` is what is in the way, as
/// `node 3`.
#[must_use]
pub fn membership_refused(subject: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let violation = pb::precondition_failure::Violation {
        r#type: reason::MEMBERSHIP_REFUSED.to_owned(),
        subject: subject.to_owned(),
        description: message.clone(),
    };
    Details::new(Code::FailedPrecondition, reason::MEMBERSHIP_REFUSED)
        .with(&pb::PreconditionFailure {
            violations: vec![violation],
        })
        .status(message)
}

/// FAILED_PRECONDITION: the call asked for the leader, and this node is another one.
#[must_use]
pub fn not_leader(leader: Option<&Leader>) -> Status {
    let message = match leader {
        Some(Leader { node_id, endpoint }) => {
            format!("this node is not the leader; node {node_id} at {endpoint} is")
        }
        None => "this node is not the leader, and knows of none".to_owned(),
    };
    let mut status = Details::new(Code::FailedPrecondition, reason::NOT_LEADER)
        .with(&v1::NotLeader {
            leader_id: leader.map(|leader| leader.node_id),
            leader_endpoint: leader
                .map(|leader| leader.endpoint.clone())
                .unwrap_or_default(),
        })
        .status(message);
    super::metadata::put_leader(status.metadata_mut(), leader);
    status
}

/// FAILED_PRECONDITION: positions of another history mean nothing in this one.
#[must_use]
pub fn history_changed(expected: u128, actual: u128) -> Status {
    Details::new(Code::FailedPrecondition, reason::HISTORY_CHANGED)
        .with(&v1::HistoryChanged {
            expected_history_id: ident::u128_bytes(expected),
            actual_history_id: ident::u128_bytes(actual),
        })
        .status(format!(
            "the vault's history is {actual:032x}, not {expected:032x}: \
             positions in the old one no longer count"
        ))
}

/// FAILED_PRECONDITION: the call is for the cluster `expected`, and this node belongs to `actual`.
#[must_use]
pub fn other_cluster(expected: u128, actual: u128) -> Status {
    Details::new(Code::FailedPrecondition, reason::OTHER_CLUSTER)
        .with(&v1::OtherCluster {
            expected_cluster_id: ident::u128_bytes(expected),
            actual_cluster_id: ident::u128_bytes(actual),
        })
        .status(format!(
            "this node belongs to cluster {actual:032x}, and the call is for cluster {expected:032x}: nothing was done"
        ))
}

/// OUT_OF_RANGE, once the leader has confirmed that the vault ends at `last` (0: it is empty).
#[must_use]
pub fn position_out_of_range(sequence: u64, last: u64) -> Status {
    Details::new(Code::OutOfRange, reason::POSITION_OUT_OF_RANGE)
        .with(&v1::PositionOutOfRange {
            sequence,
            first_sequence: last.min(1),
            last_sequence: last,
        })
        .status(format!(
            "sequence {sequence} is not in the vault, which {}",
            extent(1, last)
        ))
}

/// OUT_OF_RANGE, once the leader has confirmed that the vault is at revision `at`, and ends at the
/// sequence `last`. The detail names no sequence: the call named none.
#[must_use]
pub fn revision_out_of_range(revision: u64, at: u64, last: u64) -> Status {
    Details::new(Code::OutOfRange, reason::POSITION_OUT_OF_RANGE)
        .with(&v1::PositionOutOfRange {
            sequence: 0,
            first_sequence: last.min(1),
            last_sequence: last,
        })
        .status(format!(
            "revision {revision} is not in the vault, whose revisions go from 1 to {at}"
        ))
}

/// RESOURCE_EXHAUSTED: too much is waiting.
#[must_use]
pub fn overloaded(retry_after: Duration) -> Status {
    Details::new(Code::ResourceExhausted, reason::OVERLOADED)
        .retry(retry_after)
        .status(format!(
            "the vault is overloaded; try again in {} ms",
            retry_after.as_millis()
        ))
}

/// RESOURCE_EXHAUSTED: a limit that does not pass by itself.
#[must_use]
pub fn limit_reached(subject: &str, description: &str) -> Status {
    let violation = pb::quota_failure::Violation {
        subject: subject.to_owned(),
        description: description.to_owned(),
        ..Default::default()
    };
    Details::new(Code::ResourceExhausted, reason::LIMIT_REACHED)
        .with(&pb::QuotaFailure {
            violations: vec![violation],
        })
        .status(description)
}

/// UNAVAILABLE: nobody leads, or the leader could not be reached before the deadline.
#[must_use]
pub fn no_leader(message: impl Into<String>) -> Status {
    Details::new(Code::Unavailable, reason::NO_LEADER)
        .retry(RETRY_SOON)
        .status(message)
}

/// UNAVAILABLE: the node had not seen enough before the deadline. `wanted_revision` is 0 for a
/// linearizable read.
#[must_use]
pub fn node_behind(revision: u64, sequence: u64, wanted_revision: u64) -> Status {
    let wanted = match wanted_revision {
        0 => "the cluster".to_owned(),
        revision => format!("revision {revision}"),
    };
    Details::new(Code::Unavailable, reason::NODE_BEHIND)
        .with(&v1::NodeBehind {
            revision,
            sequence,
            wanted_revision,
        })
        .status(format!(
            "this node is at revision {revision}, behind {wanted}"
        ))
}

/// DEADLINE_EXCEEDED: the call's deadline came first; the message says before what.
#[must_use]
pub fn out_of_time(message: impl Into<String>) -> Status {
    Details::new(Code::DeadlineExceeded, reason::OUT_OF_TIME).status(message)
}

/// UNAVAILABLE: the node is stopping.
#[must_use]
pub fn stopping() -> Status {
    Details::new(Code::Unavailable, reason::STOPPING).status("the node is stopping")
}

/// A status as part of a stream's message.
#[must_use]
pub fn to_commit_error(status: &Status) -> v1::CommitError {
    v1::CommitError {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: details::read(status),
    }
}

/// Inverse of [`to_commit_error`].
#[must_use]
pub fn from_commit_error(error: v1::CommitError) -> Status {
    details::status(Code::from_i32(error.code), error.message, error.details)
}
