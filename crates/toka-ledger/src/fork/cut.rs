//! Which rows of a vault's tables were there when its last event was an earlier one.
//!
//! Rows of events are written once, when the event is applied, and never change: so the tables of a vault that
//! has gone on still hold those of every moment, under keys or values that say since when. Only [`Table::Clusters`]
//! and [`Table::Meta`] are overwritten.

use bytes::Bytes;

use crate::engine::{Direction, Engine, EngineError, Scan, Table};
use crate::store::{events, history, payload_digests};

/// Whether a table's rows of an earlier moment can be told from the rows of now.
pub(super) const fn is_lasting(table: Table) -> bool {
    !matches!(table, Table::Clusters | Table::Meta)
}

/// Whether a row was there right behind the event at `cut`. Of a table that [`is_lasting`].
pub(super) fn was_there(table: Table, key: &[u8], value: &Bytes, cut: u64) -> bool {
    let since = match table {
        Table::PayloadDigests => payload_digests::decode(value.clone()).ok(),
        Table::Events => events::decode(value.clone()).ok(),
        Table::History => history::decode_key(key)
            .ok()
            .map(|(height, index)| last_of_subtree(height, index)),
        _ => split(key).map(|(_, sequence)| sequence),
    };
    // What cannot be read is left in, for who reads it to find the damage.
    since.is_none_or(|since| since <= cut)
}

/// The last event of a subtree of the history tree.
fn last_of_subtree(height: u8, index: u64) -> u64 {
    let last = (u128::from(index) + 1).checked_shl(height.into());
    last.and_then(|last| u64::try_from(last).ok())
        .unwrap_or(u64::MAX)
}

/// The run of an index that a key is in, and the sequence that ends the key.
fn split(key: &[u8]) -> Option<(&[u8], u64)> {
    let (run, sequence) = key.split_last_chunk()?;
    Some((run, u64::from_be_bytes(*sequence)))
}

/// The rows of a scan that were there right behind the event at `cut`, of a table that [`is_lasting`].
///
/// What came later is jumped over, run by run: a kind of which a million events came since costs one more look.
pub(super) struct Past<'a> {
    engine: &'a dyn Engine,
    table: Table,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    direction: Direction,
    cut: u64,
    /// `None` at the end.
    rows: Option<Scan<'a>>,
}

impl<'a> Past<'a> {
    pub(super) fn new(
        engine: &'a dyn Engine,
        table: Table,
        (lower, upper): (&[u8], Option<&[u8]>),
        direction: Direction,
        cut: u64,
    ) -> Self {
        Self {
            engine,
            table,
            lower: lower.to_vec(),
            upper: upper.map(<[u8]>::to_vec),
            direction,
            cut,
            rows: Some(engine.scan(table, lower, upper, direction)),
        }
    }

    /// Goes on behind the rows that came later in the run of `key`, which is one of them.
    fn skip(&mut self, key: &[u8]) {
        let is_run = !matches!(
            self.table,
            Table::PayloadDigests | Table::Events | Table::History
        );
        let Some((run, _)) = split(key).filter(|_| is_run) else {
            return;
        };
        match self.direction {
            Direction::Forward => self.lower = [run, &u64::MAX.to_be_bytes(), &[0]].concat(),
            Direction::Backward => self.upper = Some([run, &(self.cut + 1).to_be_bytes()].concat()),
        }
        let is_over = self.upper.as_ref().is_some_and(|end| *end <= self.lower);
        let engine = self.engine;
        self.rows = (!is_over).then(|| {
            let upper = self.upper.as_deref();
            engine.scan(self.table, &self.lower, upper, self.direction)
        });
    }
}

impl Iterator for Past<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.as_mut()?.next() {
                Some(Ok((key, value))) if !was_there(self.table, &key, &value, self.cut) => {
                    self.skip(&key);
                }
                Some(Ok(row)) => return Some(Ok(row)),
                end => {
                    self.rows = None;
                    return end;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::MemoryEngine;
    use crate::engine::{Batch, Durability};
    use crate::store::{encode_sequence, kinds};

    fn engine() -> MemoryEngine {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        for sequence in 1..=9_u64 {
            let kind = ["a", "b", "a.b"][usize::try_from(sequence % 3).expect("small")];
            batch.put(Table::Kinds, kinds::key(kind, sequence), b"");
            batch.put(Table::Headers, encode_sequence(sequence), b"header");
            let digest = [u8::try_from(sequence).expect("small"); 32];
            batch.put(Table::Events, digest, events::encode(sequence));
        }
        let written = engine.write(batch, Durability::Volatile);
        written.expect("written");
        engine
    }

    /// What a naive look at every row finds.
    fn expected(engine: &MemoryEngine, table: Table, cut: u64) -> Vec<Bytes> {
        let rows = engine.scan(table, &[], None, Direction::Forward);
        let rows = rows.map(|row| row.expect("readable"));
        rows.filter(|(key, value)| was_there(table, key, value, cut))
            .map(|(key, _)| key)
            .collect()
    }

    #[test]
    fn scans_in_both_directions_find_what_was_there() {
        let engine = engine();
        for table in [Table::Kinds, Table::Headers, Table::Events] {
            for cut in 0..=10 {
                let keys = |direction| -> Vec<Bytes> {
                    let past = Past::new(&engine, table, (&[], None), direction, cut);
                    past.map(|row| row.expect("readable").0).collect()
                };
                let mut found = keys(Direction::Forward);
                assert_eq!(found, expected(&engine, table, cut), "{table} at {cut}");
                assert_eq!(found.len() as u64, cut.min(9), "{table} at {cut}");
                found.reverse();
                assert_eq!(found, keys(Direction::Backward), "{table} at {cut}");
            }
        }
    }

    #[test]
    fn last_of_a_run_is_found_behind_what_came_later() {
        let engine = engine();
        let (lower, upper) = (kinds::key("a", 0), kinds::key("a", u64::MAX));
        let range = (&lower[..], Some(&upper[..]));
        let mut past = Past::new(&engine, Table::Kinds, range, Direction::Backward, 5);
        let (key, _) = past.next().expect("one").expect("readable");
        assert_eq!(key[..], kinds::key("a", 3)[..]);
    }

    #[test]
    fn subtree_was_there_once_its_last_event_was() {
        let key = history::key(8, 1);
        let value = Bytes::new();
        assert!(!was_there(Table::History, &key, &value, 511));
        assert!(was_there(Table::History, &key, &value, 512));
        let key = history::key(200, u64::MAX);
        assert!(!was_there(Table::History, &key, &value, 1 << 41));
    }
}
