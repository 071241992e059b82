//! Failures with an exit code of their own.

use std::process::ExitCode;

use toka_server::config::ConfigError;

/// What went wrong, as far as scripts can tell it apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that is not there or cannot be.
    #[error("{0}")]
    Usage(String),
    /// No node answered, or there is no leader.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such event, or intent.
    #[error("there is no {0}")]
    NotFound(String),
    /// The input is not valid, or the vault refused the commit.
    #[error("{0}")]
    Refused(String),
    /// Verification found damage.
    #[error("{0}")]
    Damaged(String),
}

/// The documented exit code of `error`.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.chain().find_map(code).unwrap_or(1))
}

fn code(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(match failure {
            Failure::Usage(_) => 2,
            Failure::Unavailable(_) => 3,
            Failure::NotFound(_) => 4,
            Failure::Refused(_) => 5,
            Failure::Damaged(_) => 6,
        });
    }
    if cause.is::<ConfigError>() {
        return Some(2);
    }
    if let Some(error) = cause.downcast_ref::<smart_embedder::Error>() {
        use smart_embedder::Error as E;
        return match error {
            E::Invalid { .. } | E::Model { .. } | E::NotBuilt { .. } => Some(2),
            E::TooLarge { .. } | E::Payload { .. } => Some(5),
            error => error.is_retryable().then_some(3),
        };
    }
    (cause.is::<toka_ledger::Invalid>() || cause.is::<serde_json::Error>()).then_some(5)
}

/// The error and its causes in one line. A cause that the message before it repeats is left out.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_repeated_cause_is_said_once() {
        let cause = std::io::Error::other("no room");
        let error = anyhow::Error::new(cause)
            .context("a: no room")
            .context("cannot write");
        assert_eq!(describe(&error), "cannot write: a: no room");
    }

    #[test]
    fn invalid_input_has_its_code_through_contexts() {
        let invalid = toka_ledger::Kind::new("")
            .context("line 1")
            .expect_err("empty");
        assert_eq!(exit_code(&invalid), ExitCode::from(5));
        assert_eq!(exit_code(&anyhow::anyhow!("other")), ExitCode::FAILURE);
    }
}
