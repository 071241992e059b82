//! What can go wrong around a load.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a measurement could not be made. That operations of a load fail is counted and is no such error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done with it.
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process.
    #[error("cannot {action} {name}")]
    Process {
        /// What was to be done with it.
        action: &'static str,
        /// Which one.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A process ended that was to go on.
    #[error("{name} ended ({status}); its log ends with:\n{log}")]
    Ended {
        /// Which one.
        name: String,
        /// How.
        status: ExitStatus,
        /// The last lines that it wrote.
        log: String,
    },
    /// Something that was waited for did not come.
    #[error("{name}: {what} did not come within {limit:?}")]
    TooLate {
        /// Whose.
        name: String,
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// There are fewer free ports than are needed.
    #[error("there are no {wanted} free ports from {first} on")]
    Ports {
        /// How many are needed.
        wanted: usize,
        /// The first that was tried.
        first: u16,
    },
    /// There is no such node, or it does not run.
    #[error("node {node_id} does not run")]
    NotRunning {
        /// Its id.
        node_id: u64,
    },
    /// The vault did not answer.
    #[error(transparent)]
    Client(#[from] toka_client::Error),
    /// A task of a load panicked.
    #[error("a client of the load failed")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// For `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
