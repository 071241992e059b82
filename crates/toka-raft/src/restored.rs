//! The directory of a node that begins with a restored vault.
//!
//! Such a node is pristine but for its ledger: it has neither a Raft log nor a cluster id. It forms a new
//! cluster with the other initial members as any node does, if all of them begin with the same vault.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::disk::Disk;

use crate::layout::{Layout, sync_files};

/// Number of the only ledger.
const NUMBER: u64 = 1;

/// Where the ledger is put together, in the data directory `root`.
#[must_use]
pub fn ledger_in_progress(disk: Arc<dyn Disk>, root: &Path) -> PathBuf {
    Layout::new(disk, root.to_owned()).ledger_in_progress(NUMBER)
}

/// Makes what was put together there the node's ledger, durably.
///
/// # Errors
/// The disk's.
pub fn publish(disk: Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let layout = Layout::new(Arc::clone(&disk), root.to_owned());
    let in_progress = layout.ledger_in_progress(NUMBER);
    sync_files(&*disk, &in_progress)?;
    disk.rename(&in_progress, &layout.ledger(NUMBER))?;
    disk.sync_dir(root)?;
    layout.set_current(NUMBER)
}

/// Makes all files of a ledger durable.
///
/// # Errors
/// The disk's.
pub fn sync(disk: &dyn Disk, ledger: &Path) -> io::Result<()> {
    sync_files(disk, ledger)
}
