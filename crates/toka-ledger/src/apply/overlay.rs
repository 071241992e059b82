//! What the commands of one entry have written so far, over what the engine holds.
//!
//! A batch of writes cannot be read before it is written, and each command must see those before
//! it. Only accepted commands put anything in here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::{CursorName, Digest, EventHeader, Kind};
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::store::{encode_sequence, lookup, missing};

/// The entry's own part.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The last sequence that the engine holds.
    base: u64,
    /// The headers from `base + 1` on, without gaps.
    headers: Vec<Arc<EventHeader>>,
    events: BTreeMap<Digest, u64>,
    payloads: BTreeMap<Digest, u64>,
    /// The first child of each kind.
    children: BTreeMap<(u64, Kind), u64>,
    /// The last event of each kind.
    kinds: BTreeMap<Kind, u64>,
    cursors: BTreeMap<CursorName, u64>,
}

impl Overlay {
    /// Nothing over an engine whose last event is at `base`.
    pub(super) const fn new(base: u64) -> Self {
        Self {
            base,
            headers: Vec::new(),
            events: BTreeMap::new(),
            payloads: BTreeMap::new(),
            children: BTreeMap::new(),
            kinds: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    /// Adds an accepted event, the next one in the order.
    pub(super) fn add(&mut self, header: Arc<EventHeader>) {
        let sequence = header.sequence;
        debug_assert_eq!(sequence, self.base + 1 + self.headers.len() as u64);
        self.events.insert(header.digest, sequence);
        self.payloads
            .insert(header.payload_digest, header.payload_sequence);
        for parent in &header.parents {
            let key = (parent.id.sequence(), header.kind.clone());
            self.children.entry(key).or_insert(sequence);
        }
        self.kinds.insert(header.kind.clone(), sequence);
        self.headers.push(header);
    }

    /// Adds an accepted move of a cursor.
    pub(super) fn move_cursor(&mut self, name: CursorName, position: u64) {
        self.cursors.insert(name, position);
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
        let new = |sequence: u64| {
            let index = usize::try_from(sequence.checked_sub(overlay.base + 1)?).ok()?;
            overlay.headers.get(index).cloned()
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
        let new = |digest| self.overlay.events.get(&digest).copied();
        merge(digests, new, |old| lookup::events(self.engine, old))
    }

    /// The sequence under which each payload is stored.
    pub(super) fn payloads(&self, digests: &[Digest]) -> Result<Vec<Option<u64>>, Error> {
        let new = |digest| self.overlay.payloads.get(&digest).copied();
        merge(digests, new, |old| lookup::payloads(self.engine, old))
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

    /// Where a cursor is; 0 if there is none.
    pub(super) fn cursor(&self, name: &CursorName) -> Result<u64, Error> {
        match self.overlay.cursors.get(name) {
            Some(&position) => Ok(position),
            None => Ok(lookup::cursor(self.engine, name)?.unwrap_or(0)),
        }
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
