//! An agent that gets all of its events, in order, from where its cursor is.

use std::sync::Arc;

use toka_ledger::CursorName;
use tokio_util::sync::CancellationToken;

use super::deal::{Dealt, Task};
use super::guard::folding;
use super::place::{CursorPlace, Saved, save};
use super::reader::Reader;
use super::{Ended, Runner};
use crate::agent::Agent;
use crate::error::Error;
use crate::event::Event;
use crate::fold::Fold;
use crate::settings::Begin;
use crate::snapshot;
use crate::step::Step;
use crate::store::Item;

/// How often an agent begins anew without having dealt with an event, because its cursor is put back.
const FRUITLESS_MAX: u32 = 16;

pub(super) async fn run<A: Agent>(
    runner: &Runner<A>,
    name: &CursorName,
    until: Option<u64>,
    stop: &CancellationToken,
) -> Result<Ended, Error> {
    let mut fruitless = 0;
    loop {
        let mut follower = Follower::open(runner, name).await?;
        runner.perform_left(stop).await?;
        if let Some(ended) = follower.follow(until, stop).await? {
            return Ok(ended);
        }
        tracing::warn!(agent = runner.name(), cursor = %name, "cursor was put back: the agent begins anew");
        fruitless = if follower.dealt == 0 {
            fruitless + 1
        } else {
            0
        };
        if fruitless >= FRUITLESS_MAX {
            return Err(Error::CursorContended {
                cursor: name.clone(),
                times: fruitless,
            });
        }
    }
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Stop,
    /// The cursor was put back.
    Anew,
}

struct Follower<'r, A: Agent> {
    runner: &'r Runner<A>,
    name: &'r CursorName,
    fold: Fold<A>,
    /// Where the cursor is, as far as is known. Events up to it are only folded.
    cursor: u64,
    /// Every wanted event up to this one was dealt with.
    done: u64,
    /// Events in the state that are in no snapshot.
    since_snapshot: u64,
    /// Events that were dealt with.
    dealt: u64,
}

impl<'r, A: Agent> Follower<'r, A> {
    /// Finds out where the agent is, and what it knew then.
    async fn open(runner: &'r Runner<A>, name: &'r CursorName) -> Result<Self, Error> {
        let cursor = begin(runner, name).await?;
        let fold: Fold<A> = match cursor {
            0 => Fold::default(),
            _ => {
                let (store, agent) = (&*runner.calls.store, runner.name());
                let open = || Fold::open(store, agent, cursor);
                runner.calls.retried(open).await?
            }
        };
        let (agent, folded) = (runner.name(), fold.position());
        tracing::info!(agent, cursor, folded, "agent goes on");
        runner.calls.metrics.set_cursor(cursor);
        Ok(Self {
            runner,
            name,
            done: fold.position(),
            fold,
            cursor,
            since_snapshot: 0,
            dealt: 0,
        })
    }

    /// Goes through events; `None` if the cursor was put back.
    async fn follow(
        &mut self,
        until: Option<u64>,
        stop: &CancellationToken,
    ) -> Result<Option<Ended>, Error> {
        let calls = &self.runner.calls;
        let mut reader = Reader::start(
            Arc::clone(&calls.store),
            self.fold.position(),
            self.runner.filter.clone(),
            &calls.settings,
            Arc::clone(&calls.metrics),
        );
        loop {
            if until.is_some_and(|until| self.done >= until) {
                let saved = self.save().await?;
                // Put back at the last moment, it is not there.
                let ended = (saved != Flow::Anew).then_some(Ended::Reached(self.done));
                return Ok(ended);
            }
            let item = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.save().await?;
                    return Ok(Some(Ended::Stopped));
                }
                item = reader.next() => item?,
            };
            let flow = match item {
                Item::Event(event) => self.take(&event, stop).await?,
                Item::Reached(sequence) => {
                    self.done = self.done.max(sequence);
                    self.save_now_and_then().await?
                }
            };
            match flow {
                Flow::On => {}
                Flow::Stop => {
                    self.save().await?;
                    return Ok(Some(Ended::Stopped));
                }
                Flow::Anew => return Ok(None),
            }
        }
    }

    /// Folds an event, and deals with it if nobody has.
    async fn take(&mut self, event: &Event, stop: &CancellationToken) -> Result<Flow, Error> {
        let (runner, sequence) = (self.runner, event.sequence());
        runner.reached(Step::Received, sequence);
        folding(self.fold.position(), || self.fold.apply(event))?;
        self.since_snapshot += 1;
        runner.calls.metrics.add_applied(1);
        runner.reached(Step::Applied, sequence);
        if sequence <= self.cursor {
            self.done = sequence;
            return Ok(Flow::On);
        }
        let is_tried = self.is_snapshot_due();
        let snapshot = match is_tried {
            true => snapshot_of(runner, &self.fold, event),
            false => None,
        };
        let mut place = CursorPlace {
            calls: &runner.calls,
            name: self.name,
            at: self.cursor,
            to: sequence,
        };
        let task = Task {
            state: self.fold.state(),
            event,
            snapshot,
        };
        let dealt = runner.deal(task, &mut place, stop).await?;
        self.cursor = place.at;
        runner.calls.metrics.set_cursor(self.cursor);
        match dealt {
            Dealt::PutBack => return Ok(Flow::Anew),
            Dealt::Stopped | Dealt::GivenBack => return Ok(Flow::Stop),
            // Also one that was too large: it is not tried with each event.
            Dealt::Done | Dealt::Nothing if is_tried => self.since_snapshot = 0,
            Dealt::Done | Dealt::Nothing | Dealt::Parked | Dealt::Fenced => {}
        }
        self.done = sequence;
        self.dealt += 1;
        runner.calls.metrics.set_position(sequence);
        self.save_now_and_then().await
    }

    fn is_snapshot_due(&self) -> bool {
        let every = self.runner.calls.settings.snapshot_every;
        every > 0 && self.since_snapshot >= every
    }

    /// Saves the cursor if it is far behind. A reaction moves it without that.
    async fn save_now_and_then(&mut self) -> Result<Flow, Error> {
        let behind = self.done.saturating_sub(self.cursor);
        if behind < self.runner.calls.settings.save_every.max(1) {
            return Ok(Flow::On);
        }
        self.save().await
    }

    async fn save(&mut self) -> Result<Flow, Error> {
        if self.done <= self.cursor {
            return Ok(Flow::On);
        }
        let calls = &self.runner.calls;
        match save(calls, self.name, self.cursor, self.done).await? {
            Saved::There => self.cursor = self.done,
            Saved::Elsewhere(actual) if actual < self.cursor => return Ok(Flow::Anew),
            Saved::Elsewhere(actual) => self.cursor = actual,
        }
        calls.metrics.set_cursor(self.cursor);
        self.runner.reached(Step::CursorSaved, self.done);
        Ok(Flow::On)
    }
}

/// Where the cursor is; it is made where the agent is to begin if there is none.
async fn begin<A: Agent>(runner: &Runner<A>, name: &CursorName) -> Result<u64, Error> {
    let (calls, store) = (&runner.calls, &runner.calls.store);
    if let Some(cursor) = calls.retried(|| store.cursor(name)).await? {
        return Ok(cursor);
    }
    let begin = first(runner).await?;
    if begin == 0 {
        return Ok(0);
    }
    match save(calls, name, 0, begin).await? {
        Saved::There => Ok(begin),
        // Another instance has begun meanwhile.
        Saved::Elsewhere(actual) => Ok(actual),
    }
}

/// The sequence after which an agent that was never run begins to react.
pub(super) async fn first<A: Agent>(runner: &Runner<A>) -> Result<u64, Error> {
    let (calls, store) = (&runner.calls, &runner.calls.store);
    match calls.settings.begin {
        Begin::Beginning => Ok(0),
        Begin::After(sequence) => Ok(sequence),
        Begin::Now => calls.retried(|| store.head()).await,
    }
}

/// A snapshot of the state after `last`, if it fits into an event.
pub(super) fn snapshot_of<A: Agent>(
    runner: &Runner<A>,
    fold: &Fold<A>,
    last: &Event,
) -> Option<toka_ledger::EventDraft> {
    let agent = runner.name();
    let draft = snapshot::draft(agent, A::STATE_VERSION, &last.header, fold.state());
    if draft.is_none() {
        runner.calls.metrics.add_snapshot_too_large();
        let max = snapshot::STATE_BYTES_MAX;
        tracing::warn!(agent, max, "state is too large for a snapshot");
    }
    draft
}
