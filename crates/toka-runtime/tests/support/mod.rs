//! Two agents over tickets: one sorts them, one answers those that are urgent.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toka_agents::{
    Agent, Context, Event, HandlerError, Interests, NewEvent, Reaction, Runner, Settings, Store,
};
use toka_ledger::{EventDraft, EventHeader, VaultBus};
use tokio_util::sync::CancellationToken;

/// Says of each ticket whether it is urgent: by its length, and by a draw, both from its context.
pub(crate) struct Sorter {
    /// Tickets of more letters are urgent.
    pub(crate) bar: usize,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Sorted {
    pub(crate) tickets: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) is_urgent: bool,
    pub(crate) number: u64,
    pub(crate) draw: u8,
}

impl Agent for Sorter {
    type State = Sorted;

    fn interests(&self) -> Interests {
        Interests::kinds(["ticket"])
    }

    fn apply(state: &mut Sorted, _: &Event) {
        state.tickets += 1;
    }

    async fn handle(
        &self,
        state: &Sorted,
        event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let text: String = event.payload_as()?;
        let verdict = Verdict {
            is_urgent: text.len() > self.bar,
            number: state.tickets,
            draw: context.random()?[0],
        };
        Ok(Reaction::none().emit(NewEvent::new("verdict").payload(&verdict)))
    }
}

/// Answers what is urgent.
pub(crate) struct Answerer;

impl Agent for Answerer {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds(["verdict"])
    }

    fn apply(_: &mut (), _: &Event) {}

    async fn handle(
        &self,
        _: &(),
        event: &Event,
        _: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let verdict: Verdict = event.payload_as()?;
        Ok(match verdict.is_urgent {
            true => Reaction::none().emit(NewEvent::new("answer").payload(&verdict.number)),
            false => Reaction::none(),
        })
    }
}

pub(crate) fn settings(name: &str) -> Settings {
    Settings::new(name).expect("a name")
}

pub(crate) async fn ticket(vault: &VaultBus, text: &str) -> EventHeader {
    let draft = EventDraft::new("ticket").payload(text);
    let headers = vault.commit_batch([draft]).await.expect("committed");
    headers.into_iter().next().expect("one")
}

/// Runs an agent until it has dealt with all that there is.
pub(crate) async fn run<A: Agent>(agent: A, name: &str, vault: &VaultBus) {
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let runner = Runner::new(agent, store, settings(name)).expect("made");
    let stop = CancellationToken::new();
    let head = vault.position().sequence;
    runner.run_until(head, &stop).await.expect("runs");
}

/// A vault in which both agents have dealt with tickets of 1 to `tickets` letters.
pub(crate) async fn worked(tickets: usize) -> VaultBus {
    let vault = VaultBus::builder().open_in_memory().expect("opens");
    for letters in 1..=tickets {
        ticket(&vault, &"x".repeat(letters)).await;
    }
    run(Sorter { bar: 5 }, "sorter", &vault).await;
    run(Answerer, "answerer", &vault).await;
    vault
}
