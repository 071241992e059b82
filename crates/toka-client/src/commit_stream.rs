//! Commits in order, many on their way at once.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use toka_ledger::command::Precondition;
use toka_ledger::prepare::EventDraft;
use toka_proto::convert::wire::{number_len, put_head, put_number};
use toka_proto::convert::{metadata, status};
use toka_proto::v1;
use toka_proto::v1::{commit_stream_response, streamed_answer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::call::Tries;
use crate::client::Client;
use crate::commit::{Committed, committed, prepare};
use crate::encoded::{self, EncodedCommit};
use crate::error::Error;
use crate::retry::{Verdict, judge};
use crate::routes::Route;

/// Commits without an answer, KiB.
const IN_FLIGHT_KIB_MAX: u32 = 32 << 10;
/// Bytes after which no further commit goes into a message: the node takes one up while the next is on its way.
const MESSAGE_BYTES: usize = 128 << 10;
/// What they are divided by when no answer has come in time: a message has none before the whole of it has arrived, which
/// takes long over a slow network, or for a principal that may send few bytes in a second.
const MESSAGE_BYTES_CUT: usize = 4;
/// What comes to them with each answer, until they are what they were.
const MESSAGE_BYTES_STEP: usize = 1 << 10;
// Of `CommitStreamRequest` and of `StreamedCommit`, which have the same numbers.
const REQUEST_NUMBER: u32 = 2;
const EVENTS: u32 = 3;
const PRECONDITIONS: u32 = 4;
// Of `CommitStreamRequest` alone.
const MORE: u32 = 5;
const TAKES_MORE: u32 = 6;
/// Times that a stream is opened anew, without progress, because the node named another leader.
const REDIRECTIONS_MAX: u32 = 2;

/// Commits in the order in which they are sent, without waiting for each answer.
///
/// Those that are sent while others are on their way, or by tasks that can run at the same time, go together in one message,
/// if the node takes that. None waits for others to come.
///
/// After a broken connection or a change of leader everything that has no answer yet is sent again,
/// in the same order; what had been applied comes back marked `deduplicated`. Dropping the stream
/// stops it; [`CommitStream::finish`] waits for all answers.
pub struct CommitStream {
    client: Client,
    queue: mpsc::Sender<Pending>,
    commits: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    /// The one task that drives it; aborted when this is dropped.
    driver: JoinSet<Result<(), Error>>,
}

impl fmt::Debug for CommitStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitStream").finish_non_exhaustive()
    }
}

/// The answer to a commit of a stream; answers come in the order of the commits.
#[derive(Debug)]
#[must_use = "the commit may be refused"]
pub struct Acknowledgement(oneshot::Receiver<Result<Committed, Error>>);

impl Future for Acknowledgement {
    type Output = Result<Committed, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(Error::StreamEnded)))
    }
}

/// What a connection that was opened is used with.
struct Opened {
    /// Encoded messages.
    requests: mpsc::Sender<Bytes>,
    answers: Streaming<v1::CommitStreamResponse>,
    /// Commits that a message may have.
    commits_max: usize,
}

/// What became of a commit, by the node.
type Outcome = Result<v1::CommitResult, v1::CommitError>;

/// A commit without an answer.
struct Pending {
    /// Given when it is sent for the first time.
    number: u64,
    commit: EncodedCommit,
    acknowledge: oneshot::Sender<Result<Committed, Error>>,
    /// Its part of the window.
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Pending {
    /// Bytes of the number and the commit.
    fn len(&self) -> usize {
        number_len(REQUEST_NUMBER, self.number) + self.commit.len(PRECONDITIONS)
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_number(out, REQUEST_NUMBER, self.number);
        self.commit.write(PRECONDITIONS, out);
    }
}

impl Client {
    /// Opens a stream of commits; it connects when it is used.
    #[must_use]
    pub fn commit_stream(&self) -> CommitStream {
        let window = self.shared.config.stream_window.max(1);
        let (queue, commits) = mpsc::channel(window);
        let driver = Driver {
            client: self.clone(),
            queue: commits,
            is_closed: false,
            in_flight: VecDeque::new(),
            last_number: 0,
            redirections: 0,
            message_bytes: MESSAGE_BYTES,
        };
        let mut task = JoinSet::new();
        let driving = driver.run();
        // Its calls are part of the trace in which it was opened.
        #[cfg(feature = "opentelemetry")]
        let driving = toka_trace::with_current(driving);
        task.spawn(driving);
        CommitStream {
            client: self.clone(),
            queue,
            commits: Arc::new(Semaphore::new(window)),
            kib: Arc::new(Semaphore::new(IN_FLIGHT_KIB_MAX as usize)),
            driver: task,
        }
    }
}

impl CommitStream {
    /// Sends events that are stored together or not at all. Waits while the window is full.
    ///
    /// # Errors
    /// [`Error::Invalid`], and then nothing was sent; [`Error::StreamEnded`] if the stream had to
    /// give up: the first commit without an answer has the reason.
    pub async fn send(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Acknowledgement, Error> {
        let commit = prepare(events, preconditions, &*self.client.shared.entropy)?;
        let commit = EncodedCommit::new(&commit, EVENTS);
        let kib = commit.len(PRECONDITIONS) / 1024 + 1;
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let ended = |_| Error::StreamEnded;
        let commits = Arc::clone(&self.commits)
            .acquire_owned()
            .await
            .map_err(ended)?;
        let kib = Arc::clone(&self.kib).acquire_many_owned(kib.min(IN_FLIGHT_KIB_MAX));
        let kib = kib.await.map_err(|_| Error::StreamEnded)?;
        let (acknowledge, answer) = oneshot::channel();
        let pending = Pending {
            number: 0,
            commit,
            acknowledge,
            _permits: (commits, kib),
        };
        self.queue
            .send(pending)
            .await
            .map_err(|_| Error::StreamEnded)?;
        Ok(Acknowledgement(answer))
    }

    /// Waits until everything has its answer.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] if something has not, and will not.
    pub async fn finish(self) -> Result<(), Error> {
        let Self {
            queue, mut driver, ..
        } = self;
        drop(queue);
        match driver.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(Error::StreamEnded),
        }
    }
}

/// The task behind a commit stream.
struct Driver {
    client: Client,
    queue: mpsc::Receiver<Pending>,
    is_closed: bool,
    /// Sent, or about to be sent again; in order.
    in_flight: VecDeque<Pending>,
    last_number: u64,
    redirections: u32,
    /// As [`MESSAGE_BYTES`], for now.
    message_bytes: usize,
}

/// Why a connection is of no more use.
enum End {
    /// It failed; another one may do better.
    Status(Status),
    /// The node named the leader.
    Redirected,
    /// No other node will do better.
    Error(Error),
}

impl Driver {
    async fn run(mut self) -> Result<(), Error> {
        let client = self.client.clone();
        let shared = &*client.shared;
        let mut tries = shared.tries(Instant::now() + shared.config.resume_timeout);
        loop {
            if self.in_flight.is_empty() {
                let Some(pending) = self.queue.recv().await else {
                    return Ok(());
                };
                self.admit(pending);
                tries.reset(&shared.config);
            }
            let endpoint = shared.routes.pick(Route::Leader);
            let end = match self.connect(&endpoint, &mut tries).await {
                Ok(opened) => self.serve(&endpoint, &mut tries, opened).await,
                Err(end) => Err(end),
            };
            if self.in_flight.is_empty() {
                // Nothing waits, and time that was idle is not counted: nodes end idle streams.
                tries.reset(&shared.config);
            }
            let result = match end {
                Ok(()) => return Ok(()),
                Err(End::Redirected) => Ok(()),
                Err(End::Status(status)) => shared.failed(&mut tries, &endpoint, &status).await,
                Err(End::Error(other @ Error::OtherCluster { .. })) => {
                    shared.foreign(&mut tries, &endpoint, other).await
                }
                Err(End::Error(error)) => Err(error),
            };
            if let Err(error) = result {
                // The first one has the reason; the others learn that the stream has ended.
                if let Some(first) = self.in_flight.pop_front() {
                    let _ = first.acknowledge.send(Err(error));
                }
                return Err(Error::StreamEnded);
            }
        }
    }

    fn admit(&mut self, mut pending: Pending) {
        self.last_number += 1;
        pending.number = self.last_number;
        self.in_flight.push_back(pending);
    }

    /// Takes `first`, and what is there behind it, as far as one message goes; sends it.
    fn send(&mut self, first: Pending, opened: &Opened) {
        let from = self.in_flight.len();
        let mut bytes = first.len();
        self.admit(first);
        while bytes < self.message_bytes
            && self.in_flight.len() - from < opened.commits_max
            && let Ok(next) = self.queue.try_recv()
        {
            bytes += next.len();
            self.admit(next);
        }
        self.send_from(from, opened);
    }

    /// Sends what is in flight from this place on, in as few messages as it takes.
    fn send_from(&mut self, from: usize, opened: &Opened) {
        let message_bytes = self.message_bytes;
        let mut message: Vec<u8> = Vec::new();
        let mut count = 0;
        for pending in self.in_flight.range_mut(from..) {
            // What was sent before the first reply named no history.
            let preconditions = &mut pending.commit.preconditions;
            self.client.shared.name_history(preconditions);
            let is_full = count == opened.commits_max || message.len() >= message_bytes;
            if count > 0 && is_full {
                // The channel has room for a whole window, so this never waits; if the connection has failed already,
                // `answers` says so.
                let _ = opened
                    .requests
                    .try_send(std::mem::take(&mut message).into());
                count = 0;
            }
            let bytes = pending.len();
            message.reserve(bytes);
            if count == 0 {
                pending.write(&mut message);
                put_number(&mut message, TAKES_MORE, 1);
            } else {
                put_head(&mut message, MORE, bytes);
                pending.write(&mut message);
            }
            count += 1;
        }
        if count > 0 {
            let _ = opened.requests.try_send(message.into());
        }
    }

    /// Opens a stream. Nothing is sent before the node has named the leader, so that a follower does
    /// not get what the leader then gets again.
    async fn connect(&mut self, endpoint: &str, tries: &mut Tries) -> Result<Opened, End> {
        let shared = &*self.client.shared;
        let known = shared.know_cluster(tries.deadline()).await;
        known.map_err(End::Error)?;
        let (_, until) = tries.next().map_err(End::Error)?;
        let channel = shared.channels.get(endpoint).map_err(End::Error)?;
        let (requests, outgoing) = mpsc::channel(shared.config.stream_window.max(1));
        let outgoing = shared.lasting_request(ReceiverStream::new(outgoing));
        let opening = encoded::commit_stream(channel, outgoing);
        let response = match timeout_at(until, opening).await {
            Ok(opened) => opened.map_err(End::Status)?,
            Err(_) => return Err(End::Status(tries.no_answer())),
        };
        let pinned = shared.pin.check_head(endpoint, response.metadata());
        pinned.map_err(End::Error)?;
        if let Some(leader) = metadata::leader(response.metadata()) {
            shared.routes.learn(leader);
            let is_elsewhere = shared.routes.pick(Route::Leader) != endpoint;
            if is_elsewhere && self.redirections < REDIRECTIONS_MAX {
                self.redirections += 1;
                return Err(End::Redirected);
            }
        }
        Ok(Opened {
            requests,
            commits_max: metadata::commits_per_message(response.metadata()),
            answers: response.into_inner(),
        })
    }

    /// Sends and takes answers until everything is done or the connection fails.
    async fn serve(
        &mut self,
        endpoint: &str,
        tries: &mut Tries,
        mut opened: Opened,
    ) -> Result<(), End> {
        self.send_from(0, &opened);
        let mut progress = Instant::now();
        loop {
            if self.is_closed && self.in_flight.is_empty() {
                return Ok(());
            }
            tokio::select! {
                answer = opened.answers.message() => {
                    let answer = answer.map_err(End::Status)?.ok_or_else(|| {
                        End::Status(Status::unavailable("the node ended the stream"))
                    })?;
                    self.answered(endpoint, answer)?;
                    progress = Instant::now();
                    self.message_bytes = MESSAGE_BYTES.min(self.message_bytes + MESSAGE_BYTES_STEP);
                    self.redirections = 0;
                    tries.reset(&self.client.shared.config);
                }
                pending = self.queue.recv(), if !self.is_closed => match pending {
                    Some(pending) => {
                        if self.in_flight.is_empty() {
                            progress = Instant::now();
                        }
                        // An answer with many commits lets as many tasks send the next ones. Woken by the first of them, this one
                        // would run before the others, and send a message for each.
                        yield_now().await;
                        self.send(pending, &opened);
                    }
                    None => self.is_closed = true,
                },
                () = sleep_until(progress + tries.attempt_timeout()),
                    if !self.in_flight.is_empty() =>
                {
                    self.message_bytes /= MESSAGE_BYTES_CUT;
                    return Err(End::Status(tries.no_answer()));
                }
            }
        }
    }

    fn answered(&mut self, endpoint: &str, answer: v1::CommitStreamResponse) -> Result<(), End> {
        self.check_next(endpoint, answer.request_number)?;
        if answer.header.is_some() {
            let observed = self.client.shared.observe(endpoint, answer.header);
            observed.map_err(End::Error)?;
        }
        let outcome = answer.outcome.map(|outcome| match outcome {
            commit_stream_response::Outcome::Result(result) => Ok(result),
            commit_stream_response::Outcome::Error(error) => Err(error),
        });
        self.settle(endpoint, outcome)?;
        for further in answer.more {
            self.check_next(endpoint, further.request_number)?;
            let outcome = further.outcome.map(|outcome| match outcome {
                streamed_answer::Outcome::Result(result) => Ok(result),
                streamed_answer::Outcome::Error(error) => Err(error),
            });
            self.settle(endpoint, outcome)?;
        }
        Ok(())
    }

    /// Refuses an answer that is not the next one.
    fn check_next(&self, endpoint: &str, request_number: u64) -> Result<(), End> {
        let reply = |reason: &str| Err(End::Error(Error::reply(endpoint, reason)));
        match self.in_flight.front() {
            None => reply("nothing was asked"),
            Some(first) if first.number != request_number => reply("it is out of order"),
            Some(_) => Ok(()),
        }
    }

    /// Tells the first commit in flight what became of it.
    fn settle(&mut self, endpoint: &str, outcome: Option<Outcome>) -> Result<(), End> {
        let Some(first) = self.in_flight.front() else {
            return Ok(());
        };
        let outcome = match outcome {
            Some(Ok(result)) => {
                committed(endpoint, first.commit.count, result.revision, result.events)
            }
            Some(Err(error)) => {
                let status = status::from_commit_error(error);
                let (verdict, failure) = judge(&status);
                if !matches!(verdict, Verdict::Final) {
                    return Err(End::Status(status));
                }
                Err(Error::from_failure(endpoint, failure))
            }
            None => return Err(End::Error(Error::reply(endpoint, "it has no outcome"))),
        };
        if let Some(first) = self.in_flight.pop_front() {
            // Who dropped the acknowledgement does not want to know.
            let _ = first.acknowledge.send(outcome);
        }
        Ok(())
    }
}
