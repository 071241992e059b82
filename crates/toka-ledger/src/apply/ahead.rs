//! What the engine holds of the events of a whole call, looked up at once.
//!
//! A commit looks for its events and their payloads, mostly in vain, and a call has thousands of commits: one look-up for
//! each costs more than much of what else is done for it. Nothing is written before the call ends, so it makes no
//! difference when the look is taken. What was not looked up here is when it is needed.

use crate::command::{Command, ParentName};
use crate::core::Digest;
use crate::engine::Engine;
use crate::error::Error;
use crate::hash;
use crate::store::lookup;

/// Keys that the engine is asked for at once.
const KEYS_MAX: usize = 1_024;

/// Where events and payloads are that a call's commits ask for.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Sequences of events, by their digests.
    pub(super) events: Found,
    /// Sequences under which payloads are stored, by the payloads' digests.
    pub(super) payloads: Found,
}

impl Ahead {
    /// Looks up what `commands` ask for, whose events have these `digests`, as [`digests`] says.
    pub(super) fn look_up(
        engine: &dyn Engine,
        commands: &[Command],
        digests: &[Option<Digest>],
    ) -> Result<Self, Error> {
        if is_alone(commands) {
            return Ok(Self::default());
        }
        let mut events: Vec<Digest> = digests.iter().flatten().copied().collect();
        let mut payloads = Vec::with_capacity(digests.len());
        for event in commands.iter().flat_map(Command::events) {
            payloads.push(event.payload_digest);
            events.extend(event.parents.iter().filter_map(|name| match name {
                ParentName::Digest(digest) => Some(*digest),
                ParentName::Id(_) | ParentName::Batch(_) => None,
            }));
        }
        Ok(Self {
            events: Found::look_up(events, |keys| lookup::events(engine, keys))?,
            payloads: Found::look_up(payloads, |keys| lookup::payloads(engine, keys))?,
        })
    }
}

/// The digest of each event of `commands`, in order, where it is the same whatever is stored; nothing at all where there
/// is one commit alone, which looks for all its events at once anyway.
pub(super) fn digests(commands: &[Command]) -> Vec<Option<Digest>> {
    let mut digests = Vec::new();
    if is_alone(commands) {
        return digests;
    }
    for command in commands {
        let first = digests.len();
        for event in command.events() {
            let digest = parents(&digests[first..], &event.parents).map(|parents| {
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

/// The digests of an event's parents, sorted, without repeats, where their names are enough to tell. `earlier` has the
/// digests of the events before it in its commit.
fn parents(earlier: &[Option<Digest>], names: &[ParentName]) -> Option<Vec<Digest>> {
    let digest = |name: &ParentName| match name {
        ParentName::Digest(digest) => Some(*digest),
        ParentName::Batch(index) => earlier.get(usize::from(*index)).copied().flatten(),
        // Only its header says.
        ParentName::Id(_) => None,
    };
    let mut parents = names.iter().map(digest).collect::<Option<Vec<_>>>()?;
    parents.sort_unstable();
    parents.dedup();
    Some(parents)
}

/// What a table says of some digests, also that they are not there, and what the call has stored of them since.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Sorted by digest.
    sequences: Vec<(Digest, Option<u64>)>,
}

impl Found {
    fn look_up(
        mut digests: Vec<Digest>,
        read: impl Fn(&[Digest]) -> Result<Vec<Option<u64>>, Error>,
    ) -> Result<Self, Error> {
        digests.sort_unstable();
        digests.dedup();
        let mut sequences = Vec::with_capacity(digests.len());
        for some in digests.chunks(KEYS_MAX) {
            sequences.extend(some.iter().copied().zip(read(some)?));
        }
        Ok(Self { sequences })
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

    /// Takes note of something that is stored; `false`: it was not looked up, and must be kept elsewhere.
    pub(super) fn store(&mut self, digest: &Digest, sequence: u64) -> bool {
        let place = self.place(digest);
        if let Some(at) = place {
            self.sequences[at].1 = Some(sequence);
        }
        place.is_some()
    }

    /// What was found; `None`: it was not looked up.
    fn known(&self, digest: &Digest) -> Option<Option<u64>> {
        self.place(digest).map(|at| self.sequences[at].1)
    }

    fn place(&self, digest: &Digest) -> Option<usize> {
        let at = self
            .sequences
            .binary_search_by(|(known, _)| known.cmp(digest));
        at.ok()
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
        let looked_up = [3, 1, 2, 1].map(digest).to_vec();
        let mut found = Found::look_up(looked_up, stored).expect("reads");
        let known = found.find(&[3, 2, 1].map(digest), |_| panic!("all is known"));
        assert_eq!(known.expect("known"), [None, Some(2), Some(1)]);
        let read = found.find(&[1, 4].map(digest), |keys| Ok(vec![Some(9); keys.len()]));
        assert_eq!(read.expect("reads"), [Some(9); 2]);
        assert!(found.store(&digest(3), 4), "it was looked up");
        assert!(!found.store(&digest(5), 5), "it was not");
        let stored = [3, 2, 5].map(|n| found.stored(&digest(n)));
        assert_eq!(stored, [Some(4), Some(2), None]);
    }

    #[test]
    fn digests_of_parents_follow_from_names_but_ids() {
        let earlier = [Some(digest(7)), None];
        let names = [ParentName::Digest(digest(9)), ParentName::Batch(0)];
        assert_eq!(parents(&earlier, &names), Some([7, 9].map(digest).to_vec()));
        for unknown in [ParentName::Batch(1), ParentName::Batch(2)] {
            assert_eq!(parents(&earlier, &[unknown]), None);
        }
    }
}
