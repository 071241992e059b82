//! An agent that does what its events say.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use toka_agents::{
    Agent, Context, Effect, Event, HandlerError, Interests, NewEvent, Reaction, RetryPolicy,
    Runner, Settings, Store,
};
use toka_ledger::{EventHeader, VaultBus};
use tokio_util::sync::CancellationToken;

/// What the agent is called.
pub(crate) const NAME: &str = "worker";

/// What it is to do with an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Nothing.
    Nothing,
    /// Emit a result.
    Work,
    /// Emit a result that depends on what it asks for.
    Ask,
    /// Fail so often, and then emit a result.
    FailTimes(u32),
    /// Fail each time.
    Fail,
    /// Panic.
    Panic,
    /// Emit an event that no vault takes.
    Bad,
    /// Do something outside.
    Effect(String),
}

/// Tasks by their number, as the agent has seen them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) tasks: u64,
    pub(crate) last: u64,
    pub(crate) by_kind: BTreeMap<String, u64>,
}

/// Payload of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) task: u64,
    /// Another one each time the handler runs, unless that runs for a replay.
    pub(crate) answer: u64,
    pub(crate) seen: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Worker {
    /// Times that the handler was called.
    pub(crate) calls: AtomicU32,
    /// Effects that were carried out.
    pub(crate) effects: AtomicU32,
    /// The first so many of them fail.
    pub(crate) effects_fail: AtomicU32,
    /// Is added to its answers: a life with another one answers differently.
    pub(crate) base: u64,
}

impl Agent for Worker {
    type State = Seen;

    fn interests(&self) -> Interests {
        Interests::kinds(["task"])
    }

    fn apply(state: &mut Seen, event: &Event) {
        state.tasks += 1;
        state.last = event.sequence();
        *state.by_kind.entry(event.kind().to_owned()).or_default() += 1;
    }

    async fn handle(
        &self,
        state: &Seen,
        event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let call = u64::from(self.calls.fetch_add(1, Ordering::SeqCst)).wrapping_add(self.base);
        let done = |answer| {
            let done = Done {
                task: event.sequence(),
                answer,
                seen: state.tasks,
            };
            Ok(Reaction::none().emit(NewEvent::new("result").payload(&done)))
        };
        let task: Task = event.payload_as()?;
        match task {
            Task::Nothing => Ok(Reaction::none()),
            Task::Work => done(call),
            Task::Ask => {
                let (at, random) = (context.unix_ms()?, context.random()?);
                let reply = || async move { Ok::<_, std::io::Error>(call) };
                let reply: u64 = context.reply("model", reply).await?;
                done(at.wrapping_add(random[0].into()).wrapping_add(reply))
            }
            Task::FailTimes(times) if context.attempt() > times => done(call),
            Task::Fail | Task::FailTimes(_) => Err(HandlerError::transient("not now")),
            Task::Panic => panic!("at task {}", event.sequence()),
            Task::Bad => Ok(Reaction::none().emit(NewEvent::new(""))),
            Task::Effect(name) => {
                let effect = Effect::new(name, &event.sequence())?;
                Ok(Reaction::none().effect(effect))
            }
        }
    }

    async fn perform(&self, effect: &Effect) -> Result<Bytes, HandlerError> {
        let before = self.effects.fetch_add(1, Ordering::SeqCst);
        if before < self.effects_fail.load(Ordering::SeqCst) {
            return Err(HandlerError::permanent("no"));
        }
        Ok(Bytes::from(effect.name.clone()))
    }
}

/// Tries at once.
pub(crate) const SOON: RetryPolicy = RetryPolicy {
    attempts: 3,
    wait_min: Duration::from_millis(1),
    wait_max: Duration::from_millis(2),
};

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::new(NAME).expect("a name");
    settings.handler_retries = SOON;
    settings.store_retries = SOON;
    settings
}

pub(crate) fn vault() -> VaultBus {
    VaultBus::builder().open_in_memory().expect("opened")
}

pub(crate) fn runner(vault: &VaultBus, settings: Settings) -> Runner<Worker> {
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    Runner::new(Worker::default(), store, settings).expect("settings")
}

/// Commits tasks; each is an event of its own.
pub(crate) async fn commit(vault: &VaultBus, tasks: &[Task]) -> Vec<EventHeader> {
    let mut headers = Vec::new();
    for task in tasks {
        let salt = vault.position().sequence.to_le_bytes();
        let event = vault.event("task").payload(task).salt(&salt);
        headers.push(event.commit().await.expect("committed"));
    }
    headers
}

/// Runs until everything that is there now is dealt with.
pub(crate) async fn run(runner: &Runner<Worker>, vault: &VaultBus) {
    let head = vault.position().sequence;
    let ended = runner.run_until(head, &CancellationToken::new()).await;
    ended.expect("it goes on");
}

/// All events of a kind.
pub(crate) fn events(vault: &VaultBus, kind: &str) -> Vec<EventHeader> {
    let all = vault.range(1..).map(|header| header.expect("readable"));
    all.filter(|header| header.kind == *kind).collect()
}

/// Results by the task that they are of; each has one at most.
pub(crate) fn results(vault: &VaultBus) -> BTreeMap<u64, Done> {
    let mut results = BTreeMap::new();
    for header in events(vault, "result") {
        let done: Done = vault.payload(&header).expect("a result");
        assert_eq!(header.parents[0].id.sequence(), done.task);
        let before = results.insert(done.task, done);
        assert_eq!(before, None, "a task has two results");
    }
    results
}
