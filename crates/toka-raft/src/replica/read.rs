//! Reads that see everything acknowledged before them, on any node.
//!
//! A read index is asked for once for all reads that wait. Those that come while one is being fetched
//! take the next: the leader may have taken the index for this one before a commit that they must see.

use std::time::Duration;

use openraft::raft::linearizable_read::{Linearizer, ReadLogId};
use openraft::{Raft, ReadPolicy};
use toka_ledger::read::{Position, Reader};
use toka_proto::raft_v1 as pb;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Leader;
use crate::error::ReadError;
use crate::network::PeerNetworks;
use crate::state_machine::StateMachine;
use crate::type_config::TypeConfig;
use crate::wire;

/// Reads that may wait for a read index.
const WAITING_MAX: usize = 16_384;
/// Longest wait for a leader's answer; it waits for its own quorum about as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a leader could not be reached or did not know that it leads.
const RETRY: Duration = Duration::from_millis(25);
/// How long a read that wants a revision waits for this node before it asks whether the vault has it.
const CATCH_UP: Duration = Duration::from_millis(200);

/// What a read needs to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// What this node has.
    Local,
    /// At least this revision: that of an earlier reply, so that a client reads its own writes.
    AtLeast(u64),
    /// Everything that was acknowledged anywhere before the read.
    Linearizable,
}

/// Takes reads. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReadBarrier {
    waiting: mpsc::Sender<oneshot::Sender<()>>,
    reader: Reader,
    leader: watch::Receiver<Option<Leader>>,
}

/// The task behind it.
pub(super) struct ReadIndexer {
    waiting: mpsc::Receiver<oneshot::Sender<()>>,
    raft: Raft<TypeConfig, StateMachine>,
    networks: PeerNetworks,
    leader: watch::Receiver<Option<Leader>>,
}

/// The two halves.
pub(super) fn barrier(
    raft: Raft<TypeConfig, StateMachine>,
    networks: PeerNetworks,
    reader: Reader,
    leader: watch::Receiver<Option<Leader>>,
) -> (ReadBarrier, ReadIndexer) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let barrier = ReadBarrier {
        waiting: sender,
        reader,
        leader: leader.clone(),
    };
    (
        barrier,
        ReadIndexer {
            waiting: receiver,
            raft,
            networks,
            leader,
        },
    )
}

impl ReadBarrier {
    /// Waits until the node can serve a read; returns a position that suffices.
    pub(super) async fn wait(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Position, ReadError> {
        match consistency {
            Consistency::Local => Ok(self.reader.position()),
            Consistency::AtLeast(revision) => self.at_least(revision, deadline).await,
            Consistency::Linearizable => self.linearizable(deadline).await,
        }
    }

    async fn at_least(&self, revision: u64, deadline: Instant) -> Result<Position, ReadError> {
        let patience = deadline.min(Instant::now() + CATCH_UP);
        if let Some(position) = self.reach(revision, patience).await? {
            return Ok(position);
        }
        // Either this node is behind or nobody has that revision. Only the leader can tell.
        tokio::select! {
            biased;
            reached = self.reach(revision, deadline) => {
                reached?.ok_or(ReadError::Behind { position: self.reader.position() })
            }
            confirmed = self.linearizable(deadline) => {
                let position = confirmed?;
                if position.revision >= revision {
                    return Ok(position);
                }
                Err(ReadError::OutOfRange { revision, position })
            }
        }
    }

    /// The position as soon as it has reached `revision`; `None` at the deadline.
    async fn reach(&self, revision: u64, deadline: Instant) -> Result<Option<Position>, ReadError> {
        let mut positions = self.reader.watch();
        let reached = positions.wait_for(|position| position.revision >= revision);
        match timeout_at(deadline, reached).await {
            Ok(Ok(position)) => Ok(Some(*position)),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Ok(None),
        }
    }

    async fn linearizable(&self, deadline: Instant) -> Result<Position, ReadError> {
        let (done, ready) = oneshot::channel();
        let waited = timeout_at(deadline, async {
            self.waiting
                .send(done)
                .await
                .map_err(|_| ReadError::Stopped)?;
            ready.await.map_err(|_| ReadError::Stopped)
        });
        match waited.await {
            Ok(Ok(())) => Ok(self.reader.position()),
            Ok(Err(stopped)) => Err(stopped),
            Err(_) => {
                let position = self.reader.position();
                Err(match &*self.leader.borrow() {
                    Some(_) => ReadError::Behind { position },
                    None => ReadError::NoLeader { position },
                })
            }
        }
    }
}

impl ReadIndexer {
    pub(super) async fn run(mut self, cancelled: CancellationToken) {
        loop {
            let first = tokio::select! {
                () = cancelled.cancelled() => return,
                first = self.waiting.recv() => first,
            };
            let Some(first) = first else { return };
            let mut round = vec![first];
            while let Ok(next) = self.waiting.try_recv() {
                round.push(next);
            }
            // Those who gave up need no answer.
            while round.iter().any(|done| !done.is_closed()) {
                if let Some(linearizer) = self.read_index().await {
                    self.finish(linearizer, std::mem::take(&mut round));
                    break;
                }
                tokio::select! {
                    () = cancelled.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                    _ = self.leader.changed() => {}
                }
            }
        }
    }

    /// An index taken after this call began; `None` if no leader gave one.
    async fn read_index(&self) -> Option<Linearizer<TypeConfig>> {
        let leader = self.leader.borrow().clone()?;
        if leader.node_id == *self.raft.node_id() {
            // Not LeaseRead: that trusts clocks.
            let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
            return timeout(CALL_TIMEOUT, linearizer).await.ok()?.ok();
        }
        let mut client = self.networks.control(&leader.member.raft_endpoint).ok()?;
        let peer = Some(self.networks.identity.peer(leader.node_id));
        let call = client.read_index(pb::ReadIndexRequest { peer });
        let response = match timeout(CALL_TIMEOUT, call).await.ok()? {
            Ok(response) => response.into_inner(),
            Err(status) => {
                tracing::debug!(
                    leader = leader.node_id,
                    reason = status.message(),
                    "no read index"
                );
                return None;
            }
        };
        let log_id = wire::log_id_from(response.read_log_id)?;
        Some(Linearizer::new(
            leader.node_id,
            ReadLogId::from_log_id(log_id),
            None,
        ))
    }

    /// Tells a round's reads as soon as this node has applied what the index says.
    fn finish(&self, linearizer: Linearizer<TypeConfig>, round: Vec<oneshot::Sender<()>>) {
        let raft = self.raft.clone();
        tokio::spawn(async move {
            let mut round = round;
            let is_ready = {
                let all_gave_up = async {
                    for done in &mut round {
                        done.closed().await;
                    }
                };
                tokio::select! {
                    ready = linearizer.await_ready(&raft) => ready.is_ok(),
                    // On a node that does not apply, rounds would pile up.
                    () = all_gave_up => false,
                }
            };
            if is_ready {
                for done in round {
                    let _ = done.send(());
                }
            }
        });
    }
}
