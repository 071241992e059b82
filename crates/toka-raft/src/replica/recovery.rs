//! A new cluster from what one node of an old one has: for when a majority of its voters is lost for good.
//!
//! A snapshot that the node was about to install is installed, and its whole log is applied, also what it does
//! not know to be committed: the others may have acknowledged it. What only they had is lost, and so is the
//! old cluster's identity: a ledger in another cluster has another history id, by which everyone who holds a
//! position of the old one notices (docs/adr/0010-recovery.md).

mod earlier;
mod repeat;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use toka_ledger::Ledger;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::dir::{DataDir, Mode, Restoring};
use toka_ledger::engine::EngineError;
use toka_ledger::read::Position;
use toka_ledger::restore::{Recovered as Noted, forget_log, note_recovered};
use toka_ledger::seam::Seams;

pub use self::earlier::{Earlier, find_earlier};
use super::checks::{check_agreement, check_progress};
use super::open::{Stores, open_stores};
use super::repair::behind_the_log;
use crate::blocking::Blocking;
use crate::error::{FatalError, StartError};
use crate::fatal::Fatal;
use crate::layout::{Layout, sync_files};
use crate::ledger_host::LedgerHost;
use crate::snapshot::SnapshotDir;
use crate::storage::{DiskStorage, LookedAt, Storage};
use crate::type_config::{Entry, LogId};

/// Number of the copy that is made of the survivor's ledger.
const LEDGER: u64 = 1;
/// Entries that are applied at once, unless they are so large that fewer are read at once.
const ENTRIES_MAX: u64 = 256;

/// Why nothing was recovered. The survivor is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// There is no node's data.
    #[error("{} is no data directory of a node", path.display())]
    NoNode {
        /// The directory.
        path: PathBuf,
    },
    /// The node has not become a part of a cluster.
    #[error("node {node_id} belongs to no cluster: there is nothing to recover")]
    NoCluster {
        /// The node.
        node_id: u64,
    },
    /// What the node has is damaged.
    #[error(
        "the ledger of node {node_id} is damaged ({detail}): take another survivor, or a backup"
    )]
    Damaged {
        /// The node.
        node_id: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The node's log does not lead to where it ends.
    #[error(
        "the log of node {node_id} could be applied up to entry {applied_log_index} only, of {last_log_index}: \
         take another survivor, or a backup"
    )]
    Incomplete {
        /// The node.
        node_id: u64,
        /// Index of the last entry that could be applied.
        applied_log_index: u64,
        /// Index of the last one that it has.
        last_log_index: u64,
    },
    /// The survivor cannot be opened.
    #[error(transparent)]
    Survivor(#[from] StartError),
    /// Its log cannot be applied.
    #[error(transparent)]
    Failed(#[from] FatalError),
    /// The new directory cannot be made.
    #[error(transparent)]
    New(#[from] toka_ledger::Error),
}

impl From<EngineError> for RecoveryError {
    fn from(error: EngineError) -> Self {
        Self::New(error.into())
    }
}

/// What a node has, by which survivors are compared: the one whose last entry has the highest term, and of
/// those the highest index, has lost least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The node.
    pub node_id: u64,
    /// Its cluster.
    pub cluster_id: u128,
    /// Voters of that cluster, as of the last entry that was applied.
    pub voters: Vec<u64>,
    /// Term of the last entry of its log.
    pub last_log_term: u64,
    /// Index of that entry.
    pub last_log_index: u64,
    /// Index of the last entry that its ledger has, or a snapshot that was about to take its place.
    pub applied_log_index: u64,
    /// Where that one is.
    pub position: Position,
}

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the new vault is.
    pub position: Position,
    /// Entries of the log that were not applied yet, neither in the survivor's ledger nor in its snapshot.
    pub applied_entries: u64,
}

/// A survivor whose directory is open, so that nobody else has it.
struct Opened {
    storage: Arc<dyn Storage>,
    stores: Stores,
    host: LedgerHost,
    /// Received, and newer than the ledger: the node stopped before it was installed.
    snapshot: Option<SnapshotDir>,
    /// Last entry in the ledger, or in that snapshot.
    applied: Option<LogId>,
    /// Last entry that the node has.
    last: Option<LogId>,
    survivor: Survivor,
}

impl Opened {
    /// To be used, as a start of the node would: what it finds it may clear up, and notes.
    async fn new(path: &Path) -> Result<Self, RecoveryError> {
        Self::on(Arc::new(DiskStorage::default()), path).await
    }

    async fn on(storage: Arc<dyn Storage>, path: &Path) -> Result<Self, RecoveryError> {
        let Some(Mode::Node {
            node_id,
            cluster_id,
        }) = DataDir::read(&*storage.disk(), path)?
        else {
            let path = path.to_owned();
            return Err(RecoveryError::NoNode { path });
        };
        let cluster_id = cluster_id.ok_or(RecoveryError::NoCluster { node_id })?;
        let (seams, fatal) = (Seams::system(), Fatal::new());
        let opened = Arc::clone(&storage);
        let stores = open_stores(
            path,
            node_id,
            FEATURE_LEVEL,
            opened,
            &seams,
            Blocking::Inline,
            &fatal,
        )?;
        let log = stores.log.handle();
        let examined = Self::examine(storage, stores, path, node_id, cluster_id).await;
        if examined.is_err() {
            // Its thread holds the lock of the log until then.
            let _ = log.close().await;
        }
        examined
    }

    async fn examine(
        storage: Arc<dyn Storage>,
        mut stores: Stores,
        path: &Path,
        node_id: u64,
        cluster_id: u128,
    ) -> Result<Self, RecoveryError> {
        let taken = Err("the ledger was taken".to_owned());
        let host = std::mem::replace(&mut stores.ledger, taken);
        let host = host.map_err(|detail| RecoveryError::Damaged { node_id, detail })?;
        // As at a start: one that has lost what it acknowledged is no survivor.
        if let Some(detail) = behind_the_log(&host, &stores.snapshots, &mut stores.log).await? {
            return Err(RecoveryError::Damaged { node_id, detail });
        }
        check_agreement(path, Some(cluster_id), &host, &mut stores.log).await?;
        check_progress(path, &host, &stores.snapshots, &mut stores.log).await?;
        let state = stores.log.get_log_state().await.map_err(raft)?;
        let (applied, membership) = host.applied_state()?;
        let snapshot = stores
            .snapshots
            .current()
            .filter(|snapshot| snapshot.contents().meta.last_log_id > applied);
        let (applied, membership, position) = match &snapshot {
            Some(snapshot) => {
                let contents = snapshot.contents();
                let meta = contents.meta.clone();
                (meta.last_log_id, meta.last_membership, contents.position)
            }
            None => (applied, membership, host.reader().position()),
        };
        let last = state.last_log_id.max(applied);
        let survivor = Survivor {
            node_id,
            cluster_id,
            voters: membership.membership().voter_ids().collect(),
            last_log_term: last.map_or(0, |log_id| log_id.leader_id.term),
            last_log_index: last.map_or(0, |log_id| log_id.index),
            applied_log_index: applied.map_or(0, |log_id| log_id.index),
            position,
        };
        Ok(Self {
            storage,
            stores,
            host,
            snapshot,
            applied,
            last,
            survivor,
        })
    }

    async fn close(self) -> Result<(), FatalError> {
        self.stores.log.handle().close().await?;
        Ok(())
    }

    /// Makes the first node of the new cluster, unless that was done before, and marks the old directory.
    async fn recover(&mut self, new: &Path, node_id: u64) -> Result<Recovered, RecoveryError> {
        let recovered = match self.finished(new, node_id).await? {
            Some(recovered) => recovered,
            None => self.make(new, node_id).await?,
        };
        self.stores.data_dir.set_removed()?;
        Ok(recovered)
    }

    /// Makes the first node of the new cluster, `node_id`, at `new`.
    async fn make(&self, new: &Path, node_id: u64) -> Result<Recovered, RecoveryError> {
        let disk = self.storage.disk();
        let restoring = Restoring::begin(Arc::clone(&disk), new)?;
        let layout = Layout::new(disk, new.to_owned());
        self.host.copy(&layout.ledger(LEDGER))?;
        layout
            .set_current(LEDGER)
            .map_err(StartError::file("write the pointer in", new))?;
        let applied_entries = self.catch_up(&layout).await?;
        let position = self.detach(&layout)?;
        restoring.finish(Mode::Node {
            cluster_id: None,
            node_id,
        })?;
        Ok(Recovered {
            position,
            applied_entries,
        })
    }

    /// Brings the copy of the ledger in `layout` to where the log ends, as the node's own start would;
    /// returns how many of its entries were applied.
    async fn catch_up(&self, layout: &Layout) -> Result<u64, RecoveryError> {
        let (storage, fatal) = (Arc::clone(&self.storage), Fatal::new());
        let host = LedgerHost::open(layout.clone(), storage, Seams::system().threads, &fatal)?;
        if let Some(snapshot) = &self.snapshot {
            host.install(&snapshot.ledger(), snapshot.contents())?;
            host.remove_retired();
        }
        let mut applied_entries = 0;
        loop {
            let (reached, _) = host.applied_state()?;
            let entries = self.read_log(reached).await?;
            if entries.is_empty() {
                self.check_end(reached)?;
                break;
            }
            applied_entries += entries.len() as u64;
            host.apply(entries)?;
        }
        host.flush()?;
        Ok(applied_entries)
    }

    /// Entries of the log behind `after`, as many as may be in memory at once; none at its end.
    async fn read_log(&self, after: Option<LogId>) -> Result<Vec<Entry>, RecoveryError> {
        let next = after.map_or(0, |log_id| log_id.index + 1);
        let end = self.last.map_or(0, |log_id| log_id.index + 1);
        let mut reader = self.stores.log.handle().reader();
        let read = reader
            .limited_get_log_entries(next, end.min(next + ENTRIES_MAX))
            .await;
        Ok(read.map_err(raft)?)
    }

    /// Nothing that the node has may be left out without a word.
    fn check_end(&self, reached: Option<LogId>) -> Result<(), RecoveryError> {
        if reached == self.last {
            return Ok(());
        }
        let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
        Err(RecoveryError::Incomplete {
            node_id: self.survivor.node_id,
            applied_log_index: index(reached),
            last_log_index: index(self.last),
        })
    }

    /// Makes the copy in `layout` one without a log; returns where it is.
    fn detach(&self, layout: &Layout) -> Result<Position, RecoveryError> {
        let number = layout
            .current()
            .map_err(StartError::file("read the pointer in", layout.root()))?;
        let ledger = layout.ledger(number.unwrap_or(LEDGER));
        let engine = self.storage.open(&ledger)?;
        forget_log(&*engine)?;
        let (reader, _) = Ledger::read_only(Arc::clone(&engine))?;
        let (position, cluster_id) = (reader.position(), self.survivor.cluster_id);
        if let Some(settings) = reader.settings()? {
            let recovered = Noted {
                cluster_id,
                history_id: settings.history_id_in(cluster_id),
                revision: position.revision,
                sequence: position.sequence,
                unix_ms: Seams::system().clock.unix_ms(),
            };
            note_recovered(&*engine, &recovered)?;
        }
        engine.flush()?;
        drop((engine, reader));
        sync_files(&**layout.disk(), &ledger).map_err(StartError::file("sync", &ledger))?;
        Ok(position)
    }
}

fn raft(error: std::io::Error) -> StartError {
    StartError::Raft {
        reason: error.to_string(),
    }
}

/// What the stopped node whose data is at `path` has. Nothing there is changed: whoever looks has not decided
/// anything yet. Blocking, but for what it awaits.
///
/// # Errors
/// [`RecoveryError`].
pub async fn inspect(path: &Path) -> Result<Survivor, RecoveryError> {
    let storage = Arc::new(LookedAt::new(DiskStorage::default(), path));
    let opened = Opened::on(storage, path).await?;
    let survivor = opened.survivor.clone();
    opened.close().await?;
    Ok(survivor)
}

/// Makes of the stopped node whose data is at `path` the first node of a new cluster, `node_id`, with its data
/// at `new`, a directory that is new or empty. The old one is kept, and marked: no node starts with it any
/// more.
///
/// A crash leaves the old directory as it was and a new one that no node starts with, which the next call
/// clears; or, at the very end, the new one finished and the old one not marked yet, which the next call does.
///
/// # Errors
/// [`RecoveryError`].
pub async fn recover(
    path: &Path,
    new: &Path,
    node_id: u64,
) -> Result<(Survivor, Recovered), RecoveryError> {
    let mut opened = Opened::new(path).await?;
    let recovered = opened.recover(new, node_id).await;
    let survivor = opened.survivor.clone();
    let closed = opened.close().await;
    let recovered = recovered?;
    closed?;
    Ok((survivor, recovered))
}

#[cfg(test)]
mod tests;
