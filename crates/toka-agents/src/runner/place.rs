//! Where an agent's progress is kept: what it commits and how far it has come are one step.

use futures::future::BoxFuture;
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::core::limits::{GROUP_DELAY_MS_MAX, REASON_BYTES_MAX};
use toka_ledger::group::SettleOutcome;
use toka_ledger::{CursorName, EventHeader, Rejection, Violation};

use super::calls::{Answer, Calls, Origin};
use super::parked;
use crate::batch::Batch;
use crate::context::{Input, Reason, Refusal};
use crate::error::{Error, HandlerError, shortened};
use crate::event::Event;
use crate::step::Step;
use crate::store::{Delivery, StoreError};

/// How often a commit is made anew from where others have moved the cursor to.
const MOVES_MAX: u32 = 16;

/// What became of a commit together with the progress.
pub(super) enum Landing {
    /// Both happened.
    Done(Vec<EventHeader>),
    /// Neither: what the reaction itself required does not hold.
    Refused(Refusal),
    /// Neither: the vault does not take these events.
    Bad(StoreError),
    /// Neither: somebody else has dealt with the event.
    Fenced,
    /// Neither: the cursor was put back.
    PutBack,
}

/// What became of an event that the handler could not deal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It is parked.
    Parked,
    /// Somebody may try it again, later.
    GivenBack,
    /// Somebody else has dealt with it.
    Fenced,
    /// The cursor was put back.
    PutBack,
}

/// Where progress is kept.
pub(super) trait Place: Send {
    /// Commits, together with the progress.
    fn land<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<Landing, Error>>;

    /// Puts an event aside, together with the progress.
    fn give_up<'a>(
        &'a mut self,
        event: &'a Event,
        error: &'a HandlerError,
        attempts: u32,
        inputs: Vec<Input>,
    ) -> BoxFuture<'a, Result<GivenUp, Error>>;
}

/// A cursor, and the event that it is to be moved to.
pub(super) struct CursorPlace<'r> {
    pub(super) calls: &'r Calls,
    pub(super) name: &'r CursorName,
    /// Where it is, as far as is known.
    pub(super) at: u64,
    pub(super) to: u64,
}

impl Place for CursorPlace<'_> {
    fn land<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<Landing, Error>> {
        Box::pin(self.commit(Origin::Reaction, batch))
    }

    fn give_up<'a>(
        &'a mut self,
        event: &'a Event,
        error: &'a HandlerError,
        attempts: u32,
        inputs: Vec<Input>,
    ) -> BoxFuture<'a, Result<GivenUp, Error>> {
        Box::pin(async move {
            let batch = parked::batch(self.calls, event, &error.to_string(), attempts, inputs);
            match self.commit(Origin::Agent, &batch).await? {
                Landing::Done(_) => Ok(GivenUp::Parked),
                Landing::Fenced => Ok(GivenUp::Fenced),
                Landing::PutBack => Ok(GivenUp::PutBack),
                Landing::Bad(error) => Err(error.into()),
                Landing::Refused(refusal) => Err(Error::Setting {
                    field: "store",
                    reason: format!("it refuses what nobody required: {:?}", refusal.reasons),
                }),
            }
        })
    }
}

impl CursorPlace<'_> {
    async fn commit(&mut self, origin: Origin, batch: &Batch) -> Result<Landing, Error> {
        for _ in 0..MOVES_MAX {
            let own = Precondition::CursorMove {
                name: self.name.clone(),
                from: self.at,
                to: self.to,
            };
            let (events, required) = (&batch.events, &batch.preconditions);
            let commit = self.calls.commit(origin, events, required, Some(&own));
            match commit.await? {
                Answer::Stored(headers) => return self.stored(headers).await,
                Answer::Bad(error) => return Ok(Landing::Bad(error)),
                Answer::Violated(violations) => match cursor_in(&violations, self.name) {
                    None => return Ok(Landing::Refused(refusal(violations))),
                    Some(actual) if actual >= self.to => {
                        self.at = actual;
                        return Ok(Landing::Fenced);
                    }
                    Some(actual) if actual < self.at => return Ok(Landing::PutBack),
                    // Another instance has come so far without having reacted.
                    Some(actual) => self.at = actual,
                },
            }
        }
        Err(Error::CursorContended {
            cursor: self.name.clone(),
            times: MOVES_MAX,
        })
    }

    /// Events that were all stored before have moved no cursor now. They did it then, in the commit whose answer was lost,
    /// or of another instance that answered the same; unless somebody has put the cursor back since, to have it all done
    /// again.
    async fn stored(&mut self, headers: Vec<EventHeader>) -> Result<Landing, Error> {
        if headers.iter().all(|header| header.deduplicated) {
            let (store, name) = (&self.calls.store, self.name);
            let actual = self.calls.retried(|| store.cursor(name)).await?;
            let actual = actual.unwrap_or(0);
            if actual >= self.to {
                self.at = actual;
                return Ok(Landing::Done(headers));
            }
            if actual < self.at {
                return Ok(Landing::PutBack);
            }
            match save(self.calls, name, actual, self.to).await? {
                Saved::There => {}
                Saved::Elsewhere(actual) if actual >= self.to => {
                    self.at = actual;
                    return Ok(Landing::Done(headers));
                }
                Saved::Elsewhere(_) => return Ok(Landing::PutBack),
            }
        }
        self.at = self.to;
        Ok(Landing::Done(headers))
    }
}

/// What became of a cursor that was to be moved.
pub(super) enum Saved {
    /// It is where it was to go.
    There,
    /// It is there, and was not where it was to come from.
    Elsewhere(u64),
}

/// Moves a cursor without events.
pub(super) async fn save(
    calls: &Calls,
    name: &CursorName,
    from: u64,
    to: u64,
) -> Result<Saved, Error> {
    let mut tries = calls.tries();
    loop {
        match calls.store.save_cursor(name, from, to).await {
            Ok(()) => return Ok(Saved::There),
            Err(StoreError::Rejected(Rejection::Preconditions { violations })) => {
                let actual = cursor_in(&violations, name);
                let actual = actual.ok_or(Rejection::Preconditions { violations });
                return Ok(Saved::Elsewhere(actual.map_err(StoreError::from)?));
            }
            Err(error) => calls.again(&mut tries, error).await?,
        }
    }
}

/// A delivery of a group.
pub(super) struct GroupPlace<'r> {
    pub(super) calls: &'r Calls,
    pub(super) delivery: &'r Delivery,
    /// Deliveries after which the group parks an event by itself.
    pub(super) deliveries_max: u32,
}

impl GroupPlace<'_> {
    /// Says what became of the delivery. A repeat after a lost answer finds it settled, which is as well.
    pub(super) async fn settle(&self, verdict: Verdict) -> Result<SettleOutcome, Error> {
        let (store, delivery) = (&self.calls.store, self.delivery);
        let settle = || store.settle(delivery, verdict.clone());
        let outcome = self.calls.retried(settle).await?;
        let probe = &self.calls.settings.probe;
        probe.reached(Step::Settled, delivery.event.sequence());
        Ok(outcome)
    }

    async fn is_parked(&self) -> Result<bool, Error> {
        let (group, sequence) = (&self.delivery.group, self.delivery.event.sequence());
        parked::is_parked(self.calls, group, sequence).await
    }

    /// Whether a violation is that this delivery is not current, and not one that the reaction itself has named.
    fn is_own(&self, violation: &Violation) -> bool {
        match violation {
            Violation::Delivery {
                group, sequence, ..
            } => *group == self.delivery.group && *sequence == self.delivery.event.sequence(),
            _ => false,
        }
    }
}

impl Place for GroupPlace<'_> {
    fn land<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<Landing, Error>> {
        Box::pin(async move {
            let own = self.delivery.precondition();
            let (events, required) = (&batch.events, &batch.preconditions);
            let reaction = Origin::Reaction;
            let commit = self.calls.commit(reaction, events, required, Some(&own));
            match commit.await? {
                // Also where all events were stored before, the delivery is acknowledged, if it is current.
                Answer::Stored(headers) => Ok(Landing::Done(headers)),
                Answer::Bad(error) => Ok(Landing::Bad(error)),
                Answer::Violated(violations) => {
                    let is_fenced = violations.iter().any(|violation| self.is_own(violation));
                    Ok(match is_fenced {
                        true => Landing::Fenced,
                        false => Landing::Refused(refusal(violations)),
                    })
                }
            }
        })
    }

    /// What may work later is given back: the group bounds how often, and then parks it by itself.
    fn give_up<'a>(
        &'a mut self,
        event: &'a Event,
        error: &'a HandlerError,
        attempts: u32,
        inputs: Vec<Input>,
    ) -> BoxFuture<'a, Result<GivenUp, Error>> {
        Box::pin(async move {
            let reason = shortened(&error.to_string(), REASON_BYTES_MAX);
            let wait = self.calls.settings.handler_retries.wait_max;
            let comes_again = error.is_retryable();
            let verdict = match comes_again {
                true => {
                    let delay_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
                    let delay_ms = delay_ms.min(GROUP_DELAY_MS_MAX);
                    Verdict::Reject { delay_ms, reason }
                }
                false => Verdict::Park { reason },
            };
            let is_settled = self.settle(verdict).await? == SettleOutcome::Done;
            let may_be_parked = !comes_again || self.delivery.delivery >= self.deliveries_max;
            // A repeat after a lost answer finds it settled, and does not say how.
            let is_parked =
                (is_settled && !comes_again) || (may_be_parked && self.is_parked().await?);
            if is_parked {
                let batch = parked::batch(self.calls, event, &error.to_string(), attempts, inputs);
                parked::record(self.calls, &batch).await?;
                return Ok(GivenUp::Parked);
            }
            Ok(match is_settled {
                true => GivenUp::GivenBack,
                false => GivenUp::Fenced,
            })
        })
    }
}

/// Where the cursor of that name is, if that is among what did not hold. A reaction may name others.
fn cursor_in(violations: &[Violation], wanted: &CursorName) -> Option<u64> {
    violations.iter().find_map(|violation| match violation {
        Violation::Cursor { name, actual, .. } if name == wanted => Some(*actual),
        _ => None,
    })
}

fn refusal(violations: Vec<Violation>) -> Refusal {
    let reasons = violations.into_iter().map(|violation| match violation {
        Violation::HasChild {
            parent,
            kind,
            child,
        } => Reason::HasChild {
            parent,
            kind: kind.to_string(),
            child,
        },
        Violation::TooEarly { expected, actual } => Reason::TooEarly { expected, actual },
        other => Reason::Other(other.to_string()),
    });
    Refusal {
        reasons: reasons.collect(),
    }
}
