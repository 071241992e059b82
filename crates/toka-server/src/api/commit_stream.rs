//! Streams of commits, applied in the order in which they are sent.
//!
//! On the leader the requests that are there are proposed together, in one log entry, while the next
//! ones are read. One entry at a time: if it is refused because leadership was lost, nothing that
//! was sent after it can have been applied before it.

mod answers;
mod numbers;
mod proxy;
mod unread;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use prost::Message;
use toka_ledger::Outcome;
use toka_ledger::command::Commit;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::{metadata, status};
use toka_proto::v1;
use toka_raft::CommitError;
use toka_trace::Carried;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Response, Status, Streaming};

use self::answers::Answer;
use self::unread::{Unread, unread};
use super::Shared;
use super::commit::{committed, header, prepare_events};
use super::named::Named;
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
            let (answers, taken) = unread(shared.limits.commit_stream_window);
            let incoming = Incoming {
                shared: Arc::clone(shared),
                access: call.access.clone(),
                messages: requests,
                last: None,
                vault: String::new(),
                takes_more: false,
                rest: VecDeque::new(),
            };
            let session = Session {
                shared: Arc::clone(shared),
                received: received(incoming).boxed(),
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
            let mut response = Response::new(shared.streams.watch(Box::pin(taken)));
            let commits = STREAM_MESSAGE_COMMITS.min(shared.limits.commit_stream_window);
            metadata::put_commits_per_message(response.metadata_mut(), commits);
            Ok(response)
        }
        Route::There(leader) => proxy::forward(shared, &call, leader, requests, permit).await,
    }
}

/// A request that was read: prepared, or refused.
struct Item {
    number: u64,
    commit: Result<Commit, Status>,
    /// Events that it names which were not there: those before it on the stream may bring them.
    unseen: Option<Named>,
    bytes: usize,
}

impl Item {
    /// Whether it can be checked only when those before it are applied.
    fn builds_on_others(&self, shared: &Shared) -> bool {
        let commit = self.commit.as_ref();
        commit.is_ok_and(|commit| self.unseen.is_some() || shared.is_ahead(commit))
    }

    /// Checks what could not be checked before those before it were applied.
    async fn check(&mut self, shared: &Shared, access: &Access) {
        let Ok(commit) = &self.commit else { return };
        let deadline = Instant::now() + shared.limits.request_timeout;
        let parents = match &self.unseen {
            Some(named) => shared.check_named(access, deadline, named).await,
            None => Ok(()),
        };
        let checked = match parents {
            Ok(()) => shared.check_moves(commit, deadline).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = checked {
            self.commit = Err(refused);
        }
    }
}

/// Requests that were read.
struct Received {
    /// In order.
    items: Vec<Item>,
    /// Answers may come together from here on.
    takes_more: bool,
}

/// The requests, each checked and prepared, until the client has sent its last one or something is wrong. Polling can
/// stop at any point without losing one.
fn received(incoming: Incoming) -> impl Stream<Item = Result<Received, Status>> + Send {
    stream::unfold(Some(incoming), |incoming| async move {
        let mut incoming = incoming?;
        match incoming.next().await {
            Ok(Some(received)) => Some((Ok(received), Some(incoming))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
}

/// What a client sends.
struct Incoming {
    shared: Arc<Shared>,
    access: Access,
    messages: Streaming<v1::CommitStreamRequest>,
    /// Number of the last request that has come.
    last: Option<u64>,
    /// Of the last message: its vault,
    vault: String,
    /// whether its answers may come together,
    takes_more: bool,
    /// and those of its requests that are still to be read.
    rest: VecDeque<v1::StreamedCommit>,
}

impl Incoming {
    /// The next requests of one message: all that are left of it, but no more than the stream may have in progress, and
    /// none for which its principal has to wait. What comes before is proposed meanwhile: a client that has no answer
    /// for long sends everything again.
    async fn next(&mut self) -> Result<Option<Received>, Status> {
        if self.rest.is_empty() {
            match self.messages.message().await.map_err(refusal::received)? {
                Some(message) => self.take(message)?,
                None => return Ok(None),
            }
        }
        let window = self.shared.limits.commit_stream_window;
        let mut items = Vec::with_capacity(self.rest.len().min(window));
        self.access.message().await;
        while let Some(request) = self.rest.pop_front() {
            items.push(item(&self.shared, &self.access, &self.vault, request).await);
            if items.len() >= window
                || self.rest.is_empty()
                || self.access.message().now_or_never().is_none()
            {
                break;
            }
            if items.len().is_multiple_of(STREAM_PREPARED_COMMITS) {
                tokio::task::yield_now().await;
            }
        }
        let takes_more = self.takes_more;
        Ok(Some(Received { items, takes_more }))
    }

    /// Takes the requests of a message, if their numbers go up and there are not too many.
    fn take(&mut self, message: v1::CommitStreamRequest) -> Result<(), Status> {
        let last = numbers::check(&message, self.last);
        self.last = Some(last.map_err(|invalid| status::invalid(&invalid))?);
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
        self.vault = vault;
        self.takes_more = takes_more;
        self.rest = std::iter::once(first).chain(more).collect();
        Ok(())
    }
}

/// A request whose turn has come.
async fn item(shared: &Shared, access: &Access, vault: &str, request: v1::StreamedCommit) -> Item {
    let (number, bytes) = (request.request_number, request.encoded_len());
    let (events, preconditions) = (&request.events, &request.preconditions);
    let checked = check_vault(vault)
        .map_err(|invalid| status::invalid(&invalid))
        .and_then(|()| shared.check_cursors(preconditions))
        .and_then(|()| access.check_commit(events, preconditions));
    let unseen = match checked {
        Ok(()) => {
            let deadline = Instant::now() + shared.limits.request_timeout;
            let parents = shared.unseen_parents(access, deadline, events, preconditions);
            parents.await
        }
        Err(refused) => Err(refused),
    };
    let (commit, unseen) = match unseen {
        Ok(unseen) => {
            let history_id = shared.history_id();
            let commit = prepare_events(request.events, request.preconditions, history_id);
            (commit.await, unseen)
        }
        Err(refused) => (Err(refused), None),
    };
    Item {
        number,
        commit,
        unseen,
        bytes,
    }
}

/// One stream on the leader.
struct Session {
    shared: Arc<Shared>,
    access: Access,
    received: BoxStream<'static, Result<Received, Status>>,
    answers: Unread,
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
        self.answers.end(end).await;
    }

    /// Proposes group after group, reading the next while one is under way.
    async fn serve(&mut self) -> Result<(), Status> {
        loop {
            while self.waiting.is_empty() {
                if self.ended.is_some() {
                    return Ok(());
                }
                self.read_or_give_up().await?;
            }
            self.read_what_is_there();
            let group = self.next_group();
            let (shared, access) = (Arc::clone(&self.shared), self.access.clone());
            let proposed = propose(&shared, &access, group);
            let mut proposed = std::pin::pin!(self.carried.around(proposed));
            let answers = loop {
                let has_room = self.has_room();
                tokio::select! {
                    biased;
                    answers = &mut proposed => break answers?,
                    () = self.read(), if has_room => {}
                }
            };
            let header = header(&self.shared, 0);
            for answer in answers::encode(header, &answers, self.takes_more) {
                if !self.answers.put(answer).await {
                    // The client is gone; it will resend what has no answer.
                    return Ok(());
                }
            }
        }
    }

    /// Whether more may be read.
    fn has_room(&self) -> bool {
        self.ended.is_none()
            && self.waiting.len() < self.shared.limits.commit_stream_window
            && self.waiting_bytes < STREAM_AHEAD_BYTES
    }

    /// Reads what has come already, in however many messages, so that it is proposed together. What a stream has on its way
    /// would else stay in the parts in which it was sent once.
    fn read_what_is_there(&mut self) {
        while self.has_room() && self.read().now_or_never().is_some() {}
    }

    /// Reads requests where nothing is in progress; the stream ends if none comes.
    async fn read_or_give_up(&mut self) -> Result<(), Status> {
        let idle = self.shared.connections.commit_stream_idle_timeout;
        timeout(idle, self.read()).await.map_err(|_| {
            status::no_leader(format!(
                "no commit has come on this stream for {idle:?}; open another one when there are more"
            ))
        })
    }

    /// Reads requests of one message, or notices that there are no more. May be dropped while it waits.
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

    /// What is proposed together. A commit that moves a cursor to where the vault has not come yet, or names events that
    /// are not there, begins a group of its own: those before it may bring the vault there.
    fn next_group(&mut self) -> Vec<Item> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < STREAM_GROUP_BYTES
            && let Some(item) = self.waiting.front()
            && (group.is_empty() || !item.builds_on_others(&self.shared))
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
    // No other one builds on those before it.
    if let Some(first) = group.first_mut() {
        first.check(shared, access).await;
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
                Some(Ok(outcome)) => committed(outcome, access),
                // It alone could not be proposed.
                Some(Err(error)) if !error.is_retryable() => Err(refusal::commit(&error)),
                Some(Err(_)) | None => return Err(status::no_leader(RESEND)),
            },
        };
        answers.push(Answer::new(number, result));
    }
    Ok(answers)
}

/// What has become of commits that are applied in this order, each for itself. Waits while the node is overloaded: the
/// client is held up by it, since nothing more is read meanwhile than the window has room for.
async fn agree(
    shared: &Shared,
    commits: &[Commit],
) -> Result<Vec<Result<Outcome, CommitError>>, Status> {
    loop {
        match shared.replica.commit_in_order(commits).await {
            Ok(answers) => return Ok(answers),
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
