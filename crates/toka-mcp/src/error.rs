//! What a tool can fail with, as a model is told: a code, a sentence, and whether it may try again.

use serde_json::{Value, json};
use toka_agents::StoreError;
use toka_agents::claims::ClaimError;
use toka_client::{Code, Error as ClientError};
use toka_ledger::{Invalid, Rejection};

/// Why a tool did not do what it was called for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The arguments are not those of the tool.
    #[error("the arguments do not fit the tool: {0}")]
    Arguments(#[source] serde_json::Error),
    /// One of them cannot be used.
    #[error("{field}: {reason}")]
    Argument {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing of that name.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// As it was named.
        name: String,
    },
    /// A text cannot be embedded as the vault's events were.
    #[error("{reason}")]
    NoEmbedder {
        /// Why, and what to do about it.
        reason: String,
    },
    /// The embedder failed.
    #[error("the embedder: {0}")]
    Embedder(#[from] smart_embedder::Error),
    /// As many calls are being answered as may be at once.
    #[error("{max} calls are being answered; call again when some are done")]
    Busy {
        /// How many.
        max: usize,
    },
    /// The vault refused it, or could not be used.
    #[error(transparent)]
    Client(Box<ClientError>),
    /// A claim was not made.
    #[error(transparent)]
    Claim(Box<ClaimError>),
}

impl ToolError {
    /// An argument that cannot be used.
    pub(crate) fn argument(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Argument {
            field,
            reason: reason.into(),
        }
    }

    /// What a program can tell apart.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) | Self::Argument { .. } => "invalid_argument",
            Self::NotFound { .. } => "not_found",
            Self::NoEmbedder { .. } => "no_embedder",
            Self::Embedder(_) => "embedder_failed",
            Self::Busy { .. } => "overloaded",
            Self::Client(error) => code_of(error),
            Self::Claim(error) => code_of_claim(error),
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Arguments(_)
            | Self::Argument { .. }
            | Self::NotFound { .. }
            | Self::NoEmbedder { .. } => false,
            Self::Embedder(error) => error.is_retryable(),
            Self::Busy { .. } => true,
            Self::Client(error) => error.is_retryable(),
            Self::Claim(error) => match &**error {
                ClaimError::Held { .. } | ClaimError::Contended => true,
                ClaimError::Store(StoreError::Client(error)) => error.is_retryable(),
                _ => false,
            },
        }
    }

    /// What a model is told: `{"error": {"code", "message", "retryable", ...}}`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut error = json!({
            "code": self.code(),
            "message": self.to_string(),
            "retryable": self.is_retryable(),
        });
        match self {
            Self::Argument { field, .. } => error["field"] = (*field).into(),
            Self::Claim(claim) => {
                if let ClaimError::Held {
                    holder,
                    expires_unix_ms,
                    number,
                } = &**claim
                {
                    error["holder"] = holder.name.as_str().into();
                    error["expires_unix_ms"] = (*expires_unix_ms).into();
                    error["number"] = (*number).into();
                }
            }
            _ => {}
        }
        json!({ "error": error })
    }
}

fn code_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Unauthenticated { .. } => "unauthenticated",
        ClientError::PermissionDenied { .. } => "permission_denied",
        ClientError::Token { .. } | ClientError::PlaintextToken { .. } => "unusable_token",
        ClientError::Invalid(_) | ClientError::InvalidField { .. } => "invalid_argument",
        ClientError::NotFound { .. } => "not_found",
        ClientError::OutOfRange { .. } => "out_of_range",
        ClientError::Rejected(rejection) => code_of_rejection(rejection),
        ClientError::HistoryChanged { .. } | ClientError::OtherCluster { .. } => "history_changed",
        ClientError::LimitReached { .. } => "limit_reached",
        ClientError::Overloaded { .. } => "overloaded",
        ClientError::Unreachable { .. }
        | ClientError::Unavailable { .. }
        | ClientError::StreamEnded => "unavailable",
        ClientError::OutcomeUnknown { .. } => "outcome_unknown",
        ClientError::Refused {
            code: Code::NotFound,
            ..
        } => "not_found",
        _ => "refused",
    }
}

fn code_of_rejection(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownIntent { .. } | Rejection::UnknownCursor { .. } => "not_found",
        Rejection::UnknownParent { .. } => "unknown_parent",
        Rejection::Invalid { .. } => "invalid_argument",
        Rejection::Preconditions { .. } => "conflict",
        _ => "refused",
    }
}

fn code_of_claim(error: &ClaimError) -> &'static str {
    match error {
        ClaimError::Held { .. } => "held",
        ClaimError::Completed { .. } => "completed",
        ClaimError::Unclaimed => "unclaimed",
        ClaimError::Contended => "contended",
        ClaimError::Invalid(_) | ClaimError::Link(_) => "invalid_argument",
        ClaimError::Store(StoreError::Invalid(_)) => "invalid_argument",
        ClaimError::Store(StoreError::Rejected(rejection)) => code_of_rejection(rejection),
        ClaimError::Store(StoreError::Client(error)) => code_of(error),
        _ => "refused",
    }
}

impl From<ClientError> for ToolError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl From<Invalid> for ToolError {
    fn from(error: Invalid) -> Self {
        ClientError::from(error).into()
    }
}

impl From<ClaimError> for ToolError {
    fn from(error: ClaimError) -> Self {
        Self::Claim(Box::new(error))
    }
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        ClaimError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use toka_agents::claims::Holder;

    use super::*;

    #[test]
    fn error_names_its_code_and_its_field() {
        let error = ToolError::argument("event", "it is empty").to_value();
        let expected = json!({ "error": {
            "code": "invalid_argument",
            "message": "event: it is empty",
            "retryable": false,
            "field": "event",
        } });
        assert_eq!(error, expected);
    }

    #[test]
    fn claim_that_is_held_says_by_whom_and_until_when() {
        let error = ToolError::from(ClaimError::Held {
            holder: Holder::with_session("robot", [0; 16]),
            expires_unix_ms: 7,
            number: 3,
        });
        let value = error.to_value();
        assert_eq!(value["error"]["code"], "held");
        assert_eq!(value["error"]["holder"], "robot");
        assert_eq!(value["error"]["expires_unix_ms"], 7);
        assert!(error.is_retryable());
    }

    #[test]
    fn vault_that_is_away_may_come_back() {
        let error = ToolError::from(ClientError::Unavailable {
            endpoint: "n".to_owned(),
            message: "no leader".to_owned(),
        });
        assert_eq!((error.code(), error.is_retryable()), ("unavailable", true));
    }
}
