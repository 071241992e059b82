//! Where a node keeps what, and which ledger is the current one.
//!
//! ```text
//! DIR/VAULT              marker: format, cluster id, node id (toka_ledger::dir)
//! DIR/CURRENT            name of the current ledger directory
//! DIR/ledger-<n>/        the ledger; a new one with each installed snapshot
//! DIR/raft/              the Raft log
//! DIR/snapshots/<id>/    snapshots, each with its META
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const CURRENT: &str = "CURRENT";
const LEDGER_PREFIX: &str = "ledger-";
const TEMPORARY: &str = ".tmp";

/// The directories of a node.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn raft(&self) -> PathBuf {
        self.root.join("raft")
    }

    pub(crate) fn current_pointer(&self) -> PathBuf {
        self.root.join(CURRENT)
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn ledger(&self, number: u64) -> PathBuf {
        self.root.join(format!("{LEDGER_PREFIX}{number}"))
    }

    /// Where the ledger of a snapshot is put together before it gets its name.
    pub(crate) fn ledger_in_progress(&self, number: u64) -> PathBuf {
        self.root
            .join(format!("{LEDGER_PREFIX}{number}{TEMPORARY}"))
    }

    /// Number of the current ledger; `None` in a new data directory.
    pub(crate) fn current(&self) -> io::Result<Option<u64>> {
        match fs::read_to_string(self.current_pointer()) {
            Ok(name) => ledger_number(name.trim()).map(Some).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{CURRENT} holds {name:?}"),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes ledger `number` the current one, durably and at once: a crash leaves the old or the new.
    pub(crate) fn set_current(&self, number: u64) -> io::Result<()> {
        let temporary = self.root.join(format!("{CURRENT}{TEMPORARY}"));
        let mut file = File::create(&temporary)?;
        writeln!(file, "{LEDGER_PREFIX}{number}")?;
        file.sync_all()?;
        fs::rename(&temporary, self.current_pointer())?;
        sync_dir(&self.root)
    }

    /// Removes ledgers that are not `current`: replaced ones, and ones that never became current.
    pub(crate) fn remove_other_ledgers(&self, current: u64) -> io::Result<()> {
        let keep = self.ledger(current);
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let is_ledger = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(LEDGER_PREFIX));
            if is_ledger && path != keep {
                tracing::info!(path = %path.display(), "removing a leftover ledger");
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }
}

fn ledger_number(name: &str) -> Option<u64> {
    name.strip_prefix(LEDGER_PREFIX)?.parse().ok()
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes every file in `dir` and their names durable. There are no subdirectories.
pub(crate) fn sync_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_survives_and_others_are_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_owned());
        assert_eq!(layout.current().expect("readable"), None);
        for number in 1..=3 {
            fs::create_dir(layout.ledger(number)).expect("created");
        }
        fs::create_dir(layout.ledger_in_progress(4)).expect("created");
        layout.set_current(2).expect("written");
        assert_eq!(layout.current().expect("readable"), Some(2));
        layout.remove_other_ledgers(2).expect("removed");
        assert!(layout.ledger(2).is_dir());
        assert!(!layout.ledger(1).exists() && !layout.ledger(3).exists());
        assert!(!layout.ledger_in_progress(4).exists());
    }

    #[test]
    fn damaged_current_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_owned());
        fs::write(dir.path().join(CURRENT), "ledger-x\n").expect("written");
        assert!(layout.current().is_err());
    }
}
