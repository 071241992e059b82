//! Errors that say that the disk is full.

use std::io;
use std::path::Path;

use toka_ledger::engine::EngineError;

use super::{FatalError, SnapshotError};
use crate::log_store::LogError;

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn full(path: &Path, source: &io::Error) -> Option<FatalError> {
    is_full(source).then(|| FatalError::DiskFull {
        path: path.to_owned(),
        reason: source.to_string(),
    })
}

pub(super) fn of_ledger(error: &toka_ledger::Error) -> Option<FatalError> {
    match error {
        toka_ledger::Error::Engine(EngineError::Io { path, source, .. })
        | toka_ledger::Error::File { path, source } => full(path, source),
        _ => None,
    }
}

pub(super) fn of_log(error: &LogError) -> Option<FatalError> {
    match error {
        LogError::Io { path, source, .. } => full(path, source),
        _ => None,
    }
}

pub(super) fn of_snapshot(error: &SnapshotError) -> Option<FatalError> {
    match error {
        SnapshotError::File { path, source, .. } => full(path, source),
        SnapshotError::Ledger(error) => of_ledger(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;

    fn file() -> PathBuf {
        PathBuf::from("/data/file")
    }

    fn log(kind: io::ErrorKind) -> FatalError {
        Arc::new(LogError::Io {
            doing: "extend",
            path: file(),
            source: Arc::new(kind.into()),
        })
        .into()
    }

    fn ledger(kind: io::ErrorKind) -> toka_ledger::Error {
        let (action, path, source) = ("flush", file(), kind.into());
        toka_ledger::Error::Engine(EngineError::Io {
            action,
            path,
            source,
        })
    }

    fn snapshot(kind: io::ErrorKind) -> FatalError {
        SnapshotError::file("write", &file())(kind.into()).into()
    }

    #[test]
    fn whatever_could_not_be_written_says_which_disk_is_full() {
        let full = io::ErrorKind::StorageFull;
        let of_the_ledger = FatalError::from(ledger(full));
        let of_a_copy = FatalError::from(SnapshotError::Ledger(ledger(full)));
        for error in [log(full), of_the_ledger, snapshot(full), of_a_copy] {
            assert!(
                matches!(&error, FatalError::DiskFull { path, .. } if *path == file()),
                "{error}"
            );
            assert!(error.to_string().contains("/data/file"), "{error}");
        }
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        let other = io::ErrorKind::PermissionDenied;
        assert!(matches!(log(other), FatalError::Log(_)));
        assert!(matches!(
            FatalError::from(ledger(other)),
            FatalError::Ledger(_)
        ));
        assert!(matches!(snapshot(other), FatalError::Snapshot(_)));
    }
}
