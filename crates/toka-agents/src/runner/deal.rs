//! Dealing with one event: the handler, its retries, and the commit of what it answers.

use toka_ledger::{EventDraft, EventHeader};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Runner;
use super::guard::guarded;
use super::place::{GivenUp, Landing, Place};
use crate::agent::Agent;
use crate::batch::{self, Batch};
use crate::context::{Context, Input, Refusal};
use crate::error::{Error, HandlerError};
use crate::event::Event;
use crate::reaction::{Effect, Reaction};
use crate::retry::Tries;
use crate::step::Step;

/// How often a reaction to one event may be refused, each time with another one in its place.
const REFUSALS_MAX: usize = 8;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dealt {
    /// There was nothing to commit.
    Nothing,
    /// The reaction is committed, and the snapshot with it, if there was one.
    Done,
    /// It is parked.
    Parked,
    /// It was given back to the group.
    GivenBack,
    /// Somebody else has dealt with it.
    Fenced,
    /// The cursor was put back: begin again.
    PutBack,
    /// The agent was told to stop before it was done.
    Stopped,
}

/// One try of the handler.
enum Attempt {
    /// It is committed, and these effects are to be carried out.
    Done(Vec<(EventHeader, Effect)>),
    /// There is nothing to be done any more.
    Ended(Dealt),
    /// It may be tried again.
    Failed(HandlerError, Vec<Input>),
}

/// What is dealt with.
pub(super) struct Task<'t, S> {
    /// With the event in it.
    pub(super) state: &'t S,
    pub(super) event: &'t Event,
    /// Is committed together with the reaction, or by itself.
    pub(super) snapshot: Option<EventDraft>,
}

impl<A: Agent> Runner<A> {
    /// Deals with an event.
    pub(super) async fn deal(
        &self,
        task: Task<'_, A::State>,
        place: &mut dyn Place,
        stop: &CancellationToken,
    ) -> Result<Dealt, Error> {
        let settings = &self.calls.settings;
        let (agent, event) = (self.name(), task.event);
        let mut tries = Tries::new(settings.handler_retries, &settings.seams.entropy);
        loop {
            let (error, inputs) = match self.attempt(&task, tries.made() + 1, place).await? {
                Attempt::Done(effects) => {
                    self.perform_all(event.sequence(), &effects, stop).await?;
                    return Ok(Dealt::Done);
                }
                Attempt::Ended(dealt) => return Ok(dealt),
                Attempt::Failed(error, inputs) => (error, inputs),
            };
            let wait = tries.failed().filter(|_| error.is_retryable());
            let (sequence, attempts) = (event.sequence(), tries.made());
            let Some(wait) = wait else {
                tracing::warn!(agent, sequence, %error, attempts, "event is given up");
                let given_up = place.give_up(event, &error, attempts, inputs).await?;
                return Ok(self.given_up(given_up));
            };
            tracing::warn!(agent, sequence, %error, attempts, "handler is tried again");
            self.calls.metrics.add_retry();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Dealt::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Has the handler react, and commits what it answers. Where that is refused, it may answer something else.
    async fn attempt(
        &self,
        task: &Task<'_, A::State>,
        attempt: u32,
        place: &mut dyn Place,
    ) -> Result<Attempt, Error> {
        let sequence = task.event.sequence();
        let mut context = Context::live(&self.calls.settings.seams, attempt);
        let mut refusal = None;
        for _ in 0..=REFUSALS_MAX {
            let called = self.call(task, refusal.as_ref(), &mut context).await;
            self.reached(Step::Handled, sequence);
            let reaction = match called {
                Ok(reaction) => reaction,
                Err(error) => return Ok(Attempt::Failed(error, context.into_inputs())),
            };
            let mut batch = match self
                .batch(task, reaction, context.inputs().to_vec())
                .await?
            {
                Ok(batch) => batch,
                Err(error) => return Ok(Attempt::Failed(error, context.into_inputs())),
            };
            if batch.is_empty() {
                return Ok(Attempt::Ended(Dealt::Nothing));
            }
            self.reached(Step::Committing, sequence);
            let Some(landing) = self.land(&mut batch, place).await? else {
                return Ok(Attempt::Ended(Dealt::Nothing));
            };
            match landing {
                Landing::Done(headers) => {
                    self.committed(task, &batch);
                    return Ok(Attempt::Done(effects_of(batch, &headers)));
                }
                Landing::Fenced => return Ok(Attempt::Ended(self.given_up(GivenUp::Fenced))),
                Landing::PutBack => return Ok(Attempt::Ended(Dealt::PutBack)),
                Landing::Bad(error) => {
                    let error = HandlerError::permanent(error);
                    return Ok(Attempt::Failed(error, context.into_inputs()));
                }
                Landing::Refused(refused) => {
                    self.calls.metrics.add_refused();
                    if let Err(error) = context.refused(refused.clone()) {
                        return Ok(Attempt::Failed(error, context.into_inputs()));
                    }
                    refusal = Some(refused);
                }
            }
        }
        let error = format!("its reactions were refused {REFUSALS_MAX} times and once more");
        let error = HandlerError::permanent(error);
        Ok(Attempt::Failed(error, context.into_inputs()))
    }

    /// Commits. A snapshot for which there is no room beside the reaction, or which is not allowed, is left out, so that the
    /// event is not parked for it; `None` if nothing is left.
    async fn land(
        &self,
        batch: &mut Batch,
        place: &mut dyn Place,
    ) -> Result<Option<Landing>, Error> {
        let landing = place.land(batch).await?;
        let Landing::Bad(error) = &landing else {
            return Ok(Some(landing));
        };
        let may_be_too_large = error.is_invalid();
        if !(may_be_too_large || error.is_denied()) || !batch.drop_snapshot() {
            return Ok(Some(landing));
        }
        let agent = self.name();
        if may_be_too_large {
            self.calls.metrics.add_snapshot_too_large();
            tracing::warn!(agent, "snapshot has no room in its commit");
        } else {
            tracing::warn!(agent, %error, "commit is tried without its snapshot");
        }
        if batch.is_empty() {
            return Ok(None);
        }
        place.land(batch).await.map(Some)
    }

    /// What is committed of a reaction; the inner error is the handler's, or a panic of the embedder.
    async fn batch(
        &self,
        task: &Task<'_, A::State>,
        mut reaction: Reaction,
        inputs: Vec<Input>,
    ) -> Result<Result<Batch, HandlerError>, Error> {
        let settings = &self.calls.settings;
        if let Some(embedder) = &settings.embedder {
            let mut tries = self.calls.tries();
            loop {
                let embed = async {
                    let embedded = batch::embed(&mut reaction, &**embedder).await;
                    embedded.map_err(HandlerError::transient)
                };
                let error = match guarded(settings.handler_timeout, embed).await {
                    Ok(()) => break,
                    Err(error @ HandlerError::Panicked { .. }) => return Ok(Err(error)),
                    Err(error) => error,
                };
                let Some(wait) = tries.failed() else {
                    return Err(Error::Embedder {
                        source: error.into(),
                    });
                };
                self.calls.metrics.add_retry();
                tokio::time::sleep(wait).await;
            }
        }
        let batch = Batch::of(self.name(), &task.event.header, reaction, inputs);
        Ok(batch.map_err(HandlerError::from).map(|mut batch| {
            if let Some(snapshot) = &task.snapshot {
                batch.push_snapshot(snapshot.clone());
            }
            batch
        }))
    }

    fn committed(&self, task: &Task<'_, A::State>, batch: &Batch) {
        let metrics = &self.calls.metrics;
        metrics.add_commit(batch.emitted);
        if batch.has_snapshot() {
            metrics.add_snapshot();
        }
        self.reached(Step::Committed, task.event.sequence());
    }

    /// Calls the handler, which may panic, or never answer.
    async fn call(
        &self,
        task: &Task<'_, A::State>,
        refusal: Option<&Refusal>,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let (state, event, agent) = (task.state, task.event, &self.agent);
        let call = async {
            match refusal {
                None => agent.handle(state, event, context).await,
                Some(refusal) => agent.refused(state, event, refusal, context).await,
            }
        };
        let _place = self.calls.handler_place().await;
        let begun = Instant::now();
        let called = guarded(self.calls.settings.handler_timeout, call).await;
        self.calls.metrics.add_handled(begun.elapsed());
        called
    }

    fn given_up(&self, given_up: GivenUp) -> Dealt {
        let metrics = &self.calls.metrics;
        match given_up {
            GivenUp::Parked => {
                metrics.add_parked();
                Dealt::Parked
            }
            GivenUp::GivenBack => Dealt::GivenBack,
            GivenUp::Fenced => {
                metrics.add_fenced();
                Dealt::Fenced
            }
            GivenUp::PutBack => Dealt::PutBack,
        }
    }
}

fn effects_of(batch: Batch, headers: &[EventHeader]) -> Vec<(EventHeader, Effect)> {
    let effects = batch.effects.into_iter();
    effects
        .filter_map(|(index, effect)| Some((headers.get(index)?.clone(), effect)))
        .collect()
}
