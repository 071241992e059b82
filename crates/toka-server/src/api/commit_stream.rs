//! Streams of commits, applied in the order in which they are sent.
//!
//! On the leader the requests that are there are proposed together, in one log entry, while the next
//! ones are read. One entry at a time: if it is refused because leadership was lost, nothing that
//! was sent after it can have been applied before it.

mod answers;
mod numbers;
mod proxy;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use prost::Message;
use toka_ledger::Outcome;
use toka_ledger::command::Commit;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::{metadata, status};
use toka_proto::v1;
use toka_raft::CommitError;
use toka_trace::Carried;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use self::answers::Answer;
use super::Shared;
use super::commit::{committed, header, prepare_events};
use super::vault::Answers;
use crate::auth::Access;
use crate::limits::{
    STREAM_AHEAD_BYTES, STREAM_GROUP_BYTES, STREAM_MESSAGE_COMMITS, STREAM_PREPARED_COMMITS,
    STREAM_TRACED_ENTRIES,
};
use crate::refusal;
use crate::routing::Route;

/// How a stream ends that lost its leader.
const RESEND: &str = "the leader was lost; resend from the first request without an answer";

/// Opens a stream; its answers are encoded [`v1::CommitStreamResponse`]s.
pub(super) async fn open(
    shared: &Arc<Shared>,
    request: Request<Streaming<v1::CommitStreamRequest>>,
) -> Result<Response<Answers<Bytes>>, Status> {
    let call = shared.admit(&request)?;
    let permit = shared.gates.commit_streams.enter()?;
    let requests = request.into_inner();
    match shared.router.route(&call).await? {
        Route::Here(_) => {
            let (answers, receiver) = mpsc::channel(shared.limits.commit_stream_window);
            let session = Session {
                shared: Arc::clone(shared),
                received: received(Arc::clone(shared), call.access.clone(), requests).boxed(),
                access: call.access,
                answers,
                takes_more: false,
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                ended: None,
                carried: Carried::current(STREAM_TRACED_ENTRIES),
                _permit: permit,
            };
            // Owned by the stream of answers: it ends when that is dropped, with its connection at
            // the latest.
            tokio::spawn(session.run());
            let answers = Box::pin(ReceiverStream::new(receiver));
            let mut response = Response::new(shared.streams.watch(answers));
            metadata::put_commits_per_message(response.metadata_mut(), STREAM_MESSAGE_COMMITS);
            Ok(response)
        }
        Route::There(leader) => proxy::forward(shared, &call, leader, requests, permit).await,
    }
}

/// A request that was read: prepared, or refused.
struct Item {
    number: u64,
    commit: Result<Commit, Status>,
    bytes: usize,
}

impl Item {
    fn is_ahead(&self, shared: &Shared) -> bool {
        let commit = self.commit.as_ref();
        commit.is_ok_and(|commit| shared.is_ahead(commit))
    }
}

/// A message that was read.
struct Received {
    /// In order.
    items: Vec<Item>,
    /// Answers may come together from here on.
    takes_more: bool,
}

/// The messages, each with its requests checked and prepared, until the client has sent its last one or something is
/// wrong. Polling can stop at any point without losing one.
fn received(
    shared: Arc<Shared>,
    access: Access,
    requests: Streaming<v1::CommitStreamRequest>,
) -> impl Stream<Item = Result<Received, Status>> + Send {
    stream::unfold(Some((shared, access, requests, None)), |state| async move {
        let (shared, access, mut requests, last) = state?;
        match requests.message().await {
            Ok(Some(message)) => match numbers::check(&message, last) {
                Ok(last) => {
                    let received = receive(&shared, &access, message).await;
                    Some((Ok(received), Some((shared, access, requests, Some(last)))))
                }
                Err(invalid) => Some((Err(status::invalid(&invalid)), None)),
            },
            Ok(None) => None,
            Err(status) => Some((Err(refusal::received(status)), None)),
        }
    })
}

async fn receive(shared: &Shared, access: &Access, message: v1::CommitStreamRequest) -> Received {
    let v1::CommitStreamRequest {
        vault,
        request_number,
        events,
        preconditions,
        more,
        takes_more,
    } = message;
    let first = v1::StreamedCommit {
        request_number,
        events,
        preconditions,
    };
    let mut items = Vec::with_capacity(1 + more.len());
    for request in std::iter::once(first).chain(more) {
        if items.len() % STREAM_PREPARED_COMMITS == STREAM_PREPARED_COMMITS - 1 {
            tokio::task::yield_now().await;
        }
        items.push(item(shared, access, &vault, request).await);
    }
    Received { items, takes_more }
}

async fn item(shared: &Shared, access: &Access, vault: &str, request: v1::StreamedCommit) -> Item {
    let (number, bytes) = (request.request_number, request.encoded_len());
    access.message().await;
    let (events, preconditions) = (&request.events, &request.preconditions);
    let checked = check_vault(vault)
        .map_err(|invalid| status::invalid(&invalid))
        .and_then(|()| shared.check_cursors(preconditions))
        .and_then(|()| access.check_commit(events, preconditions));
    let checked = match checked {
        Ok(()) => {
            let deadline = Instant::now() + shared.limits.request_timeout;
            let parents = shared.check_parents(access, deadline, events, preconditions);
            parents.await
        }
        Err(refused) => Err(refused),
    };
    let commit = match checked {
        Ok(()) => {
            let history_id = shared.history_id();
            prepare_events(request.events, request.preconditions, history_id).await
        }
        Err(refused) => Err(refused),
    };
    Item {
        number,
        commit,
        bytes,
    }
}

/// One stream on the leader.
struct Session {
    shared: Arc<Shared>,
    access: Access,
    received: BoxStream<'static, Result<Received, Status>>,
    answers: mpsc::Sender<Result<Bytes, Status>>,
    /// The client takes several answers in one message.
    takes_more: bool,
    /// Read and not proposed yet, in order.
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    /// No more is read: the client has sent its last request, or the stream ends with this once
    /// those before have their answers.
    ended: Option<Result<(), Status>>,
    /// The span of the call.
    carried: Carried,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    async fn run(mut self) {
        let end = match (self.serve().await, self.ended.take()) {
            (Err(status), _) | (Ok(()), Some(Err(status))) => status,
            (Ok(()), _) => return,
        };
        // Fails if the client is gone.
        let _ = self.answers.send(Err(end)).await;
    }

    /// Proposes group after group, reading the next while one is under way.
    async fn serve(&mut self) -> Result<(), Status> {
        let window = self.shared.limits.commit_stream_window;
        loop {
            while self.waiting.is_empty() {
                if self.ended.is_some() {
                    return Ok(());
                }
                self.read_or_give_up().await?;
            }
            let group = self.next_group();
            let (shared, access) = (Arc::clone(&self.shared), self.access.clone());
            let proposed = propose(&shared, &access, group);
            let mut proposed = std::pin::pin!(self.carried.around(proposed));
            let answers = loop {
                let has_room = self.ended.is_none()
                    && self.waiting.len() < window
                    && self.waiting_bytes < STREAM_AHEAD_BYTES;
                tokio::select! {
                    biased;
                    answers = &mut proposed => break answers?,
                    () = self.read(), if has_room => {}
                }
            };
            let header = header(&self.shared, 0);
            for answer in answers::encode(header, &answers, self.takes_more) {
                if self.answers.send(Ok(answer)).await.is_err() {
                    // The client is gone; it will resend what has no answer.
                    return Ok(());
                }
            }
        }
    }

    /// Reads one message where nothing is in progress; the stream ends if none comes.
    async fn read_or_give_up(&mut self) -> Result<(), Status> {
        let idle = self.shared.connections.commit_stream_idle_timeout;
        timeout(idle, self.read()).await.map_err(|_| {
            status::no_leader(format!(
                "no commit has come on this stream for {idle:?}; open another one when there are more"
            ))
        })
    }

    /// Reads one message, or notices that there are no more. May be dropped while it waits.
    async fn read(&mut self) {
        let received = tokio::select! {
            biased;
            () = self.shared.draining.cancelled() => Some(Err(self.shared.stopping())),
            () = self.answers.closed() => None,
            received = self.received.next() => received,
        };
        match received {
            Some(Ok(Received { items, takes_more })) => {
                self.takes_more |= takes_more;
                self.waiting_bytes += items.iter().map(|item| item.bytes).sum::<usize>();
                self.waiting.extend(items);
            }
            Some(Err(status)) => self.ended = Some(Err(status)),
            None => self.ended = Some(Ok(())),
        }
    }

    /// What is proposed together. A commit that moves a cursor to where the vault has not come yet begins a group of its
    /// own: those before it may bring the vault there.
    fn next_group(&mut self) -> Vec<Item> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < STREAM_GROUP_BYTES
            && let Some(item) = self.waiting.front()
            && (group.is_empty() || !item.is_ahead(&self.shared))
            && let Some(item) = self.waiting.pop_front()
        {
            bytes += item.bytes;
            self.waiting_bytes -= item.bytes;
            group.push(item);
        }
        group
    }
}

/// Proposes a group; returns its answers, or the status with which the stream ends.
async fn propose(
    shared: &Shared,
    access: &Access,
    mut group: Vec<Item>,
) -> Result<Vec<Answer>, Status> {
    // Only the first one can be ahead.
    if let Some(first) = group.first_mut()
        && let Ok(commit) = &first.commit
    {
        let deadline = Instant::now() + shared.limits.request_timeout;
        let checked = shared.check_moves(commit, deadline).await;
        if let Err(refused) = checked {
            first.commit = Err(refused);
        }
    }
    let mut commits = Vec::with_capacity(group.len());
    let mut places = Vec::with_capacity(group.len());
    for item in group {
        let refused = match item.commit {
            Ok(commit) => {
                commits.push(commit);
                None
            }
            // Not the request's fault, and not an answer to it.
            Err(status) if status.code() == Code::Unavailable => return Err(status),
            Err(status) => Some(status),
        };
        places.push((item.number, refused));
    }
    let outcomes = if commits.is_empty() {
        Vec::new()
    } else {
        agree(shared, &commits).await?
    };
    let mut outcomes = outcomes.into_iter();
    let mut answers = Vec::with_capacity(places.len());
    for (number, refused) in places {
        let result = match refused {
            Some(status) => Err(status),
            None => match outcomes.next() {
                Some(outcome) => committed(outcome, access),
                None => return Err(status::no_leader(RESEND)),
            },
        };
        answers.push(Answer::new(number, result));
    }
    Ok(answers)
}

/// The outcomes of commits that are applied in this order. Waits while the node is overloaded: the
/// client is held up by it, since nothing more is read meanwhile than the window has room for.
async fn agree(shared: &Shared, commits: &[Commit]) -> Result<Vec<Outcome>, Status> {
    loop {
        match shared.replica.commit_in_order(commits).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(CommitError::Overloaded { retry_after_ms }) => {
                let pause = Duration::from_millis(retry_after_ms);
                tokio::select! {
                    () = shared.draining.cancelled() => return Err(shared.stopping()),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(
                CommitError::NotLeader { .. } | CommitError::Unknown | CommitError::Clock { .. },
            ) => {
                return Err(status::no_leader(RESEND));
            }
            Err(error) => return Err(refusal::commit(&error)),
        }
    }
}
