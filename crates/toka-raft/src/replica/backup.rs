//! Copies of this node's vault, for backups.

use std::sync::Arc;

use super::Replica;
use crate::error::{FatalError, SnapshotError};
use crate::headroom::LEFT_AT_BEGIN;
use crate::pace::Pace;
use crate::snapshot::{LedgerCopy, copy};

impl Replica {
    /// Makes a copy of the vault as this node has it now. Commits go on meanwhile; the copy's table files
    /// are hard links, and take room of their own once the vault has replaced them. All of it is read to look
    /// for damage, `rate_bytes` in a second at most (0: any number); dropped before, it ends that too.
    ///
    /// # Errors
    /// [`SnapshotError`], if the copy cannot be made, or the vault has not been created yet;
    /// [`SnapshotError::NoRoom`], if less than half of what is kept free on the disk is left, also if that comes
    /// about meanwhile.
    pub async fn copy_ledger(&self, rate_bytes: u64) -> Result<LedgerCopy, SnapshotError> {
        let node = &self.inner.node;
        let (host, store) = (Arc::clone(&node.host), Arc::clone(&node.snapshots));
        let (digests, blocking) = (Arc::clone(&self.inner.copy_digests), node.blocking);
        let headroom = node.headroom.clone();
        let cancelled = self.inner.cancelled.child_token();
        let mut pace = Pace::new(rate_bytes, Arc::default(), blocking, cancelled.clone());
        let _ends_with_this = cancelled.drop_guard();
        let copying = blocking.run(move || {
            headroom.check(0)?;
            copy(&host, &store, digests, blocking, &mut pace)
        });
        let copied = tokio::select! {
            biased;
            copied = copying => copied,
            no_room = self.no_room() => Err(no_room),
        };
        if let Err(SnapshotError::Ledger(error)) = &copied
            && error.is_damage()
        {
            node.fatal.report(FatalError::damaged(error));
        }
        copied
    }

    /// Returns, with [`SnapshotError::NoRoom`], when less than half of what is kept free on the disk is left. A
    /// copy must go then: it keeps files whose removal would make room.
    pub async fn no_room(&self) -> SnapshotError {
        let mut room = self.inner.node.room.subscribe();
        let shortage = match room.wait_for(|room| room.is_spent()).await {
            Ok(spent) => spent.shortage(),
            Err(_) => None,
        };
        let Some((free_bytes, reserve_bytes)) = shortage else {
            // Nobody looks any more.
            return std::future::pending().await;
        };
        SnapshotError::NoRoom {
            free_bytes,
            needed_bytes: reserve_bytes / LEFT_AT_BEGIN,
        }
    }
}
