//! What a node has itself that can take the place of its ledger.

use std::path::Path;
use std::sync::Arc;

use super::{Repair, raft};
use crate::error::StartError;
use crate::ledger_host::contents;
use crate::snapshot::{SnapshotDir, SnapshotError, open_as_ledger, verify};
use crate::storage::Storage;
use crate::type_config::LogId;

/// What may be used, beside a ledger to which only the pointer is damaged, and snapshots.
#[derive(Clone, Copy, Debug)]
pub(super) struct May {
    /// The ledger that was found to be damaged, if it can be read by now: where there is no copy to be had.
    pub(super) use_ledger: bool,
    /// A snapshot from which a repair has gone on before: the ledger that came of it is damaged too.
    pub(super) use_again: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Something of this node's has taken the ledger's place.
    InPlace,
    /// There is only what may not be used again.
    Used,
    Nothing,
}

impl Repair<'_> {
    /// Goes on from the ledger itself, or from a snapshot of the node's own: if all of it can be read and opened,
    /// and it reaches as far as the log is `purged`. What reaches farther comes first.
    pub(super) async fn find_own(
        &mut self,
        purged: Option<LogId>,
        may: May,
    ) -> Result<Own, StartError> {
        let node_id = self.identity.node_id();
        let ledger = self.find_ledger(purged, may).await?;
        let mut found = Own::Nothing;
        let (mut covered, mut newer) = (None, Vec::new());
        for snapshot in self.snapshots.complete() {
            let last = snapshot.contents().meta.last_log_id;
            if ledger.is_some_and(|(_, reached)| last <= reached) {
                covered = Some(snapshot);
                break;
            }
            newer.push(snapshot);
        }
        for snapshot in newer {
            let last = snapshot.contents().meta.last_log_id;
            let Some(last) = last.filter(|last| Some(*last) >= purged) else {
                break;
            };
            if self.tried.has(snapshot.dir()) {
                tracing::warn!(node_id, snapshot = %snapshot.dir().display(), "this node's own snapshot was tried in vain");
                continue;
            }
            if snapshot.is_used() && !may.use_again {
                found = Own::Used;
                continue;
            }
            if let Err(error) = self.check_snapshot(&snapshot).await {
                tracing::warn!(node_id, %error, "this node's own snapshot cannot take the place of its ledger");
                continue;
            }
            let used = snapshot.clone();
            let used = self.blocking.run(move || used.set_used()).await;
            used.map_err(raft)?;
            self.put_in_place(snapshot, last).await?;
            tracing::info!(node_id, log_id = ?last, "the ledger is repaired: this node's own snapshot takes its place");
            return Ok(Own::InPlace);
        }
        let Some((number, last)) = ledger else {
            return Ok(found);
        };
        // Raft would install a newer one at its start.
        self.snapshots.choose(covered.as_ref());
        self.gone_on_from = Some(self.layout.ledger(number));
        let layout = self.layout.clone();
        let pointed = self.blocking.run(move || layout.set_current(number)).await;
        pointed.map_err(StartError::file("write the pointer in", self.layout.root()))?;
        tracing::info!(node_id, log_id = ?last, "the ledger is repaired: all of it can be read");
        Ok(Own::InPlace)
    }

    /// The ledger that the pointer can only have led to, or the one it leads to; and its last entry.
    async fn find_ledger(
        &self,
        purged: Option<LogId>,
        may: May,
    ) -> Result<Option<(u64, Option<LogId>)>, StartError> {
        let unnamed = self.layout.unnamed();
        let unnamed = unnamed.map_err(StartError::file("list", self.layout.root()))?;
        let named = || self.layout.current().ok().flatten();
        let Some(number) = unnamed.or_else(|| named().filter(|_| may.use_ledger)) else {
            return Ok(None);
        };
        let (storage, dir) = (Arc::clone(self.storage), self.layout.ledger(number));
        if self.tried.has(&dir) {
            tracing::warn!(ledger = %dir.display(), "the ledger that is here was tried in vain");
            return Ok(None);
        }
        let checked = move || check_ledger(&*storage, &dir, purged);
        match self.blocking.run(checked).await {
            Ok(last) => Ok(Some((number, last))),
            Err(error) => {
                tracing::warn!(%error, "the ledger that is here cannot be used");
                Ok(None)
            }
        }
    }

    async fn check_snapshot(&self, snapshot: &SnapshotDir) -> Result<(), SnapshotError> {
        let (storage, own) = (Arc::clone(self.storage), snapshot.clone());
        let check = move || {
            verify(&*storage, &own.ledger(), own.contents())?;
            open_as_ledger(&*storage, &own.ledger()).map(drop)
        };
        self.blocking.run(check).await
    }
}

/// Reads the ledger in `dir`, and returns its last entry; none if nothing of the log was durable in it when the node
/// was killed: then all of the log is applied again, if nothing is `purged` from it.
fn check_ledger(
    storage: &dyn Storage,
    dir: &Path,
    purged: Option<LogId>,
) -> Result<Option<LogId>, SnapshotError> {
    let found = contents(storage.open_copy(dir)?)?;
    let last = found.meta.last_log_id;
    if let Some(purged) = purged.filter(|purged| last < Some(*purged)) {
        return Err(SnapshotError::Behind {
            last: last.map(|log_id| log_id.index),
            purged: purged.index,
        });
    }
    verify(storage, dir, &found)?;
    open_as_ledger(storage, dir)?;
    Ok(last)
}
