//! Failures with an exit code of their own.

use std::process::ExitCode;

use toka_ledger::engine::EngineError;
use toka_raft::FatalError;
use toka_raft::error::Damage;
use toka_server::config::ConfigError;
use toka_server::{RunError, StartError};

/// What went wrong, as far as scripts can tell it apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that is not there or cannot be.
    #[error("{0}")]
    Usage(String),
    /// No node answered, or there is no leader.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such event, intent, cursor or group.
    #[error("there is no {0}")]
    NotFound(String),
    /// The input is not valid, or the vault refused the commit.
    #[error("{0}")]
    Refused(String),
    /// Preconditions of a commit did not hold, and nothing of it is stored.
    #[error("{0}")]
    Violated(String),
    /// Verification found damage.
    #[error("{0}")]
    Damaged(String),
    /// The data are those of a node that was removed, or whose vault was recovered elsewhere.
    #[error("{0}")]
    Removed(String),
    /// The caller has not shown who it is, or may not do that.
    #[error("{0}")]
    Denied(String),
    /// SIGINT came before it was done.
    #[error("interrupted")]
    Interrupted,
}

/// Gives a data directory that is not the embedded vault's that was meant, or that somebody else uses, the code of a wrong
/// command line.
pub(crate) fn of_directory(error: toka_ledger::Error) -> anyhow::Error {
    use toka_ledger::Error as E;
    match error {
        E::NotAVault { .. }
        | E::ClusterNode { .. }
        | E::EmbeddedVault { .. }
        | E::JoiningNode { .. }
        | E::Engine(EngineError::Locked { .. }) => Failure::Usage(error.to_string()).into(),
        error => error.into(),
    }
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
            Failure::Refused(_) | Failure::Violated(_) => 5,
            Failure::Damaged(_) => 6,
            Failure::Removed(_) => 7,
            Failure::Denied(_) => 11,
            // As shells say it of a process that SIGINT ended.
            Failure::Interrupted => 130,
        });
    }
    if cause.is::<ConfigError>() {
        return Some(2);
    }
    if let Some(toka_client::Error::Tls(_)) = cause.downcast_ref() {
        return Some(2);
    }
    if let Some(code) = end_of_node(cause) {
        return Some(code);
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

/// The code of a node that ended, or did not start, because it must not run with its data any more.
fn end_of_node(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    use toka_raft::StartError as Refused;
    if is_beyond_build(cause) {
        return Some(10);
    }
    if let Some(RunError::Fatal(fatal)) = cause.downcast_ref::<RunError>() {
        return match fatal {
            FatalError::Removed { .. } => Some(7),
            FatalError::Diverged { .. } => Some(6),
            fatal => fatal.damage().map(damaged),
        };
    }
    match cause.downcast_ref::<StartError>() {
        Some(StartError::Config(_) | StartError::Tls(_)) => Some(2),
        Some(StartError::Replica(refused)) if is_misconfigured(refused) => Some(2),
        Some(StartError::Replica(Refused::Removed { .. })) => Some(7),
        Some(StartError::Replica(Refused::Diverged { .. })) => Some(6),
        Some(StartError::Replica(refused)) => refused.damage().map(damaged),
        _ => None,
    }
}

/// The configuration names another node than the data directory, or other addresses than the cluster.
fn is_misconfigured(refused: &toka_raft::StartError) -> bool {
    use toka_raft::StartError as Refused;
    matches!(
        refused,
        Refused::AddressDiffers { .. }
            | Refused::AddressTaken { .. }
            | Refused::Ledger(toka_ledger::Error::OtherNode { .. })
    )
}

/// Of a node that is to be started again, or replaced.
const fn damaged(damage: Damage) -> u8 {
    match damage {
        Damage::Ledger => 9,
        Damage::Log | Damage::UnreadableLog | Damage::OnlyLedger | Damage::Marker => 8,
    }
}

/// The data are of a feature level or of a format that this build does not know.
fn is_beyond_build(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<toka_ledger::Error>() {
        return error.is_beyond_build();
    }
    if let Some(error) = cause.downcast_ref::<toka_backup::Error>() {
        return match error {
            toka_backup::Error::NewerFormat { .. } => true,
            toka_backup::Error::Unreadable { source, .. } => {
                matches!(**source, toka_backup::Error::NewerFormat { .. })
            }
            toka_backup::Error::Ledger(error) => error.is_beyond_build(),
            _ => false,
        };
    }
    if let Some(StartError::Replica(error)) = cause.downcast_ref::<StartError>() {
        return error.is_beyond_build();
    }
    match cause.downcast_ref::<RunError>() {
        Some(RunError::Fatal(fatal)) => fatal.is_beyond_build(),
        _ => false,
    }
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
    fn configuration_has_its_code_also_when_it_is_found_wrong_late() {
        let data = std::path::PathBuf::from("/new");
        let nobody = anyhow::Error::new(StartError::from(ConfigError::Nobody { data }));
        assert_eq!(exit_code(&nobody), ExitCode::from(2));
    }

    #[test]
    fn node_id_that_contradicts_the_data_directory_is_wrong_configuration() {
        let other = toka_ledger::Error::OtherNode {
            path: std::path::PathBuf::from("/data"),
            found: 1,
            expected: 2,
        };
        let refused = StartError::from(toka_raft::StartError::from(other));
        let error = anyhow::Error::new(refused);
        assert_eq!(exit_code(&error), ExitCode::from(2));
    }

    #[test]
    fn data_of_a_newer_build_have_their_code_and_are_not_damaged() {
        use toka_ledger::codec::DecodeError;
        use toka_raft::log_store::LogError;

        let path = std::path::PathBuf::from("/data");
        let log = LogError::UnknownVersion {
            path: path.clone(),
            version: 9,
        };
        let store = || EngineError::WrongFormat {
            path: path.clone(),
            detail: "another table".to_owned(),
        };
        let membership = toka_raft::StartError::Newer {
            detail: "the membership".to_owned(),
        };
        let source = DecodeError::Version {
            field: "command",
            version: 9,
        };
        let started = |error: toka_raft::StartError| anyhow::Error::new(StartError::from(error));
        let ran = |error: FatalError| anyhow::Error::new(RunError::from(error));
        let errors = [
            started(log.clone().into()),
            started(membership),
            started(toka_ledger::Error::from(store()).into()),
            ran(std::sync::Arc::new(log).into()),
            ran(store().into()),
            ran(FatalError::Entry { index: 7, source }),
            anyhow::Error::new(toka_ledger::Error::from(store())),
        ];
        for error in errors {
            assert_eq!(exit_code(&error), ExitCode::from(10), "{error}");
        }
    }

    #[test]
    fn node_at_another_address_has_the_code_of_a_wrong_configuration() {
        let refused = toka_raft::StartError::AddressDiffers {
            node_id: 2,
            ours: "raft a:1 client a:2".to_owned(),
            known: "raft b:1 client b:2".to_owned(),
        };
        let error = anyhow::Error::new(StartError::from(refused));
        assert_eq!(exit_code(&error), ExitCode::from(2));
        let said = error.to_string();
        assert!(said.contains("a:1") && said.contains("b:1"), "{said}");
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
