//! Taking what a fork has over into a real vault.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::{DIFFERENCE_EVENTS_MAX, Fork};
use crate::bus::VaultBus;
use crate::command::Precondition;
use crate::core::limits::{BATCH_EVENTS_MAX, PRECONDITIONS_MAX};
use crate::core::{Digest, EmbeddingModel, EventHeader};
use crate::error::{Error, Invalid, ParentName};
use crate::prepare::EventDraft;
use crate::read::Selector;

/// What a fork has that its base has not, as one commit for whatever vault has the events that it builds upon: the
/// base, or one that goes on from it.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The events, in the fork's order. Parents are named by their digests, which are the same in every vault, and
    /// those that are in the commit itself by their place in it. Where the preconditions make it a claim, events
    /// without a salt get one, and so another digest than in the fork.
    pub events: Vec<EventDraft>,
    /// What the fork's commits asked of events that it shares with the base, to be asked again.
    pub preconditions: Vec<Precondition>,
}

impl Fork {
    /// What [`Fork::commit_to`] commits. Cursors and groups of the fork are not part of it: the sequences that they
    /// name mean nothing elsewhere.
    ///
    /// # Errors
    /// [`Invalid::TooMany`] for more events than one commit has, 1,000; [`Error::Corrupt`], [`Error::Engine`].
    pub fn merge(&self) -> Result<Merge, Error> {
        let new = self.vault.position().sequence - self.sequence;
        let new = usize::try_from(new).unwrap_or(usize::MAX);
        if new > DIFFERENCE_EVENTS_MAX {
            return Err(too_many(new).into());
        }
        let only = self.difference()?.fork_only;
        if only.len() > BATCH_EVENTS_MAX {
            return Err(too_many(only.len()).into());
        }
        let places: BTreeMap<Digest, u16> =
            only.iter().map(|event| event.digest).zip(0_u16..).collect();
        let model = self.vault.settings()?.model;
        let drafts = only
            .iter()
            .map(|event| self.draft(event, &places, model.as_ref()));
        Ok(Merge {
            events: drafts.collect::<Result<_, _>>()?,
            preconditions: self.lock().clone(),
        })
    }

    /// Commits what the fork has and the base has not to `target`, in one atomic commit. Returns the headers there, in
    /// the fork's order; none if there is nothing new. The fork stays as it is.
    ///
    /// # Errors
    /// [`Rejection::Preconditions`](crate::Rejection) with all violations, where something that the fork's commits
    /// asked for does not hold any more: a task was claimed by somebody else, say.
    /// [`Rejection::UnknownParent`](crate::Rejection) if `target` is no vault that goes on from the base. Those of
    /// [`Fork::merge`], and as [`VaultBus::commit_batch_if`].
    pub async fn commit_to(&self, target: &VaultBus) -> Result<Vec<EventHeader>, Error> {
        let merge = self.merge()?;
        if merge.events.is_empty() {
            return Ok(Vec::new());
        }
        let preconditions = merge.preconditions;
        target.commit_batch_if(merge.events, preconditions).await
    }

    fn draft(
        &self,
        event: &EventHeader,
        places: &BTreeMap<Digest, u16>,
        model: Option<&EmbeddingModel>,
    ) -> Result<EventDraft, Error> {
        let mut draft = EventDraft::new(event.kind.as_str())
            .payload_bytes(self.vault.payload_bytes(event)?)
            .salt(event.salt.as_bytes())
            .attributes(event.attributes.clone());
        for parent in &event.parents {
            let place = places.get(&parent.digest);
            let name = place.map_or(ParentName::Digest(parent.digest), |&place| {
                ParentName::Batch(place)
            });
            draft = draft.parent_by_name(name);
        }
        if let Some(embedding) = self.vault.embedding(event)? {
            draft = draft.quantized_bytes(embedding.as_bytes().clone());
            if let Some(model) = model {
                draft = draft.model(model.as_str());
            }
        }
        Ok(draft)
    }

    /// Those preconditions that can be asked of the base again.
    pub(super) fn shared(
        &self,
        preconditions: &[Precondition],
    ) -> Result<Vec<Precondition>, Error> {
        let mut shared = Vec::new();
        for precondition in preconditions {
            shared.extend(self.of_base(precondition)?);
        }
        Ok(shared)
    }

    fn of_base(&self, precondition: &Precondition) -> Result<Option<Precondition>, Error> {
        Ok(match precondition {
            Precondition::NoChild { parent, kind } => {
                let selector = match parent {
                    ParentName::Id(id) => Selector::Id(*id),
                    ParentName::Digest(digest) => Selector::Digest(*digest),
                    ParentName::Batch(_) => return Ok(None),
                };
                let parent = self.vault.reader().header(&selector)?;
                parent
                    .filter(|parent| parent.sequence <= self.sequence)
                    .map(|parent| Precondition::NoChild {
                        parent: ParentName::Digest(parent.digest),
                        kind: kind.clone(),
                    })
            }
            // A later one is the fork's.
            Precondition::KindSequence { sequence, .. }
            | Precondition::KindPrefixSequence { sequence, .. } => {
                (*sequence <= self.sequence).then(|| precondition.clone())
            }
            Precondition::TimePassed { .. } => Some(precondition.clone()),
            Precondition::CursorMove { .. } | Precondition::Acknowledge { .. } => None,
        })
    }

    /// Keeps what was asked. One more than a commit can have is as good as all of them: it is refused.
    pub(super) fn keep(&self, asked: Vec<Precondition>) {
        let mut kept = self.lock();
        for precondition in asked {
            if kept.len() <= PRECONDITIONS_MAX && !kept.contains(&precondition) {
                kept.push(precondition);
            }
        }
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Precondition>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn too_many(actual: usize) -> Invalid {
    Invalid::TooMany {
        field: "events",
        max: BATCH_EVENTS_MAX,
        actual,
    }
}
