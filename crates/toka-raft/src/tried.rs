//! `DIR/TRIED`: what repairs have gone on from since the node was last ready.
//!
//! A ledger or a snapshot of which every row is as it was written can still be one to which the log cannot be applied.
//! Reading it does not tell: a repair that goes on from it leads to the same failure, and to the next repair. So what
//! a repair goes on from is noted, by the name of its directory, one a line; once an entry cannot be applied to what came
//! of it the line is marked, and it is not gone on from again. Other damage, such as a disk that could not be read for a
//! moment, marks nothing. When the node is ready it was right, and the note goes.
//!
//! Names are given anew: a line counts as long as its directory is there. The note may be missing, or be anything: then
//! something is tried once more.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::layout::Layout;

/// Names of directories; more than there can be of ledgers and snapshots.
const NAMES_MAX: usize = 64;
/// Before the name of what was gone on from in vain.
const IN_VAIN: &str = "in-vain ";

/// What has been tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    in_vain: BTreeSet<String>,
    /// What the last repair has gone on from.
    last: Option<String>,
}

impl Tried {
    /// What has been tried of what is there.
    pub(crate) fn read(layout: &Layout) -> Self {
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
        let mut tried = Self::default();
        for line in text.lines().take(NAMES_MAX) {
            let (name, is_in_vain) = match line.strip_prefix(IN_VAIN) {
                Some(name) => (name, true),
                None => (line, false),
            };
            if !is_there(name, layout) {
                continue;
            }
            if is_in_vain {
                tried.in_vain.insert(name.to_owned());
            } else {
                tried.last = Some(name.to_owned());
            }
        }
        tried
    }

    /// Whether a repair has gone on from the directory `dir` in vain.
    pub(crate) fn has(&self, dir: &Path) -> bool {
        name(dir).is_some_and(|name| self.in_vain.contains(name))
    }

    /// Notes durably that a repair has gone on from the directory `dir`.
    pub(crate) fn note(mut self, dir: &Path, layout: &Layout) -> io::Result<()> {
        let Some(name) = name(dir) else {
            return Ok(());
        };
        self.last = Some(name.to_owned());
        self.write(layout)
    }

    fn write(mut self, layout: &Layout) -> io::Result<()> {
        if self.in_vain.len() >= NAMES_MAX {
            self.in_vain.clear();
        }
        let in_vain = self.in_vain.iter().map(|name| format!("{IN_VAIN}{name}\n"));
        let last = self.last.iter().map(|name| format!("{name}\n"));
        let text: String = in_vain.chain(last).collect();
        let (path, temporary) = (layout.tried_note(), layout.tried_note_in_progress());
        layout.disk().replace(&path, &temporary, text.as_bytes())
    }

    /// What has been tried in vain, for messages; none if nothing was.
    pub(crate) fn describe(&self) -> Option<String> {
        let names: Vec<&str> = self.in_vain.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// Drops what is not there any more, before its name is given to something else.
pub(crate) fn prune(layout: &Layout) {
    if layout.disk().exists(&layout.tried_note()) {
        kept(Tried::read(layout).write(layout), layout);
    }
}

/// An entry could not be applied: what the last repair has gone on from, if there was one, was gone on from in vain.
pub(crate) fn failed(layout: &Layout) {
    let mut tried = Tried::read(layout);
    if let Some(last) = tried.last.take() {
        tried.in_vain.insert(last);
        kept(tried.write(layout), layout);
    }
}

/// Without it something is tried once more.
fn kept(written: io::Result<()>, layout: &Layout) {
    if let Err(error) = written {
        let path = layout.tried_note();
        tracing::warn!(%error, path = %path.display(), "what repairs have tried cannot be noted");
    }
}

/// The node is ready: what it has gone on from was right.
pub(crate) fn forget(layout: &Layout) {
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

/// Whether there is a ledger or a snapshot of that name.
fn is_there(name: &str, layout: &Layout) -> bool {
    let is_name = !name.is_empty() && Path::new(name).file_name().is_some_and(|own| own == name);
    let in_root = layout.root().join(name);
    is_name
        && [in_root, layout.snapshots().join(name)]
            .iter()
            .any(|dir| layout.disk().is_dir(dir))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use toka_ledger::disk::{Disk as _, MemoryDisk};

    use super::*;

    /// A node with ledgers of these numbers.
    fn node(numbers: &[u64]) -> (MemoryDisk, Layout) {
        let (disk, root) = (MemoryDisk::new(), PathBuf::from("/node"));
        disk.create_dir_all(&root).expect("created");
        let layout = Layout::new(Arc::new(disk.clone()), root);
        for number in numbers {
            disk.create_dir(&layout.ledger(*number)).expect("created");
        }
        (disk, layout)
    }

    fn go_on_from(layout: &Layout, number: u64) {
        let noted = Tried::read(layout).note(&layout.ledger(number), layout);
        noted.expect("noted");
    }

    #[test]
    fn what_was_tried_in_vain_is_known_until_the_node_is_ready() {
        let (disk, layout) = node(&[1, 2, 3]);
        disk.sync_dir(layout.root()).expect("synced");
        assert_eq!(Tried::read(&layout), Tried::default());
        for number in [3, 1] {
            go_on_from(&layout, number);
            failed(&layout);
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
    fn what_was_gone_on_from_counts_only_once_an_entry_could_not_be_applied() {
        let (_, layout) = node(&[1, 2]);
        failed(&layout);
        assert_eq!(Tried::read(&layout), Tried::default(), "no repair was made");
        for number in [1, 2] {
            go_on_from(&layout, number);
            assert_eq!(Tried::read(&layout).describe(), None);
        }
        failed(&layout);
        // The damage after the first one was another.
        assert_eq!(Tried::read(&layout).describe().as_deref(), Some("ledger-2"));
    }

    #[test]
    fn name_of_what_is_gone_may_be_given_to_something_else() {
        let (disk, layout) = node(&[1, 2]);
        go_on_from(&layout, 2);
        failed(&layout);
        assert!(Tried::read(&layout).has(&layout.ledger(2)));
        disk.remove_dir_all(&layout.ledger(2)).expect("removed");
        prune(&layout);
        disk.create_dir(&layout.ledger(2)).expect("created");
        assert!(!Tried::read(&layout).has(&layout.ledger(2)));
    }

    #[test]
    fn note_that_is_anything_is_none() {
        let (disk, layout) = node(&[1]);
        for text in ["\u{fffd}\n\n\0", "in-vain \nin-vain ../node\n..\n/\n"] {
            disk.overwrite(&layout.tried_note(), text.as_bytes())
                .expect("written");
            assert_eq!(Tried::read(&layout), Tried::default(), "{text:?}");
        }
    }
}
