//! What can go wrong with backups.

use std::path::PathBuf;

/// An error of a backup or a restore.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a place for backups, or not a name of one.
    #[error("{what} {text:?} cannot be used: {reason}")]
    Invalid {
        /// What it was to be.
        what: &'static str,
        /// As it was given.
        text: String,
        /// Why.
        reason: String,
    },
    /// A vault lives where backups were to be kept.
    #[error(
        "backups cannot be kept in {}: {} is the data directory of a node or of an embedded vault; name a \
         directory outside of it. Backups that are there already, move first, all of the directory that holds them \
         (`LOCK`, `objects` and `backups`): they go on at the new place",
        place.display(),
        data.display()
    )]
    InDataDirectory {
        /// As it was given.
        place: PathBuf,
        /// The data directory: the place itself, or what it is in.
        data: PathBuf,
    },
    /// Where backups were to be kept there is something else.
    #[error(
        "backups cannot be kept in {}: it has no backups, and is not empty: it holds {found:?}; name a new or an \
         empty directory, or one that has backups",
        place.display()
    )]
    NotEmpty {
        /// As it was given.
        place: PathBuf,
        /// What is there, or one of it.
        found: String,
    },
    /// No backup would be kept.
    #[error(
        "--keep-last is 0, and must be at least 1, or every backup would be removed; to remove the last one too, \
         name it with --delete"
    )]
    KeepsNone,
    /// The manifest of a backup that is to stay cannot be read.
    #[error(
        "no objects were removed: the manifest {path} cannot be read, so that nobody can tell which files its backup \
         needs: {source}. Backups that --delete has named are gone, and their files stay for now. \
         Put that file back as it was, or give the backup up: `--delete {name}`, or remove the file \
         itself if that is no name of a backup"
    )]
    Unreadable {
        /// Name of the backup.
        name: String,
        /// Where its manifest is.
        path: String,
        /// Why: [`Error::Damaged`], [`Error::NewerFormat`], or [`Error::Invalid`] of its name.
        source: Box<Error>,
    },
    /// The place where backups are kept failed.
    #[error("cannot {action} {path}")]
    Storage {
        /// What was tried, as a verb.
        action: &'static str,
        /// What was read or written.
        path: String,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
    /// A file would not fit.
    #[error(
        "there is no room for {path}: it has {needed_bytes} bytes, and {free_bytes} are free; what has come stays, \
         and the same command again goes on with it"
    )]
    NoRoom {
        /// What was to be written.
        path: String,
        /// Its size.
        needed_bytes: u64,
        /// What is left.
        free_bytes: u64,
    },
    /// Another backup, or a prune, is at work in the same directory.
    #[error("another process works on the backups in {}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no such backup.
    #[error("there is no backup {name:?} in {repository}")]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        repository: String,
    },
    /// There is none at all.
    #[error("there is no backup in {repository}")]
    NoBackups {
        /// Where it was looked for.
        repository: String,
    },
    /// There is one of that name already.
    #[error("there is a backup {name:?} in {repository} already")]
    Exists {
        /// The name.
        name: String,
        /// Where.
        repository: String,
    },
    /// The backups there are another cluster's.
    #[error(
        "{repository} has backups of cluster {theirs:032x}, and this is cluster {ours:032x}; give each \
         cluster a place of its own"
    )]
    OtherCluster {
        /// Where.
        repository: String,
        /// Whose backups are there.
        theirs: u128,
        /// The cluster that was to be backed up.
        ours: u128,
    },
    /// A backup, or a part of it, is not what was written.
    #[error("{what} is refused: {reason}")]
    Damaged {
        /// What is damaged.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// A backup that a newer version has written.
    #[error("{what} has format {found}; this version reads formats up to {supported}")]
    NewerFormat {
        /// Which backup.
        what: String,
        /// Its format.
        found: u32,
        /// The newest known one.
        supported: u32,
    },
    /// A point in time that no backup covers.
    #[error("{wanted} is not covered by the backups in {repository}: {reason}")]
    NotCovered {
        /// The point.
        wanted: String,
        /// Where.
        repository: String,
        /// Why.
        reason: String,
    },
    /// A point in time before the first event: there would be nothing to restore.
    #[error(
        "{wanted} is before the first event, so that nothing would be restored: --{field} can be {range}"
    )]
    BeforeFirst {
        /// What was given: `sequence` or `time`.
        field: &'static str,
        /// The point.
        wanted: String,
        /// What it can be.
        range: String,
    },
    /// The node cannot be asked, or broke off.
    #[error(transparent)]
    Node(#[from] toka_client::Error),
    /// The node sent something that is no copy.
    #[error("{endpoint} sent no valid copy: {reason}")]
    Transfer {
        /// The node.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The ledger cannot be opened, read or written.
    #[error(transparent)]
    Ledger(#[from] toka_ledger::Error),
    /// A file cannot be written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was stopped from outside.
    #[error("interrupted; the same command again goes on with what is there already")]
    Interrupted,
}

impl Error {
    /// Whether the same command may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Node(error) => error.is_retryable(),
            Self::InUse { .. } | Self::Interrupted => true,
            Self::Invalid { .. }
            | Self::InDataDirectory { .. }
            | Self::NotEmpty { .. }
            | Self::KeepsNone
            | Self::Unreadable { .. }
            | Self::BeforeFirst { .. }
            | Self::Storage { .. }
            | Self::NoRoom { .. }
            | Self::NotFound { .. }
            | Self::NoBackups { .. }
            | Self::Exists { .. }
            | Self::OtherCluster { .. }
            | Self::Damaged { .. }
            | Self::NewerFormat { .. }
            | Self::NotCovered { .. }
            | Self::Transfer { .. }
            | Self::Ledger(_)
            | Self::File { .. } => false,
        }
    }

    pub(crate) fn storage(
        action: &'static str,
        path: impl ToString,
    ) -> impl FnOnce(object_store::Error) -> Self {
        let path = path.to_string();
        move |source| Self::Storage {
            action,
            path,
            source: Box::new(source),
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            reason: reason.into(),
        }
    }
}

impl From<toka_ledger::engine::EngineError> for Error {
    fn from(error: toka_ledger::engine::EngineError) -> Self {
        Self::Ledger(error.into())
    }
}
