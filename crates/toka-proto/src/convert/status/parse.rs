//! From a status back to what it means.

use std::time::Duration;

use prost_types::Any;
use toka_ledger::command::ParentName;
use toka_ledger::intent::IntentId;
use toka_ledger::{CursorName, GroupName, Rejection};
use tonic::{Code, Status};
use tonic_types::pb;

use super::details::{find, read};
use super::{DOMAIN, credentials, ident, reason, violation};
use crate::convert::metadata::Leader;
use crate::v1;

/// A status, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// For people.
    pub message: String,
    /// What exactly; `None` where the status does not come from a vault, or a newer one.
    pub detail: Option<Detail>,
    /// How long the node asks to wait before the next try.
    pub retry_after: Option<Duration>,
}

/// What exactly went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// A field of the request breaks a rule.
    InvalidField {
        /// The field, as `events[3].kind`.
        field: String,
        /// The rule.
        description: String,
    },
    /// There is no such event.
    EventNotFound {
        /// As it was named.
        name: String,
    },
    /// A command was refused: an unknown parent, intent, cursor, group, token or role, or preconditions.
    Rejected(Rejection),
    /// The cluster does not have the node.
    NodeNotFound {
        /// Its id, as it was named.
        node_id: u64,
    },
    /// Another change of the membership is in progress.
    ChangeInProgress,
    /// The membership cannot be changed like that.
    MembershipRefused {
        /// What is in the way, as `node 3`.
        subject: String,
    },
    /// The node is not the leader, and the call asked for the leader.
    NotLeader {
        /// Who is, if it is known.
        leader: Option<Leader>,
    },
    /// The vault has another history.
    HistoryChanged {
        /// The call's.
        expected: u128,
        /// The vault's.
        actual: u128,
    },
    /// The node belongs to another cluster than the one that the call is for.
    OtherCluster {
        /// The call's.
        expected: u128,
        /// The node's.
        actual: u128,
    },
    /// The command needs a newer feature level.
    FeatureLevel,
    /// The vault exists already.
    AlreadyCreated,
    /// A position that is not in the vault.
    PositionOutOfRange {
        /// What was asked for.
        sequence: u64,
        /// First sequence that the vault has; 0: it is empty.
        first: u64,
        /// Last sequence that the vault has; 0: it is empty.
        last: u64,
    },
    /// Too much is waiting.
    Overloaded,
    /// A limit that does not pass by itself.
    LimitReached {
        /// Of what.
        subject: String,
    },
    /// No leader is known, or it could not be reached.
    NoLeader,
    /// The vault's first command has not been applied yet.
    NotCreated,
    /// The node had not seen enough in time.
    NodeBehind {
        /// Commands it had applied.
        revision: u64,
        /// Sequence of its last event.
        sequence: u64,
        /// The revision that was asked for; 0: a linearizable read.
        wanted_revision: u64,
    },
    /// It is not known whether the call was carried out.
    OutcomeUnknown,
    /// The node is stopping.
    Stopping,
    /// Stored data of the node is damaged.
    DataDamaged,
    /// The caller has not shown who it is, or not in a way that counts.
    Unauthenticated,
    /// The caller may not do that.
    PermissionDenied {
        /// The grant that it lacks, for example `write:task.new`.
        missing: String,
    },
    /// Disk or operating system of the node failed.
    StorageFailed,
}

/// Reads a status.
#[must_use]
pub fn parse(status: &Status) -> Failure {
    let details = read(status);
    let info = find::<pb::ErrorInfo>(&details).filter(|info| info.domain == DOMAIN);
    let retry_after = find::<pb::RetryInfo>(&details)
        .and_then(|retry| retry.retry_delay)
        .and_then(|delay| Duration::try_from(delay).ok());
    Failure {
        code: status.code(),
        message: status.message().to_owned(),
        detail: info.and_then(|info| detail(&info.reason, &details)),
        retry_after,
    }
}

fn detail(reason: &str, details: &[Any]) -> Option<Detail> {
    match reason {
        reason::INVALID_FIELD => {
            let violation = find::<pb::BadRequest>(details)?
                .field_violations
                .into_iter()
                .next()?;
            let pb::bad_request::FieldViolation {
                field, description, ..
            } = violation;
            Some(Detail::InvalidField { field, description })
        }
        reason::EVENT_NOT_FOUND => {
            let name = find::<pb::ResourceInfo>(details)?.resource_name;
            Some(Detail::EventNotFound { name })
        }
        reason::INTENT_NOT_FOUND => {
            let name = find::<pb::ResourceInfo>(details)?.resource_name;
            let intent = IntentId(name.parse().ok()?);
            Some(Detail::Rejected(Rejection::UnknownIntent { intent }))
        }
        reason::CURSOR_NOT_FOUND => {
            let name = find::<pb::ResourceInfo>(details)?.resource_name;
            let name = CursorName::new(&name).ok()?;
            Some(Detail::Rejected(Rejection::UnknownCursor { name }))
        }
        reason::GROUP_NOT_FOUND => {
            let name = group_name(details)?;
            Some(Detail::Rejected(Rejection::UnknownGroup { name }))
        }
        reason::GROUP_EXISTS => {
            let group = find::<pb::ResourceInfo>(details)?;
            Some(Detail::Rejected(Rejection::GroupExists {
                name: GroupName::new(&group.resource_name).ok()?,
                reason: Some(group.description).filter(|reason| !reason.is_empty()),
            }))
        }
        reason::TOKEN_NOT_FOUND
        | reason::TOKEN_EXISTS
        | reason::TOKEN_ENDED
        | reason::ROLE_NOT_FOUND
        | reason::ADMIN_EXISTS => credentials::read(reason, details).map(Detail::Rejected),
        reason::PARENT_NOT_FOUND => unknown_parent(find(details)?).map(Detail::Rejected),
        reason::PRECONDITIONS_FAILED => aborted(find(details)?).map(Detail::Rejected),
        reason::NODE_NOT_FOUND => {
            let name = find::<pb::ResourceInfo>(details)?.resource_name;
            Some(Detail::NodeNotFound {
                node_id: name.parse().ok()?,
            })
        }
        reason::CHANGE_IN_PROGRESS => Some(Detail::ChangeInProgress),
        reason::MEMBERSHIP_REFUSED => {
            let failure = find::<pb::PreconditionFailure>(details)?;
            let violation = failure.violations.into_iter().next()?;
            Some(Detail::MembershipRefused {
                subject: violation.subject,
            })
        }
        reason::NOT_LEADER => Some(not_leader(find(details)?)),
        reason::HISTORY_CHANGED => history_changed(&find(details)?),
        reason::OTHER_CLUSTER => other_cluster(&find(details)?),
        reason::FEATURE_LEVEL => Some(Detail::FeatureLevel),
        reason::ALREADY_CREATED => Some(Detail::AlreadyCreated),
        reason::POSITION_OUT_OF_RANGE => {
            let v1::PositionOutOfRange {
                sequence,
                first_sequence,
                last_sequence,
            } = find(details)?;
            let (first, last) = (first_sequence, last_sequence);
            Some(Detail::PositionOutOfRange {
                sequence,
                first,
                last,
            })
        }
        reason::OVERLOADED => Some(Detail::Overloaded),
        reason::LIMIT_REACHED => {
            let violation = find::<pb::QuotaFailure>(details)?
                .violations
                .into_iter()
                .next()?;
            Some(Detail::LimitReached {
                subject: violation.subject,
            })
        }
        reason::NO_LEADER => Some(Detail::NoLeader),
        reason::NOT_CREATED => Some(Detail::NotCreated),
        reason::NODE_BEHIND => {
            let v1::NodeBehind {
                revision,
                sequence,
                wanted_revision,
            } = find(details)?;
            Some(Detail::NodeBehind {
                revision,
                sequence,
                wanted_revision,
            })
        }
        reason::OUTCOME_UNKNOWN => Some(Detail::OutcomeUnknown),
        reason::STOPPING => Some(Detail::Stopping),
        reason::DATA_DAMAGED => Some(Detail::DataDamaged),
        reason::UNAUTHENTICATED => Some(Detail::Unauthenticated),
        reason::PERMISSION_DENIED => {
            let missing = find::<pb::ResourceInfo>(details)?.resource_name;
            Some(Detail::PermissionDenied { missing })
        }
        reason::STORAGE_FAILED => Some(Detail::StorageFailed),
        _ => None,
    }
}

fn group_name(details: &[Any]) -> Option<GroupName> {
    let name = find::<pb::ResourceInfo>(details)?.resource_name;
    GroupName::new(&name).ok()
}

fn unknown_parent(unknown: v1::UnknownParent) -> Option<Rejection> {
    let parent = ParentName::try_from(unknown.parent?).ok()?;
    match unknown.place? {
        v1::unknown_parent::Place::EventIndex(event) => Some(Rejection::UnknownParent {
            event: event as usize,
            parent,
        }),
        v1::unknown_parent::Place::PreconditionIndex(precondition) => {
            let precondition = precondition as usize;
            Some(Rejection::UnknownPreconditionParent {
                precondition,
                parent,
            })
        }
    }
}

fn aborted(aborted: v1::CommitAborted) -> Option<Rejection> {
    let violations = aborted.violations.into_iter().map(violation::read);
    Some(Rejection::Preconditions {
        violations: violations.collect::<Result<_, _>>().ok()?,
    })
}

fn not_leader(not_leader: v1::NotLeader) -> Detail {
    let endpoint = not_leader.leader_endpoint;
    let leader = not_leader
        .leader_id
        .filter(|_| !endpoint.is_empty())
        .map(|node_id| Leader { node_id, endpoint });
    Detail::NotLeader { leader }
}

fn history_changed(changed: &v1::HistoryChanged) -> Option<Detail> {
    Some(Detail::HistoryChanged {
        expected: ident::u128("expected_history_id", &changed.expected_history_id).ok()?,
        actual: ident::u128("actual_history_id", &changed.actual_history_id).ok()?,
    })
}

fn other_cluster(other: &v1::OtherCluster) -> Option<Detail> {
    Some(Detail::OtherCluster {
        expected: ident::u128("expected_cluster_id", &other.expected_cluster_id).ok()?,
        actual: ident::u128("actual_cluster_id", &other.actual_cluster_id).ok()?,
    })
}
