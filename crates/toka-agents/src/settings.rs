//! How an agent is run.

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::group::{
    ACK_TIMEOUT_MS_DEFAULT, DELIVERIES_MAX_DEFAULT, UNACKNOWLEDGED_MAX_DEFAULT,
};
use toka_ledger::seam::Seams;
use toka_ledger::{ConsumerName, CursorName, GroupName};
use tokio::sync::Semaphore;

use crate::embed::Embedder;
use crate::error::Error;
use crate::retry::RetryPolicy;
use crate::step::{NoProbe, Probe};

/// Name of an agent, bytes of UTF-8: it is the value of an attribute, and a part of a cursor's name.
pub const NAME_BYTES_MAX: usize = 200;
/// Events that are read ahead at most.
pub const READ_AHEAD_MAX: usize = 10_000;
/// Events of a group that one instance has at a time at most.
pub const GROUP_AHEAD_MAX: u32 = 100;

/// Where an agent that was never run begins to react. Its state is folded from the beginning in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// With the first event.
    #[default]
    Beginning,
    /// With events that are committed from now on.
    Now,
    /// With events after this sequence.
    After(u64),
}

/// How an agent gets its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// All of them, in order, from where its cursor is. A second instance with the same cursor stands by: it has the same
    /// state, and of two reactions to one event one is committed.
    Cursor(CursorName),
    /// Shared with other instances: each event goes to one of them at a time. They come in order, but for those that come
    /// again.
    Group(GroupSource),
}

/// An agent's place in a consumer group. The group is made if there is none of that name; its filter is the agent's
/// interests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSource {
    /// The group.
    pub group: GroupName,
    /// This instance, for people.
    pub consumer: ConsumerName,
    /// Events that this instance has at a time, 1 to [`GROUP_AHEAD_MAX`]: one that it deals with, and those that wait for it,
    /// which others do not get meanwhile. More than one is for handlers that are quicker than the way to the vault.
    pub ahead: u32,
    /// Time in which an event must be dealt with before others may get it, milliseconds; extended while the handler runs.
    /// Of a group that is made.
    pub ack_timeout_ms: u32,
    /// Events that are outstanding at most. Of a group that is made.
    pub unacknowledged_max: u32,
    /// Deliveries after which an event is parked. Of a group that is made.
    pub deliveries_max: u32,
}

impl GroupSource {
    /// A place in a group with the vault's defaults.
    #[must_use]
    pub const fn new(group: GroupName, consumer: ConsumerName) -> Self {
        Self {
            group,
            consumer,
            ahead: 1,
            ack_timeout_ms: ACK_TIMEOUT_MS_DEFAULT,
            unacknowledged_max: UNACKNOWLEDGED_MAX_DEFAULT,
            deliveries_max: DELIVERIES_MAX_DEFAULT,
        }
    }
}

/// How an agent is run.
#[derive(Clone, Debug)]
pub struct Settings {
    name: String,
    /// How it gets its events.
    pub source: Source,
    /// Where it begins to react if it was never run.
    pub begin: Begin,
    /// Wanted events after which a snapshot of the state is taken; 0: never.
    pub snapshot_every: u64,
    /// Sequences after which the cursor is saved though the agent has not reacted. What was not saved is handled again after
    /// a crash, without consequence; each save adds a row of some 50 bytes to the vault for good.
    pub save_every: u64,
    /// Events that are read ahead, 1 to [`READ_AHEAD_MAX`].
    pub read_ahead: usize,
    /// How long a handler may take for one event.
    pub handler_timeout: Duration,
    /// A place in it is held while a handler runs, or an effect is carried out: agents that share it are bounded together. The
    /// wait for a place is not the handler's time. `None`: no bound but that each agent deals with one event at a time.
    pub handlers: Option<Arc<Semaphore>>,
    /// How often a handler is tried that fails for a while.
    pub handler_retries: RetryPolicy,
    /// How often a call to the vault is tried that fails for a while.
    pub store_retries: RetryPolicy,
    /// What makes the embeddings of emitted events.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Clock and randomness of handlers, and jitter.
    pub seams: Seams,
    /// Is told of every step.
    pub probe: Arc<dyn Probe>,
}

impl Settings {
    /// For an agent of that name, with a cursor `agent.NAME` of its own. Its events and snapshots are found by the name: two
    /// agents of one name are two instances of one agent.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that is empty or longer than [`NAME_BYTES_MAX`]; [`Error::Invalid`] for one with control
    /// characters.
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::Setting {
                field: "name",
                reason: format!(
                    "it has {} bytes, and must have 1 to {NAME_BYTES_MAX}",
                    name.len()
                ),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            source: Source::Cursor(CursorName::new(&format!("agent.{name}"))?),
            begin: Begin::default(),
            snapshot_every: 1_000,
            save_every: 1_000,
            read_ahead: 64,
            handler_timeout: Duration::from_secs(300),
            handlers: None,
            handler_retries: RetryPolicy::HANDLER,
            store_retries: RetryPolicy::STORE,
            embedder: None,
            seams: Seams::system(),
            probe: Arc::new(NoProbe),
        })
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
