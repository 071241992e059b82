//! What agents leave in the vault beside the events that they emit: kinds, attributes and payloads.
//!
//! All of it is in the commit of the reaction that it belongs to. The kinds begin with `toka.agent.`: interests without
//! kinds would have these events too.

use serde::{Deserialize, Serialize};
use toka_ledger::{EventId, Filter};

use crate::blob::Blob;
use crate::context::Input;
use crate::event::Event;
use crate::store::{Range, Store, StoreError};

/// What all kinds of this crate's own events begin with.
pub const KIND_PREFIX: &str = "toka.agent.";
/// What a handler was told while it dealt with the event that is the parent ([`Inputs`]).
pub const INPUTS: &str = "toka.agent.inputs";
/// The state of an agent after the event that is the parent ([`Snapshot`]).
pub const SNAPSHOT: &str = "toka.agent.snapshot";
/// That an agent could not deal with the event that is the parent ([`Parked`]). With a group beside the group's own parking
/// place, and right after it, or when an instance starts the next time.
pub const PARKED: &str = "toka.agent.parked";
/// Something that is to be done outside of the vault ([`crate::Effect`]).
pub const EFFECT: &str = "toka.agent.effect";
/// What became of the effect that is the parent ([`EffectDone`]).
pub const EFFECT_DONE: &str = "toka.agent.effect_done";

/// Attribute of every event that an agent has committed: the agent's name.
pub const BY: &str = "toka.agent";
/// Attribute of every event that an agent has committed as a reaction: the id of the event that it reacted to.
pub const CAUSE: &str = "toka.cause";
/// Attribute of an agent's snapshots: the agent's name. Of its own, so that the newest one is found without going over
/// everything that the agent has committed.
pub const SNAPSHOT_OF: &str = "toka.snapshot";
/// Attribute of an agent's effects, and of what became of them: the agent's name.
pub const EFFECT_OF: &str = "toka.effect";

/// Events that a reaction consists of at most; more are not read back.
const REACTION_EVENTS_MAX: usize = 1_000;

/// Payload of [`INPUTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// The agent.
    pub agent: String,
    /// In the order in which the handler has asked.
    pub inputs: Vec<Input>,
}

/// Payload of [`SNAPSHOT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The agent.
    pub agent: String,
    /// [`crate::Agent::STATE_VERSION`] of the state.
    pub version: u32,
    /// The last event that was folded into the state; it is the snapshot's parent.
    pub position: u64,
    /// The state, MessagePack.
    pub state: Blob,
}

/// Payload of [`PARKED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The agent.
    pub agent: String,
    /// Why.
    pub reason: String,
    /// How often it was tried; how often it was delivered, where it was recorded late.
    pub attempts: u32,
}

/// Payload of [`EFFECT_DONE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectDone {
    /// It was carried out, and this was the reply.
    Done {
        /// The reply.
        reply: Blob,
    },
    /// It was given up.
    Failed {
        /// Why.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
}

/// Everything that an agent has committed as its reaction to an event, in order; empty if it committed nothing, or has not
/// come to it yet. One that it was given again may have more than one: see [`newest`].
///
/// # Errors
/// [`StoreError`].
pub async fn reaction_to(
    store: &dyn Store,
    agent: &str,
    cause: EventId,
) -> Result<Vec<Event>, StoreError> {
    let range = Range {
        filter: Filter {
            attributes: vec![
                (CAUSE.to_owned(), cause.to_string()),
                (BY.to_owned(), agent.to_owned()),
            ],
            ..Filter::default()
        },
        limit: REACTION_EVENTS_MAX,
        ..Range::default()
    };
    let (mut events, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next
        && events.len() < REACTION_EVENTS_MAX
    {
        let page = store.list(range.clone().resume(after)).await?;
        events.extend(page.events);
        next = page.next;
    }
    Ok(events)
}

/// Of what an agent has committed for an event, what counts: that the event was parked does not any more, where it was dealt
/// with after all.
#[must_use]
pub fn newest(reaction: &[Event]) -> &[Event] {
    let is_parked = |event: &Event| event.kind() == PARKED;
    let Some(parked) = reaction.iter().rposition(is_parked) else {
        return reaction;
    };
    let at = reaction[parked].header.unix_ms;
    // What its handler was told then is in the same commit, and so of the same time.
    let is_told = |event: &Event| event.kind() == INPUTS && event.header.unix_ms == at;
    let told = reaction.get(parked + 1).is_some_and(is_told);
    match &reaction[parked + 1 + usize::from(told)..] {
        [] => &reaction[parked..],
        after => after,
    }
}

/// What the handler was told, among the events of a reaction.
#[must_use]
pub fn inputs_of(reaction: &[Event]) -> Vec<Input> {
    let inputs = newest(reaction).iter();
    inputs
        .filter(|event| event.kind() == INPUTS)
        .filter_map(|event| event.payload_as::<Inputs>().ok())
        .flat_map(|inputs| inputs.inputs)
        .collect()
}

/// Whether an event of a reaction is one that the handler has emitted, and none of this crate's own.
#[must_use]
pub fn is_emitted(event: &Event) -> bool {
    !event.kind().starts_with(KIND_PREFIX)
}
