//! What changed beside the events, read along with them.

use std::iter::Peekable;

use crate::engine::{Direction, Engine, Scan, Table};
use crate::error::Error;
use crate::store::clusters::end_of;
use crate::store::journal::{Change, PREFIX};
use crate::store::lookup::decode_journal;

/// Walks the journal in its order.
pub(super) struct Journal<'e> {
    rows: Peekable<Scan<'e>>,
    /// What came later is not a part of what is checked.
    revision: u64,
}

impl<'e> Journal<'e> {
    /// Up to the command of that revision.
    pub(super) fn new(engine: &'e dyn Engine, revision: u64) -> Self {
        let upper = end_of(PREFIX);
        let rows = engine.scan(Table::Meta, PREFIX, Some(&upper), Direction::Forward);
        Self {
            rows: rows.peekable(),
            revision,
        }
    }

    /// What changed behind the event at `sequence`, which is above the one asked for before.
    pub(super) fn behind(&mut self, sequence: u64) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        while let Some(row) = self.rows.peek() {
            let Ok((key, value)) = row else {
                // Damage was told when the table was read; other failures are the caller's.
                return match self.rows.next() {
                    Some(Err(error)) if !error.is_corruption() => Err(error.into()),
                    _ => Ok(changes),
                };
            };
            match decode_journal(key, value.clone()) {
                Ok((place, _)) if place.sequence > sequence => break,
                Ok((place, change)) if place.revision <= self.revision => changes.push(change),
                // Later, or told when the table was read.
                Ok(_) | Err(_) => {}
            }
            self.rows.next();
        }
        Ok(changes)
    }
}
