//! What a node has itself that can take the place of its ledger.

use std::path::Path;
use std::sync::Arc;

use super::Repair;
use crate::error::StartError;
use crate::ledger_host::contents;
use crate::snapshot::{SnapshotError, verify};
use crate::storage::Storage;
use crate::type_config::LogId;

impl Repair<'_> {
    /// Goes on from the ledger itself, if only the pointer to it is damaged, or from the node's own snapshot: if
    /// all of it can be read, and it reaches as far as the log is `purged`. Says whether there is such a one.
    pub(super) async fn find_own(&mut self, purged: Option<LogId>) -> Result<bool, StartError> {
        let node_id = self.identity.node_id();
        if let Some(last) = self.find_ledger(purged).await? {
            tracing::info!(node_id, log_id = ?last, "the ledger is repaired: the pointer to it is made anew");
            return Ok(true);
        }
        let Some(snapshot) = self.snapshots.current() else {
            return Ok(false);
        };
        let Some(last) = snapshot.contents().meta.last_log_id else {
            return Ok(false);
        };
        if Some(last) < purged {
            return Ok(false);
        }
        let (storage, own) = (Arc::clone(self.storage), snapshot.clone());
        let verified = move || verify(&*storage, &own.ledger(), own.contents());
        if let Err(error) = self.blocking.run(verified).await {
            tracing::warn!(node_id, %error, "this node's own snapshot cannot take the place of its ledger");
            return Ok(false);
        }
        self.put_in_place(snapshot, last).await?;
        tracing::info!(node_id, log_id = ?last, "the ledger is repaired: this node's own snapshot takes its place");
        Ok(true)
    }

    /// Makes the pointer anew, if nothing else is damaged. Returns the last entry of the ledger.
    async fn find_ledger(&self, purged: Option<LogId>) -> Result<Option<LogId>, StartError> {
        let unnamed = self.layout.unnamed();
        let Some(number) = unnamed.map_err(StartError::file("list", self.layout.root()))? else {
            return Ok(None);
        };
        let (storage, layout) = (Arc::clone(self.storage), self.layout.clone());
        let point = move || -> Result<LogId, SnapshotError> {
            let last = check(&*storage, &layout.ledger(number), purged)?;
            let pointed = layout.set_current(number);
            pointed.map_err(SnapshotError::file("write the pointer in", layout.root()))?;
            Ok(last)
        };
        match self.blocking.run(point).await {
            Ok(last) => Ok(Some(last)),
            Err(error) => {
                tracing::warn!(%error, "the only ledger that is here cannot be used");
                Ok(None)
            }
        }
    }
}

/// Reads the ledger in `dir`, and returns its last entry.
fn check(storage: &dyn Storage, dir: &Path, purged: Option<LogId>) -> Result<LogId, SnapshotError> {
    let found = contents(storage.open_copy(dir)?)?;
    let last = found.meta.last_log_id.ok_or(SnapshotError::Empty)?;
    if let Some(purged) = purged.filter(|purged| last < *purged) {
        return Err(SnapshotError::Behind {
            last: Some(last.index),
            purged: purged.index,
        });
    }
    verify(storage, dir, &found)?;
    Ok(last)
}
