//! Runs an agent against recorded history, and compares what it answers now with what was committed then.
//!
//! Nothing is committed and no effect is carried out: the store is only read. What the handler was told then (time,
//! randomness, replies from outside, refusals) it is told again, in the same order, from the record. So a handler that takes
//! these from its context alone answers the same to the bit, and one that was changed shows where it would now differ.
//!
//! The state is folded from the first event, without snapshots: those are of the agent as it was.

mod emitted;
pub mod show;

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use toka_agents::record::{EFFECT_DONE, PARKED, SNAPSHOT, inputs_of, newest, reaction_to};
use toka_agents::store::{PAGE_EVENTS_MAX, Range, Store, StoreError};
use toka_agents::{Agent, Event, Fold, HandlerError, Input, replay};
use toka_ledger::{CursorName, EventHeader, Filter, Selector};

pub use self::emitted::Emitted;

/// Events of the causes of a divergence that are shown at most.
pub const CAUSES_MAX: usize = 16;
/// Why it panicked, where a handler panics with something else than a text.
const NO_MESSAGE: &str = "without a message";

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The history cannot be read.
    #[error("the vault: {0}")]
    Store(#[from] StoreError),
    /// The agent's name is none that a cursor can have.
    #[error(transparent)]
    Invalid(#[from] toka_ledger::Invalid),
}

/// Which events an agent is run against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The first event; 0 and 1: from the beginning.
    pub from: u64,
    /// The last event; `None`: the last one that the agent's own cursor `agent.NAME` has passed, or the vault's last one if
    /// there is no such cursor.
    pub until: Option<u64>,
}

/// An agent on its way through recorded history.
pub struct Replay<A: Agent> {
    agent: A,
    name: String,
    store: Arc<dyn Store>,
    filter: Filter,
    fold: Fold<A>,
    until: u64,
    ready: VecDeque<Event>,
    /// Where the next page begins; `None`: there is none.
    next: Option<u64>,
}

/// What an agent answers in a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// What it would commit.
    Emitted(Vec<Emitted>),
    /// It fails.
    Failed(String),
}

/// One event, what was committed of it then, and what the agent answers now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The event.
    pub event: Event,
    /// What the agent has committed then, in order, without its snapshots and without what became of effects.
    pub recorded: Vec<Event>,
    /// What it answers now.
    pub replayed: Replayed,
}

/// Where an answer differs from the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence<'c> {
    /// The events at this place of the reaction are others, or one side has none.
    Event {
        /// The place, from 0.
        place: usize,
        /// What was committed then.
        recorded: Option<&'c Event>,
        /// What the agent answers now.
        replayed: Option<&'c Emitted>,
    },
    /// It fails now, and did not then.
    FailsNow(&'c str),
    /// It was parked then, since the handler had failed, and does not fail now.
    FailedThen(&'c Event),
}

/// How a replay went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that the agent was run against.
    pub events: u64,
    /// Of them, those for which it answers what was recorded.
    pub same: u64,
    /// The first one for which it does not.
    pub first: Option<Compared>,
}

impl Compared {
    /// Where the answer differs from the recorded one; `None`: it does not.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence<'_>> {
        let parked = self.recorded.iter().find(|event| event.kind() == PARKED);
        let emitted = match (&self.replayed, parked) {
            (Replayed::Failed(_), Some(_)) => return None,
            (Replayed::Failed(reason), None) => return Some(Divergence::FailsNow(reason)),
            (Replayed::Emitted(_), Some(parked)) => return Some(Divergence::FailedThen(parked)),
            (Replayed::Emitted(emitted), None) => emitted,
        };
        let places = self.recorded.len().max(emitted.len());
        (0..places).find_map(|place| {
            let (recorded, replayed) = (self.recorded.get(place), emitted.get(place));
            let then = recorded.map(|event| event.header.digest);
            let differs = then != replayed.map(|event| event.digest);
            differs.then_some(Divergence::Event {
                place,
                recorded,
                replayed,
            })
        })
    }
}

impl<A: Agent> Replay<A> {
    /// An agent of that name, right before a part of the history that `store` has. Folds the state up to there.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn open(
        agent: A,
        name: &str,
        store: Arc<dyn Store>,
        part: Part,
    ) -> Result<Self, ReplayError> {
        let filter = agent.interests().filter();
        let until = match part.until {
            Some(until) => until,
            None => {
                let cursor = CursorName::new(&format!("agent.{name}"))?;
                match store.cursor(&cursor).await? {
                    Some(at) => at,
                    None => store.head().await?,
                }
            }
        };
        let after = part.from.saturating_sub(1).min(until);
        let mut fold = Fold::<A>::default();
        fold.advance(&*store, &filter, after).await?;
        Ok(Self {
            agent,
            name: name.to_owned(),
            store,
            filter,
            fold,
            until,
            ready: VecDeque::new(),
            next: Some(after).filter(|after| *after < until),
        })
    }

    /// The state, with the event of the last step in it.
    #[must_use]
    pub const fn state(&self) -> &A::State {
        self.fold.state()
    }

    /// Runs the agent against the next event that it wants; `None` at the end of the part.
    ///
    /// # Errors
    /// [`ReplayError::Store`]; called again, it goes on.
    pub async fn step(&mut self) -> Result<Option<Compared>, ReplayError> {
        let Some(event) = self.next_event().await? else {
            return Ok(None);
        };
        let recorded = reaction_to(&*self.store, &self.name, event.header.id).await?;
        self.ready.pop_front();
        self.fold.apply(&event);
        let replayed = self.answer(&event, inputs_of(&recorded)).await;
        let is_answer = |event: &Event| !matches!(event.kind(), SNAPSHOT | EFFECT_DONE);
        Ok(Some(Compared {
            event,
            recorded: newest(&recorded)
                .iter()
                .filter(|event| is_answer(event))
                .cloned()
                .collect(),
            replayed,
        }))
    }

    /// Runs the agent to the end of the part, or to the first event for which it does not answer what was recorded; tells
    /// of each event.
    ///
    /// # Errors
    /// [`ReplayError::Store`].
    pub async fn run(
        &mut self,
        goes_on: bool,
        tell: &mut (dyn FnMut(&Compared) + Send),
    ) -> Result<Summary, ReplayError> {
        let mut summary = Summary::default();
        while let Some(compared) = self.step().await? {
            tell(&compared);
            summary.events += 1;
            if compared.divergence().is_none() {
                summary.same += 1;
                continue;
            }
            summary.first.get_or_insert(compared);
            if !goes_on {
                break;
            }
        }
        Ok(summary)
    }

    /// The next event, which stays where it is.
    async fn next_event(&mut self) -> Result<Option<Event>, ReplayError> {
        while self.ready.is_empty()
            && let Some(after) = self.next
        {
            let page = self
                .store
                .list(Range {
                    after,
                    until: Some(self.until),
                    filter: self.filter.clone(),
                    newest_first: false,
                    limit: PAGE_EVENTS_MAX,
                })
                .await?;
            self.ready.extend(page.events);
            self.next = page.next;
        }
        Ok(self.ready.front().cloned())
    }

    /// What the agent answers if it is told `inputs`.
    async fn answer(&self, event: &Event, inputs: Vec<Input>) -> Replayed {
        let answer = replay(&self.agent, &self.name, self.fold.state(), event, inputs);
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let answer = answer.unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Err(HandlerError::Panicked {
                message: message.unwrap_or_else(|| NO_MESSAGE.to_owned()),
            })
        });
        let emitted = answer.and_then(|answer| {
            let emitted = emitted::of_batch(answer.batch, &event.header);
            emitted.map_err(HandlerError::from)
        });
        match emitted {
            Ok(emitted) => Replayed::Emitted(emitted),
            Err(error) => Replayed::Failed(error.to_string()),
        }
    }
}

/// What led to an event: its parents, theirs, and so on, the nearest first, at most [`CAUSES_MAX`] with itself.
///
/// # Errors
/// [`StoreError`].
pub async fn causes(store: &dyn Store, event: &EventHeader) -> Result<Vec<Event>, StoreError> {
    let mut seen = BTreeSet::from([event.digest]);
    let mut waiting: VecDeque<_> = event.parents.iter().map(|parent| parent.digest).collect();
    let mut found = Vec::new();
    while let Some(digest) = waiting.pop_front()
        && found.len() < CAUSES_MAX
    {
        if !seen.insert(digest) {
            continue;
        }
        if let Some(cause) = store.get(Selector::Digest(digest)).await? {
            waiting.extend(cause.header.parents.iter().map(|parent| parent.digest));
            found.push(cause);
        }
    }
    Ok(found)
}

/// The state of an agent as of right behind the event at `sequence`, from the newest snapshot that can be used or from the
/// beginning.
///
/// # Errors
/// [`StoreError`].
pub async fn state_at<A: Agent>(
    agent: &A,
    name: &str,
    store: &dyn Store,
    sequence: u64,
) -> Result<Fold<A>, StoreError> {
    let filter = agent.interests().filter();
    Fold::at(store, name, &filter, sequence).await
}
