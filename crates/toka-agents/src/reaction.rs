//! What a handler answers with.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use toka_ledger::command::Precondition;
use toka_ledger::{Digest, EventDraft, EventHeader, EventPayload, Invalid};

use crate::blob::Blob;
use crate::claims::ClaimStep;

/// Events, claims and effects of one reaction together, at most: with what this crate adds it must fit into one commit.
pub const REACTION_ITEMS_MAX: usize = 500;
/// Claims of one reaction at most: a commit has 64 preconditions.
pub const REACTION_CLAIMS_MAX: usize = 24;

/// What is to be committed, all of it or nothing, together with the move of the agent's cursor.
#[derive(Clone, Debug, Default)]
#[must_use = "a reaction does nothing until the handler returns it"]
pub struct Reaction {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) claims: Vec<ClaimStep>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) preconditions: Vec<Precondition>,
}

impl Reaction {
    /// Nothing: the event was only to be known.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds an event. The event that is reacted to becomes its parent, besides those that it names.
    pub fn emit(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    /// Adds a step of a claim: it is made only if it is still to be had. Of each link there is one next step at most.
    pub fn claim(mut self, step: ClaimStep) -> Self {
        self.claims.push(step);
        self
    }

    /// Adds something that is to be done outside of the vault, once the reaction is committed.
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Adds something that must hold of the vault before the commit. Where it does not, the reaction is refused
    /// ([`Agent::refused`](crate::Agent::refused)). A reaction that commits nothing requires nothing. Not for the agent's own
    /// cursor or group, which are in the commit already.
    pub fn require(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.claims.is_empty() && self.effects.is_empty()
    }
}

/// Whether an event is embedded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Embedding {
    /// By the agent's embedder, if it has one.
    Made,
    /// By the handler.
    Given,
    /// Not at all.
    None,
}

/// An event that a handler emits. It is embedded by the agent's [`Embedder`](crate::Embedder) unless it says something else.
///
/// It has no salt of its own: the agent makes one of its name, of the event that is reacted to and of the place in the
/// reaction. So a repeat of the same reaction is the same events.
#[derive(Clone, Debug)]
#[must_use = "an event is emitted by `Reaction::emit`"]
pub struct NewEvent {
    draft: EventDraft,
    kind: String,
    payload: Bytes,
    pub(crate) embedding: Embedding,
    invalid: Option<Invalid>,
}

impl NewEvent {
    /// An event of `kind` with an empty payload.
    pub fn new(kind: &str) -> Self {
        Self {
            draft: EventDraft::new(kind),
            kind: kind.to_owned(),
            payload: Bytes::new(),
            embedding: Embedding::Made,
            invalid: None,
        }
    }

    /// Sets the payload to `payload` as canonical MessagePack.
    pub fn payload<P: EventPayload + ?Sized>(mut self, payload: &P) -> Self {
        match payload.to_bytes() {
            Ok(bytes) => self.payload_bytes(bytes),
            Err(invalid) => {
                self.invalid.get_or_insert(invalid);
                self
            }
        }
    }

    /// Sets the payload's bytes, which need not be MessagePack.
    pub fn payload_bytes(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Adds a parent, beside the event that is reacted to.
    pub fn parent(self, parent: &EventHeader) -> Self {
        self.parent_digest(parent.digest)
    }

    /// Adds a parent by its digest.
    pub fn parent_digest(self, parent: Digest) -> Self {
        self.with(|draft| draft.parents_by_digest([parent]))
    }

    /// Adds the event that was emitted at `index` of the same reaction, an earlier one, as a parent.
    pub fn parent_in_reaction(self, index: u16) -> Self {
        self.with(|draft| draft.parent_in_batch(index))
    }

    /// Sets an attribute.
    pub fn attribute(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|draft| draft.attribute(name, value))
    }

    /// Sets the embedding, shape `[dimension]`, and the model that made it.
    pub fn embedding(mut self, components: &[f32], model: &str) -> Self {
        self.embedding = Embedding::Given;
        self.with(|draft| draft.embedding(components).model(model))
    }

    /// Has it not embedded.
    pub fn without_embedding(mut self) -> Self {
        self.embedding = Embedding::None;
        self
    }

    fn with(mut self, set: impl FnOnce(EventDraft) -> EventDraft) -> Self {
        self.draft = set(self.draft);
        self
    }

    /// Kind and payload, for an embedder.
    pub(crate) fn contents(&self) -> (&str, &[u8]) {
        (&self.kind, &self.payload)
    }

    pub(crate) fn into_draft(self) -> Result<EventDraft, Invalid> {
        match self.invalid {
            Some(invalid) => Err(invalid),
            None => Ok(self.draft.payload_bytes(self.payload)),
        }
    }
}

/// Something that is to be done outside of the vault: a message, a payment, a light.
///
/// It is committed with the reaction, carried out after that ([`Agent::perform`](crate::Agent::perform)), and what became of
/// it is committed too. A crash in between has it carried out again: outside of the vault it happens at least once, and
/// is recorded once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// What is to be done.
    pub name: String,
    /// With what, MessagePack.
    pub payload: Blob,
}

impl Effect {
    /// An effect with a payload.
    ///
    /// # Errors
    /// [`Invalid::Payload`] if the value's `Serialize` fails.
    pub fn new<P: EventPayload + ?Sized>(
        name: impl Into<String>,
        payload: &P,
    ) -> Result<Self, Invalid> {
        let payload = payload.to_bytes()?;
        Ok(Self {
            name: name.into(),
            payload: Blob(payload.to_vec()),
        })
    }

    /// The payload as a `T`.
    ///
    /// # Errors
    /// What the decoder says.
    pub fn payload_as<T: serde::de::DeserializeOwned>(
        &self,
    ) -> Result<T, rmp_serde::decode::Error> {
        rmp_serde::from_slice(&self.payload.0)
    }
}
