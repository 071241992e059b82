//! From a reaction to the events of a commit. No clock and no randomness: the same reaction is the same events.

use std::collections::BTreeSet;

use toka_ledger::command::Precondition;
use toka_ledger::{Digest, EventDraft, EventHeader, Invalid};

use crate::context::Input;
use crate::embed::Embedder;
use crate::error::BoxError;
use crate::reaction::{Effect, Embedding, REACTION_CLAIMS_MAX, REACTION_ITEMS_MAX, Reaction};
use crate::record::{BY, CAUSE, EFFECT, EFFECT_OF, INPUTS, Inputs, PARKED, Parked};

/// Salt of an event, bytes.
const SALT_BYTES: usize = 16;
/// Context of the hash that makes salts.
const SALT_CONTEXT: &str = "toka-agents v1 salt";

/// What is committed for one event.
#[derive(Clone, Debug)]
pub struct Batch {
    agent: String,
    cause: Digest,
    /// The events, in their order: what the handler has emitted, links of claims, effects, and what this crate adds.
    pub events: Vec<EventDraft>,
    /// What must hold, besides that the cursor is where it is, or the delivery is current.
    pub preconditions: Vec<Precondition>,
    /// How many of the events the handler has emitted.
    pub emitted: usize,
    /// Effects, and where among the events they are.
    pub effects: Vec<(usize, Effect)>,
    /// Whether the last event is a snapshot.
    has_snapshot: bool,
}

impl Batch {
    /// What the reaction of an agent of that name to `cause` is committed as, with what its handler was told.
    ///
    /// # Errors
    /// [`Invalid`]: a reaction with more than [`REACTION_ITEMS_MAX`] events, claims and effects or [`REACTION_CLAIMS_MAX`]
    /// claims, with two claims that follow the same link, or with a payload that serde could not write.
    pub fn of(
        agent: &str,
        cause: &EventHeader,
        reaction: Reaction,
        inputs: Vec<Input>,
    ) -> Result<Self, Invalid> {
        check(&reaction)?;
        let mut batch = Self::empty(agent, cause);
        batch.preconditions = reaction.preconditions;
        batch.emitted = reaction.events.len();
        for event in reaction.events {
            let draft = event
                .into_draft()?
                .parent(cause)
                .attribute(CAUSE, cause.id.to_string());
            batch.push(draft);
        }
        for step in reaction.claims {
            // Not a child of the cause: where that is a link of another chain, this one would be in its way.
            let (draft, preconditions) = step.into_parts(&batch.salt());
            let draft = draft
                .attribute(BY, agent)
                .attribute(CAUSE, cause.id.to_string());
            batch.events.push(draft);
            batch.preconditions.extend(preconditions);
        }
        for effect in reaction.effects {
            let draft = EventDraft::new(EFFECT).payload(&effect).parent(cause);
            let draft = draft.attribute(EFFECT_OF, agent);
            batch.effects.push((batch.events.len(), effect));
            batch.push(draft.attribute(CAUSE, cause.id.to_string()));
        }
        batch.push_inputs(cause, inputs);
        Ok(batch)
    }

    /// What is committed for an event that the agent could not deal with.
    pub(crate) fn parked(
        agent: &str,
        cause: &EventHeader,
        reason: String,
        attempts: u32,
        inputs: Vec<Input>,
    ) -> Self {
        let mut batch = Self::empty(agent, cause);
        let parked = Parked {
            agent: agent.to_owned(),
            reason,
            attempts,
        };
        let draft = EventDraft::new(PARKED).payload(&parked).parent(cause);
        batch.push(draft.attribute(CAUSE, cause.id.to_string()));
        batch.push_inputs(cause, inputs);
        batch
    }

    pub(crate) fn empty(agent: &str, cause: &EventHeader) -> Self {
        Self {
            agent: agent.to_owned(),
            cause: cause.digest,
            events: Vec::new(),
            preconditions: Vec::new(),
            emitted: 0,
            effects: Vec::new(),
            has_snapshot: false,
        }
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event, with the agent's name and a salt.
    pub(crate) fn push(&mut self, draft: EventDraft) {
        let salt = self.salt();
        let draft = draft.source(self.agent.clone());
        let draft = draft.attribute(BY, self.agent.clone()).salt(&salt);
        self.events.push(draft);
    }

    /// Adds a snapshot, after everything else.
    pub(crate) fn push_snapshot(&mut self, snapshot: EventDraft) {
        self.push(snapshot);
        self.has_snapshot = true;
    }

    pub(crate) const fn has_snapshot(&self) -> bool {
        self.has_snapshot
    }

    /// Takes the snapshot back; false if there is none.
    pub(crate) fn drop_snapshot(&mut self) -> bool {
        if self.has_snapshot {
            self.events.pop();
        }
        std::mem::take(&mut self.has_snapshot)
    }

    fn push_inputs(&mut self, cause: &EventHeader, inputs: Vec<Input>) {
        if inputs.is_empty() {
            return;
        }
        let inputs = Inputs {
            agent: self.agent.clone(),
            inputs,
        };
        let draft = EventDraft::new(INPUTS).payload(&inputs).parent(cause);
        self.push(draft.attribute(CAUSE, cause.id.to_string()));
    }

    /// The salt of the next event: of the agent's name, of what it reacts to, and of the place in the reaction. Two agents
    /// that say the same of one event say it each, and one that says it twice says it once.
    fn salt(&self) -> [u8; SALT_BYTES] {
        let mut hasher = blake3::Hasher::new_derive_key(SALT_CONTEXT);
        hasher.update(&(self.agent.len() as u64).to_le_bytes());
        hasher.update(self.agent.as_bytes());
        hasher.update(self.cause.as_bytes());
        hasher.update(&(self.events.len() as u64).to_le_bytes());
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&hasher.finalize().as_bytes()[..SALT_BYTES]);
        salt
    }
}

fn check(reaction: &Reaction) -> Result<(), Invalid> {
    let (claims, effects) = (reaction.claims.len(), reaction.effects.len());
    let items = reaction.events.len() + claims + effects;
    let needed = reaction.claims.iter().map(|step| step.preconditions());
    let preconditions = reaction.preconditions.len() + needed.sum::<usize>();
    let limits = [
        ("reaction", REACTION_ITEMS_MAX, items),
        ("reaction.claims", REACTION_CLAIMS_MAX, claims),
        (
            "reaction.preconditions",
            2 * REACTION_CLAIMS_MAX,
            preconditions,
        ),
    ];
    for (field, max, actual) in limits {
        if actual > max {
            return Err(Invalid::TooMany { field, max, actual });
        }
    }
    // Preconditions are looked at before the commit, so each of two steps would find its place free, and the chain fork.
    let mut places = BTreeSet::new();
    if reaction
        .claims
        .iter()
        .all(|step| places.insert(step.place()))
    {
        return Ok(());
    }
    Err(Invalid::Syntax {
        field: "reaction.claims",
        expected: "at most one step after each link",
    })
}

/// Makes the embeddings of the events that are to have one.
pub(crate) async fn embed(
    reaction: &mut Reaction,
    embedder: &dyn Embedder,
) -> Result<(), BoxError> {
    for event in &mut reaction.events {
        if event.embedding == Embedding::Made {
            let (kind, payload) = event.contents();
            let components = embedder.embed(kind, payload).await?;
            *event = event.clone().embedding(&components, embedder.model());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
