//! What can go wrong below the ledger.

use std::io;
use std::path::{Path, PathBuf};

use super::Table;

/// An error of an [`Engine`](super::Engine).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Stored bytes are not what was written, are gone, or the disk cannot read them. The node must stop.
    #[error("damaged data in {}{}: {detail}", path.display(), in_table(*table))]
    Corruption {
        /// Directory or file.
        path: PathBuf,
        /// The table read, where one is known.
        table: Option<Table>,
        /// What does not fit.
        detail: String,
        /// The storage library's error, where it found the damage.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The operating system or the disk refused, or an earlier background write failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// Directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory is open already, in this process or in another one.
    #[error("{} is in use by another process, or open already in this one", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is no store in the directory, and creating one was not asked for.
    #[error("there is no store in {}", path.display())]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// The target of a copy is there already.
    #[error("{} exists already", path.display())]
    AlreadyExists {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds a store of another shape or a newer format.
    #[error("{} is not a store of this version: {detail}", path.display())]
    WrongFormat {
        /// The directory or file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A volatile write to a store with a write-ahead log. Mixing them would leave, after a crash,
    /// a later write without an earlier one.
    #[error("the store in {} has a write-ahead log: it takes synced writes only", path.display())]
    DurabilityRefused {
        /// The directory.
        path: PathBuf,
    },
    /// A write to a store that was opened for reading.
    #[error("the store in {} was opened read-only", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// A fork has written as much as it may, and takes no further writes ([`Limits`](crate::fork::Limits)).
    #[error(
        "the fork is full: it may write {bytes_max} bytes (`bytes_max`), and wants to write more"
    )]
    ForkFull {
        /// Its limit.
        bytes_max: u64,
    },
}

impl EngineError {
    /// Whether stored data is damaged, so that nothing may go on from here.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corruption { .. })
    }

    /// Whether there is no room left: on the disk, or in a fork.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::ForkFull { .. } => true,
            _ => false,
        }
    }

    /// Damage that this crate found by itself.
    pub(super) fn corruption(path: &Path, table: Option<Table>, detail: impl Into<String>) -> Self {
        Self::Corruption {
            path: path.to_owned(),
            table,
            detail: detail.into(),
            source: None,
        }
    }

    /// For `map_err`: an I/O error while doing `action` to `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

fn in_table(table: Option<Table>) -> String {
    table.map_or_else(String::new, |table| format!(", table {table}"))
}
