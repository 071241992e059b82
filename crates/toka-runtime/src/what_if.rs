//! Agents in a fork: what would have come of it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use toka_agents::Event;
use toka_agents::record::{BY, CAUSE, EFFECT_OF};
use toka_agents::store::{Answer, Delivery, Feed, Page, Range, Store};
use toka_client::{Builder, Client};
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::fork::{DIFFERENCE_EVENTS_MAX, Difference, Fork, Limits, Moment, Timeline};
use toka_ledger::group::{Group, Parked, Settings as GroupSettings, SettleOutcome};
use toka_ledger::seam::off_reactor;
use toka_ledger::{
    ConsumerName, CursorName, EventDraft, EventHeader, EventId, Filter, GroupName, Reader,
    Selector, Stored, VaultBus,
};

use crate::base::{BaseError, ClusterBase, MirrorLimits, RemoteFork};

/// Rounds in which each agent reacts to what the others have emitted; then they are taken to go round in circles.
pub const ROUNDS_MAX: u32 = 1_000;

/// A fork in which agents run, of a vault in this process or elsewhere.
#[derive(Debug)]
pub enum Scenario {
    /// Of a vault in this process, which is kept open.
    Embedded {
        /// The fork.
        fork: Fork,
        /// The vault.
        base: VaultBus,
    },
    /// Of a vault elsewhere.
    Remote {
        /// The fork.
        fork: Arc<RemoteFork>,
        /// The vault.
        client: Client,
    },
}

/// Why a what-if has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The vault elsewhere.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The vault in this process, or the fork.
    #[error(transparent)]
    Ledger(#[from] toka_ledger::Error),
    /// An agent cannot go on.
    #[error("agent {agent}: {source}")]
    Agent {
        /// The agent.
        agent: String,
        /// Why.
        source: Box<toka_agents::Error>,
    },
    /// Agents react to each other without an end.
    #[error("the agents are not done after {max} rounds: they react to each other without an end")]
    Endless {
        /// The limit.
        max: u32,
    },
    /// A thread has panicked.
    #[error("the work was interrupted")]
    Interrupted,
}

/// What the history has behind the fork, as far as it was given to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Events that were committed to the fork.
    pub given: u64,
    /// Events that are those of the agents that run in the fork: what they say instead is the question.
    pub of_agents: u64,
    /// Events that depend on one that the fork does not have.
    pub without_parents: u64,
    /// The vault has more than [`DIFFERENCE_EVENTS_MAX`] events behind the fork, and those after them were not looked at.
    pub has_more: bool,
}

/// Runs an agent in a fork until it has dealt with every event up to a sequence.
pub trait Actor: Send + Sync {
    /// The agent's name.
    fn name(&self) -> &str;

    /// Runs it.
    fn run_until(&self, sequence: u64) -> BoxFuture<'_, Result<(), toka_agents::Error>>;
}

impl Scenario {
    /// The fork.
    #[must_use]
    pub fn fork(&self) -> &Fork {
        match self {
            Self::Embedded { fork, .. } => fork,
            Self::Remote { fork, .. } => fork.fork(),
        }
    }

    /// Gives the fork what the vault has behind it, in order and at most [`DIFFERENCE_EVENTS_MAX`] events, but for what
    /// the agents of these names have committed, and for what depends on that. Their embeddings come too; times are new.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub async fn give_later_events(&self, agents: &[String]) -> Result<Given, ScenarioError> {
        let difference = self.difference().await?;
        let (fork, base) = (self.fork(), self.base());
        let mut given = Given {
            has_more: !difference.is_complete,
            ..Given::default()
        };
        for event in difference.base_only.iter().take(DIFFERENCE_EVENTS_MAX) {
            let by = event.attributes.get(BY);
            if by.is_some_and(|by| agents.iter().any(|agent| agent == by)) {
                given.of_agents += 1;
                continue;
            }
            let reader = fork.vault().reader();
            let parents: Vec<_> = event
                .parents
                .iter()
                .map(|parent| Selector::Digest(parent.digest))
                .collect();
            if reader.headers(&parents)?.contains(&None) {
                given.without_parents += 1;
                continue;
            }
            let (base, event) = (base.clone(), Arc::clone(event));
            // Its payload may have to come over the network.
            let draft = off_reactor(move || draft(&base, &event)).await;
            let draft = draft.map_err(|_| ScenarioError::Interrupted)??;
            fork.vault().commit_batch([draft]).await?;
            given.given += 1;
        }
        Ok(given)
    }

    /// The sequence after which an agent has still to react to what the fork shares with the vault: right before the first
    /// event to which it has reacted behind the fork, or the fork's own. In the fork of a cluster, of which no cursors are
    /// known, it begins there.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub async fn begin_of(&self, agent: &str) -> Result<u64, ScenarioError> {
        let fork = self.fork().sequence();
        let real = self.difference().await?.base_only;
        let reactions = real
            .iter()
            .filter(|event| event.attributes.get(BY) == Some(agent));
        let causes = reactions.filter_map(|event| {
            let cause: EventId = event.attributes.get(CAUSE)?.parse().ok()?;
            Some(cause.sequence())
        });
        let first = causes.filter(|cause| *cause <= fork).min();
        Ok(first.map_or(fork, |first| first.saturating_sub(1)))
    }

    /// Runs the agents, one after another and round after round, until none of them has anything left to react to. Returns
    /// how many events they have emitted.
    ///
    /// # Errors
    /// [`ScenarioError::Agent`], [`ScenarioError::Endless`].
    pub async fn run(&self, actors: &[Box<dyn Actor>]) -> Result<u64, ScenarioError> {
        let head = || self.fork().vault().position().sequence;
        let begin = head();
        for _ in 0..ROUNDS_MAX {
            let before = head();
            for actor in actors {
                let run = actor.run_until(head()).await;
                run.map_err(|error| ScenarioError::Agent {
                    agent: actor.name().to_owned(),
                    source: Box::new(error),
                })?;
            }
            if head() == before {
                return Ok(before - begin);
            }
        }
        Err(ScenarioError::Endless { max: ROUNDS_MAX })
    }

    /// What the fork has and the vault has not, and the other way round.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub async fn difference(&self) -> Result<Difference, ScenarioError> {
        match self {
            Self::Embedded { fork, .. } => Ok(fork.difference()?),
            Self::Remote { fork, .. } => {
                let fork = Arc::clone(fork);
                let compared = off_reactor(move || fork.difference()).await;
                Ok(compared.map_err(|_| ScenarioError::Interrupted)??)
            }
        }
    }

    /// Commits what the fork has and the vault has not, in one atomic commit; see [`Fork::commit_to`].
    ///
    /// # Errors
    /// [`ScenarioError::Ledger`] or [`ScenarioError::Base`] with all violations, where something that was asked for in the
    /// fork does not hold any more.
    pub async fn commit(&self) -> Result<Vec<EventHeader>, ScenarioError> {
        match self {
            Self::Embedded { fork, base } => Ok(fork.commit_to(base).await?),
            Self::Remote { fork, client } => Ok(fork.commit_to(client).await?),
        }
    }

    /// The vault, as far as it is known here.
    fn base(&self) -> &Reader {
        match self {
            Self::Embedded { base, .. } => base.reader(),
            Self::Remote { fork, .. } => fork.mirror().reader(),
        }
    }
}

/// The event again.
fn draft(reader: &Reader, event: &EventHeader) -> Result<EventDraft, toka_ledger::Error> {
    let Stored::Present(payload) = reader.payload(event)? else {
        return Err(toka_ledger::Error::Erased { id: event.id });
    };
    let draft = EventDraft::new(event.kind.as_str())
        .payload_bytes(payload)
        .salt(event.salt.as_bytes())
        .attributes(event.attributes.clone())
        .parents_by_digest(event.parents.iter().map(|parent| parent.digest));
    Ok(match reader.embedding(event)? {
        Some(Stored::Present(embedding)) => draft.quantized_bytes(embedding.as_bytes().clone()),
        Some(Stored::Erased) | None => draft,
    })
}

/// A scenario as the store of agents. What they ask of events that the vault has too is asked again when the fork is
/// committed to it.
#[derive(Clone, Debug)]
pub struct ScenarioStore(pub Arc<Scenario>);

impl ScenarioStore {
    fn vault(&self) -> &VaultBus {
        self.0.fork().vault()
    }
}

impl Store for ScenarioStore {
    fn commit(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Answer<'_, Vec<EventHeader>> {
        let fork = self.0.fork();
        Box::pin(async move { Ok(fork.commit_batch_if(events, preconditions).await?) })
    }

    fn get(&self, selector: Selector) -> Answer<'_, Option<Event>> {
        Store::get(self.vault(), selector)
    }

    fn list(&self, mut range: Range) -> Answer<'_, Page> {
        let mut attributes = range.filter.attributes.iter();
        if attributes.any(|(name, _)| name == EFFECT_OF) {
            // Those that the vault has too are left to who runs there: in the fork nothing is known of what becomes of them.
            range.after = range.after.max(self.0.fork().sequence());
        }
        Store::list(self.vault(), range)
    }

    fn head(&self) -> Answer<'_, u64> {
        Store::head(self.vault())
    }

    fn follow(&self, after: u64, filter: Filter) -> Answer<'_, Box<dyn Feed>> {
        Store::follow(self.vault(), after, filter)
    }

    fn cursor<'a>(&'a self, name: &'a CursorName) -> Answer<'a, Option<u64>> {
        Store::cursor(self.vault(), name)
    }

    fn save_cursor<'a>(&'a self, name: &'a CursorName, from: u64, to: u64) -> Answer<'a, ()> {
        Store::save_cursor(self.vault(), name, from, to)
    }

    fn group<'a>(&'a self, name: &'a GroupName) -> Answer<'a, Option<Group>> {
        Store::group(self.vault(), name)
    }

    fn create_group<'a>(
        &'a self,
        name: &'a GroupName,
        settings: &'a GroupSettings,
        after: u64,
    ) -> Answer<'a, Group> {
        Store::create_group(self.vault(), name, settings, after)
    }

    fn pull<'a>(
        &'a self,
        group: &'a GroupName,
        consumer: &'a ConsumerName,
        max: u32,
        wait: Duration,
    ) -> Answer<'a, Vec<Delivery>> {
        Store::pull(self.vault(), group, consumer, max, wait)
    }

    fn settle<'a>(&'a self, delivery: &'a Delivery, verdict: Verdict) -> Answer<'a, SettleOutcome> {
        Store::settle(self.vault(), delivery, verdict)
    }

    fn parked<'a>(&'a self, group: &'a GroupName, max: usize) -> Answer<'a, Vec<Parked>> {
        Box::pin(async move {
            let mut parked = Store::parked(self.vault(), group, max).await?;
            // To record those that the vault has too is left to who runs there.
            parked.retain(|parked| parked.sequence > self.0.fork().sequence());
            Ok(parked)
        })
    }
}

/// Forks the vault of the cluster at these endpoints, read by a client that `builder` makes. Its history up to there is read and
/// applied again, on a thread for such work.
///
/// # Errors
/// [`ScenarioError::Base`]; as [`RemoteFork::at`].
pub async fn fork_remote(
    builder: Builder,
    endpoints: Vec<String>,
    client: Client,
    sequence: u64,
    limits: Limits,
) -> Result<Scenario, ScenarioError> {
    let fork = off_reactor(move || {
        let base = Arc::new(ClusterBase::connect(builder, endpoints)?);
        let limits = (MirrorLimits::default(), limits);
        RemoteFork::at(base, sequence, limits, &mut |_| {})
    });
    let fork = fork.await.map_err(|_| ScenarioError::Interrupted)??;
    let fork = Arc::new(fork);
    Ok(Scenario::Remote { fork, client })
}

/// Forks a vault in this process. The history up to there is applied again, on a thread for such work.
///
/// # Errors
/// [`ScenarioError::Ledger`]; as [`Timeline::fork`].
pub async fn fork_embedded(
    base: VaultBus,
    sequence: u64,
    limits: Limits,
) -> Result<Scenario, ScenarioError> {
    let reader = base.reader().clone();
    let fork = off_reactor(move || {
        let timeline = Timeline::new(reader);
        timeline.fork(Moment::Behind(sequence), limits)
    });
    let fork = fork.await;
    let fork = fork.map_err(|_| ScenarioError::Interrupted)??;
    Ok(Scenario::Embedded { fork, base })
}
