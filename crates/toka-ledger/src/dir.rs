//! The data directory: whose it is, in which format, and that nobody else has it open.
//!
//! ```text
//! embedded:  DIR/VAULT  DIR/LOCK  DIR/ledger/
//! node:      DIR/VAULT  DIR/LOCK  DIR/ledger-<n>/  DIR/CURRENT  DIR/raft/  DIR/snapshots/  DIR/SCRUB
//! ```
//!
//! `VAULT` is the marker, a few lines of text with a checksum; it is replaced as a whole, by a rename.
//! `LOCK` is held while the directory is open. A crash at any step of creation leaves a directory
//! that the next open completes.

mod clearing;
mod marker;
mod restoring;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::marker::FORMAT;
use self::marker::{Marker, State};
pub use self::restoring::Restoring;
use crate::disk::{Disk, DiskLock, is_unreadable};
use crate::engine::EngineError;
use crate::error::Error;

const MARKER: &str = "VAULT";
const MARKER_IN_PROGRESS: &str = "VAULT.tmp";
const LOCK: &str = "LOCK";
const LEDGER: &str = "ledger";
/// There while a vault is being restored into the directory.
const RESTORING: &str = "RESTORING";
/// What a new file system has in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Whose a data directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An embedded vault's.
    Embedded,
    /// A cluster node's.
    Node {
        /// The cluster, once the node has become a part of one.
        cluster_id: Option<u128>,
        /// The node.
        node_id: u64,
    },
    /// A node's that asks a cluster to be added, and has been given no id yet.
    Joining {
        /// What it asks with: repeated, it is the same request.
        token: u128,
    },
}

/// An open data directory; nobody else can open it meanwhile.
#[derive(Debug)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    marker: Marker,
    _lock: Box<dyn DiskLock>,
}

impl DataDir {
    /// Opens the directory at `path` on `disk`, or makes a new or empty one that of `mode`.
    ///
    /// An existing node's directory keeps its cluster id, that of a joining node its token: see
    /// [`DataDir::mode`].
    ///
    /// # Errors
    /// [`Error::Engine`] with [`EngineError::Locked`], [`Error::NotAVault`], [`Error::RestoreInterrupted`],
    /// [`Error::ClusterNode`], [`Error::EmbeddedVault`], [`Error::OtherNode`], [`Error::JoiningNode`],
    /// [`Error::NewerFormat`], [`Error::Corrupt`], [`Error::File`].
    pub fn open_or_create(disk: Arc<dyn Disk>, path: &Path, mode: Mode) -> Result<Self, Error> {
        // Looked at before anything is made, so that somebody else's directory stays as it is.
        match find(&*disk, path)? {
            // Whose it is says more than that it is in use.
            Some(marker) => check_mode(path, marker.mode, mode)?,
            None => disk.create_dir_all(path).map_err(file(path))?,
        }
        let lock = lock(&*disk, path)?;
        // Again, since another process may have been faster with creating it.
        let marker = match find(&*disk, path)? {
            Some(marker) => marker,
            None => {
                let marker = Marker {
                    mode,
                    state: State::Creating,
                    is_joined: false,
                };
                write_marker(&*disk, path, &marker)?;
                marker
            }
        };
        check_mode(path, marker.mode, mode)?;
        Ok(Self {
            disk,
            path: path.to_owned(),
            marker,
            _lock: lock,
        })
    }

    /// Reads whose the directory at `path` on `disk` is, without opening it; `None` if it is new or
    /// empty.
    ///
    /// # Errors
    /// [`Error::NotAVault`], [`Error::RestoreInterrupted`], [`Error::NewerFormat`], [`Error::Corrupt`],
    /// [`Error::File`].
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Mode>, Error> {
        Ok(find(disk, path)?.map(|marker| marker.mode))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.marker.mode
    }

    /// Where an embedded vault's store is.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.path.join(LEDGER)
    }

    /// Whether everything in it has been created once, so that what is missing now was lost.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !matches!(self.marker.state, State::Creating)
    }

    /// Whether its node was removed from its cluster, and must not run any more.
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        matches!(self.marker.state, State::Removed)
    }

    /// Whether its node was found to differ from the others of its cluster, and must not run any more.
    #[must_use]
    pub const fn is_diverged(&self) -> bool {
        matches!(self.marker.state, State::Diverged)
    }

    /// Whether its ledger was found to be damaged, and must not be used before it is replaced.
    #[must_use]
    pub const fn is_ledger_damaged(&self) -> bool {
        matches!(self.marker.state, State::LedgerDamaged)
    }

    /// Whether its Raft log was found to be damaged, so that its node must not run any more.
    #[must_use]
    pub const fn is_log_damaged(&self) -> bool {
        matches!(self.marker.state, State::LogDamaged)
    }

    /// Notes durably that everything in it has been created.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_complete(&mut self) -> Result<(), Error> {
        if self.is_complete() {
            return Ok(());
        }
        self.update(Marker {
            state: State::Complete,
            ..self.marker
        })
    }

    /// Notes durably that its node was removed from its cluster.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_removed(&mut self) -> Result<(), Error> {
        self.update(Marker {
            state: State::Removed,
            ..self.marker
        })
    }

    /// Notes durably that its node differs from the others of its cluster.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_diverged(&mut self) -> Result<(), Error> {
        self.update(Marker {
            state: State::Diverged,
            ..self.marker
        })
    }

    /// Notes durably that its ledger is damaged, unless something worse is noted.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_ledger_damaged(&mut self) -> Result<(), Error> {
        match self.marker.state {
            State::Creating | State::Complete => self.update(Marker {
                state: State::LedgerDamaged,
                ..self.marker
            }),
            State::Removed | State::Diverged | State::LedgerDamaged | State::LogDamaged => Ok(()),
        }
    }

    /// Notes durably that a sound ledger has taken the place of a damaged one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_ledger_repaired(&mut self) -> Result<(), Error> {
        match self.marker.state {
            State::LedgerDamaged => self.update(Marker {
                state: State::Complete,
                ..self.marker
            }),
            _ => Ok(()),
        }
    }

    /// Notes durably that its Raft log is damaged, unless its node is out of the cluster anyway.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_log_damaged(&mut self) -> Result<(), Error> {
        match self.marker.state {
            State::Removed | State::Diverged => Ok(()),
            _ => self.update(Marker {
                state: State::LogDamaged,
                ..self.marker
            }),
        }
    }

    /// Notes durably as which node of which cluster a joining node was added. From now on it is that
    /// node's directory, and its token is gone.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::ClusterNode`], [`Error::EmbeddedVault`] if it is no joining node's.
    pub fn set_joined(&mut self, cluster_id: u128, node_id: u64) -> Result<(), Error> {
        let path = self.path.clone();
        match self.marker.mode {
            Mode::Joining { .. } => {}
            Mode::Node { node_id, .. } => return Err(Error::ClusterNode { path, node_id }),
            Mode::Embedded => return Err(Error::EmbeddedVault { path }),
        }
        let mode = Mode::Node {
            cluster_id: Some(cluster_id),
            node_id,
        };
        self.update(Marker {
            mode,
            is_joined: true,
            ..self.marker
        })
    }

    /// Whether its node joined a cluster that was there, so that it must never form one.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        self.marker.is_joined
    }

    /// Notes durably which cluster the node belongs to.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::EmbeddedVault`], [`Error::JoiningNode`] if it is no node's.
    pub fn set_cluster_id(&mut self, cluster_id: u128) -> Result<(), Error> {
        let path = self.path.clone();
        let node_id = match self.marker.mode {
            Mode::Node { node_id, .. } => node_id,
            Mode::Embedded => return Err(Error::EmbeddedVault { path }),
            Mode::Joining { .. } => return Err(Error::JoiningNode { path }),
        };
        let mode = Mode::Node {
            cluster_id: Some(cluster_id),
            node_id,
        };
        self.update(Marker {
            mode,
            ..self.marker
        })
    }

    fn update(&mut self, marker: Marker) -> Result<(), Error> {
        if marker != self.marker {
            write_marker(&*self.disk, &self.path, &marker)?;
            self.marker = marker;
        }
        Ok(())
    }
}

fn check_mode(path: &Path, found: Mode, wanted: Mode) -> Result<(), Error> {
    let path = path.to_owned();
    match (found, wanted) {
        (Mode::Embedded, Mode::Embedded) | (Mode::Joining { .. }, Mode::Joining { .. }) => Ok(()),
        (Mode::Node { node_id, .. }, Mode::Embedded | Mode::Joining { .. }) => {
            Err(Error::ClusterNode { path, node_id })
        }
        (Mode::Embedded, Mode::Node { .. } | Mode::Joining { .. }) => {
            Err(Error::EmbeddedVault { path })
        }
        (Mode::Joining { .. }, Mode::Embedded | Mode::Node { .. }) => {
            Err(Error::JoiningNode { path })
        }
        (
            Mode::Node { node_id: found, .. },
            Mode::Node {
                node_id: expected, ..
            },
        ) => {
            if found == expected {
                Ok(())
            } else {
                Err(Error::OtherNode {
                    path,
                    found,
                    expected,
                })
            }
        }
    }
}

/// The marker; `None` where there is no directory, or one that has nothing but what a crash during
/// creation leaves.
fn find(disk: &dyn Disk, path: &Path) -> Result<Option<Marker>, Error> {
    let marker = path.join(MARKER);
    match disk.read(&marker) {
        Ok(bytes) => Marker::decode(path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if disk.exists(&path.join(RESTORING)) {
                Err(Error::RestoreInterrupted {
                    path: path.to_owned(),
                })
            } else if is_empty(disk, path)? {
                Ok(None)
            } else {
                Err(Error::NotAVault {
                    path: path.to_owned(),
                })
            }
        }
        Err(error) if is_unreadable(&error) => Err(Error::Corrupt {
            table: "file",
            key: marker.display().to_string(),
            detail: error.to_string(),
        }),
        // The path is a file, or one of its parents is.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(file(path)(error)),
        Err(error) => Err(file(&marker)(error)),
    }
}

fn is_empty(disk: &dyn Disk, path: &Path) -> Result<bool, Error> {
    let is_own = |name| {
        [LOCK, MARKER_IN_PROGRESS, LOST_AND_FOUND]
            .iter()
            .any(|own| name == *own)
    };
    match disk.list(path) {
        Ok(names) => Ok(names.into_iter().all(is_own)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(file(path)(error)),
    }
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>, Error> {
    let lock = path.join(LOCK);
    match disk.lock(&lock) {
        Ok(held) => Ok(held),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(EngineError::Locked {
            path: path.to_owned(),
        }
        .into()),
        Err(error) => Err(file(&lock)(error)),
    }
}

fn write_marker(disk: &dyn Disk, path: &Path, marker: &Marker) -> Result<(), Error> {
    let target = path.join(MARKER);
    disk.replace(
        &target,
        &path.join(MARKER_IN_PROGRESS),
        marker.encode().as_bytes(),
    )
    .map_err(file(&target))
}

/// For `map_err`.
fn file(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests;
