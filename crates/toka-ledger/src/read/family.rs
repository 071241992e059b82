//! The descendants of events: sets that are made once, shared by all readers, and extended as the history
//! grows.
//!
//! A set is made by a walk over the index of children, lowest sequence first: since a child comes after its
//! parents, the set is complete up to the event that the walk has come to. Later it is extended by whichever
//! is cheaper: by the parents of the headers since (the newest are in memory), or by another walk. Nothing
//! ever leaves a set, since events are never deleted. A set that was dropped to save memory is made anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use roaring::RoaringTreemap;

use super::{Reader, Ring, Selector};
use crate::core::EventHeader;
use crate::engine::{Direction, Engine, Table};
use crate::error::{Error, Invalid};
use crate::store::{children, corrupt, decode_sequence, encode_sequence, lookup, missing};

/// Descendants of an event by which can be filtered.
pub const DESCENDANTS_MAX: u64 = 1_000_000;
/// Descendants in all sets that are kept: some megabytes where they are dense, some hundred where no two of
/// them are near each other. The set that is in use is kept in any case.
pub const DESCENDANTS_KEPT_MAX: u64 = 4_000_000;
/// Sets that are kept.
const SETS_MAX: usize = 4_096;
/// Members whose children are looked up, or headers that are looked at, before other readers of the set have
/// a turn.
const STEP_EVENTS: u64 = 512;
/// Headers that are looked at rather than walking a small set again.
const SCAN_MIN: u64 = 1_024;

/// The sets of a vault.
#[derive(Debug, Default)]
pub(super) struct Families {
    sets: Mutex<Sets>,
}

#[derive(Debug, Default)]
struct Sets {
    by_root: BTreeMap<u64, Kept>,
    /// Grows with every use.
    used: u64,
}

#[derive(Debug)]
struct Kept {
    family: Arc<Family>,
    used: u64,
}

/// The descendants of one event, as far as they are known.
#[derive(Debug)]
pub(crate) struct Family {
    set: Mutex<Set>,
    /// Members of `set`, for those who do not want to wait for it.
    members: AtomicU64,
}

#[derive(Debug)]
struct Set {
    root: u64,
    members: RoaringTreemap,
    /// How many there are: the set itself would have to add that up.
    count: u64,
    /// Every descendant up to this sequence was known before the walk that is under way began.
    floor: u64,
    /// Last sequence that the walk takes.
    head: u64,
    /// Members whose children the walk has looked up; they are the first ones. `None`: not even the root's.
    walked: Option<u64>,
    /// There are more than a set may have.
    is_too_large: bool,
}

impl Family {
    fn new(root: u64, head: u64) -> Self {
        Self {
            set: Mutex::new(Set {
                root,
                members: RoaringTreemap::new(),
                count: 0,
                floor: root,
                head,
                walked: None,
                is_too_large: false,
            }),
            members: AtomicU64::new(0),
        }
    }

    /// Whether the event at `sequence`, up to which the set is complete, is a member.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.set.lock().members.contains(sequence)
    }

    /// How many members there are above `after` and up to `until`.
    pub(super) fn count(&self, after: u64, until: u64) -> u64 {
        let set = self.set.lock();
        set.members.rank(until) - set.members.rank(after)
    }

    /// The members above `after` and up to `until`, up to which the set is complete, in order.
    pub(super) fn members(
        self: Arc<Self>,
        after: u64,
        until: u64,
        direction: Direction,
    ) -> impl Iterator<Item = u64> {
        let (first, end) = {
            let set = self.set.lock();
            (set.members.rank(after), set.members.rank(until))
        };
        // What is found later comes behind these: their numbers do not change.
        (first..end).filter_map(move |number| {
            let number = match direction {
                Direction::Forward => number,
                Direction::Backward => end - 1 - (number - first),
            };
            self.set.lock().members.select(number)
        })
    }

    /// Makes the set complete up to `until`, or as far as `go_on` allows; returns up to which sequence it is.
    fn complete(
        &self,
        reader: &Reader,
        until: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Result<u64, Error> {
        loop {
            let (head, engine) = (reader.position().sequence, reader.engine());
            let mut set = self.set.lock();
            if set.is_too_large {
                return Err(set.too_large());
            }
            let complete = set.complete();
            if complete >= until || !go_on() {
                return Ok(complete);
            }
            let stepped = set.step(&*engine, reader.ring(), head);
            self.members.store(set.count, Ordering::Relaxed);
            stepped?;
        }
    }
}

impl Set {
    /// The next event whose children the walk looks up; `None` at its end.
    fn next(&self) -> Option<u64> {
        match self.walked {
            None => Some(self.root),
            Some(walked) => self.members.select(walked),
        }
    }

    /// Every descendant up to this sequence is a member.
    fn complete(&self) -> u64 {
        match self.next() {
            None => self.head,
            // Its own descendants come after it.
            Some(next) => self.floor.max(next.min(self.head)),
        }
    }

    fn step(&mut self, engine: &dyn Engine, ring: &Ring, head: u64) -> Result<(), Error> {
        if self.next().is_some() {
            return self.walk(engine);
        }
        if head - self.head <= self.count.max(SCAN_MIN) {
            return self.scan(engine, ring, head);
        }
        self.floor = self.head;
        self.head = head;
        self.walked = None;
        self.walk(engine)
    }

    fn walk(&mut self, engine: &dyn Engine) -> Result<(), Error> {
        for _ in 0..STEP_EVENTS {
            let Some(parent) = self.next() else {
                return Ok(());
            };
            let (lower, upper) = (encode_sequence(parent), encode_sequence(parent + 1));
            for row in engine.scan(Table::Children, &lower, Some(&upper), Direction::Forward) {
                let (key, _) = row?;
                let (_, _, child) =
                    children::decode_key(&key).map_err(corrupt(Table::Children, &key))?;
                // Those after `head` are for the next time: not all of their parents' are there yet.
                if child <= self.head {
                    self.insert(child)?;
                }
            }
            self.walked = Some(self.walked.map_or(0, |walked| walked + 1));
        }
        Ok(())
    }

    /// Looks at the parents of the next headers.
    fn scan(&mut self, engine: &dyn Engine, ring: &Ring, head: u64) -> Result<(), Error> {
        let until = head.min(self.head + STEP_EVENTS);
        let recent = ring.range(self.head);
        if let Some(recent) = recent.filter(|recent| !recent.is_empty()) {
            let recent = recent.iter().take_while(|header| header.sequence <= head);
            for header in recent {
                self.take(header)?;
            }
            return Ok(());
        }
        let (lower, upper) = (encode_sequence(self.head + 1), encode_sequence(until + 1));
        for row in engine.scan(Table::Headers, &lower, Some(&upper), Direction::Forward) {
            let (key, value) = row?;
            let sequence = decode_sequence(&key).map_err(corrupt(Table::Headers, &key))?;
            if sequence != self.head + 1 {
                break;
            }
            let header = lookup::decode_header(sequence, value)?;
            self.take(&header)?;
        }
        if self.head < until {
            return Err(missing(Table::Headers, &encode_sequence(self.head + 1)));
        }
        Ok(())
    }

    /// Takes the header after `head`.
    fn take(&mut self, header: &EventHeader) -> Result<(), Error> {
        let is_member = |parent: u64| parent == self.root || self.members.contains(parent);
        if header
            .parents
            .iter()
            .any(|parent| is_member(parent.id.sequence()))
        {
            self.insert(header.sequence)?;
        }
        self.head = header.sequence;
        // The walk has ended: nobody looks up the children of what is found like this.
        self.walked = Some(self.count);
        Ok(())
    }

    fn insert(&mut self, sequence: u64) -> Result<(), Error> {
        self.count += u64::from(self.members.insert(sequence));
        if self.count <= DESCENDANTS_MAX {
            return Ok(());
        }
        // The members stay: somebody may be reading those up to where the set was complete.
        self.is_too_large = true;
        Err(self.too_large())
    }

    fn too_large(&self) -> Error {
        let max = usize::try_from(DESCENDANTS_MAX).expect("a million fits");
        Error::Invalid(Invalid::TooMany {
            field: "filter.descendants_of",
            max,
            // At least: they were not counted to the end.
            actual: max + 1,
        })
    }
}

impl Families {
    /// The set of the event at `root`, which is at most `head`.
    fn family(&self, root: u64, head: u64) -> Arc<Family> {
        let mut sets = self.sets.lock();
        sets.used += 1;
        let used = sets.used;
        let kept = sets.by_root.entry(root).or_insert_with(|| Kept {
            family: Arc::new(Family::new(root, head)),
            used,
        });
        kept.used = used;
        Arc::clone(&kept.family)
    }

    /// Drops the sets that were not used for longest, while there are too many, or too many members.
    fn trim(&self) {
        let mut sets = self.sets.lock();
        let members = |kept: &Kept| kept.family.members.load(Ordering::Relaxed);
        let mut total: u64 = sets.by_root.values().map(members).sum();
        while sets.by_root.len() > 1
            && (total > DESCENDANTS_KEPT_MAX || sets.by_root.len() > SETS_MAX)
        {
            let oldest = sets.by_root.iter().min_by_key(|(_, kept)| kept.used);
            let Some((&root, kept)) = oldest else { return };
            total = total.saturating_sub(members(kept));
            sets.by_root.remove(&root);
        }
    }
}

impl Reader {
    /// Sequence of the event whose descendants a filter wants.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the vault, as far as it has come here, does not have it; [`Error::Engine`],
    /// [`Error::Corrupt`].
    pub fn filter_root(&self, selector: &Selector) -> Result<u64, Error> {
        let head = self.position().sequence;
        let sequence = match selector {
            Selector::Sequence(sequence) => Some(*sequence).filter(|at| 0 < *at && *at <= head),
            Selector::Id(_) | Selector::Digest(_) => {
                self.header(selector)?.map(|header| header.sequence)
            }
        };
        sequence.ok_or_else(|| Error::NotFound {
            name: selector.to_string(),
        })
    }

    /// The descendants of an event, and up to which sequence they are complete: `until`, unless `go_on` says
    /// no before that.
    pub(super) fn family_of(
        &self,
        of: &Selector,
        until: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Arc<Family>, u64), Error> {
        let root = self.filter_root(of)?;
        let sets = self.families();
        let family = sets.family(root, self.position().sequence);
        let before = family.members.load(Ordering::Relaxed);
        let complete = family.complete(self, until, go_on);
        if family.members.load(Ordering::Relaxed) != before || before == 0 {
            sets.trim();
        }
        Ok((family, complete?))
    }

    /// Drops from `headers` those that are not descendants of the event; they are up to `until`.
    pub(crate) fn retain_descendants(
        &self,
        of: &Selector,
        until: u64,
        headers: &mut Vec<Arc<EventHeader>>,
    ) -> Result<(), Error> {
        let (family, _) = self.family_of(of, until, &|| true)?;
        headers.retain(|header| family.contains(header.sequence));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(root: u64, head: u64) -> Set {
        Family::new(root, head).set.into_inner()
    }

    #[test]
    fn a_walk_is_complete_up_to_the_event_that_it_has_come_to() {
        let mut set = set(5, 90);
        assert_eq!(set.complete(), 5);
        set.insert(20).expect("few");
        set.insert(30).expect("few");
        set.walked = Some(0);
        assert_eq!(set.complete(), 20);
        set.walked = Some(1);
        assert_eq!(set.complete(), 30);
        set.walked = Some(2);
        assert_eq!(set.complete(), 90);
        // A second walk knows what the first has found.
        set.floor = 90;
        set.head = 120;
        set.walked = None;
        assert_eq!(set.complete(), 90);
        set.insert(100).expect("few");
        set.walked = Some(2);
        assert_eq!(set.complete(), 100);
    }

    #[test]
    fn sets_that_were_not_used_for_longest_are_dropped() {
        let sets = Families::default();
        for root in 1..=SETS_MAX as u64 {
            sets.family(root, root);
        }
        sets.family(1, 1);
        sets.family(99_999, 99_999);
        sets.trim();
        let kept = sets.sets.lock();
        assert!(kept.by_root.contains_key(&1) && !kept.by_root.contains_key(&2));
        assert_eq!(kept.by_root.len(), SETS_MAX);
        drop(kept);

        let large = sets.family(99_999, 99_999);
        large
            .members
            .store(DESCENDANTS_KEPT_MAX + 1, Ordering::Relaxed);
        sets.trim();
        assert_eq!(sets.sets.lock().by_root.len(), 1);
    }

    #[test]
    fn members_come_in_either_order() {
        let family = Family::new(1, 100);
        for member in [3, 4, 9, 70_000, 1 << 40] {
            family.set.lock().insert(member).expect("few");
        }
        let family = Arc::new(family);
        let members = |after, until, direction| -> Vec<u64> {
            Arc::clone(&family)
                .members(after, until, direction)
                .collect()
        };
        assert_eq!(members(3, 70_000, Direction::Forward), [4, 9, 70_000]);
        assert_eq!(members(3, 70_000, Direction::Backward), [70_000, 9, 4]);
        assert_eq!(members(9, 50, Direction::Forward), [0_u64; 0]);
        assert_eq!(family.count(0, u64::MAX), 5);
    }
}
