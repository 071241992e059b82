//! A recovery that was done before: repeated, there is nothing left to do.

use std::path::Path;
use std::sync::Arc;

use toka_ledger::Ledger;
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::read::Reader;
use toka_ledger::restore::is_beginning;

use crate::layout::Layout;
use crate::storage::{DiskStorage, Storage as _};

/// A recovery that was done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The first node of the new cluster.
    pub node_id: u64,
    /// The cluster that was lost.
    pub old_cluster_id: u128,
    /// The new cluster, once its first node was started.
    pub cluster_id: Option<u128>,
    /// Last event that is of the old history.
    pub sequence: u64,
}

/// Whether what [`recover`](super::recover) would be asked for was done before: no node starts any more with what
/// is at `path`, and at `new` there is a vault that was recovered from its cluster, begins as what is at `path`, and is
/// of node `node_id` (absent: the survivor's). Nothing is changed, and the new node may run.
///
/// `None`: it was not, or that cannot be told; [`recover`](super::recover) says what is wrong. Blocking.
#[must_use]
pub fn find_earlier(path: &Path, new: &Path, node_id: Option<u64>) -> Option<Earlier> {
    let storage = DiskStorage::default();
    let disk = storage.disk();
    let (old, old_id, old_cluster_id) = match DataDir::read(&*disk, path).ok()?? {
        old @ Mode::Node {
            node_id,
            cluster_id,
        } => (old, node_id, cluster_id?),
        Mode::Embedded | Mode::Joining { .. } => return None,
    };
    let opened = DataDir::open_or_create(Arc::clone(&disk), path, old).ok()?;
    if !opened.is_removed() {
        return None;
    }
    let Mode::Node {
        node_id: found,
        cluster_id,
    } = DataDir::read(&*disk, new).ok()??
    else {
        return None;
    };
    if found != node_id.unwrap_or(old_id) || cluster_id == Some(old_cluster_id) {
        return None;
    }
    let survivor = reader_at(&storage, path)?;
    let reader = reader_at(&storage, new)?;
    let noted = reader.recovered().ok()??;
    // Of another survivor, which had lost more or had other events, it would be another recovery.
    let is_own = noted.cluster_id == old_cluster_id
        && noted.revision >= survivor.position().revision
        && is_beginning(&survivor, &reader).ok()?;
    is_own.then_some(Earlier {
        node_id: found,
        old_cluster_id,
        cluster_id,
        sequence: noted.sequence,
    })
}

/// Of the ledger in use of the node at `path`; none if it cannot be opened.
fn reader_at(storage: &DiskStorage, path: &Path) -> Option<Reader> {
    let layout = Layout::new(storage.disk(), path.to_owned());
    let number = layout.current().ok()??;
    let engine = storage.open_copy(&layout.ledger(number)).ok()?;
    let (reader, _) = Ledger::read_only(engine).ok()?;
    Some(reader)
}
