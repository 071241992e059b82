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

use bytes::Bytes;
use parking_lot::Mutex;
use roaring::RoaringTreemap;

use super::{Bounds, Reader, Ring, Selector};
use crate::core::EventHeader;
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::store::{children, corrupt, decode_sequence, encode_sequence, lookup, missing};

/// Bytes of the descendants of an event by which can be filtered, as a compressed bitmap of their sequences. A
/// descendant takes two bytes at most, and an eighth of one where most of the events around it are descendants, so
/// that this is 30 to 500 million of them.
pub const DESCENDANTS_BYTES_MAX: u64 = 64 << 20;
/// Bytes of all sets that are kept, counted in the same way. The set that was used last is kept in any case.
pub const DESCENDANTS_KEPT_BYTES_MAX: u64 = 256 << 20;
/// Sets that are kept.
const SETS_MAX: usize = 4_096;

/// The sets of a vault.
#[derive(Debug, Default)]
pub(super) struct Families {
    sets: Mutex<Sets>,
}

#[derive(Debug, Default)]
struct Sets {
    by_root: BTreeMap<u64, Kept>,
    /// The roots, the one that was not used for longest first.
    by_use: BTreeMap<u64, u64>,
    /// Grows with every use.
    used: u64,
    /// Of all sets.
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    family: Arc<Family>,
    used: u64,
    /// What it takes, as far as it was told.
    bytes: u64,
}

/// The descendants of one event, as far as they are known.
#[derive(Debug)]
pub(crate) struct Family {
    set: Mutex<Set>,
    /// What the members take, for those who do not want to wait for `set`.
    bytes: AtomicU64,
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
    /// The row of the index at which the children of the next member were left.
    child_row: Option<Bytes>,
    /// What the members may take.
    bytes_max: u64,
    /// They take more.
    is_too_large: bool,
}

/// How far a set has to be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Up to this sequence,
    pub(super) until: u64,
    /// or until it has so many members after this sequence: (sequence, members).
    pub(super) enough: Option<(u64, u64)>,
}

impl Family {
    fn new(root: u64, head: u64, bytes_max: u64) -> Self {
        Self {
            set: Mutex::new(Set {
                root,
                members: RoaringTreemap::new(),
                count: 0,
                floor: root,
                head,
                walked: None,
                child_row: None,
                bytes_max,
                is_too_large: false,
            }),
            bytes: AtomicU64::new(0),
        }
    }

    /// What is left of a set that is too large, so that it is not made again for everyone who asks.
    fn too_large(root: u64, head: u64, bytes_max: u64) -> Self {
        let family = Self::new(root, head, bytes_max);
        family.set.lock().is_too_large = true;
        family
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

    /// Makes the set known as far as `extent` wants it, or as `go_on` allows; returns up to which sequence it is
    /// complete.
    fn complete(
        &self,
        reader: &Reader,
        extent: Extent,
        go_on: &dyn Fn() -> bool,
    ) -> Result<u64, Error> {
        let bounds = reader.bounds();
        loop {
            let (head, engine) = (reader.position().sequence, reader.engine());
            let mut set = self.set.lock();
            if set.is_too_large {
                return Err(set.limit());
            }
            let complete = set.complete();
            if complete >= extent.until || set.has_enough(complete, extent) || !go_on() {
                return Ok(complete);
            }
            let before = set.count;
            let stepped = set.step(&*engine, reader.ring(), head, bounds);
            if set.count != before {
                let bytes = set.members.serialized_size() as u64;
                self.bytes.store(bytes, Ordering::Relaxed);
                // The members stay: somebody may be reading those up to where the set was complete.
                set.is_too_large = bytes > set.bytes_max;
            }
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

    fn has_enough(&self, complete: u64, extent: Extent) -> bool {
        extent.enough.is_some_and(|(after, members)| {
            after < complete && self.members.rank(complete) - self.members.rank(after) >= members
        })
    }

    fn step(
        &mut self,
        engine: &dyn Engine,
        ring: &Ring,
        head: u64,
        bounds: Bounds,
    ) -> Result<(), Error> {
        if self.next().is_some() {
            return self.walk(engine, bounds.step_rows);
        }
        if head - self.head <= self.count.max(bounds.rescan_events) {
            return self.scan(engine, ring, head, bounds.step_rows);
        }
        self.floor = self.head;
        self.head = head;
        self.walked = None;
        self.walk(engine, bounds.step_rows)
    }

    /// Goes on through the index of children: so many rows, of however many parents.
    fn walk(&mut self, engine: &dyn Engine, mut rows: usize) -> Result<(), Error> {
        while let Some(parent) = self.next() {
            let lower = match &self.child_row {
                // The key that follows it.
                Some(key) => [&key[..], &[0]].concat(),
                None => encode_sequence(parent).to_vec(),
            };
            let upper = encode_sequence(parent + 1);
            let mut scan = engine.scan(Table::Children, &lower, Some(&upper), Direction::Forward);
            loop {
                if rows == 0 {
                    return Ok(());
                }
                // Finding that there is no further child counts too.
                rows -= 1;
                let Some(row) = scan.next() else {
                    break;
                };
                let (key, _) = row?;
                let (_, _, child) =
                    children::decode_key(&key).map_err(corrupt(Table::Children, &key))?;
                // Those after `head` are for the next time: not all of their parents' are there yet.
                if child <= self.head {
                    self.insert(child);
                }
                self.child_row = Some(key);
            }
            self.child_row = None;
            self.walked = Some(self.walked.map_or(0, |walked| walked + 1));
        }
        Ok(())
    }

    /// Looks at the parents of the next headers.
    fn scan(
        &mut self,
        engine: &dyn Engine,
        ring: &Ring,
        head: u64,
        events: usize,
    ) -> Result<(), Error> {
        let until = head.min(self.head + events as u64);
        let recent = ring.range(self.head, events);
        if let Some(recent) = recent.filter(|recent| !recent.is_empty()) {
            let recent = recent.iter().take_while(|header| header.sequence <= head);
            for header in recent {
                self.take(header);
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
            self.take(&header);
        }
        if self.head < until {
            return Err(missing(Table::Headers, &encode_sequence(self.head + 1)));
        }
        Ok(())
    }

    /// Takes the header after `head`.
    fn take(&mut self, header: &EventHeader) {
        let is_member = |parent: u64| parent == self.root || self.members.contains(parent);
        if header
            .parents
            .iter()
            .any(|parent| is_member(parent.id.sequence()))
        {
            self.insert(header.sequence);
        }
        self.head = header.sequence;
        // The walk has ended: nobody looks up the children of what is found like this.
        self.walked = Some(self.count);
    }

    fn insert(&mut self, sequence: u64) {
        self.count += u64::from(self.members.insert(sequence));
    }

    const fn limit(&self) -> Error {
        Error::DescendantsLimit {
            bytes_max: self.bytes_max,
        }
    }
}

impl Families {
    /// The set of the event at `root`, which is at most `head`.
    fn family(&self, root: u64, head: u64, bytes_max: u64) -> Arc<Family> {
        let mut sets = self.sets.lock();
        let sets = &mut *sets;
        sets.used += 1;
        let used = sets.used;
        let kept = sets.by_root.entry(root).or_insert_with(|| Kept {
            family: Arc::new(Family::new(root, head, bytes_max)),
            used,
            bytes: 0,
        });
        sets.by_use.remove(&kept.used);
        sets.by_use.insert(used, root);
        kept.used = used;
        let family = Arc::clone(&kept.family);
        sets.trim();
        family
    }

    /// Counts anew what a set takes, and drops it if that is too much.
    fn count(&self, root: u64, family: &Arc<Family>) {
        let (head, bytes_max, is_too_large) = {
            let set = family.set.lock();
            (set.head, set.bytes_max, set.is_too_large)
        };
        let mut sets = self.sets.lock();
        let sets = &mut *sets;
        let Some(kept) = sets.by_root.get_mut(&root) else {
            return;
        };
        // Another one may have been made meanwhile.
        if !Arc::ptr_eq(&kept.family, family) {
            return;
        }
        if is_too_large {
            kept.family = Arc::new(Family::too_large(root, head, bytes_max));
        }
        let bytes = kept.family.bytes.load(Ordering::Relaxed);
        sets.bytes = sets.bytes - kept.bytes + bytes;
        kept.bytes = bytes;
        sets.trim();
    }
}

impl Sets {
    /// Drops the sets that were not used for longest, while there are too many, or they take too much.
    fn trim(&mut self) {
        while self.by_root.len() > 1
            && (self.bytes > DESCENDANTS_KEPT_BYTES_MAX || self.by_root.len() > SETS_MAX)
        {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            if let Some(kept) = self.by_root.remove(&oldest) {
                self.bytes -= kept.bytes;
            }
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

    /// The descendants of an event, and up to which sequence they are complete: as far as `extent` wants it, unless
    /// `go_on` says no before that.
    pub(super) fn family_of(
        &self,
        of: &Selector,
        extent: Extent,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Arc<Family>, u64), Error> {
        let root = self.filter_root(of)?;
        let sets = self.families();
        let bytes_max = self.bounds().descendants_bytes;
        let family = sets.family(root, self.position().sequence, bytes_max);
        let before = family.bytes.load(Ordering::Relaxed);
        let complete = family.complete(self, extent, go_on);
        if family.bytes.load(Ordering::Relaxed) != before {
            sets.count(root, &family);
        }
        Ok((family, complete?))
    }

    /// Drops from `headers` those that are not descendants of the event; they are up to `until`. Once `go_on` says
    /// no, what it leaves means nothing.
    pub(crate) fn retain_descendants(
        &self,
        of: &Selector,
        until: u64,
        headers: &mut Vec<Arc<EventHeader>>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let extent = Extent {
            until,
            enough: None,
        };
        let (family, _) = self.family_of(of, extent, go_on)?;
        headers.retain(|header| family.contains(header.sequence));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
