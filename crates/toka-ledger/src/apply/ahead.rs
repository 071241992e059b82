//! What the engine holds of the events of a whole call, looked up at once.
//!
//! A commit looks for its events and their payloads, mostly in vain, and a call has thousands of commits: one look-up for
//! each costs more than much of what else is done for it. Nothing is written before the call ends, so it makes no
//! difference when the look is taken. What was not looked up here is when it is needed.

use std::sync::Arc;

use crate::command::{Command, ParentName};
use crate::core::{Digest, EventHeader};
use crate::engine::Engine;
use crate::error::Error;
use crate::hash;
use crate::read::Ring;
use crate::store::lookup;

/// Keys that the engine is asked for at once: RocksDB works on 32 at a time anyway, and notes of more of them only pass through
/// the caches.
const KEYS_MAX: usize = 256;

/// What a call's commits ask for.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Of parents that are named by their ids.
    pub(super) headers: Headers,
    /// Sequences of events, by their digests.
    pub(super) events: Found,
    /// Sequences under which payloads are stored, by the payloads' digests.
    pub(super) payloads: Found,
}

/// What is known of an event before it is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foreseen {
    /// Its digest, and the place of that in [`Ahead::events`], where it can be told beforehand.
    pub(super) event: Option<(Digest, Place)>,
    /// The place of its payload's digest in [`Ahead::payloads`].
    pub(super) payload: Place,
}

/// Where a digest is in a [`Found`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Ahead {
    /// Looks up what `commands` ask for in `engine`, whose last event is at `base` and of which `recent` has the newest.
    /// Also returns what is known of each of their events, in order; nothing of a commit that is alone, which looks for all
    /// its events at once anyway.
    pub(super) fn look_up(
        engine: &dyn Engine,
        recent: &Ring,
        base: u64,
        commands: &[Command],
    ) -> Result<(Self, Vec<Foreseen>), Error> {
        let headers = Headers::look_up(engine, recent, sequences(commands, base))?;
        if is_alone(commands) {
            let ahead = Self {
                headers,
                ..Self::default()
            };
            return Ok((ahead, Vec::new()));
        }
        let digests = digests(commands, &headers);
        let mut events: Vec<Digest> = digests.iter().flatten().copied().collect();
        let mut payloads = Vec::with_capacity(digests.len());
        for event in commands.iter().flat_map(Command::events) {
            payloads.push(event.payload_digest);
            events.extend(event.parents.iter().filter_map(|name| match name {
                ParentName::Digest(digest) => Some(*digest),
                ParentName::Id(_) | ParentName::Batch(_) => None,
            }));
        }
        let (events, event_places) = Found::look_up(&events, |keys| lookup::events(engine, keys))?;
        let (payloads, payload_places) =
            Found::look_up(&payloads, |keys| lookup::payloads(engine, keys))?;
        // The digests of the events come before those of parents, in order.
        let mut event_places = event_places.into_iter();
        let foreseen = digests.into_iter().zip(payload_places);
        let foreseen = foreseen.map(|(digest, payload)| Foreseen {
            event: digest.and_then(|digest| Some((digest, event_places.next()?))),
            payload,
        });
        let foreseen = foreseen.collect();
        let ahead = Self {
            headers,
            events,
            payloads,
        };
        Ok((ahead, foreseen))
    }
}

/// Where the parents that are named by their ids would be, up to `base`.
fn sequences(commands: &[Command], base: u64) -> Vec<u64> {
    let events = commands.iter().flat_map(Command::events);
    let names = events.flat_map(|event| &event.parents);
    names
        .filter_map(|name| match name {
            ParentName::Id(id) => Some(id.sequence()).filter(|sequence| *sequence <= base),
            ParentName::Digest(_) | ParentName::Batch(_) => None,
        })
        .collect()
}

/// The digest of each event of `commands`, in order, where the parents' names and `headers` are enough to tell.
fn digests(commands: &[Command], headers: &Headers) -> Vec<Option<Digest>> {
    let mut digests = Vec::new();
    for command in commands {
        let first = digests.len();
        for event in command.events() {
            let parents = parents(&digests[first..], &event.parents, headers);
            let digest = parents.map(|parents| {
                hash::event_digest(&event.kind, &event.payload_digest, &event.salt, &parents)
            });
            digests.push(digest);
        }
    }
    digests
}

/// Whether at most one of the commands has events.
fn is_alone(commands: &[Command]) -> bool {
    let with_events = commands
        .iter()
        .filter(|command| !command.events().is_empty());
    with_events.take(2).count() < 2
}

/// The digests of an event's parents, sorted, without repeats. `earlier` has the digests of the events before it in its
/// commit.
fn parents(
    earlier: &[Option<Digest>],
    names: &[ParentName],
    headers: &Headers,
) -> Option<Vec<Digest>> {
    let digest = |name: &ParentName| match name {
        ParentName::Digest(digest) => Some(*digest),
        ParentName::Batch(index) => earlier.get(usize::from(*index)).copied().flatten(),
        // All 128 bits must match.
        ParentName::Id(id) => {
            let header = headers.get(id.sequence());
            let header = header.filter(|header| header.id == *id)?;
            Some(header.digest)
        }
    };
    let mut parents = names.iter().map(digest).collect::<Option<Vec<_>>>()?;
    parents.sort_unstable();
    parents.dedup();
    Some(parents)
}

/// Some headers.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Sorted by sequence.
    headers: Vec<Arc<EventHeader>>,
}

impl Headers {
    /// Those at `sequences`, where there are any.
    fn look_up(engine: &dyn Engine, recent: &Ring, mut sequences: Vec<u64>) -> Result<Self, Error> {
        if sequences.is_empty() {
            return Ok(Self::default());
        }
        sequences.sort_unstable();
        sequences.dedup();
        // What was written last is what most new events follow on, and needs not be read.
        let recent = recent.find(&sequences);
        let is_old = |at: &usize| recent[*at].is_none();
        let old = (0..sequences.len()).filter(is_old);
        let old: Vec<u64> = old.map(|at| sequences[at]).collect();
        let mut headers: Vec<_> = recent.into_iter().flatten().collect();
        for some in old.chunks(KEYS_MAX) {
            headers.extend(lookup::headers(engine, some)?.into_iter().flatten());
        }
        headers.sort_unstable_by_key(|header| header.sequence);
        Ok(Self { headers })
    }

    /// The header at `sequence`, if it was looked up and is there.
    pub(super) fn get(&self, sequence: u64) -> Option<&Arc<EventHeader>> {
        let headers = &self.headers;
        let at = headers.binary_search_by_key(&sequence, |header| header.sequence);
        at.ok().map(|at| &headers[at])
    }
}

/// What a table says of some digests, also that they are not there, and what the call has stored of them since.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Sorted, without repeats.
    digests: Vec<Digest>,
    /// Of each of them.
    sequences: Vec<Option<u64>>,
}

impl Found {
    /// Also returns the place of each of `digests`, in their order.
    fn look_up(
        digests: &[Digest],
        read: impl Fn(&[Digest]) -> Result<Vec<Option<u64>>, Error>,
    ) -> Result<(Self, Vec<Place>), Error> {
        let mut in_order: Vec<(Digest, usize)> = digests.iter().copied().zip(0..).collect();
        in_order.sort_unstable();
        let mut places = vec![Place(0); digests.len()];
        let mut digests: Vec<Digest> = Vec::with_capacity(digests.len());
        for (digest, index) in in_order {
            if digests.last() != Some(&digest) {
                digests.push(digest);
            }
            places[index] = Place(digests.len() - 1);
        }
        let mut sequences = Vec::with_capacity(digests.len());
        for some in digests.chunks(KEYS_MAX) {
            sequences.extend(read(some)?);
        }
        let found = Self { digests, sequences };
        Ok((found, places))
    }

    /// The sequence of each of `digests`, which `read` is asked for unless all of them were looked up.
    pub(super) fn find(
        &self,
        digests: &[Digest],
        read: impl FnOnce(&[Digest]) -> Result<Vec<Option<u64>>, Error>,
    ) -> Result<Vec<Option<u64>>, Error> {
        match digests.iter().map(|digest| self.known(digest)).collect() {
            Some(sequences) => Ok(sequences),
            None => read(digests),
        }
    }

    /// Where something that was looked up is: it was found, or was stored since.
    pub(super) fn stored(&self, digest: &Digest) -> Option<u64> {
        self.known(digest).flatten()
    }

    /// As [`Found::stored`], of what is at a place.
    pub(super) fn stored_at(&self, place: Place) -> Option<u64> {
        self.sequences[place.0]
    }

    /// Takes note of something that is stored; `false`: it was not looked up, and must be kept elsewhere.
    pub(super) fn store(&mut self, digest: &Digest, sequence: u64) -> bool {
        let place = self.place(digest);
        if let Some(place) = place {
            self.store_at(place, sequence);
        }
        place.is_some()
    }

    /// As [`Found::store`], of what is at a place.
    pub(super) fn store_at(&mut self, place: Place, sequence: u64) {
        self.sequences[place.0] = Some(sequence);
    }

    /// What was found; `None`: it was not looked up.
    fn known(&self, digest: &Digest) -> Option<Option<u64>> {
        self.place(digest).map(|place| self.stored_at(place))
    }

    fn place(&self, digest: &Digest) -> Option<Place> {
        self.digests.binary_search(digest).ok().map(Place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    #[test]
    fn what_was_looked_up_is_not_read_again() {
        let stored = |keys: &[Digest]| {
            assert!(keys.is_sorted_by(|a, b| a < b), "each once, in order");
            let sequence = |key: &Digest| (key.0[0] < 3).then_some(u64::from(key.0[0]));
            Ok(keys.iter().map(sequence).collect())
        };
        let looked_up = [3, 1, 2, 1].map(digest);
        let (mut found, places) = Found::look_up(&looked_up, stored).expect("reads");
        assert_eq!(places, [2, 0, 1, 0].map(Place));
        let known = found.find(&[3, 2, 1].map(digest), |_| panic!("all is known"));
        assert_eq!(known.expect("known"), [None, Some(2), Some(1)]);
        let read = found.find(&[1, 4].map(digest), |keys| Ok(vec![Some(9); keys.len()]));
        assert_eq!(read.expect("reads"), [Some(9); 2]);
        assert!(found.store(&digest(3), 4), "it was looked up");
        assert!(!found.store(&digest(5), 5), "it was not");
        let stored = [3, 2, 5].map(|n| found.stored(&digest(n)));
        assert_eq!(stored, [Some(4), Some(2), None]);
        found.store_at(Place(1), 6);
        let stored = places.iter().map(|place| found.stored_at(*place));
        assert!(stored.eq([Some(4), Some(1), Some(6), Some(1)]));
    }

    #[test]
    fn digests_of_parents_follow_from_names() {
        let headers = Headers::default();
        let parents =
            |earlier: &[Option<Digest>], names: &[ParentName]| parents(earlier, names, &headers);
        let earlier = [Some(digest(7)), None];
        let names = [ParentName::Digest(digest(9)), ParentName::Batch(0)];
        assert_eq!(parents(&earlier, &names), Some([7, 9].map(digest).to_vec()));
        for unknown in [ParentName::Batch(1), ParentName::Batch(2)] {
            assert_eq!(parents(&earlier, &[unknown]), None);
        }
    }
}
