//! Walks that are streamed.
//!
//! The stream is pulled: nothing is read before the client takes what was read before. Between two reads a walk holds
//! what it remembers and nothing of the storage, and looks at its deadline.

use std::sync::Arc;

use futures::stream;
use toka_ledger::core::EventHeader;
use toka_ledger::read::lineage::{CommonAncestors, Difference, Relative, Walk};
use toka_ledger::{Error, Reader};
use toka_proto::convert::status;
use toka_proto::v1;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::Status;

use super::super::Shared;
use super::super::vault::Answers;

/// A walk that goes in steps of bounded work.
pub(super) trait Steps: Send + 'static {
    /// What it comes to.
    type Found: Send + 'static;

    /// What the next step finds; `None` at the end. Blocking.
    fn step(&mut self) -> Result<Option<Vec<Self::Found>>, Error>;

    fn end(&self) -> v1::WalkEnd;
}

impl Steps for Walk {
    type Found = Relative;

    fn step(&mut self) -> Result<Option<Vec<Relative>>, Error> {
        Self::step(self)
    }

    fn end(&self) -> v1::WalkEnd {
        v1::WalkEnd {
            complete: self.is_complete(),
            visited: self.visited(),
        }
    }
}

impl Steps for Difference {
    type Found = Arc<EventHeader>;

    fn step(&mut self) -> Result<Option<Vec<Arc<EventHeader>>>, Error> {
        Self::step(self)
    }

    fn end(&self) -> v1::WalkEnd {
        v1::WalkEnd {
            complete: self.is_complete(),
            visited: self.visited(),
        }
    }
}

impl Steps for CommonAncestors {
    type Found = Arc<EventHeader>;

    fn step(&mut self) -> Result<Option<Vec<Arc<EventHeader>>>, Error> {
        Self::step(self)
    }

    fn end(&self) -> v1::WalkEnd {
        v1::WalkEnd {
            complete: self.is_complete(),
            visited: self.visited(),
        }
    }
}

/// A walk on its way to a client.
pub(super) struct Walking<S> {
    shared: Arc<Shared>,
    deadline: Instant,
    /// `None` once it has ended.
    steps: Option<S>,
    _permit: OwnedSemaphorePermit,
}

/// A part of a walk.
pub(super) enum Part<T> {
    /// Never empty.
    Found(Vec<T>),
    /// Nothing follows.
    End(v1::WalkEnd),
}

impl<S: Steps> Walking<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        deadline: Instant,
        steps: S,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            shared,
            deadline,
            steps: Some(steps),
            _permit: permit,
        }
    }

    /// The next part; `None` after the end.
    pub(super) async fn next(&mut self) -> Result<Option<Part<S::Found>>, Status> {
        let Some(mut steps) = self.steps.take() else {
            return Ok(None);
        };
        loop {
            if self.shared.draining.is_cancelled() {
                return Err(self.shared.stopping());
            }
            if Instant::now() >= self.deadline {
                let visited = steps.end().visited;
                return Err(status::out_of_time(format!(
                    "the deadline came after {visited} visited events; limit the depth, or allow more time"
                )));
            }
            let stepping = move |_: &Reader| {
                let found = steps.step()?;
                Ok((steps, found))
            };
            let (rest, found) = self.shared.read(self.deadline, stepping).await?;
            steps = rest;
            match found {
                None => return Ok(Some(Part::End(steps.end()))),
                Some(found) if found.is_empty() => {}
                Some(found) => {
                    self.steps = Some(steps);
                    return Ok(Some(Part::Found(found)));
                }
            }
        }
    }

    /// All parts, each as `answer` has it.
    pub(super) fn stream<T: Send + 'static>(
        self,
        answer: impl Fn(Part<S::Found>) -> T + Send + 'static,
    ) -> Answers<T> {
        let streams = Arc::clone(&self.shared.streams);
        let answers = stream::unfold(Some((self, answer)), |walking| async move {
            let (mut walking, answer) = walking?;
            match walking.next().await {
                Ok(Some(part)) => Some((Ok(answer(part)), Some((walking, answer)))),
                Ok(None) => None,
                // The status ends the stream.
                Err(status) => Some((Err(status), None)),
            }
        });
        streams.watch(Box::pin(answers))
    }
}
