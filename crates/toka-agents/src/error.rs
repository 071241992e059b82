//! Why a handler, or an agent, ends without a result.

use toka_ledger::{CursorName, GroupName, Invalid};

use crate::store::StoreError;

/// Any error of a handler's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a handler did not react to an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// It may work later: it is tried again, as [`Settings::handler_retries`](crate::Settings) says, and then parked.
    #[error("{source}")]
    Transient {
        /// The handler's error.
        source: BoxError,
    },
    /// It will never work: the event is parked at once.
    #[error("{source}")]
    Permanent {
        /// The handler's error.
        source: BoxError,
    },
    /// The handler panicked: the event is parked at once.
    #[error("the handler panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The handler took longer than it may ([`Settings::handler_timeout`](crate::Settings)); it is tried again.
    #[error("the handler took longer than {limit_ms} ms")]
    Late {
        /// How long it may take, milliseconds.
        limit_ms: u64,
    },
    /// The handler asked for more inputs, or larger ones, than can be recorded.
    #[error("the handler asked for more than {max} {what}")]
    TooManyInputs {
        /// Of what: `inputs` or `bytes of inputs`.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// In a replay the handler asked for something else than what was recorded: it is not the handler that ran then, or it
    /// depends on what it does not ask for.
    #[error(
        "the handler asks for {asked}, and {} was recorded",
        recorded.as_deref().unwrap_or("nothing more")
    )]
    Diverged {
        /// What it asks for.
        asked: String,
        /// What was recorded.
        recorded: Option<String>,
    },
}

impl HandlerError {
    /// An error that may not come again.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient {
            source: source.into(),
        }
    }

    /// An error that comes with this event each time.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::Permanent {
            source: source.into(),
        }
    }

    /// Whether the same event may be handled later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Transient { .. } | Self::Late { .. } => true,
            Self::Permanent { .. }
            | Self::Panicked { .. }
            | Self::TooManyInputs { .. }
            | Self::Diverged { .. } => false,
        }
    }
}

/// A payload that is not what the handler expects will never be.
impl From<crate::event::PayloadError> for HandlerError {
    fn from(error: crate::event::PayloadError) -> Self {
        Self::permanent(error)
    }
}

/// Names and other inputs that the vault would refuse.
impl From<Invalid> for HandlerError {
    fn from(error: Invalid) -> Self {
        Self::permanent(error)
    }
}

/// Why an agent has stopped. Nothing is lost: started again, it goes on where its cursor or its group is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The vault could not be used, also after all tries.
    #[error("the vault: {0}")]
    Store(#[from] StoreError),
    /// A setting that cannot be.
    #[error("{field}: {reason}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The agent's name, or that of its cursor, is no name.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is a group of that name which gets other events than the agent is interested in.
    #[error("group {group} has another filter than the agent's interests")]
    OtherGroup {
        /// The group.
        group: GroupName,
    },
    /// The embedder failed, also after all tries; no event can be emitted without it.
    #[error("the embedder: {source}")]
    Embedder {
        /// Its error.
        source: BoxError,
    },
    /// [`Agent::apply`](crate::Agent::apply) panicked: what the state is from there on is not known, so no event can be dealt
    /// with until the agent is another one.
    #[error("`apply` panicked at a wanted event after {after}: {message}")]
    Apply {
        /// The last event that is known to be in the state.
        after: u64,
        /// What it said.
        message: String,
    },
    /// Others have moved the cursor again and again to where this agent could not go on from.
    #[error(
        "cursor {cursor} is moved by others: this agent began anew {times} times without dealing with an event"
    )]
    CursorContended {
        /// The cursor.
        cursor: CursorName,
        /// How often.
        times: u32,
    },
}

impl Error {
    /// Whether the agent may do better if it is started again without a change of its settings.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.class() == crate::store::Class::Transient,
            Self::Embedder { .. } | Self::CursorContended { .. } => true,
            Self::Setting { .. }
            | Self::Invalid(_)
            | Self::OtherGroup { .. }
            | Self::Apply { .. } => false,
        }
    }
}

/// A reason as it is stored: bounded, and without control characters.
pub(crate) fn shortened(reason: &str, bytes_max: usize) -> String {
    let mut short = String::new();
    for c in reason.chars() {
        if short.len() + c.len_utf8() > bytes_max {
            break;
        }
        short.push(if c.is_control() { ' ' } else { c });
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded_and_have_no_control_characters() {
        assert_eq!(shortened("a\nb", 10), "a b");
        assert_eq!(shortened("ääää", 5), "ää");
    }
}
