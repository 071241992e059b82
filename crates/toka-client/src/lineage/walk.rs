//! Walks that go on at another node when theirs breaks off.
//!
//! Events and their parents never change, and all of a walk is as of the position of its first reply: so it comes to
//! the same on every node that is as far, in the same order. Another node walks it again from the start, and what has
//! come already is passed over.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use toka_ledger::read::lineage::Relative;
use toka_ledger::{EventHeader, Invalid};
use toka_proto::convert::read::{self, Header, ReadOptions};
use toka_proto::v1;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

use super::{WalkEnd, walk_end};
use crate::call::Tries;
use crate::client::Client;
use crate::error::Error;
use crate::retry::{Verdict, judge};

/// What a walk comes to, as of one position of the vault. The node reads on as this is read. All of it must have come
/// within the client's timeout ([`Client::with_timeout`]); until then a walk that breaks off goes on with another node,
/// which visits what came before once more.
pub struct Walk<T> {
    client: Client,
    deadline: Instant,
    open: Open<T>,
    place: fn(&T) -> Place,
    /// The node that serves it, and what comes from there.
    endpoint: String,
    parts: Parts<T>,
    /// What all of it is as of, once a node has said so.
    as_of: Option<AsOf>,
    /// The place of what came last, in the walk's order.
    last: Option<(u64, u64)>,
    ready: VecDeque<T>,
    end: Option<WalkEnd>,
    /// Since something came last.
    tries: Option<Tries>,
}

/// Begins a walk at some node, as of a position if that is settled.
pub(super) type Open<T> = Box<
    dyn Fn(Option<AsOf>) -> BoxFuture<'static, Result<(String, Parts<T>), Error>> + Send + Sync,
>;

/// What comes from one node.
pub(super) type Parts<T> = BoxStream<'static, Result<(Header, Part<T>), Broken>>;

/// What one message brings.
pub(super) struct Part<T> {
    pub(super) header: Option<v1::ResponseHeader>,
    pub(super) found: Vec<T>,
    pub(super) end: Option<v1::WalkEnd>,
}

/// Why nothing more comes from a node.
pub(super) enum Broken {
    /// It said so, or the connection broke.
    Status(Status),
    /// No other node will do better.
    Error(Error),
}

/// A position of the vault.
#[derive(Clone, Copy, Debug)]
pub(super) struct AsOf {
    history_id: u128,
    revision: u64,
    /// Its last event.
    pub(super) sequence: u64,
}

impl AsOf {
    /// What a node must have to go on from there.
    pub(super) fn options(self) -> v1::ReadOptions {
        ReadOptions {
            consistency: read::Consistency::AtLeast(self.revision),
            history_id: Some(self.history_id),
        }
        .into()
    }
}

/// Where an event is in a walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Ascends along the walk.
    order: (u64, u64),
    sequence: u64,
}

impl Place {
    /// In a walk by depth, and at equal depth by sequence.
    pub(super) fn by_depth(relative: &Relative) -> Self {
        let sequence = relative.header.sequence;
        Self {
            order: (relative.depth.into(), sequence),
            sequence,
        }
    }

    /// In one that has the newest event first.
    pub(super) fn newest_first(header: &EventHeader) -> Self {
        Self {
            order: (0, u64::MAX - header.sequence),
            sequence: header.sequence,
        }
    }
}

impl Client {
    /// What comes of a stream of messages, as `read` reads them.
    pub(super) fn walk_parts<M, T>(
        &self,
        endpoint: &str,
        messages: Streaming<M>,
        read: impl Fn(M) -> Result<Part<T>, Invalid> + Send + 'static,
    ) -> Parts<T>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        let (shared, node) = (Arc::clone(&self.shared), endpoint.to_owned());
        let parts = messages.map(move |message| -> Result<(Header, Part<T>), Broken> {
            let part = read(message.map_err(Broken::Status)?);
            let part = part.map_err(|error| Broken::Error(Error::reply(&node, error)))?;
            let observed = shared.observe(&node, part.header.clone());
            Ok((observed.map_err(Broken::Error)?, part))
        });
        parts.boxed()
    }
}

impl<T> fmt::Debug for Walk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("endpoint", &self.endpoint)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<T> Walk<T> {
    /// Begins it. Returns once a node has.
    pub(super) async fn begin(
        client: Client,
        deadline: Instant,
        open: Open<T>,
        place: fn(&T) -> Place,
    ) -> Result<Self, Error> {
        let opening = open(None);
        let (endpoint, parts) = opening.await?;
        Ok(Self {
            client,
            deadline,
            open,
            place,
            endpoint,
            parts,
            as_of: None,
            last: None,
            ready: VecDeque::new(),
            end: None,
            tries: None,
        })
    }

    /// The node that serves it, `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How it ended; `None` before the end.
    #[must_use]
    pub fn end(&self) -> Option<WalkEnd> {
        self.end.filter(|_| self.ready.is_empty())
    }
}

impl<T: Send + 'static> Walk<T> {
    /// The next event; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::LimitReached`] where the node would have to remember more than 250,000 events;
    /// [`Error::Unreachable`], [`Error::Unavailable`] and others where nobody could go on with it before the deadline.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            let Ok(part) = timeout_at(self.deadline, self.parts.next()).await else {
                return Err(Error::Unreachable {
                    endpoints: vec![self.endpoint.clone()],
                    reason: "the deadline came before the end of the walk".to_owned(),
                });
            };
            match part {
                Some(Ok((header, part))) => self.take(header, part),
                Some(Err(Broken::Error(error))) => return Err(error),
                Some(Err(Broken::Status(status))) => self.resume(status).await?,
                None => {
                    let ended = "it ended the walk before all of it had come";
                    self.resume(Status::unavailable(ended)).await?;
                }
            }
        }
    }

    /// Takes what has not come yet.
    fn take(&mut self, header: Header, part: Part<T>) {
        let as_of = *self.as_of.get_or_insert(AsOf {
            history_id: header.history_id,
            revision: header.revision,
            sequence: header.sequence,
        });
        for found in part.found {
            let place = (self.place)(&found);
            let is_new = self.last.is_none_or(|last| last < place.order);
            // A node of an older build does not know that it is to leave out what was committed later.
            if is_new && place.sequence <= as_of.sequence {
                self.last = Some(place.order);
                self.tries = None;
                self.ready.push_back(found);
            }
        }
        self.end = part.end.map(walk_end);
    }

    /// Goes on with another node, if there is a point in it.
    async fn resume(&mut self, status: Status) -> Result<(), Error> {
        let (verdict, failure) = judge(&status);
        // That the time is over is said by a node that can be reached.
        let is_over = matches!(verdict, Verdict::Final) || failure.code == Code::DeadlineExceeded;
        if is_over {
            // Called again it says the same, and nobody walks once more for it.
            self.parts = stream::iter([Err(Broken::Status(status))]).boxed();
            return Err(Error::from_failure(&self.endpoint, failure));
        }
        let shared = &self.client.shared;
        let deadline = self.deadline;
        let tries = self.tries.get_or_insert_with(|| shared.tries(deadline));
        tries.next()?;
        shared.failed(tries, &self.endpoint, &status).await?;
        let opening = (self.open)(self.as_of);
        let (endpoint, parts) = opening.await?;
        tracing::debug!(endpoint, "walk goes on");
        self.endpoint = endpoint;
        self.parts = parts;
        Ok(())
    }

    /// The same as a stream, which ends after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<T, Error>> + Send {
        stream::try_unfold(self, |mut walk| async move {
            let found = walk.next().await?;
            Ok::<_, Error>(found.map(|found| (found, walk)))
        })
    }
}
