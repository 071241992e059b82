//! Failures with an exit code of their own.

use std::process::ExitCode;

/// What went wrong, as far as scripts can tell it apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No node answered, or there is no leader.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such event.
    #[error("there is no event {0}")]
    NotFound(String),
    /// The vault refused the input or the commit.
    #[error("{0}")]
    Refused(String),
    /// Verification found damage.
    #[error("{0} problems found")]
    Damaged(usize),
}

/// The documented exit code of `error`.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let failure = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>());
    ExitCode::from(match failure {
        Some(Failure::Unavailable(_)) => 3,
        Some(Failure::NotFound(_)) => 4,
        Some(Failure::Refused(_)) => 5,
        Some(Failure::Damaged(_)) => 6,
        None => 1,
    })
}
