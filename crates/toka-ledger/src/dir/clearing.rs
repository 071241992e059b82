//! Emptying the directory of a node that was removed, so that it can become another one's.

use super::{DataDir, LOCK, LOST_AND_FOUND, MARKER, Mode, file};
use crate::error::Error;

impl DataDir {
    /// Removes everything that the directory of a removed node ([`DataDir::is_removed`]) holds: it is as good as new.
    /// The marker goes last, so that a crash leaves a removed node's directory, which can be emptied again.
    ///
    /// # Errors
    /// [`Error::ClusterNode`], [`Error::JoiningNode`], [`Error::EmbeddedVault`] if it is no removed node's;
    /// [`Error::File`].
    pub fn clear(self) -> Result<(), Error> {
        let path = self.path.clone();
        if !self.is_removed() {
            return Err(match self.marker.mode {
                Mode::Node { node_id, .. } => Error::ClusterNode { path, node_id },
                Mode::Joining { .. } => Error::JoiningNode { path },
                Mode::Embedded => Error::EmbeddedVault { path },
            });
        }
        let disk = &*self.disk;
        for name in disk.list(&path).map_err(file(&path))? {
            if [LOCK, LOST_AND_FOUND, MARKER]
                .iter()
                .any(|kept| name == *kept)
            {
                continue;
            }
            let entry = path.join(name);
            let removed = if disk.is_dir(&entry) {
                disk.remove_dir_all(&entry)
            } else {
                disk.remove(&entry)
            };
            removed.map_err(file(&entry))?;
        }
        disk.sync_dir(&path).map_err(file(&path))?;
        let marker = path.join(MARKER);
        disk.remove(&marker).map_err(file(&marker))?;
        disk.sync_dir(&path).map_err(file(&path))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Disk, MemoryDisk};

    const NODE: Mode = Mode::Node {
        cluster_id: Some(7),
        node_id: 2,
    };

    fn directory() -> (Arc<MemoryDisk>, PathBuf, DataDir) {
        let (disk, path) = (Arc::new(MemoryDisk::new()), PathBuf::from("/vault"));
        let opened = DataDir::open_or_create(disk.clone(), &path, NODE);
        let directory = opened.expect("created");
        disk.create_dir(&path.join("ledger-1")).expect("created");
        disk.create_with(&path.join("CURRENT"), b"ledger-1")
            .expect("written");
        (disk, path, directory)
    }

    #[test]
    fn removed_nodes_directory_becomes_a_new_one() {
        let (disk, path, mut directory) = directory();
        directory.set_removed().expect("noted");
        directory.clear().expect("emptied");
        assert_eq!(DataDir::read(&*disk, &path).expect("read"), None);
        let joining = Mode::Joining { token: 1 };
        DataDir::open_or_create(disk, &path, joining).expect("as good as new");
    }

    #[test]
    fn members_directory_is_left_alone() {
        let (disk, path, directory) = directory();
        assert!(matches!(
            directory.clear(),
            Err(Error::ClusterNode { node_id: 2, .. })
        ));
        assert!(disk.exists(&path.join("ledger-1")));
    }
}
