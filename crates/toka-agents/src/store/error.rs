//! What a store can fail with.

use toka_ledger::{Invalid, Rejection};

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Bad input; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The commit was refused; nothing was stored.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A call to the cluster failed.
    #[error(transparent)]
    Client(Box<toka_client::Error>),
    /// The vault in this process failed.
    #[error(transparent)]
    Ledger(Box<toka_ledger::Error>),
    /// The runtime is shutting down, or a thread of it has panicked.
    #[error("the work was interrupted")]
    Interrupted,
    /// The store does not offer this: a recorded history takes no commits.
    #[error("this store cannot {what}")]
    Unsupported {
        /// What it cannot do, as `commit`.
        what: &'static str,
    },
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later.
    Transient,
    /// The vault does not take this input; others it may take.
    Refused,
    /// No call will do better until somebody has done something about it.
    Fatal,
}

impl StoreError {
    /// What follows from it for the agent; of a commit with a reaction some of it is the reaction's own doing, and its event
    /// is parked for that.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Invalid(_) => Class::Refused,
            Self::Rejected(rejection) => class_of(rejection),
            Self::Client(error) => match &**error {
                toka_client::Error::InvalidField { .. } => Class::Refused,
                // A cluster comes to the feature level that groups need soon after all of its nodes have come up.
                toka_client::Error::Refused {
                    code: toka_client::Code::FailedPrecondition,
                    ..
                } => Class::Transient,
                error if error.is_retryable() => Class::Transient,
                _ => Class::Fatal,
            },
            Self::Ledger(error) if error.is_retryable() => Class::Transient,
            Self::Ledger(_) | Self::Interrupted | Self::Unsupported { .. } => Class::Fatal,
        }
    }

    /// Whether an input was one that no vault takes, by what it is or by how much it is.
    pub(crate) fn is_invalid(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Rejected(Rejection::Invalid { .. }) => true,
            Self::Client(error) => matches!(**error, toka_client::Error::InvalidField { .. }),
            _ => false,
        }
    }

    /// Whether the call was one that the agent's token does not allow.
    pub(crate) fn is_denied(&self) -> bool {
        match self {
            Self::Client(error) => matches!(**error, toka_client::Error::PermissionDenied { .. }),
            _ => false,
        }
    }

    /// Whether there is no room for another cursor; a cluster says so by a limit of that name.
    pub(crate) fn is_out_of_cursors(&self) -> bool {
        match self {
            Self::Rejected(Rejection::CursorsFull { .. }) => true,
            Self::Client(error) => match &**error {
                toka_client::Error::LimitReached { subject, .. } => subject == "cursors",
                _ => false,
            },
            _ => false,
        }
    }

    /// The position that a call has named and the vault has not, where it failed for that.
    pub(crate) fn position_ahead(&self) -> Option<u64> {
        match self {
            Self::Rejected(Rejection::PositionAhead { position, .. }) => Some(*position),
            Self::Client(error) => match **error {
                toka_client::Error::OutOfRange { sequence, .. } => Some(sequence),
                _ => None,
            },
            _ => None,
        }
    }
}

fn class_of(rejection: &Rejection) -> Class {
    match rejection {
        Rejection::NotCreated | Rejection::FeatureLevel { .. } => Class::Transient,
        // Every event would be refused: the embedder is another one than the vault's.
        Rejection::Invalid {
            invalid: Invalid::Model { .. } | Invalid::Dimension { .. },
            ..
        }
        | Rejection::UnknownIntent { .. }
        | Rejection::CursorsFull { .. }
        | Rejection::UnknownCursor { .. }
        | Rejection::UnknownGroup { .. }
        | Rejection::GroupExists { .. }
        | Rejection::GroupsFull { .. }
        | Rejection::GroupMoved { .. }
        | Rejection::PositionAhead { .. }
        | Rejection::Full
        | Rejection::AlreadyCreated => Class::Fatal,
        Rejection::UnknownParent { .. }
        | Rejection::UnknownPreconditionParent { .. }
        | Rejection::Invalid { .. }
        | Rejection::Preconditions { .. } => Class::Refused,
        // Newer than this crate.
        _ => Class::Fatal,
    }
}

impl From<toka_client::Error> for StoreError {
    fn from(error: toka_client::Error) -> Self {
        match error {
            toka_client::Error::Invalid(invalid) => Self::Invalid(invalid),
            toka_client::Error::Rejected(rejection) => Self::Rejected(rejection),
            other => Self::Client(Box::new(other)),
        }
    }
}

impl From<toka_ledger::Error> for StoreError {
    fn from(error: toka_ledger::Error) -> Self {
        match error {
            toka_ledger::Error::Invalid(invalid) => Self::Invalid(invalid),
            toka_ledger::Error::Rejected(rejection) => Self::Rejected(rejection),
            other => Self::Ledger(Box::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedder_that_does_not_fit_stops_the_agent_and_a_bad_event_does_not() {
        let invalid = Invalid::Dimension {
            field: "embedding",
            expected: 384,
            actual: 3,
        };
        let rejection = Rejection::Invalid { event: 0, invalid };
        assert_eq!(StoreError::from(rejection).class(), Class::Fatal);
        let empty = Invalid::Empty { field: "kind" };
        assert_eq!(StoreError::from(empty).class(), Class::Refused);
    }

    #[test]
    fn a_cluster_that_is_away_comes_back() {
        let away = toka_client::Error::Unavailable {
            endpoint: "n".to_owned(),
            message: "no leader".to_owned(),
        };
        assert_eq!(StoreError::from(away).class(), Class::Transient);
        let closed = toka_ledger::Error::Closed;
        assert_eq!(StoreError::from(closed).class(), Class::Fatal);
    }
}
