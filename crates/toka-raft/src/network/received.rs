//! What a follower receives of the log, and in its place.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::AppendEntriesRequest;
use toka_proto::raft_v1 as pb;
use tokio::sync::watch;
use tonic::{Status, Streaming};

use super::{Strangers, status};
use crate::contact::AppendStream;
use crate::identity::Identity;
use crate::log_store::LogHandle;
use crate::room::Room;
use crate::state_machine::StateMachine;
use crate::transport::Proven;
use crate::type_config::{SnapshotMeta, TypeConfig, Vote};
use crate::wire;

/// Why a stream was ended.
pub(super) type Refused = Arc<Mutex<Option<Status>>>;

/// A follower's half of a stream of appends: messages are checked on their way to openraft, and the
/// first bad one ends the stream, with its reason in `refusal`. The stream's connection is `proven` to be a peer's by the
/// first that is from one. What the leader sends is `heard`, and that the stream is over.
pub(super) fn checked_appends(
    identity: Arc<Identity>,
    heard: AppendStream,
    proven: Proven,
    strangers: Arc<Strangers>,
    room: watch::Receiver<Room>,
    requests: Streaming<pb::AppendEntriesRequest>,
    refusal: Refused,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    stream::unfold(
        (requests, refusal, heard),
        move |(mut requests, refusal, mut heard)| {
            let identity = Arc::clone(&identity);
            let (proven, strangers) = (proven.clone(), Arc::clone(&strangers));
            let room = room.clone();
            async move {
                // A broken connection ends the stream too; the sender knows by itself.
                let message = requests.message().await.ok().flatten()?;
                // Only now: the next message may have been a long time in coming.
                let room = *room.borrow();
                let checked = identity
                    .check(message.peer.as_ref())
                    .map_err(status::mismatch)
                    .and_then(|from| {
                        proven.set();
                        strangers.answered(from);
                        wire::append_from(message.append).map_err(|bad| status::garbled(&bad))
                    });
                match checked {
                    Ok(request) if room.is_spent() && !request.entries.is_empty() => {
                        heard.heard(request.vote.leader_id.term);
                        *refusal.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(status::unavailable("the disk of this node is nearly full"));
                        None
                    }
                    Ok(request) => {
                        heard.heard(request.vote.leader_id.term);
                        Some((request, (requests, refusal, heard)))
                    }
                    Err(bad) => {
                        *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(bad);
                        None
                    }
                }
            }
        },
    )
}

/// openraft's answer to a snapshot, once everything is durable that the log was given before.
///
/// A snapshot that is behind what this node knows to be committed is not installed but answered at once, for what
/// the log may hold only in memory. The leader takes the answer for a log that reaches the snapshot's end: one
/// that a power cut then leaves shorter breaks what the leader counts on, which panics, or never sends the rest.
pub(super) async fn once_durable<T, E: Display>(
    installing: impl Future<Output = Result<T, E>>,
    log: &LogHandle,
) -> Result<T, Status> {
    let answer = installing.await.map_err(status::unavailable)?;
    log.barrier().await.map_err(status::unavailable)?;
    Ok(answer)
}

/// openraft panics on a snapshot that no correct cluster can send (docs/openraft.md, section 5); a
/// message from outside must not bring a node down.
pub(super) fn check_plausible(
    raft: &Raft<TypeConfig, StateMachine>,
    vote: &Vote,
    meta: &SnapshotMeta,
) -> Result<(), Status> {
    let Some(last) = meta.last_log_id else {
        return Err(Status::invalid_argument("the snapshot is empty"));
    };
    if last.leader_id > vote.leader_id || !vote.committed {
        return Err(Status::invalid_argument(
            "the snapshot is newer than its sender's term",
        ));
    }
    let committed = raft.data_metrics().borrow_watched().local_committed;
    let contradicts =
        committed.is_some_and(|committed| last > committed && last.index <= committed.index);
    if contradicts {
        tracing::error!(
            ?last,
            ?committed,
            "a snapshot contradicts what is committed here"
        );
        return Err(Status::data_loss(
            "the snapshot contradicts what is committed here",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;

    use futures::poll;
    use openraft::storage::RaftLogStorage as _;
    use openraft::type_config::TypeConfigExt as _;
    use openraft::vote::RaftLeaderId as _;
    use tonic::Code;

    use super::*;
    use crate::log_store::{LogOptions, MemoryLog, RaftLog};
    use crate::type_config::{Entry, EntryPayload, IoFlushed, LeaderId, LogId};

    /// Appends an entry, and returns when it can be read.
    async fn append(log: &mut RaftLog) {
        let entry = Entry {
            log_id: LogId::new(LeaderId::new(1, 1), 0),
            payload: EntryPayload::Blank,
        };
        let (flushed, _) = TypeConfig::oneshot();
        let appended = log.append([entry], IoFlushed::signal(flushed)).await;
        appended.expect("appended");
    }

    #[tokio::test]
    async fn snapshot_is_answered_when_the_log_before_it_is_durable() {
        let engine = MemoryLog::new();
        let (mut log, writer) = RaftLog::new(engine.clone(), LogOptions::default());
        append(&mut log).await;
        let handle = log.handle();
        let mut answer = pin!(once_durable(ready(Ok::<_, Status>(7)), &handle));
        // The writer has not been run: nothing gets to the disk.
        assert!(poll!(answer.as_mut()).is_pending());
        assert_eq!(engine.syncs(), 0);
        let mut writer = pin!(writer.run());
        assert!(poll!(writer.as_mut()).is_pending(), "it waits for more");
        assert_eq!(answer.await.expect("answered"), 7);
        assert_eq!(engine.syncs(), 1);
        assert_eq!(handle.durable().index(), Some(0));
    }

    #[tokio::test]
    async fn snapshot_is_not_acknowledged_over_a_log_that_fails() {
        let engine = MemoryLog::new();
        let (mut log, writer) = RaftLog::new(engine.clone(), LogOptions::default());
        append(&mut log).await;
        let handle = log.handle();
        let mut answer = pin!(once_durable(ready(Ok::<_, Status>(7)), &handle));
        assert!(poll!(answer.as_mut()).is_pending());
        engine.fail();
        let mut writer = pin!(writer.run());
        assert!(poll!(writer.as_mut()).is_pending(), "it waits for more");
        let refused = answer.await.expect_err("not acknowledged");
        assert_eq!(refused.code(), Code::Unavailable);
    }
}
