//! `DIR/TRIED`: what repairs have gone on from since the node was last ready.
//!
//! A ledger or a snapshot of which every row is as it was written can still be one to which the log cannot be applied.
//! Reading it does not tell: a repair that goes on from it leads to the same failure, and to the next repair. So what
//! a repair went on from is noted, by the name of its directory, one a line, and is not gone on from again; once the
//! node is ready, it was right, and the note goes.
//!
//! The note may be missing, or be anything: then something is tried once more.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::layout::Layout;

/// Names of directories; more than there can be of ledgers and snapshots.
const NAMES_MAX: usize = 64;

/// What has been tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried(BTreeSet<String>);

impl Tried {
    pub(super) fn read(layout: &Layout) -> Self {
        let path = layout.tried_note();
        let bytes = match layout.disk().read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "what repairs have tried cannot be read");
                return Self::default();
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        Self(text.lines().take(NAMES_MAX).map(str::to_owned).collect())
    }

    /// Whether a repair has gone on from the directory `dir` in vain.
    pub(super) fn has(&self, dir: &Path) -> bool {
        name(dir).is_some_and(|name| self.0.contains(name))
    }

    /// Notes durably that a repair has gone on from the directory `dir`.
    pub(super) fn note(mut self, dir: &Path, layout: &Layout) -> io::Result<()> {
        let Some(name) = name(dir) else {
            return Ok(());
        };
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(name.to_owned());
        let text: String = self.0.iter().map(|name| format!("{name}\n")).collect();
        let (path, temporary) = (layout.tried_note(), layout.tried_note_in_progress());
        layout.disk().replace(&path, &temporary, text.as_bytes())
    }

    /// What has been tried, for messages; none if nothing was.
    pub(super) fn describe(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// The node is ready: what it has gone on from was right.
pub(in crate::replica) fn forget(layout: &Layout) {
    let (disk, path) = (layout.disk(), layout.tried_note());
    if !disk.exists(&path) {
        return;
    }
    let removed = disk
        .remove(&path)
        .and_then(|()| disk.sync_dir(layout.root()));
    if let Err(error) = removed {
        tracing::warn!(%error, path = %path.display(), "cannot remove the note of a repair");
    }
}

fn name(dir: &Path) -> Option<&str> {
    dir.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use toka_ledger::disk::{Disk as _, MemoryDisk};

    use super::*;

    #[test]
    fn what_was_tried_is_known_until_the_node_is_ready() {
        let (disk, root) = (MemoryDisk::new(), PathBuf::from("/node"));
        disk.create_dir_all(&root).expect("created");
        let layout = Layout::new(Arc::new(disk.clone()), root);
        assert_eq!(Tried::read(&layout), Tried::default());
        for number in [3, 1] {
            let noted = Tried::read(&layout).note(&layout.ledger(number), &layout);
            noted.expect("noted");
        }
        let after = disk.crash(|| true);
        let layout = Layout::new(Arc::new(after), PathBuf::from("/node"));
        let tried = Tried::read(&layout);
        assert!(tried.has(&layout.ledger(1)) && tried.has(&layout.ledger(3)));
        assert!(!tried.has(&layout.ledger(2)));
        assert_eq!(tried.describe().as_deref(), Some("ledger-1, ledger-3"));
        forget(&layout);
        assert_eq!(Tried::read(&layout), Tried::default());
    }

    #[test]
    fn note_that_is_anything_is_none() {
        let (disk, root) = (MemoryDisk::new(), PathBuf::from("/node"));
        disk.create_dir_all(&root).expect("created");
        let layout = Layout::new(Arc::new(disk.clone()), root);
        let noted = Tried::default().note(&layout.ledger(1), &layout);
        noted.expect("noted");
        disk.overwrite(&layout.tried_note(), b"\xff\n\n\0")
            .expect("written");
        assert!(!Tried::read(&layout).has(&layout.ledger(1)));
    }
}
