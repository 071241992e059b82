//! Handing over leadership, and stopping.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use toka_ledger::dir::{DataDir, Mode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Inner, Replica};
use crate::error::{FatalError, TransferError};
use crate::fatal::Fatal;
use crate::membership::{Membership, effective};
use crate::reach::answered_within;

/// A voter that has not answered for so many heartbeats is not asked to lead.
const SILENT_HEARTBEATS: u32 = 3;
/// Longest wait, in election timeouts, for a voter that answers.
const ANSWER_TIMEOUTS: u32 = 3;
/// Longest wait for the node that leadership is to be handed to by its id, besides two heartbeats: shorter than a
/// client waits for an answer.
const HEIR_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at who has answered.
const LISTEN: Duration = Duration::from_millis(50);
/// Longest wait for commits that are in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for background tasks to end before Raft is stopped. openraft logs an error for whoever asks it
/// for something then; but some wait for a quorum that there may not be.
const QUIET_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest wait for background tasks to end, once they are told to.
const TASK_TIMEOUT: Duration = Duration::from_secs(5);

impl Replica {
    /// Hands leadership to node `to`, or to the voter that is most up to date, and waits until it
    /// leads.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64, TransferError> {
        if let Some(node_id) = to
            && self.is_leader()
        {
            self.inner.check_heir(node_id).await?;
        }
        self.inner.node.hand_over.to(to).await
    }

    /// Notes that the data directory is nobody's, unless the node belongs to a cluster: the one that it was to form
    /// has formed without it, and it cannot come back as this node. Nothing in the directory may be wanted any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn give_up(&self) -> Result<(), toka_ledger::Error> {
        let note = |directory: &mut DataDir| match directory.mode() {
            Mode::Node {
                cluster_id: None, ..
            } => directory.set_removed(),
            Mode::Node { .. } | Mode::Joining { .. } | Mode::Embedded => Ok(()),
        };
        self.inner.node.membership.note(note).await
    }

    /// Hands leadership over, if this node has it and another one can take it. That it fails is only
    /// said, and no reason to worry: the others elect a leader by themselves.
    pub async fn hand_over(&self) {
        let node_id = self.inner.config.node_id;
        let answering = self.inner.answering_voters().await;
        let is_fit = |id: u64| answering.contains(&id);
        match self.inner.node.hand_over.to_fit(is_fit).await {
            Ok(to) => tracing::info!(node_id, to, "leadership handed over"),
            Err(TransferError::NotLeader { .. } | TransferError::NoCandidate) => {}
            Err(error) => tracing::info!(
                node_id,
                %error,
                "leadership was not handed over: the others elect a leader"
            ),
        }
    }

    /// Prepares to stop in good order: takes no more commits, finishes those in flight, and hands leadership
    /// over if it is to `hand_over`. Peers have to be served until it has returned, or there is nobody to hand
    /// over to, and no longer: [`Replica::close`] stops what answers them.
    pub async fn retire(&self, hand_over: bool) {
        let inner = &self.inner;
        inner.stopping.cancel();
        inner.proposer.drained(DRAIN_TIMEOUT).await;
        if hand_over {
            self.hand_over().await;
        }
    }

    /// Stops in good order: as [`Replica::retire`], then stops Raft, closes the log and flushes the ledger.
    ///
    /// # Errors
    /// Why the node had to stop anyway, or what could not be written at the end. Nothing acknowledged is lost by
    /// it.
    pub async fn shutdown(&self, hand_over: bool) -> Result<(), FatalError> {
        self.retire(hand_over).await;
        self.close().await
    }

    /// Stops what [`Replica::retire`] has prepared for it.
    ///
    /// # Errors
    /// As [`Replica::shutdown`].
    pub async fn close(&self) -> Result<(), FatalError> {
        self.inner.stop(QUIET_TIMEOUT).await
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
        self.inner.stop(Duration::ZERO).await
    }
}

/// Notes damage in the data directory, if that is why the node must stop.
pub(super) async fn note_damage(fatal: &Fatal, membership: &Membership) {
    let Some(damage) = fatal.damage() else {
        return;
    };
    let note = membership.note(move |data_dir| damage.note(data_dir));
    if let Err(error) = note.await {
        tracing::error!(%error, "that stored data is damaged could not be noted");
    }
}

impl Inner {
    /// Whether node `node_id` can be handed leadership to, as this leader knows it.
    async fn check_heir(&self, node_id: u64) -> Result<(), TransferError> {
        let stored = effective(&self.node.raft);
        let membership = stored.membership();
        if membership.get_node(&node_id).is_none() {
            return Err(TransferError::UnknownNode { node_id });
        }
        if !membership.voter_ids().any(|id| id == node_id) {
            return Err(TransferError::Learner { node_id });
        }
        let this = self.config.node_id;
        // Who leads no more is told so when it hands over.
        if node_id == this || self.answers(node_id).await || !self.leads() {
            return Ok(());
        }
        Err(TransferError::Unreachable { node_id })
    }

    /// Whether openraft has this node for the leader.
    fn leads(&self) -> bool {
        let metrics = self.node.raft.server_metrics();
        let leader = metrics.borrow_watched().current_leader;
        leader == Some(self.config.node_id)
    }

    /// Whether node `node_id` answers this leader from now on. Who has died a moment ago has answered lately.
    async fn answers(&self, node_id: u64) -> bool {
        let start = Instant::now();
        let wait = HEIR_TIMEOUT + 2 * self.config.election.heartbeat;
        loop {
            if answered_within(&self.node.raft, start.elapsed()).contains(&node_id) {
                return true;
            }
            if start.elapsed() >= wait || !self.leads() {
                return false;
            }
            sleep(LISTEN).await;
        }
    }

    /// The other voters that answer, if this node leads: one that has been stopped a moment ago would let it
    /// wait in vain.
    async fn answering_voters(&self) -> BTreeSet<u64> {
        let (this, election) = (self.config.node_id, self.config.election);
        let start = Instant::now();
        loop {
            let (leader, voters) = {
                let metrics = self.node.raft.server_metrics();
                let metrics = metrics.borrow_watched();
                let voters = metrics.membership_config.voter_ids();
                (metrics.current_leader, voters.collect::<BTreeSet<_>>())
            };
            let others: BTreeSet<u64> = voters.into_iter().filter(|id| *id != this).collect();
            let silence = SILENT_HEARTBEATS * election.heartbeat + start.elapsed();
            let lately = answered_within(&self.node.raft, silence);
            let answering: BTreeSet<u64> = others.intersection(&lately).copied().collect();
            let is_hopeless = leader != Some(this)
                || others.is_empty()
                || start.elapsed() >= ANSWER_TIMEOUTS * election.timeout_max;
            if is_hopeless || !answering.is_empty() {
                return answering;
            }
            sleep(LISTEN).await;
        }
    }

    /// Background tasks have `quiet` to end before Raft is stopped.
    async fn stop(&self, quiet: Duration) -> Result<(), FatalError> {
        self.node.fatal.stop();
        self.cancelled.cancel();
        let mut tasks = self.tasks.lock().await;
        let _ = timeout(quiet, all_ended(&mut tasks)).await;
        // Its only error is that it had stopped before.
        let _ = self.node.raft.shutdown().await;
        if timeout(TASK_TIMEOUT, all_ended(&mut tasks)).await.is_err() {
            tracing::warn!("background tasks did not end in time");
            tasks.shutdown().await;
        }
        // Done before, but for what was found at the very end.
        note_damage(&self.node.fatal, &self.node.membership).await;
        let closed = self.node.log.close().await;
        if let Some(first) = self.node.fatal.first() {
            // What has failed must not be written to.
            return Err(first);
        }
        closed?;
        let (headroom, blocking) = (&self.node.headroom, self.node.blocking);
        let host = std::sync::Arc::clone(&self.node.host);
        let waiting = std::sync::Arc::clone(&host);
        let unflushed = move || waiting.unflushed_bytes();
        if !headroom.takes_flush(blocking, unflushed).await? {
            // The log has it all.
            return Ok(());
        }
        blocking.run(move || host.flush()).await
    }
}

async fn all_ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
