//! The rows of a table that is keyed by sequence, one for each sequence, past any damage.

use bytes::Bytes;

use crate::engine::{Direction, Engine, EngineError, Scan, Table};
use crate::error::Error;
use crate::store::{decode_sequence, encode_sequence};

/// A row, or what is wrong with it.
pub(super) enum Row {
    Present(Bytes),
    Missing,
    /// Storage cannot read it: a block is damaged.
    Damaged(EngineError),
}

/// Walks a table by ascending sequence. It is read as a scan for speed; where that ends at a damaged
/// block, row by row until the damage is behind.
pub(super) struct Rows<'e> {
    engine: &'e dyn Engine,
    table: Table,
    scan: Option<Scan<'e>>,
    /// A row of the scan that is further on than what was asked for.
    ahead: Option<(u64, Bytes)>,
}

impl<'e> Rows<'e> {
    pub(super) fn new(engine: &'e dyn Engine, table: Table) -> Self {
        Self {
            engine,
            table,
            scan: None,
            ahead: None,
        }
    }

    /// The row at `sequence`, which is above the one asked for before.
    pub(super) fn at(&mut self, sequence: u64) -> Result<Row, Error> {
        let key = encode_sequence(sequence);
        let table = self.table;
        let engine = self.engine;
        loop {
            match &self.ahead {
                Some((ahead, _)) if *ahead > sequence => return Ok(Row::Missing),
                Some((ahead, _)) if *ahead == sequence => {
                    let (_, value) = self.ahead.take().expect("matched above");
                    return Ok(Row::Present(value));
                }
                _ => {}
            }
            let scan = self
                .scan
                .get_or_insert_with(|| engine.scan(table, &key, None, Direction::Forward));
            match scan.next() {
                // A key that is none is found when extra rows are looked for.
                Some(Ok((key, value))) => {
                    if let Ok(ahead) = decode_sequence(&key) {
                        self.ahead = Some((ahead, value));
                    }
                }
                Some(Err(error)) if error.is_corruption() => {
                    self.scan = None;
                    self.ahead = None;
                    return get(engine, table, &key);
                }
                Some(Err(error)) => return Err(error.into()),
                None => {
                    self.ahead = Some((u64::MAX, Bytes::new()));
                }
            }
        }
    }
}

/// One row.
pub(super) fn get(engine: &dyn Engine, table: Table, key: &[u8]) -> Result<Row, Error> {
    match engine.get(table, key) {
        Ok(Some(value)) => Ok(Row::Present(value)),
        Ok(None) => Ok(Row::Missing),
        Err(error) if error.is_corruption() => Ok(Row::Damaged(error)),
        Err(error) => Err(error.into()),
    }
}
