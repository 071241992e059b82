//! What the commands of one entry have written so far, over what the engine holds.
//!
//! A batch of writes cannot be read before it is written, and each command must see those before
//! it. Only accepted commands put anything in here.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::ahead::{Ahead, Foreseen, Place};
use crate::core::limits::PREFIX_KINDS_MAX;
use crate::core::{CursorName, Digest, EventHeader, Kind};
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::store::{encode_sequence, lookup, missing};

/// The entry's own part.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The last sequence that the engine holds.
    base: u64,
    /// The headers from `base + 1` on, without gaps.
    headers: Vec<Arc<EventHeader>>,
    /// But those that `ahead` has a place for, and of payloads too.
    events: BTreeMap<Digest, u64>,
    payloads: BTreeMap<Digest, u64>,
    /// The first child of each kind.
    children: BTreeMap<(u64, Kind), u64>,
    /// The last event of each kind.
    kinds: BTreeMap<Kind, u64>,
    /// Where cursors are; `None` of one that was deleted.
    cursors: BTreeMap<CursorName, Option<u64>>,
    /// Rows of consumer groups and credentials by their keys; `None` of one that was deleted.
    group_rows: BTreeMap<Vec<u8>, Option<Bytes>>,
    /// What the engine was asked for beforehand, and what is new of that.
    ahead: Ahead,
}

impl Overlay {
    /// Nothing over an engine whose last event is at `base`, and which was asked `ahead`.
    pub(super) fn new(base: u64, ahead: Ahead) -> Self {
        Self {
            base,
            headers: Vec::new(),
            events: BTreeMap::new(),
            payloads: BTreeMap::new(),
            children: BTreeMap::new(),
            kinds: BTreeMap::new(),
            cursors: BTreeMap::new(),
            group_rows: BTreeMap::new(),
            ahead,
        }
    }

    /// Adds an accepted event, the next one in the order, of which that was `foreseen`.
    pub(super) fn add(&mut self, header: Arc<EventHeader>, foreseen: Option<Foreseen>) {
        let sequence = header.sequence;
        debug_assert_eq!(sequence, self.base + 1 + self.headers.len() as u64);
        let (events, payloads) = (&mut self.ahead.events, &mut self.ahead.payloads);
        if let Some((_, place)) = foreseen.and_then(|foreseen| foreseen.event) {
            events.store_at(place, sequence);
        } else if !events.store(&header.digest, sequence) {
            self.events.insert(header.digest, sequence);
        }
        let (payload, stored) = (header.payload_digest, header.payload_sequence);
        if let Some(foreseen) = foreseen {
            payloads.store_at(foreseen.payload, stored);
        } else if !payloads.store(&payload, stored) {
            self.payloads.insert(payload, stored);
        }
        for parent in &header.parents {
            let key = (parent.id.sequence(), header.kind.clone());
            self.children.entry(key).or_insert(sequence);
        }
        match self.kinds.get_mut(header.kind.as_str()) {
            Some(last) => *last = sequence,
            None => {
                self.kinds.insert(header.kind.clone(), sequence);
            }
        }
        self.headers.push(header);
    }

    /// Adds an accepted move of a cursor; `None`: its deletion.
    pub(super) fn move_cursor(&mut self, name: CursorName, position: Option<u64>) {
        self.cursors.insert(name, position);
    }

    /// Adds a row of groups or credentials; `None`: its deletion.
    pub(super) fn set_group_row(&mut self, key: Vec<u8>, row: Option<Bytes>) {
        self.group_rows.insert(key, row);
    }

    /// All events added, in order.
    pub(super) fn headers(&self) -> &[Arc<EventHeader>] {
        &self.headers
    }
}

/// The vault as the next command of an entry sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) overlay: &'a Overlay,
}

impl View<'_> {
    /// The event at each sequence.
    pub(super) fn headers(
        &self,
        sequences: &[u64],
    ) -> Result<Vec<Option<Arc<EventHeader>>>, Error> {
        let overlay = self.overlay;
        let new = |sequence: u64| match sequence.checked_sub(overlay.base + 1) {
            Some(index) => overlay.headers.get(usize::try_from(index).ok()?).cloned(),
            None => overlay.ahead.headers.get(sequence).cloned(),
        };
        merge(sequences, new, |old| lookup::headers(self.engine, old))
    }

    /// The event at a sequence that an index names.
    pub(super) fn indexed_header(&self, sequence: u64) -> Result<Arc<EventHeader>, Error> {
        self.headers(&[sequence])?
            .pop()
            .flatten()
            .ok_or_else(|| missing(Table::Headers, &encode_sequence(sequence)))
    }

    /// The sequence of each event.
    pub(super) fn events(&self, digests: &[Digest]) -> Result<Vec<Option<u64>>, Error> {
        let (ahead, own) = (&self.overlay.ahead.events, &self.overlay.events);
        let new = |digest| ahead.stored(&digest).or_else(|| own.get(&digest).copied());
        ahead.find(digests, |digests| {
            merge(digests, new, |old| lookup::events(self.engine, old))
        })
    }

    /// The sequence of the event whose digest has a place.
    pub(super) fn event_at(&self, place: Place) -> Option<u64> {
        self.overlay.ahead.events.stored_at(place)
    }

    /// The sequence under which the payload is stored whose digest has a place.
    pub(super) fn payload_at(&self, place: Place) -> Option<u64> {
        self.overlay.ahead.payloads.stored_at(place)
    }

    /// The sequence under which each payload is stored.
    pub(super) fn payloads(&self, digests: &[Digest]) -> Result<Vec<Option<u64>>, Error> {
        let (ahead, own) = (&self.overlay.ahead.payloads, &self.overlay.payloads);
        let new = |digest| ahead.stored(&digest).or_else(|| own.get(&digest).copied());
        ahead.find(digests, |digests| {
            merge(digests, new, |old| lookup::payloads(self.engine, old))
        })
    }

    /// The first child of a kind.
    pub(super) fn first_child(&self, parent: u64, kind: &Kind) -> Result<Option<u64>, Error> {
        // The engine's children come before the overlay's.
        let old = if parent > self.overlay.base {
            None
        } else {
            lookup::first_child(self.engine, parent, kind)?
        };
        Ok(old.or_else(|| self.overlay.children.get(&(parent, kind.clone())).copied()))
    }

    /// The last event of a kind.
    pub(super) fn last_of_kind(&self, kind: &Kind) -> Result<Option<u64>, Error> {
        match self.overlay.kinds.get(kind) {
            Some(&sequence) => Ok(Some(sequence)),
            None => lookup::last_of_kind(self.engine, kind),
        }
    }

    /// The last event whose kind starts with `prefix`, 0 if there is none; `None` if there are more such kinds
    /// than are looked through.
    pub(super) fn last_of_prefix(&self, prefix: &str) -> Result<Option<u64>, Error> {
        let Some(mut kinds) = lookup::kinds_of_prefix(self.engine, prefix, PREFIX_KINDS_MAX)?
        else {
            return Ok(None);
        };
        let from: (Bound<&str>, Bound<&str>) = (Bound::Included(prefix), Bound::Unbounded);
        let new = self.overlay.kinds.range::<str, _>(from);
        let new = new.take_while(|(kind, _)| kind.as_str().starts_with(prefix));
        kinds.extend(new.map(|(kind, _)| kind.clone()));
        // Both together, so that it makes no difference how commands are gathered.
        if kinds.len() > PREFIX_KINDS_MAX {
            return Ok(None);
        }
        let mut last = 0;
        for kind in &kinds {
            last = last.max(self.last_of_kind(kind)?.unwrap_or(0));
        }
        Ok(Some(last))
    }

    /// Where a cursor is; `None` if there is none.
    pub(super) fn cursor(&self, name: &CursorName) -> Result<Option<u64>, Error> {
        match self.overlay.cursors.get(name) {
            Some(&position) => Ok(position),
            None => lookup::cursor(self.engine, name),
        }
    }

    /// How many cursors there are.
    pub(super) fn count_cursors(&self) -> Result<u64, Error> {
        let mut count = lookup::count_cursors(self.engine)?;
        for (name, position) in &self.overlay.cursors {
            let was_there = lookup::cursor(self.engine, name)?.is_some();
            match (was_there, position.is_some()) {
                (false, true) => count += 1,
                (true, false) => count = count.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
        }
        Ok(count)
    }

    /// A row of groups or credentials.
    pub(super) fn group_row(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.overlay.group_rows.get(key) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.engine.get(Table::Meta, key)?),
        }
    }

    /// The first `limit` rows of a consumer group with keys from `lower` up to and not including `upper`.
    pub(super) fn group_rows(
        &self,
        lower: &[u8],
        upper: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let range = (Bound::Included(lower), Bound::Excluded(upper));
        let mut new = self.overlay.group_rows.range::<[u8], _>(range).peekable();
        let mut old = self
            .engine
            .scan(Table::Meta, lower, Some(upper), Direction::Forward)
            .peekable();
        let mut rows = Vec::new();
        while rows.len() < limit {
            let next_old = match old.peek() {
                Some(Ok((key, _))) => Some(&key[..]),
                Some(Err(_)) | None => None,
            };
            let is_new = match (new.peek(), next_old) {
                (Some((new, _)), Some(old)) => &new[..] <= old,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if is_new && let Some((key, row)) = new.next() {
                // It stands for the old one with the same key.
                if next_old == Some(&key[..]) {
                    old.next();
                }
                rows.extend(row.clone().map(|row| (Bytes::copy_from_slice(key), row)));
            } else if let Some(row) = old.next() {
                rows.push(row?);
            } else {
                break;
            }
        }
        Ok(rows)
    }
}

/// Looks each key up among the new, and all that are not there in one call among the old.
fn merge<K: Copy, V>(
    keys: &[K],
    new: impl Fn(K) -> Option<V>,
    old: impl FnOnce(&[K]) -> Result<Vec<Option<V>>, Error>,
) -> Result<Vec<Option<V>>, Error> {
    let mut values: Vec<_> = keys.iter().map(|&key| new(key)).collect();
    let absent: Vec<_> = keys
        .iter()
        .zip(&values)
        .filter(|(_, value)| value.is_none())
        .map(|(&key, _)| key)
        .collect();
    let found = old(&absent)?;
    for (value, found) in values.iter_mut().filter(|value| value.is_none()).zip(found) {
        *value = found;
    }
    Ok(values)
}
