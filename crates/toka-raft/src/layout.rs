//! Where a node keeps what, and which ledger is the current one.
//!
//! ```text
//! DIR/VAULT              marker: format, cluster id, node id (toka_ledger::dir)
//! DIR/CURRENT            name of the current ledger directory
//! DIR/SCRUB              when everything was last read to find damage; may be missing (scrub)
//! DIR/TRIED              what repairs have gone on from; missing on a sound node (replica::repair)
//! DIR/ledger-<n>/        the ledger; a new one with each installed snapshot
//! DIR/raft/              the Raft log
//! DIR/snapshots/<id>/    snapshots, each with its META
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::disk::{Disk, is_unreadable};

const CURRENT: &str = "CURRENT";
const LEDGER_PREFIX: &str = "ledger-";
const SCRUB: &str = "SCRUB";
const TRIED: &str = "TRIED";
const TEMPORARY: &str = ".tmp";

/// The directories of a node.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { disk, root }
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
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

    pub(crate) fn scrub_note(&self) -> PathBuf {
        self.root.join(SCRUB)
    }

    /// What is about to become the note.
    pub(crate) fn scrub_note_in_progress(&self) -> PathBuf {
        self.root.join(format!("{SCRUB}{TEMPORARY}"))
    }

    pub(crate) fn tried_note(&self) -> PathBuf {
        self.root.join(TRIED)
    }

    /// What is about to become the note.
    pub(crate) fn tried_note_in_progress(&self) -> PathBuf {
        self.root.join(format!("{TRIED}{TEMPORARY}"))
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

    /// A number that no ledger has, whatever the pointer says.
    pub(crate) fn next_number(&self) -> io::Result<u64> {
        Ok(self.numbers()?.into_iter().max().unwrap_or(0) + 1)
    }

    /// Number of the only ledger, where the pointer of a complete directory leads to none, or is lost, but it can
    /// only have led to that one.
    pub(crate) fn unnamed(&self) -> io::Result<Option<u64>> {
        let is_named = match self.current() {
            Ok(Some(number)) => self.disk.is_dir(&self.ledger(number)),
            Ok(None) => false,
            Err(error) if error.kind() == io::ErrorKind::InvalidData || is_unreadable(&error) => {
                false
            }
            Err(error) => return Err(error),
        };
        Ok(match self.numbers()?[..] {
            [number] if !is_named => Some(number),
            _ => None,
        })
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = self.disk.list(&self.root)?;
        let numbers = names
            .iter()
            .filter_map(|name| ledger_number(name.to_str()?));
        Ok(numbers.collect())
    }

    /// Number of the current ledger; `None` in a new data directory.
    pub(crate) fn current(&self) -> io::Result<Option<u64>> {
        let bytes = match self.disk.read(&self.current_pointer()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = String::from_utf8_lossy(&bytes);
        ledger_number(name.trim()).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{CURRENT} holds {name:?}"),
            )
        })
    }

    /// Whether the pointer has the very bytes with which ledger `number` was made the current one.
    pub(crate) fn is_current_exactly(&self, number: u64) -> bool {
        let bytes = self.disk.read(&self.current_pointer());
        bytes.is_ok_and(|bytes| bytes == pointer(number).as_bytes())
    }

    /// Makes ledger `number` the current one, durably and at once: a crash leaves the old or the new.
    pub(crate) fn set_current(&self, number: u64) -> io::Result<()> {
        let temporary = self.root.join(format!("{CURRENT}{TEMPORARY}"));
        let name = pointer(number);
        self.disk
            .replace(&self.current_pointer(), &temporary, name.as_bytes())
    }

    /// Removes what repairs and installations that were broken off have left: ledgers that were not complete, and,
    /// where the pointer leads to one, those besides it and the first one. That is the one that was damaged, unless a
    /// repair got as far as opening what took its place, which removes all others.
    ///
    /// # Errors
    /// The first one; what comes after it is removed all the same.
    pub(crate) fn remove_leftovers(&self) -> io::Result<()> {
        let mut removed = Ok(());
        for name in self.disk.list(&self.root)? {
            let is_unfinished = name.to_str().is_some_and(|name| {
                name.strip_suffix(TEMPORARY)
                    .is_some_and(|name| ledger_number(name).is_some())
            });
            if is_unfinished {
                removed = removed.and(self.remove_leftover(&self.root.join(&name)));
            }
        }
        let current = match self.current() {
            Ok(Some(number)) if self.disk.is_dir(&self.ledger(number)) => number,
            Ok(_) => return removed,
            // Any of them may be the one that it led to.
            Err(error) if error.kind() == io::ErrorKind::InvalidData || is_unreadable(&error) => {
                return removed;
            }
            Err(error) => return Err(error),
        };
        let numbers = self.numbers()?;
        let first = numbers.iter().min().copied();
        for number in numbers {
            if number != current && Some(number) != first {
                removed = removed.and(self.remove_leftover(&self.ledger(number)));
            }
        }
        removed
    }

    fn remove_leftover(&self, path: &Path) -> io::Result<()> {
        tracing::info!(path = %path.display(), "removing a leftover ledger");
        self.disk.remove_dir_all(path)
    }

    /// Removes ledgers that are not `current`: replaced ones, and ones that never became current.
    ///
    /// # Errors
    /// As [`Layout::remove_leftovers`].
    pub(crate) fn remove_other_ledgers(&self, current: u64) -> io::Result<()> {
        let keep = self.ledger(current);
        let mut removed = Ok(());
        for name in self.disk.list(&self.root)? {
            let path = self.root.join(&name);
            let is_ledger = name
                .to_str()
                .is_some_and(|name| name.starts_with(LEDGER_PREFIX));
            if is_ledger && path != keep {
                removed = removed.and(self.remove_leftover(&path));
            }
        }
        removed
    }
}

/// What the pointer to ledger `number` holds.
fn pointer(number: u64) -> String {
    format!("{LEDGER_PREFIX}{number}\n")
}

fn ledger_number(name: &str) -> Option<u64> {
    name.strip_prefix(LEDGER_PREFIX)?.parse().ok()
}

/// Makes every file in `dir` and their names durable. There are no subdirectories.
pub(crate) fn sync_files(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for name in disk.list(dir)? {
        disk.open_to_read(&dir.join(name))?.sync()?;
    }
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use toka_ledger::disk::MemoryDisk;

    use super::*;

    fn layout() -> (MemoryDisk, Layout) {
        let (disk, root) = (MemoryDisk::new(), PathBuf::from("/node"));
        disk.create_dir_all(&root).expect("created");
        let layout = Layout::new(Arc::new(disk.clone()), root);
        (disk, layout)
    }

    #[test]
    fn current_survives_and_others_are_removed() {
        let (disk, layout) = layout();
        assert_eq!(layout.current().expect("readable"), None);
        for number in 1..=3 {
            disk.create_dir(&layout.ledger(number)).expect("created");
        }
        disk.create_dir(&layout.ledger_in_progress(4))
            .expect("created");
        layout.set_current(2).expect("written");
        assert_eq!(layout.current().expect("readable"), Some(2));
        layout.remove_other_ledgers(2).expect("removed");
        assert!(disk.is_dir(&layout.ledger(2)));
        assert!(!disk.exists(&layout.ledger(1)) && !disk.exists(&layout.ledger(3)));
        assert!(!disk.exists(&layout.ledger_in_progress(4)));
    }

    #[test]
    fn pointer_is_a_line_of_text() {
        let (disk, layout) = layout();
        layout.set_current(12).expect("written");
        let bytes = disk.read(&layout.current_pointer()).expect("read");
        assert_eq!(bytes, b"ledger-12\n");
    }

    #[test]
    fn only_ledger_is_found_without_the_pointer() {
        let (disk, layout) = layout();
        let unnamed = || layout.unnamed().expect("listed");
        disk.create_dir(&layout.ledger(2)).expect("created");
        assert_eq!(unnamed(), Some(2), "the pointer is missing");
        layout.set_current(2).expect("written");
        assert_eq!(unnamed(), None, "it leads there");
        for wrong in ["ledger-3\n", "ledgez-2\n", "", "\u{8}edger-2"] {
            disk.overwrite(&layout.current_pointer(), wrong.as_bytes())
                .expect("written");
            assert_eq!(unnamed(), Some(2), "{wrong:?}");
        }
        disk.spoil(&layout.current_pointer(), 0).expect("there");
        assert_eq!(unnamed(), Some(2), "the disk cannot read it");
        disk.create_dir(&layout.ledger_in_progress(4))
            .expect("created");
        assert_eq!(unnamed(), Some(2), "the other one is not complete");
        disk.create_dir(&layout.ledger(3)).expect("created");
        assert_eq!(unnamed(), None, "it may have been either");
    }

    #[test]
    fn leftovers_of_repairs_go_and_the_damaged_ledger_stays_with_the_one_in_use() {
        let (disk, layout) = layout();
        for number in 2..=6 {
            disk.create_dir(&layout.ledger(number)).expect("created");
        }
        let unfinished = layout.ledger_in_progress(7);
        disk.create_dir(&unfinished).expect("created");
        layout.remove_leftovers().expect("removed");
        assert!(!disk.exists(&unfinished));
        let there = || -> Vec<u64> {
            let numbers = (1..=7).filter(|number| disk.is_dir(&layout.ledger(*number)));
            numbers.collect()
        };
        assert_eq!(there().len(), 5, "nobody knows which one is in use");
        layout.set_current(5).expect("written");
        layout.remove_leftovers().expect("removed");
        assert_eq!(there(), [2, 5]);
    }

    #[test]
    fn leftover_that_cannot_be_removed_keeps_no_other() {
        let (disk, layout) = layout();
        for number in 1..=3 {
            disk.create_dir(&layout.ledger(number)).expect("created");
        }
        layout.set_current(2).expect("written");
        // No directory.
        let stuck = layout.ledger_in_progress(1);
        disk.overwrite(&stuck, b"x").expect("written");
        layout.remove_leftovers().expect_err("one is left");
        assert!(disk.exists(&stuck) && !disk.exists(&layout.ledger(3)));
        layout.remove_other_ledgers(2).expect_err("one is left");
        assert!(!disk.exists(&layout.ledger(1)) && disk.is_dir(&layout.ledger(2)));
    }

    #[test]
    fn ledger_that_never_got_the_pointer_goes() {
        let (disk, layout) = layout();
        for number in [1, 2] {
            disk.create_dir(&layout.ledger(number)).expect("created");
        }
        layout.set_current(1).expect("written");
        layout.remove_leftovers().expect("removed");
        assert!(disk.is_dir(&layout.ledger(1)) && !disk.exists(&layout.ledger(2)));
        layout.remove_leftovers().expect("nothing is left");
    }

    #[test]
    fn power_cut_leaves_the_old_pointer_or_the_new() {
        let (disk, layout) = layout();
        layout.set_current(1).expect("written");
        for at in 0..6 {
            let disk = disk.crash(|| true);
            disk.fail_after(at);
            let layout = |disk| Layout::new(Arc::new(disk), PathBuf::from("/node"));
            let moved = layout(disk.clone()).set_current(2).is_ok();
            for keeps in [false, true] {
                let found = layout(disk.crash(|| keeps)).current().expect("readable");
                assert!(found == Some(2) || (!moved && found == Some(1)), "{at}");
            }
        }
    }

    #[test]
    fn damaged_current_is_an_error() {
        let (disk, layout) = layout();
        disk.overwrite(&layout.current_pointer(), b"ledger-x\n")
            .expect("written");
        assert!(layout.current().is_err());
    }
}
