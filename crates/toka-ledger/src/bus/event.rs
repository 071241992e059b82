//! An event that is put together step by step.

use bytes::Bytes;

use super::{Delivered, VaultBus};
use crate::command::Precondition;
use crate::core::{CursorName, Digest, EventHeader, EventId, EventPayload, Kind};
use crate::error::{Error, Invalid, ParentName};
use crate::prepare::EventDraft;

/// An event on its way into the vault; see [`VaultBus::event`].
///
/// Setters never fail: the first bad input comes back from [`EventCommit::commit`].
///
/// ```
/// # use toka_ledger::{Kind, VaultBus, command::Precondition, error::ParentName};
/// # #[tokio::main]
/// # async fn main() -> anyhow::Result<()> {
/// # let vault = VaultBus::builder().open_in_memory()?;
/// let task = vault.event("task.created").payload("water the plants").commit().await?;
///
/// // Of many agents exactly one gets the task.
/// let claim = || vault.event("task.claimed").parent(&task).unless_child(&task, "task.claimed");
/// assert!(claim().source("agent-1").commit().await.is_ok());
/// assert!(claim().source("agent-2").commit().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an event is stored by `commit`"]
pub struct EventCommit<'v> {
    vault: &'v VaultBus,
    draft: EventDraft,
    preconditions: Vec<Precondition>,
    invalid: Option<Invalid>,
}

impl<'v> EventCommit<'v> {
    pub(super) fn new(vault: &'v VaultBus, kind: &str) -> Self {
        Self {
            vault,
            draft: EventDraft::new(kind),
            preconditions: Vec::new(),
            invalid: None,
        }
    }

    fn with(mut self, set: impl FnOnce(EventDraft) -> EventDraft) -> Self {
        self.draft = set(self.draft);
        self
    }

    /// Says which model made the embedding; see [`EventDraft::model`]. Without it the embedding is taken for
    /// one of the model that the vault was opened for (`Builder::model`).
    pub fn model(self, model: &str) -> Self {
        self.with(|draft| draft.model(model))
    }

    /// Sets the payload to `payload` as canonical MessagePack.
    pub fn payload<P: EventPayload + ?Sized>(self, payload: &P) -> Self {
        self.with(|draft| draft.payload(payload))
    }

    /// Sets the payload's bytes, which need not be MessagePack.
    pub fn payload_bytes(self, payload: impl Into<Bytes>) -> Self {
        self.with(|draft| draft.payload_bytes(payload))
    }

    /// Adds a parent.
    pub fn parent(self, parent: &EventHeader) -> Self {
        self.with(|draft| draft.parent(parent))
    }

    /// Adds parents.
    pub fn parents<'h>(self, parents: impl IntoIterator<Item = &'h EventHeader>) -> Self {
        self.with(|draft| draft.parents(parents))
    }

    /// Adds parents by their ids.
    pub fn parents_by_id(self, parents: impl IntoIterator<Item = EventId>) -> Self {
        self.with(|draft| draft.parents_by_id(parents))
    }

    /// Adds parents by their digests.
    pub fn parents_by_digest(self, parents: impl IntoIterator<Item = Digest>) -> Self {
        self.with(|draft| draft.parents_by_digest(parents))
    }

    /// Makes a repeat of an event an event of its own: up to 32 bytes, to be kept on retry. A claim
    /// without one gets a random one.
    pub fn salt(self, salt: &[u8]) -> Self {
        self.with(|draft| draft.salt(salt))
    }

    /// Sets who emits the event.
    pub fn source(self, source: impl Into<String>) -> Self {
        self.with(|draft| draft.source(source))
    }

    /// Sets the payload's media type.
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        self.with(|draft| draft.content_type(content_type))
    }

    /// Sets an attribute.
    pub fn attribute(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|draft| draft.attribute(name, value))
    }

    /// Sets the embedding, shape `[dimension]`; it is normalised and quantised.
    pub fn embedding(self, components: &[f32]) -> Self {
        self.with(|draft| draft.embedding(components))
    }

    /// Sets the embedding from components that are quantised already, Q14, shape `[dimension]`.
    pub fn quantized(self, components: &[i16]) -> Self {
        self.with(|draft| draft.quantized(components))
    }

    /// Adds something that must hold of the vault before the commit.
    pub fn precondition(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    /// Commits only while `parent` has no child of `kind`: of many claimants exactly one succeeds.
    pub fn unless_child(mut self, parent: &EventHeader, kind: &str) -> Self {
        let parent = ParentName::Digest(parent.digest);
        let precondition = Kind::new(kind).map(|kind| Precondition::NoChild { parent, kind });
        self.add(precondition);
        self
    }

    /// Moves a cursor together with the event: both happen, or neither. A cursor that was never
    /// moved is at 0. Beyond this event it does not go ([`Rejection::PositionAhead`](crate::Rejection)).
    pub fn move_cursor(mut self, name: &str, from: u64, to: u64) -> Self {
        let name = CursorName::new(name);
        self.add(name.map(|name| Precondition::CursorMove { name, from, to }));
        self
    }

    /// Commits only while the last event whose kind starts with `prefix` is at `sequence`, 0 for none.
    pub fn last_of_prefix(mut self, prefix: &str, sequence: u64) -> Self {
        let precondition = Kind::new(prefix).map(|prefix| Precondition::KindPrefixSequence {
            prefix: prefix.to_string(),
            sequence,
        });
        self.add(precondition);
        self
    }

    /// Commits only while a delivery is its event's current one, and acknowledges it: both happen, or neither.
    /// On retry keep the salt; then it succeeds again, once it has succeeded.
    pub fn acknowledge(self, delivered: &Delivered) -> Self {
        self.precondition(delivered.precondition())
    }

    fn add(&mut self, precondition: Result<Precondition, Invalid>) {
        match precondition {
            Ok(precondition) => self.preconditions.push(precondition),
            Err(invalid) => {
                self.invalid.get_or_insert(invalid);
            }
        }
    }

    /// Commits the event, and waits until it is on stable storage.
    ///
    /// # Errors
    /// As [`VaultBus::commit`]; [`Rejection::Preconditions`](crate::Rejection) with all violations.
    pub async fn commit(self) -> Result<EventHeader, Error> {
        if let Some(invalid) = self.invalid {
            return Err(invalid.into());
        }
        self.vault.commit_one(self.draft, self.preconditions).await
    }
}
