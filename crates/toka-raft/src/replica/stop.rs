//! Handing over leadership, and stopping.

use std::sync::PoisonError;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Inner, Replica};
use crate::error::{FatalError, TransferError};

/// Longest wait for commits that are in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for background tasks to end, once they are told to.
const TASK_TIMEOUT: Duration = Duration::from_secs(5);
/// A transfer takes a round trip and a vote; this many election timeouts are more than enough.
const TRANSFER_TIMEOUTS: u32 = 4;

impl Replica {
    /// Hands leadership to node `to`, or to the voter that is most up to date, and waits until it
    /// leads.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64, TransferError> {
        self.inner.transfer(to).await
    }

    /// Hands leadership over, if this node has it and another one can take it. That it fails is only
    /// said: the others elect a leader by themselves.
    pub async fn hand_over(&self) {
        let node_id = self.inner.config.node_id;
        match self.inner.transfer(None).await {
            Ok(to) => tracing::info!(node_id, to, "leadership handed over"),
            Err(TransferError::NotLeader { .. } | TransferError::NoCandidate) => {}
            Err(error) => tracing::warn!(node_id, %error, "leadership was not handed over"),
        }
    }

    /// Stops in good order: takes no more commits, finishes those in flight, hands leadership over if it
    /// is to `hand_over`, stops Raft, closes the log and flushes the ledger. Stop serving peers only after
    /// it has returned, or there is nobody to hand over to.
    ///
    /// # Errors
    /// What could not be written at the end. Nothing acknowledged is lost by it.
    pub async fn shutdown(&self, hand_over: bool) -> Result<(), FatalError> {
        let inner = &self.inner;
        inner.stopping.cancel();
        inner.proposer.drained(DRAIN_TIMEOUT).await;
        if hand_over {
            self.hand_over().await;
        }
        inner.stop().await
    }

    /// Ends Raft's threads, and with them everything on [`Replica::runtime`], once the node has been
    /// stopped. Before a process ends, and before its data directory is used again: a thread that still
    /// holds the ledger when RocksDB's own statics are gone aborts the process.
    pub async fn end_threads(&self) {
        let runtime = self.inner.runtime.lock();
        let runtime = runtime.unwrap_or_else(PoisonError::into_inner).take();
        super::end(runtime).await;
    }

    /// Stops at once, without handing over or waiting for anything: what a crash does to the others.
    /// For tests, and for a node that must not go on.
    ///
    /// # Errors
    /// What could not be written at the end.
    pub async fn halt(&self) -> Result<(), FatalError> {
        self.inner.stopping.cancel();
        self.inner.stop().await
    }
}

impl Inner {
    async fn transfer(&self, to: Option<u64>) -> Result<u64, TransferError> {
        let metrics = self.node.raft.metrics().borrow_watched().clone();
        let this = self.config.node_id;
        let not_leader = || TransferError::NotLeader {
            leader: self.leader.borrow().clone(),
        };
        if metrics.current_leader != Some(this) {
            return Err(not_leader());
        }
        let replication = metrics.replication.as_ref().ok_or_else(not_leader)?;
        let voters = metrics.membership_config.voter_ids();
        let matched = |id: &u64| replication.get(id).copied().flatten();
        let mut candidates = voters.filter(|id| *id != this);
        let to = match to {
            Some(to) => candidates.find(|id| *id == to),
            None => candidates.max_by_key(matched),
        };
        let to = to.ok_or(TransferError::NoCandidate)?;
        let asked = self.node.raft.trigger().transfer_leader(to).await;
        asked.map_err(|_| TransferError::Stopped)?;
        let mut leader = self.leader.clone();
        let changed =
            leader.wait_for(|leader| leader.as_ref().is_some_and(|leader| leader.node_id != this));
        let deadline = Instant::now() + self.config.election.timeout_max * TRANSFER_TIMEOUTS;
        match timeout_at(deadline, changed).await {
            Ok(Ok(leader)) => Ok(leader.as_ref().map_or(to, |leader| leader.node_id)),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::TimedOut { to }),
        }
    }

    async fn stop(&self) -> Result<(), FatalError> {
        self.node.fatal.stop();
        self.cancelled.cancel();
        // Its only error is that it had stopped before.
        let _ = self.node.raft.shutdown().await;
        let mut tasks = self.tasks.lock().await;
        let ended = timeout(TASK_TIMEOUT, async {
            while tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!("background tasks did not end in time");
            tasks.shutdown().await;
        }
        let closed = self.node.log.close().await;
        if self.node.fatal.is_reported() {
            // What has failed must not be written to; the first error tells why.
            return Ok(());
        }
        closed?;
        let host = std::sync::Arc::clone(&self.node.host);
        self.node.blocking.run(move || host.flush()).await
    }
}
