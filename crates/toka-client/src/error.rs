//! What a call can fail with.

use toka_ledger::error::extent;
use toka_ledger::{Invalid, Rejection};
use toka_proto::convert::status::{Detail, Failure};
use tonic::Code;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client was given no endpoint.
    #[error("there is no endpoint to connect to")]
    NoEndpoints,
    /// Not an endpoint.
    #[error("endpoint {endpoint:?} cannot be used: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// Certificates or keys cannot be used, or the name that the nodes are to have.
    #[error(transparent)]
    Tls(#[from] toka_tls::Error),
    /// A bearer token cannot be used.
    #[error("{subject} cannot be used as a token: {reason}")]
    Token {
        /// The file, or `the token`.
        subject: String,
        /// What is wrong; nothing of the token itself.
        reason: String,
    },
    /// A token would be sent without TLS to another machine, where anybody on the way could read it.
    #[error(
        "{endpoint} is not on this machine, and without TLS the token would be sent to it for everybody on the way to read"
    )]
    PlaintextToken {
        /// The endpoint.
        endpoint: String,
    },
    /// The client has not shown who it is, or not in a way that counts.
    #[error("{endpoint} does not know who is calling: {message}")]
    Unauthenticated {
        /// The node.
        endpoint: String,
        /// What it said.
        message: String,
    },
    /// The client may not do that.
    #[error("not allowed: {message}")]
    PermissionDenied {
        /// What the node said; names what is missing.
        message: String,
    },
    /// Bad input; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Bad input, as a node found; nothing was stored.
    #[error("{}", named(field, description))]
    InvalidField {
        /// The field of the request, as `events[3].kind`.
        field: String,
        /// The rule that it breaks.
        description: String,
    },
    /// The commit was refused; nothing was stored.
    #[error(transparent)]
    Rejected(Rejection),
    /// There is no such event.
    #[error("there is no event {name}")]
    NotFound {
        /// As it was named.
        name: String,
    },
    /// There is no such member of the cluster.
    #[error("there is no node {node_id} in the cluster")]
    NodeNotFound {
        /// Its id, as it was named.
        node_id: u64,
    },
    /// Changes of the membership are made one at a time, and another one took until the deadline.
    #[error("{message}")]
    ChangeInProgress {
        /// What the leader said of it.
        message: String,
    },
    /// The cluster could not work, or not safely, if its membership were changed like that.
    #[error("{message}")]
    MembershipRefused {
        /// What is in the way, as `node 3`.
        subject: String,
        /// What the leader said.
        message: String,
    },
    /// A position that the vault does not have; the leader has confirmed it.
    #[error("sequence {sequence} is not in the vault, which {}", extent(*first, *last))]
    OutOfRange {
        /// What was asked for.
        sequence: u64,
        /// First sequence that the vault has; 0: it is empty.
        first: u64,
        /// Last sequence that the vault has; 0: it is empty.
        last: u64,
    },
    /// The vault was restored or recovered: positions in its old history no longer count. Begin again with a new
    /// [`Client`](crate::Client): read where the vault's cursors are, and subscribe from there. A program that is
    /// started again is told so too if it has stored the history with its positions
    /// ([`Subscribe::history_id`](crate::Subscribe::history_id)).
    #[error("the vault has another history: {actual:032x}, not {expected:032x}")]
    HistoryChanged {
        /// The history that the client knew.
        expected: u128,
        /// The vault's.
        actual: u128,
    },
    /// All nodes that could be asked belong to another cluster than this client, and were not used: the addresses of
    /// members were given to other nodes, or the vault was restored or recovered. A client keeps to the cluster that
    /// its first reply has named, or [`Builder::cluster_id`](crate::Builder::cluster_id): for the other one begin with a
    /// new client.
    #[error("{}", of_another_cluster(endpoint, *expected, *actual, *answered))]
    OtherCluster {
        /// The node, `host:port`.
        endpoint: String,
        /// The client's cluster.
        expected: u128,
        /// The node's.
        actual: u128,
        /// It has done the call before it said so: a node of a build that does not read for which cluster a call is. What
        /// was to be done may have been done there.
        answered: bool,
    },
    /// A limit of the cluster that does not pass by itself.
    #[error("{message}")]
    LimitReached {
        /// Of what.
        subject: String,
        /// What the node said.
        message: String,
    },
    /// The cluster was overloaded until the deadline. What was committed may have been applied.
    #[error("the cluster is overloaded: {message}")]
    Overloaded {
        /// What the last node said.
        message: String,
    },
    /// No node answered before the deadline. What was committed may have been applied.
    #[error("no node answered at {} ({reason})", endpoints.join(", "))]
    Unreachable {
        /// All that were tried.
        endpoints: Vec<String>,
        /// The last failure.
        reason: String,
    },
    /// Nodes answered, but could not serve the call before the deadline: there is no leader, or they
    /// are behind. What was committed may have been applied.
    #[error("the cluster is not available: {endpoint} says: {message}")]
    Unavailable {
        /// The last node that answered.
        endpoint: String,
        /// What it said.
        message: String,
    },
    /// It is not known whether the call was carried out, and to repeat it might undo what somebody else has done since:
    /// look first.
    #[error("it is not known whether it was done: {endpoint}: {reason}")]
    OutcomeUnknown {
        /// The node that was asked.
        endpoint: String,
        /// What has happened.
        reason: String,
    },
    /// A node refused the call in another way.
    #[error("{endpoint} refused the call ({code}): {message}")]
    Refused {
        /// The node.
        endpoint: String,
        /// The gRPC code.
        code: Code,
        /// What it said.
        message: String,
    },
    /// A reply that a node of this version would not send.
    #[error("the reply of {endpoint} makes no sense: {reason}")]
    Reply {
        /// The node.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The commit stream ended before this commit was answered, and resuming it failed, or it was
    /// dropped. The commit may have been applied: repeating it is safe.
    #[error("the commit stream has ended")]
    StreamEnded,
}

impl Error {
    /// Whether the same call may succeed later without a change of its arguments. Commits can be
    /// repeated in any case: they are applied once.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::ChangeInProgress { .. }
            | Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::StreamEnded => true,
            Self::NoEndpoints
            | Self::Endpoint { .. }
            | Self::Tls(_)
            | Self::Token { .. }
            | Self::PlaintextToken { .. }
            | Self::Unauthenticated { .. }
            | Self::PermissionDenied { .. }
            | Self::Invalid(_)
            | Self::InvalidField { .. }
            | Self::Rejected(_)
            | Self::NotFound { .. }
            | Self::NodeNotFound { .. }
            | Self::MembershipRefused { .. }
            | Self::OutOfRange { .. }
            | Self::HistoryChanged { .. }
            | Self::OtherCluster { .. }
            | Self::LimitReached { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Refused { .. }
            | Self::Reply { .. } => false,
        }
    }

    /// What a node said, once there is no point in trying again.
    pub(crate) fn from_failure(endpoint: &str, failure: Failure) -> Self {
        let Failure {
            code,
            message,
            detail,
            ..
        } = failure;
        match detail {
            Some(Detail::InvalidField { field, description }) => {
                Self::InvalidField { field, description }
            }
            Some(Detail::EventNotFound { name }) => Self::NotFound { name },
            Some(Detail::Rejected(rejection)) => Self::Rejected(rejection),
            Some(Detail::NodeNotFound { node_id }) => Self::NodeNotFound { node_id },
            Some(Detail::ChangeInProgress) => Self::ChangeInProgress { message },
            Some(Detail::MembershipRefused { subject }) => {
                Self::MembershipRefused { subject, message }
            }
            Some(Detail::HistoryChanged { expected, actual }) => {
                Self::HistoryChanged { expected, actual }
            }
            Some(Detail::OtherCluster { expected, actual }) => Self::OtherCluster {
                endpoint: endpoint.to_owned(),
                expected,
                actual,
                answered: false,
            },
            // Of a revision: the message says it.
            Some(Detail::PositionOutOfRange { sequence: 0, .. }) => Self::Refused {
                endpoint: endpoint.to_owned(),
                code,
                message,
            },
            Some(Detail::PositionOutOfRange {
                sequence,
                first,
                last,
            }) => Self::OutOfRange {
                sequence,
                first,
                last,
            },
            Some(Detail::LimitReached { subject }) => Self::LimitReached { subject, message },
            Some(Detail::Overloaded) => Self::Overloaded { message },
            Some(Detail::OutcomeUnknown) => Self::OutcomeUnknown {
                endpoint: endpoint.to_owned(),
                reason: message,
            },
            _ if matches!(code, Code::Unavailable | Code::DeadlineExceeded) => Self::Unavailable {
                endpoint: endpoint.to_owned(),
                message,
            },
            _ if code == Code::Unauthenticated => Self::Unauthenticated {
                endpoint: endpoint.to_owned(),
                message,
            },
            _ if code == Code::PermissionDenied => Self::PermissionDenied { message },
            Some(Detail::NotLeader { .. }) => Self::Unavailable {
                endpoint: endpoint.to_owned(),
                message,
            },
            _ => Self::Refused {
                endpoint: endpoint.to_owned(),
                code,
                message,
            },
        }
    }

    /// The same, of a node that has answered the call.
    pub(crate) fn after_answer(mut self) -> Self {
        if let Self::OtherCluster { answered, .. } = &mut self {
            *answered = true;
        }
        self
    }

    /// The same, with what was found at another address.
    pub(crate) fn beside(mut self, foreign: &Self) -> Self {
        if let Self::Unavailable {
            message: reason, ..
        }
        | Self::Unreachable { reason, .. } = &mut self
        {
            *reason = format!("{reason}; besides, {foreign}");
        }
        self
    }

    pub(crate) fn reply(endpoint: &str, reason: impl ToString) -> Self {
        Self::Reply {
            endpoint: endpoint.to_owned(),
            reason: reason.to_string(),
        }
    }
}

fn of_another_cluster(endpoint: &str, expected: u128, actual: u128, answered: bool) -> String {
    let done = if answered {
        "it has answered all the same, and what was to be done may have been done there"
    } else {
        "it is not used"
    };
    format!(
        "{endpoint} belongs to cluster {actual:032x}, and not to {expected:032x}, which this client is of: {done}. \
         If the vault was restored or recovered as that one, begin again with endpoints of that one alone"
    )
}

/// The description, with the field before it where it does not begin with that.
fn named(field: &str, description: &str) -> String {
    if description.starts_with(field) {
        description.to_owned()
    } else {
        format!("{field}: {description}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_named_once() {
        let said = |field: &str, description: &str| {
            let (field, description) = (field.to_owned(), description.to_owned());
            Error::InvalidField { field, description }.to_string()
        };
        assert_eq!(
            said("to_node_id", "to_node_id is not a voter"),
            "to_node_id is not a voter"
        );
        assert_eq!(
            said("events[1].kind", "kind is empty"),
            "events[1].kind: kind is empty"
        );
    }
}
