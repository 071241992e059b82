//! A data directory into which a vault is being restored.
//!
//! Invariants: until it is finished the directory has the file `RESTORING` and no marker, so that nobody
//! takes it for a vault, nor for an empty directory; the marker, written last, makes it a vault's. What is
//! not finished is removed: at once where that is possible, else when the restore is run again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::marker::{Marker, State};
use super::{
    LEDGER, LOCK, LOST_AND_FOUND, MARKER, Mode, RESTORING, file, find, lock, write_marker,
};
use crate::disk::{Disk, DiskLock};
use crate::error::Error;

/// A data directory into which a vault is being restored. Dropped before it is finished, it removes what
/// it has made.
#[derive(Debug)]
pub struct Restoring {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The directory itself is this one's work.
    is_new: bool,
    is_finished: bool,
    _lock: Box<dyn DiskLock>,
}

impl Restoring {
    /// Takes the directory at `path` on `disk`, which must be new or empty, or hold an earlier restore that
    /// was broken off; that one's files are removed.
    ///
    /// # Errors
    /// [`Error::VaultExists`], [`Error::NotAVault`], [`Error::Engine`] with
    /// [`EngineError::Locked`](crate::engine::EngineError::Locked), [`Error::File`].
    pub fn begin(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, Error> {
        let is_new = !disk.exists(path);
        // Looked at before anything is made, so that somebody else's directory stays as it is.
        require_no_vault(&*disk, path)?;
        if is_new {
            disk.create_dir_all(path).map_err(file(path))?;
        }
        let lock = lock(&*disk, path)?;
        // Again, since another process may have been faster.
        require_no_vault(&*disk, path)?;
        let note = path.join(RESTORING);
        if disk.exists(&note) {
            clear(&*disk, path).map_err(file(path))?;
        }
        disk.create_with(&note, b"").map_err(file(&note))?;
        disk.sync_dir(path).map_err(file(path))?;
        Ok(Self {
            disk,
            path: path.to_owned(),
            is_new,
            is_finished: false,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where an embedded vault's store goes.
    #[must_use]
    pub fn embedded_ledger(&self) -> PathBuf {
        self.path.join(LEDGER)
    }

    /// Makes it a vault's of that `mode`. What it holds must be durable, but for its names in the directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn finish(mut self, mode: Mode) -> Result<(), Error> {
        let (disk, path) = (&*self.disk, &self.path);
        disk.sync_dir(path).map_err(file(path))?;
        let marker = Marker {
            mode,
            state: State::Creating,
            is_joined: false,
        };
        write_marker(disk, path, &marker)?;
        self.is_finished = true;
        // The marker says it all: that the note is still there after a crash means nothing.
        let note = path.join(RESTORING);
        disk.remove(&note).map_err(file(&note))?;
        disk.sync_dir(path).map_err(file(path))
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let removed = if self.is_new {
            self.disk.remove_dir_all(&self.path)
        } else {
            clear(&*self.disk, &self.path).and_then(|()| self.disk.remove(&self.path.join(LOCK)))
        };
        if let Err(error) = removed {
            let path = self.path.display();
            tracing::warn!(%error, %path, "cannot remove what a restore has left");
        }
    }
}

fn require_no_vault(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match find(disk, path) {
        Ok(None) | Err(Error::RestoreInterrupted { .. }) => Ok(()),
        Ok(Some(_)) => Err(Error::VaultExists {
            path: path.to_owned(),
        }),
        Err(error) => Err(error),
    }
}

/// Removes what a restore has made; the note last, so that the rest is known to be one's as long as it is
/// there.
fn clear(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for name in disk.list(path)? {
        if [LOCK, LOST_AND_FOUND, MARKER, RESTORING]
            .iter()
            .any(|kept| name == *kept)
        {
            continue;
        }
        let entry = path.join(name);
        if disk.is_dir(&entry) {
            disk.remove_dir_all(&entry)?;
        } else {
            disk.remove(&entry)?;
        }
    }
    disk.remove(&path.join(RESTORING))?;
    disk.sync_dir(path)
}

#[cfg(test)]
mod tests {
    use super::super::DataDir;
    use super::*;
    use crate::disk::MemoryDisk;

    const NODE: Mode = Mode::Node {
        cluster_id: None,
        node_id: 2,
    };

    fn disk() -> (Arc<MemoryDisk>, PathBuf) {
        (Arc::new(MemoryDisk::new()), PathBuf::from("/vault"))
    }

    #[test]
    fn finished_restore_is_a_vault_and_is_not_overwritten() {
        let (disk, path) = disk();
        let restoring = Restoring::begin(disk.clone(), &path).expect("new");
        restoring.finish(NODE).expect("finished");
        assert_eq!(DataDir::read(&*disk, &path).expect("read"), Some(NODE));
        assert!(!disk.exists(&path.join(RESTORING)));
        let again = Restoring::begin(disk, &path);
        assert!(matches!(again, Err(Error::VaultExists { .. })));
    }

    #[test]
    fn dropped_restore_leaves_the_directory_as_it_was() {
        let (disk, path) = disk();
        for is_there in [false, true] {
            if is_there {
                disk.create_dir_all(&path).expect("created");
            }
            let restoring = Restoring::begin(disk.clone(), &path).expect("new or empty");
            disk.create_dir(&path.join("ledger-1")).expect("created");
            drop(restoring);
            assert_eq!(disk.exists(&path), is_there);
            assert!(!is_there || disk.list(&path).expect("listed").is_empty());
        }
    }

    #[test]
    fn crash_leaves_a_directory_that_only_a_restore_takes() {
        let (disk, path) = disk();
        let restoring = Restoring::begin(disk.clone(), &path).expect("new");
        disk.create_dir(&path.join("ledger-1")).expect("created");
        let crashed = Arc::new(disk.crash(|| true));
        drop(restoring);
        let opened = DataDir::open_or_create(crashed.clone(), &path, NODE);
        assert!(matches!(opened, Err(Error::RestoreInterrupted { .. })));
        let restoring = Restoring::begin(crashed.clone(), &path).expect("again");
        assert!(!crashed.exists(&path.join("ledger-1")));
        restoring.finish(NODE).expect("finished");
        DataDir::open_or_create(crashed, &path, NODE).expect("a node's");
    }

    #[test]
    fn directory_of_something_else_is_left_alone() {
        let (disk, path) = disk();
        disk.create_dir_all(&path).expect("created");
        disk.create_with(&path.join("thesis.txt"), b"x")
            .expect("written");
        let refused = Restoring::begin(disk.clone(), &path);
        assert!(matches!(refused, Err(Error::NotAVault { .. })));
        assert_eq!(disk.list(&path).expect("listed"), ["thesis.txt"]);
    }
}
