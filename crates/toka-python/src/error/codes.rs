//! Which exception and which code each error has. `docs/python.md` lists them.

use toka_agents::PayloadError;
use toka_agents::claims::ClaimError;
use toka_agents::store::{Class, StoreError};
use toka_ledger::engine::EngineError;
use toka_ledger::{Invalid, Rejection};

use super::{Fact, Failure};

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        let code = match &invalid {
            Invalid::Dimension { .. } => "dimension",
            Invalid::Model { .. } => "model",
            _ => "invalid",
        };
        let field = Fact::Text(invalid.field().to_owned());
        Self::new("InvalidError", code, invalid).with("field", field)
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        if let Rejection::Invalid { invalid, .. } = rejection {
            return invalid.into();
        }
        let (class, code) = match &rejection {
            Rejection::Preconditions { .. } => ("PreconditionError", "precondition"),
            Rejection::UnknownParent { .. } => ("UnknownParentError", "unknown_parent"),
            Rejection::UnknownPreconditionParent { .. } => ("UnknownParentError", "unknown_event"),
            Rejection::UnknownIntent { .. } => ("NotFoundError", "unknown_intent"),
            Rejection::UnknownCursor { .. } => ("NotFoundError", "unknown_cursor"),
            Rejection::UnknownGroup { .. } => ("NotFoundError", "unknown_group"),
            Rejection::GroupExists { .. } => ("RejectedError", "group_exists"),
            Rejection::CursorsFull { .. } => ("LimitReachedError", "cursors_full"),
            Rejection::GroupsFull { .. } => ("LimitReachedError", "groups_full"),
            Rejection::PositionAhead { .. } => ("OutOfRangeError", "position_ahead"),
            Rejection::Full => ("LimitReachedError", "full"),
            Rejection::NotCreated => ("RejectedError", "not_created"),
            Rejection::FeatureLevel { .. } => ("RejectedError", "feature_level"),
            _ => ("RejectedError", "rejected"),
        };
        let is_retryable = matches!(
            rejection,
            Rejection::NotCreated | Rejection::FeatureLevel { .. }
        );
        let failure = Self::new(class, code, &rejection).retryable(is_retryable);
        match rejection {
            Rejection::Preconditions { violations } => {
                let texts = violations.iter().map(ToString::to_string).collect();
                failure.with("violations", Fact::Texts(texts))
            }
            _ => failure,
        }
    }
}

impl From<toka_client::Error> for Failure {
    fn from(error: toka_client::Error) -> Self {
        use toka_client::Error;
        let (class, code) = match error {
            Error::Invalid(invalid) => return invalid.into(),
            Error::Rejected(rejection) => return rejection.into(),
            Error::NoEndpoints | Error::Endpoint { .. } => ("ConfigurationError", "endpoint"),
            Error::Tls(_) => ("ConfigurationError", "tls"),
            Error::Token { .. } => ("ConfigurationError", "token"),
            Error::PlaintextToken { .. } => ("ConfigurationError", "plaintext_token"),
            Error::Unauthenticated { .. } => ("UnauthenticatedError", "unauthenticated"),
            Error::PermissionDenied { .. } => ("PermissionDeniedError", "permission_denied"),
            Error::InvalidField { .. } => ("InvalidError", "invalid"),
            Error::NotFound { .. } => ("NotFoundError", "unknown_event"),
            Error::NodeNotFound { .. } => ("NotFoundError", "unknown_node"),
            Error::OutOfRange { .. } => ("OutOfRangeError", "out_of_range"),
            Error::HistoryChanged { .. } => ("HistoryChangedError", "history_changed"),
            Error::OtherCluster { .. } => ("OtherClusterError", "other_cluster"),
            Error::LimitReached { .. } => ("LimitReachedError", "limit_reached"),
            Error::Overloaded { .. } => ("OverloadedError", "overloaded"),
            Error::Unreachable { .. } => ("UnreachableError", "unreachable"),
            Error::Unavailable { .. } => ("UnavailableError", "unavailable"),
            Error::OutcomeUnknown { .. } => ("OutcomeUnknownError", "outcome_unknown"),
            Error::Reply { .. } => ("ProtocolError", "reply"),
            _ => ("RefusedError", "refused"),
        };
        let is_retryable = error.is_retryable();
        let failure = Self::new(class, code, &error).retryable(is_retryable);
        match error {
            Error::InvalidField { field, .. } => failure.with("field", Fact::Text(field)),
            Error::OutOfRange { last, .. } => failure.with("last", Fact::Number(last)),
            _ => failure,
        }
    }
}

impl From<toka_ledger::Error> for Failure {
    fn from(error: toka_ledger::Error) -> Self {
        use toka_ledger::Error;
        let (class, code) = match error {
            Error::Invalid(invalid) => return invalid.into(),
            Error::Rejected(rejection) => return rejection.into(),
            Error::NotFound { .. } => ("NotFoundError", "unknown_event"),
            Error::OutOfRange { .. } => ("OutOfRangeError", "out_of_range"),
            Error::LineageLimit { .. } | Error::DescendantsLimit { .. } => {
                ("LimitReachedError", "lineage_limit")
            }
            Error::Erased { .. } => ("ErasedError", "erased"),
            Error::PayloadType { .. } => ("PayloadError", "payload"),
            Error::NotAVault { .. } => ("OpenError", "not_a_vault"),
            Error::RestoreInterrupted { .. } => ("OpenError", "restore_interrupted"),
            Error::ClusterNode { .. } => ("OpenError", "cluster_node"),
            Error::NewerFormat { .. } => ("OpenError", "newer_format"),
            Error::FeatureLevel { .. } => ("OpenError", "feature_level"),
            Error::Corrupt { .. } => ("CorruptError", "corrupt"),
            Error::File { .. } => ("StorageError", "file"),
            Error::Engine(EngineError::Locked { .. }) => ("OpenError", "locked"),
            Error::Engine(EngineError::WrongFormat { .. }) => ("OpenError", "open"),
            Error::Engine(EngineError::Corruption { .. }) => ("CorruptError", "corrupt"),
            Error::Engine(_) => ("StorageError", "engine"),
            Error::Closed => ("ClosedError", "closed"),
            _ => ("OpenError", "open"),
        };
        let is_retryable = error.is_retryable();
        let failure = Self::new(class, code, &error).retryable(is_retryable);
        match error {
            Error::OutOfRange { last, .. } => failure.with("last", Fact::Number(last)),
            _ => failure,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(invalid) => invalid.into(),
            StoreError::Rejected(rejection) => rejection.into(),
            StoreError::Client(error) => (*error).into(),
            StoreError::Ledger(error) => (*error).into(),
            StoreError::Interrupted => Self::interrupted(),
            other => {
                let is_retryable = other.class() == Class::Transient;
                Self::new("VaultError", "unsupported", &other).retryable(is_retryable)
            }
        }
    }
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let (class, code) = match error {
            ClaimError::Invalid(invalid) => return invalid.into(),
            ClaimError::Store(error) => return error.into(),
            ClaimError::Held { .. } => ("HeldError", "held"),
            ClaimError::Completed { .. } => ("CompletedError", "completed"),
            ClaimError::Unclaimed => ("ClaimError", "unclaimed"),
            ClaimError::Contended => ("ClaimError", "contended"),
            ClaimError::Exhausted { .. } => ("ClaimError", "exhausted"),
            _ => ("ClaimError", "link"),
        };
        let is_retryable = matches!(error, ClaimError::Held { .. } | ClaimError::Contended);
        let failure = Self::new(class, code, &error).retryable(is_retryable);
        match error {
            ClaimError::Held {
                holder,
                expires_unix_ms,
                number,
            } => failure
                .with("holder", Fact::Text(holder.name))
                .with("expires_unix_ms", Fact::Number(expires_unix_ms))
                .with("number", Fact::Number(number)),
            _ => failure,
        }
    }
}

impl From<PayloadError> for Failure {
    fn from(error: PayloadError) -> Self {
        let (class, code) = match &error {
            PayloadError::Erased { .. } => ("ErasedError", "erased"),
            _ => ("PayloadError", "payload"),
        };
        Self::new(class, code, error)
    }
}

impl From<smart_embedder::Error> for Failure {
    fn from(error: smart_embedder::Error) -> Self {
        let is_retryable = error.is_retryable();
        Self::new("EmbedderError", "embedder", error).retryable(is_retryable)
    }
}
