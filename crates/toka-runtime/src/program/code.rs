//! Exit codes of a program that has failed: those of `toka`, which becomes one.

use toka_agents::StoreError;

use super::ProgramError;
use crate::base::BaseError;
use crate::replay::ReplayError;
use crate::what_if::ScenarioError;

/// A command line that cannot be.
const USAGE: u8 = 2;
/// No node that could answer has.
const UNAVAILABLE: u8 = 3;
/// There is no such agent, or event.
const NOT_FOUND: u8 = 4;
/// The vault does not take it.
const REFUSED: u8 = 5;
/// The caller has not shown who it is, or may not do that.
const DENIED: u8 = 11;
/// Everything else.
const OTHER: u8 = 1;

/// The exit code of an error.
pub(super) fn of(error: &ProgramError) -> u8 {
    match error {
        ProgramError::NoStorage | ProgramError::Flag { .. } => USAGE,
        ProgramError::UnknownAgent { .. }
        | ProgramError::Missing { .. }
        | ProgramError::Scenario(ScenarioError::Base(BaseError::Missing { .. })) => NOT_FOUND,
        ProgramError::Ledger(error) | ProgramError::Scenario(ScenarioError::Ledger(error)) => {
            of_ledger(error)
        }
        error => of_cluster(error).map_or(OTHER, of_client),
    }
}

fn of_ledger(error: &toka_ledger::Error) -> u8 {
    use toka_ledger::Error as E;
    match error {
        E::OutOfRange { .. } | E::NotFound { .. } => NOT_FOUND,
        E::Rejected(_) | E::Invalid(_) => REFUSED,
        _ => OTHER,
    }
}

/// The error of a call to the cluster, if it was one.
fn of_cluster(error: &ProgramError) -> Option<&toka_client::Error> {
    match error {
        ProgramError::Client(error)
        | ProgramError::Scenario(ScenarioError::Base(BaseError::Client(error))) => {
            Some(error.as_ref())
        }
        ProgramError::Store(error) | ProgramError::Replay(ReplayError::Store(error)) => {
            of_store(error)
        }
        ProgramError::Agent { source, .. }
        | ProgramError::Scenario(ScenarioError::Agent { source, .. }) => match source.as_ref() {
            toka_agents::Error::Store(error) => of_store(error),
            _ => None,
        },
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<&toka_client::Error> {
    match error {
        StoreError::Client(error) => Some(error.as_ref()),
        _ => None,
    }
}

fn of_client(error: &toka_client::Error) -> u8 {
    use toka_client::Error as E;
    match error {
        E::Tls(_) | E::Token { .. } | E::PlaintextToken { .. } => USAGE,
        E::Unreachable { .. }
        | E::Unavailable { .. }
        | E::Overloaded { .. }
        | E::OutcomeUnknown { .. }
        | E::StreamEnded => UNAVAILABLE,
        E::NotFound { .. } => NOT_FOUND,
        E::Invalid(_)
        | E::InvalidField { .. }
        | E::Rejected(_)
        | E::OutOfRange { .. }
        | E::HistoryChanged { .. }
        | E::OtherCluster { .. }
        | E::LimitReached { .. } => REFUSED,
        E::Unauthenticated { .. } | E::PermissionDenied { .. } => DENIED,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> toka_client::Error {
        toka_client::Error::Unavailable {
            endpoint: "n".to_owned(),
            message: "no leader".to_owned(),
        }
    }

    #[test]
    fn cluster_that_is_away_has_one_code_wherever_that_is_noticed() {
        let errors = [
            ProgramError::from(away()),
            ProgramError::from(StoreError::from(away())),
            ProgramError::from(ReplayError::from(StoreError::from(away()))),
            ProgramError::from(ScenarioError::from(BaseError::from(away()))),
            ProgramError::Agent {
                agent: "a".to_owned(),
                source: Box::new(StoreError::from(away()).into()),
            },
        ];
        for error in errors {
            assert_eq!(of(&error), UNAVAILABLE, "{error}");
        }
    }

    #[test]
    fn event_that_is_not_there_has_one_code_in_a_cluster_and_in_a_directory() {
        let (sequence, last) = (7, 5);
        let embedded = toka_ledger::Error::OutOfRange { sequence, last };
        let errors = [
            ProgramError::from(ScenarioError::from(embedded)),
            ProgramError::from(ScenarioError::from(BaseError::Missing { sequence })),
            ProgramError::Missing {
                flag: "at",
                sequence,
                last,
            },
        ];
        for error in errors {
            assert_eq!(of(&error), NOT_FOUND, "{error}");
        }
    }
}
