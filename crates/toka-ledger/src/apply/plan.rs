//! Deciding what a commit does, without changing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ahead::Foreseen;
use super::overlay::View;
use super::state::State;
use super::{Refused, preconditions};
use crate::command::{Commit, ParentName, PreparedEvent};
use crate::core::limits::SEQUENCE_END;
use crate::core::{Digest, EventHeader, EventId, Parent};
use crate::engine::Table;
use crate::error::{Error, Invalid, Rejection};
use crate::hash;
use crate::store::{encode_sequence, missing};

/// What a commit does to the vault.
#[derive(Debug)]
pub(super) struct Plan<'c> {
    /// For each event of the commit: what it is.
    pub(super) events: Vec<Planned>,
    /// The events to store, in order.
    pub(super) new: Vec<NewEvent<'c>>,
}

/// One event of a commit.
#[derive(Debug)]
pub(super) enum Planned {
    /// Stored already, before this commit.
    Stored(Arc<EventHeader>),
    /// This one of the new events.
    New(usize),
    /// Equal to this one of the new events, which comes before it in the commit.
    Repeated(usize),
}

/// An event to store.
#[derive(Debug)]
pub(super) struct NewEvent<'c> {
    pub(super) event: &'c PreparedEvent,
    pub(super) sequence: u64,
    pub(super) digest: Digest,
    pub(super) id: EventId,
    pub(super) parents: Vec<Parent>,
    /// Where the payload is stored already; `None`: it is stored with this event.
    pub(super) payload_sequence: Option<u64>,
    /// What was known of it before.
    pub(super) foreseen: Option<Foreseen>,
}

/// The digest of an event of the commit, and its parents' digests, sorted, without repeats.
struct Identity {
    digest: Digest,
    parents: Vec<Digest>,
    foreseen: Option<Foreseen>,
}

/// Decides what `commit` does to the vault that `view` and `state` (with the commit's time) show, and
/// which has embedded events or not. `foreseen` is what is known of the commit's events: of none, or of each.
pub(super) fn plan<'c>(
    view: View<'_>,
    state: &State,
    has_embeddings: bool,
    commit: &'c Commit,
    foreseen: &[Foreseen],
) -> Result<Plan<'c>, Refused> {
    let mut ids = BTreeMap::new();
    let identities = identities(view, commit, foreseen, &mut ids)?;
    let mut plan = deduplicate(view, state, commit, identities, ids)?;
    if plan.new.is_empty() {
        // A retry: what the preconditions asked for was so when the events were stored.
        return Ok(plan);
    }
    preconditions::check(view, state, &commit.preconditions)?;
    check_space(state, has_embeddings, commit, &plan)?;
    let payloads: Vec<_> = plan
        .new
        .iter()
        .map(|new| new.event.payload_digest)
        .collect();
    let mut repeated = BTreeMap::new();
    for (new, stored) in plan.new.iter_mut().zip(view.payloads(&payloads)?) {
        let digest = new.event.payload_digest;
        new.payload_sequence = stored.or_else(|| repeated.get(&digest).copied());
        if is_batch(commit) {
            repeated.entry(digest).or_insert(new.sequence);
        }
    }
    Ok(plan)
}

/// What [`plan`] makes of the commit that nearly all are, without the notes that it takes: of one event that is new and was
/// foreseen, without parents and embedding, on no condition. `None`: it is another one.
pub(super) fn single<'c>(
    view: View<'_>,
    state: &State,
    commit: &'c Commit,
    foreseen: &[Foreseen],
) -> Result<Option<NewEvent<'c>>, Rejection> {
    let ([event], [foreseen], []) = (&commit.events[..], foreseen, &commit.preconditions[..])
    else {
        return Ok(None);
    };
    let Some((digest, place)) = foreseen.event else {
        return Ok(None);
    };
    if !event.parents.is_empty() || event.embedding.is_some() || view.event_at(place).is_some() {
        return Ok(None);
    }
    debug_assert_eq!(
        digest,
        hash::event_digest(&event.kind, &event.payload_digest, &event.salt, &[])
    );
    let sequence = state.sequence() + 1;
    if sequence >= SEQUENCE_END {
        return Err(Rejection::Full);
    }
    Ok(Some(NewEvent {
        event,
        sequence,
        digest,
        id: EventId::new(state.unix_ms, sequence, &digest),
        parents: Vec::new(),
        payload_sequence: view.payload_at(foreseen.payload),
        foreseen: Some(*foreseen),
    }))
}

/// Whether events of the commit may refer to others of it. Nearly all commits are of one event, which spares them the
/// notes that are made for that.
fn is_batch(commit: &Commit) -> bool {
    commit.events.len() > 1
}

/// Resolves parents and computes digests, but those that were foreseen. `ids` takes the ids of the parents from before.
fn identities(
    view: View<'_>,
    commit: &Commit,
    foreseen: &[Foreseen],
    ids: &mut BTreeMap<Digest, EventId>,
) -> Result<Vec<Identity>, Refused> {
    let stored = stored_parents(view, commit)?;
    let mut identities: Vec<Identity> = Vec::with_capacity(commit.events.len());
    // Only a batch can name its own events, by index or by a digest that the client computed.
    let mut own = BTreeSet::new();
    for (index, event) in commit.events.iter().enumerate() {
        let mut parents = Vec::with_capacity(event.parents.len());
        for &name in &event.parents {
            let unknown = Rejection::UnknownParent {
                event: index,
                parent: name,
            };
            let digest = match name {
                ParentName::Batch(earlier) => {
                    let earlier = identities.get(usize::from(earlier)).ok_or(unknown)?;
                    earlier.digest
                }
                ParentName::Digest(digest) if own.contains(&digest) => digest,
                ParentName::Id(_) | ParentName::Digest(_) => {
                    let parent = stored.find(name).ok_or(unknown)?;
                    ids.insert(parent.digest, parent.id);
                    parent.digest
                }
            };
            parents.push(digest);
        }
        parents.sort_unstable();
        parents.dedup();
        let hash = || hash::event_digest(&event.kind, &event.payload_digest, &event.salt, &parents);
        let foreseen = foreseen.get(index).copied();
        let known = foreseen.and_then(|foreseen| foreseen.event);
        let digest = known.map_or_else(hash, |(digest, _)| digest);
        debug_assert_eq!(digest, hash());
        if is_batch(commit) {
            own.insert(digest);
        }
        identities.push(Identity {
            digest,
            parents,
            foreseen,
        });
    }
    Ok(identities)
}

/// The events that a commit names as parents and that the vault has.
struct StoredParents {
    by_sequence: BTreeMap<u64, Parent>,
    by_digest: BTreeMap<Digest, u64>,
}

impl StoredParents {
    fn find(&self, name: ParentName) -> Option<Parent> {
        match name {
            // All 128 bits must match.
            ParentName::Id(id) => self
                .by_sequence
                .get(&id.sequence())
                .copied()
                .filter(|parent| parent.id == id),
            ParentName::Digest(digest) => self
                .by_digest
                .get(&digest)
                .and_then(|at| self.by_sequence.get(at))
                .copied(),
            ParentName::Batch(_) => None,
        }
    }
}

fn stored_parents(view: View<'_>, commit: &Commit) -> Result<StoredParents, Error> {
    let mut sequences = Vec::new();
    let mut digests = Vec::new();
    for name in commit.events.iter().flat_map(|event| &event.parents) {
        match name {
            ParentName::Id(id) => sequences.push(id.sequence()),
            ParentName::Digest(digest) => digests.push(*digest),
            ParentName::Batch(_) => {}
        }
    }
    digests.sort_unstable();
    digests.dedup();
    let found = view.events(&digests)?;
    let by_digest: BTreeMap<_, _> = digests
        .into_iter()
        .zip(found)
        .filter_map(|(digest, sequence)| Some((digest, sequence?)))
        .collect();
    sequences.extend(by_digest.values());
    sequences.sort_unstable();
    sequences.dedup();
    let by_sequence = view
        .headers(&sequences)?
        .into_iter()
        .flatten()
        .map(|header| {
            (
                header.sequence,
                Parent {
                    digest: header.digest,
                    id: header.id,
                },
            )
        })
        .collect();
    Ok(StoredParents {
        by_sequence,
        by_digest,
    })
}

/// Tells new events from stored ones, and gives the new ones their place.
fn deduplicate<'c>(
    view: View<'_>,
    state: &State,
    commit: &'c Commit,
    identities: Vec<Identity>,
    mut ids: BTreeMap<Digest, EventId>,
) -> Result<Plan<'c>, Refused> {
    let digests: Vec<_> = identities.iter().map(|identity| identity.digest).collect();
    let sequences = view.events(&digests)?;
    let known: Vec<_> = sequences.iter().flatten().copied().collect();
    let mut stored = known
        .iter()
        .zip(view.headers(&known)?)
        .map(|(&sequence, header)| {
            header.ok_or_else(|| missing(Table::Headers, &encode_sequence(sequence)))
        });
    let mut plan = Plan {
        events: Vec::with_capacity(digests.len()),
        new: Vec::new(),
    };
    let is_batch = is_batch(commit);
    let mut places = BTreeMap::new();
    for ((event, identity), sequence) in commit.events.iter().zip(identities).zip(sequences) {
        let digest = identity.digest;
        if sequence.is_some() {
            let header = stored.next().expect("one for each sequence found")?;
            if is_batch {
                ids.insert(digest, header.id);
            }
            plan.events.push(Planned::Stored(header));
            continue;
        }
        if let Some(&place) = places.get(&digest) {
            plan.events.push(Planned::Repeated(place));
            continue;
        }
        let sequence = state.sequence() + 1 + plan.new.len() as u64;
        if sequence >= SEQUENCE_END {
            return Err(Rejection::Full.into());
        }
        let id = EventId::new(state.unix_ms, sequence, &digest);
        let parent = |digest: Digest| Parent {
            digest,
            id: ids[&digest],
        };
        let parents = identity.parents.into_iter().map(parent).collect();
        if is_batch {
            ids.insert(digest, id);
            places.insert(digest, plan.new.len());
        }
        plan.events.push(Planned::New(plan.new.len()));
        plan.new.push(NewEvent {
            event,
            sequence,
            digest,
            id,
            parents,
            payload_sequence: None,
            foreseen: identity.foreseen,
        });
    }
    Ok(plan)
}

/// All new embeddings must have the vault's dimension and be of its model, or else all of the same.
///
/// The first embedded event fixes the model. If it names none, the model is one without a name, and
/// none can be named later: nobody could tell whether it is the same. An embedding that comes without a
/// name is taken for one of the vault's model.
fn check_space(
    state: &State,
    has_embeddings: bool,
    commit: &Commit,
    plan: &Plan<'_>,
) -> Result<(), Rejection> {
    let settings = state.settings.as_ref();
    let mut dimension = settings
        .and_then(|settings| settings.dimension)
        .map(usize::from);
    let mut model = settings.and_then(|settings| settings.model.as_ref());
    let mut is_fixed = has_embeddings || model.is_some();
    for (index, (event, planned)) in commit.events.iter().zip(&plan.events).enumerate() {
        let (Planned::New(_), Some(embedding)) = (planned, &event.embedding) else {
            continue;
        };
        let invalid = |invalid| Rejection::Invalid {
            event: index,
            invalid,
        };
        if !is_fixed {
            model = event.model.as_ref();
            is_fixed = true;
        }
        // Says more than a dimension that differs.
        if let Some(actual) = &event.model
            && Some(actual) != model
        {
            return Err(invalid(Invalid::Model {
                field: "embedding_model",
                expected: model.map(ToString::to_string),
                actual: actual.to_string(),
            }));
        }
        let actual = embedding.dimension();
        let expected = *dimension.get_or_insert(actual);
        if actual != expected {
            return Err(invalid(Invalid::Dimension {
                field: "embedding",
                expected,
                actual,
            }));
        }
    }
    Ok(())
}
