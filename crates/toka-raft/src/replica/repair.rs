//! A damaged ledger is replaced before Raft starts: by what this node has itself, or a copy of another node's.
//!
//! The node keeps its log and its vote, so that it has everything that it ever acknowledged: what the copy
//! lacks is applied again from the log, what the log lacks is in the copy. Invariants: the marker says that
//! the ledger is damaged until another one has taken its place, so that a crash at any step leads here again;
//! the copy reaches at least as far as the log is purged, and the log goes on from it or is cut off before
//! it, but only when the copy is this node's own, durably; the damaged ledger stays until then.

mod opinion;
mod own;
mod take;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt as _;
use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use toka_ledger::dir::DataDir;
use toka_ledger::seam::Seams;

use self::own::{May, Own};
use super::checks::check_level;
use super::open::{Stores, blocking};
use crate::blocking::Blocking;
use crate::config::Config;
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::headroom::Headroom;
use crate::identity::Identity;
use crate::layout::Layout;
use crate::ledger_host::{LedgerHost, assemble, contents};
use crate::log_store::RaftLog;
use crate::snapshot::{SnapshotDir, SnapshotError, SnapshotStore};
use crate::storage::Storage;
use crate::transport::Channels;
use crate::tried::{self, Tried};
use crate::type_config::{EntryPayload, LogId, Member, Vote};

/// For `map_err`.
fn raft(error: impl std::fmt::Display) -> StartError {
    StartError::Raft {
        reason: error.to_string(),
    }
}

/// Opens the ledger, or says what is damaged in it, which is noted first.
pub(super) fn open_ledger(
    layout: &Layout,
    storage: &Arc<dyn Storage>,
    seams: &Seams,
    fatal: &Fatal,
    data_dir: &mut DataDir,
) -> Result<Result<LedgerHost, String>, StartError> {
    if data_dir.is_ledger_damaged() {
        return Ok(Err("it was found to be damaged before".to_owned()));
    }
    let (storage, threads) = (Arc::clone(storage), Arc::clone(&seams.threads));
    match LedgerHost::open(layout.clone(), storage, threads, fatal) {
        Err(StartError::Ledger(error)) if data_dir.is_complete() && error.is_damage() => {
            data_dir.set_ledger_damaged()?;
            Ok(Err(error.to_string()))
        }
        opened => opened.map(Ok),
    }
}

/// The ledger as it was opened, or what has taken its place.
pub(super) async fn sound_ledger(
    mut stores: Stores,
    config: &Config,
    identity: &Arc<Identity>,
    channels: &Channels,
    storage: &Arc<dyn Storage>,
    seams: &Seams,
    fatal: &Fatal,
) -> Result<(Stores, LedgerHost), StartError> {
    let nothing = Err("the ledger was taken".to_owned());
    let mut ledger = std::mem::replace(&mut stores.ledger, nothing);
    if let Ok(host) = &ledger
        && let Some(detail) = behind_the_log(host, &stores.snapshots, &mut stores.log).await?
    {
        stores.data_dir.set_ledger_damaged()?;
        ledger = Err(detail);
    }
    let detail = match ledger {
        Ok(host) => {
            keep_only_current(&stores.snapshots, blocking(config)).await?;
            tried::prune(&stores.layout);
            return Ok((stores, host));
        }
        Err(detail) => detail,
    };
    let repair = Repair {
        identity: Arc::clone(identity),
        initial_members: &config.initial_members,
        level_known: config.level_known(),
        layout: &stores.layout,
        tried: Tried::read(&stores.layout),
        gone_on_from: None,
        storage,
        snapshots: &stores.snapshots,
        log: &mut stores.log,
        channels,
        blocking: blocking(config),
        headroom: Headroom::new(
            storage.disk(),
            config.data_dir.clone(),
            config.disk_reserve_bytes,
        ),
    };
    let repaired = repair.run(detail).await;
    if let Err(StartError::Removed { .. }) = repaired {
        stores.data_dir.set_removed()?;
    }
    let gone_on_from = repaired?;
    let (stores, host) = open_repaired(stores, config, storage, seams, fatal).await?;
    if let Some(dir) = gone_on_from {
        // Only now: what a crash before this has kept from being used has not failed.
        let noted = Tried::read(&stores.layout).note(&dir, &stores.layout);
        noted.map_err(StartError::file("write", &stores.layout.tried_note()))?;
    }
    Ok((stores, host))
}

/// Opens what has taken the place of the damaged ledger, which the marker says until then.
async fn open_repaired(
    mut stores: Stores,
    config: &Config,
    storage: &Arc<dyn Storage>,
    seams: &Seams,
    fatal: &Fatal,
) -> Result<(Stores, LedgerHost), StartError> {
    let (layout, storage) = (stores.layout.clone(), Arc::clone(storage));
    let (threads, fatal) = (Arc::clone(&seams.threads), fatal.clone());
    let opened = blocking(config)
        .run(move || LedgerHost::open(layout, storage, threads, &fatal))
        .await?;
    // First: at the next start one that cannot be used might be newer than this ledger.
    keep_only_current(&stores.snapshots, blocking(config)).await?;
    stores.data_dir.set_ledger_repaired()?;
    check_level(&opened, config.level_known())?;
    Ok((stores, opened))
}

/// There is a ledger that reaches the log: only now it is known which snapshots nobody needs.
async fn keep_only_current(
    snapshots: &Arc<SnapshotStore>,
    blocking: Blocking,
) -> Result<(), StartError> {
    let snapshots = Arc::clone(snapshots);
    let kept = blocking.run(move || snapshots.keep_only_current()).await;
    kept.map_err(StartError::snapshot)
}

/// A ledger that lacks what was purged from the log, since it was durable, has lost it.
pub(super) async fn behind_the_log(
    host: &LedgerHost,
    snapshots: &SnapshotStore,
    log: &mut RaftLog,
) -> Result<Option<String>, StartError> {
    let state = log.get_log_state().await.map_err(raft)?;
    let purged = state.last_purged_log_id;
    let (applied, _) = host.applied_state().map_err(raft)?;
    let snapshot = snapshots
        .current()
        .and_then(|snapshot| snapshot.contents().meta.last_log_id);
    // A snapshot that is newer than the ledger is installed when Raft starts.
    Ok((applied.max(snapshot) < purged).then(|| {
        format!(
            "it ends at entry {:?}, but the Raft log was purged up to {:?} when that was in it",
            applied.map(|log_id| log_id.index),
            purged.map(|log_id| log_id.index)
        )
    }))
}

/// What a repair works with.
pub(super) struct Repair<'a> {
    pub(super) identity: Arc<Identity>,
    pub(super) initial_members: &'a BTreeMap<u64, Member>,
    /// The highest feature level that this node may have.
    pub(super) level_known: u32,
    pub(super) layout: &'a Layout,
    /// What earlier repairs have gone on from in vain.
    tried: Tried,
    /// The ledger or snapshot that this one goes on from.
    gone_on_from: Option<PathBuf>,
    pub(super) storage: &'a Arc<dyn Storage>,
    pub(super) snapshots: &'a Arc<SnapshotStore>,
    pub(super) log: &'a mut RaftLog,
    pub(super) channels: &'a Channels,
    pub(super) blocking: Blocking,
    pub(super) headroom: Headroom,
}

impl Repair<'_> {
    /// Goes on until there is a sound ledger. `detail` says what is damaged. Returns the directory of what it goes on
    /// from.
    pub(super) async fn run(mut self, detail: String) -> Result<Option<PathBuf>, StartError> {
        let node_id = self.identity.node_id();
        let state = self.log.get_log_state().await.map_err(raft)?;
        let purged = state.last_purged_log_id;
        tracing::error!(node_id, %detail, "the ledger is damaged");
        self.remove_leftovers().await;
        tried::prune(self.layout);
        self.tried = Tried::read(self.layout);
        let mut members = self.members().await?;
        members.remove(&node_id);
        let is_alone = members.is_empty() || self.identity.cluster_id().is_none();
        // One that is alone has nothing better, and what could not be read once may be readable by now.
        let may = May {
            use_ledger: is_alone,
            use_again: is_alone,
        };
        let own = self.find_own(purged, may).await?;
        if own == Own::InPlace {
            return Ok(self.gone_on_from);
        }
        if is_alone {
            let detail = self.lost(detail);
            return Err(StartError::LedgerLost { node_id, detail });
        }
        let nodes: Vec<u64> = members.keys().copied().collect();
        tracing::warn!(
            node_id,
            ?nodes,
            "a copy of another node's takes the place of the damaged ledger"
        );
        let mut ask_once = own == Own::Used;
        let reach = purged.map(|log_id| log_id.index);
        let snapshot = loop {
            if let Some(snapshot) = self.take(&members, reach, ask_once).await? {
                break snapshot;
            }
            // Better than none: whether it will do is not certain.
            let may = May {
                use_ledger: false,
                use_again: true,
            };
            if self.find_own(purged, may).await? == Own::InPlace {
                return Ok(self.gone_on_from);
            }
            ask_once = false;
        };
        let last = snapshot.contents().meta.last_log_id;
        let last = last.ok_or_else(|| raft("a copy without entries was taken"))?;
        self.put_in_place(snapshot, last).await?;
        tracing::info!(node_id, log_id = ?last, "the ledger is repaired");
        Ok(self.gone_on_from)
    }

    /// Why a node that is alone has lost its ledger.
    fn lost(&self, detail: String) -> String {
        match self.tried.describe() {
            None => detail,
            Some(tried) => format!(
                "{detail}; the Raft log could not be applied to what this node has itself ({tried}), which is not \
                 tried again as long as {} is there",
                self.layout.tried_note().display()
            ),
        }
    }

    /// Of repairs that were broken off. What cannot be removed is in nobody's way.
    async fn remove_leftovers(&self) {
        let layout = self.layout.clone();
        let removed = self.blocking.run(move || layout.remove_leftovers()).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "what earlier repairs have left cannot be removed");
        }
    }

    /// Goes on from a snapshot that ends with entry `last`.
    ///
    /// It is made this node's own before the log is cut off for it: from then on nothing else reaches the log, and
    /// whoever has given it may be gone at the next start.
    async fn put_in_place(&mut self, snapshot: SnapshotDir, last: LogId) -> Result<(), StartError> {
        let own = self.adopt(snapshot).await?;
        self.gone_on_from = Some(own.dir().to_owned());
        settle_log(self.log, last).await?;
        self.install(own).await
    }

    /// The members of the cluster, as far as they can be told without the ledger.
    async fn members(&mut self) -> Result<BTreeMap<u64, Member>, StartError> {
        let mut newest = None;
        {
            let mut reader = self.log.get_log_reader().await;
            let mut entries = Box::pin(reader.entries_stream(..).await);
            while let Some(entry) = entries.try_next().await.map_err(raft)? {
                if let EntryPayload::Membership(membership) = entry.payload {
                    newest = Some(membership);
                }
            }
        }
        let noted = self.snapshots.current().map(|snapshot| {
            let stored = &snapshot.contents().meta.last_membership;
            stored.membership().clone()
        });
        let found = match newest.or(noted) {
            Some(membership) => Some(membership),
            None => self.members_in_ledger().await,
        };
        let mut members = self.initial_members.clone();
        if let Some(found) = found {
            members = found
                .nodes()
                .map(|(id, member)| (*id, member.clone()))
                .collect();
        }
        Ok(members)
    }

    /// What the damaged ledger says: an address that is wrong leads nowhere, so it may be asked.
    async fn members_in_ledger(&self) -> Option<crate::type_config::Membership> {
        let (layout, storage) = (self.layout.clone(), Arc::clone(self.storage));
        let read = move || {
            let dir = layout.ledger(layout.current().ok()??);
            let found = contents(storage.open_copy(&dir).ok()?).ok()?;
            Some(found.meta.last_membership.membership().clone())
        };
        self.blocking.run(read).await
    }

    /// Makes a snapshot the node's current one, durably. The newest of the others stays for now.
    async fn adopt(&self, snapshot: SnapshotDir) -> Result<SnapshotDir, StartError> {
        let store = Arc::clone(self.snapshots);
        let adopt = move || -> Result<SnapshotDir, SnapshotError> {
            store.choose(None);
            let own = store.adopt(&snapshot)?;
            store.choose(Some(&own));
            if let Err(error) = store.keep_one_other() {
                tracing::warn!(%error, "snapshots that nobody needs cannot be removed");
            }
            Ok(own)
        };
        self.blocking.run(adopt).await.map_err(raft)
    }

    /// Makes the node's ledger of its snapshot, durably.
    async fn install(&self, own: SnapshotDir) -> Result<(), StartError> {
        let layout = self.layout.clone();
        let install = move || -> Result<(), SnapshotError> {
            let number = layout
                .next_number()
                .map_err(SnapshotError::file("list", layout.root()))?;
            assemble(&layout, &own.ledger(), number)
                .and_then(|()| layout.set_current(number))
                .map_err(SnapshotError::file("install", &own.ledger()))
        };
        self.blocking.run(install).await.map_err(raft)
    }
}

/// Makes log and vote fit a ledger that ends with entry `last`, as the installation of a snapshot does:
/// the entry is committed, so an own one in its place, and all behind that, were never.
async fn settle_log(log: &mut RaftLog, last: LogId) -> Result<(), StartError> {
    let mut reader = log.get_log_reader().await;
    let vote = reader.read_vote().await.map_err(raft)?;
    if vote.is_none_or(|vote| vote.leader_id < last.leader_id) {
        // A later candidacy of this node must be in a later term than its last entry.
        let vote = Vote {
            leader_id: last.leader_id,
            committed: true,
        };
        log.save_vote(&vote).await.map_err(raft)?;
    }
    let state = log.get_log_state().await.map_err(raft)?;
    if state.last_purged_log_id == Some(last) {
        return Ok(());
    }
    if state.last_log_id.is_some_and(|own| own.index >= last.index) {
        let at = last.index..=last.index;
        let own = reader.try_get_log_entries(at).await.map_err(raft)?;
        if own.first().is_some_and(|own| own.log_id == last) {
            return Ok(());
        }
        let purged = state.last_purged_log_id;
        log.truncate_after(purged).await.map_err(raft)?;
    }
    log.purge(last).await.map_err(raft)?;
    log.handle().barrier().await.map_err(raft)
}

#[cfg(test)]
mod tests;
