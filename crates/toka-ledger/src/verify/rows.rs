//! The rows of a table that is keyed by sequence, one for each sequence, past any damage.

use std::ops::RangeInclusive;

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

/// Walks a part of a table by ascending sequence. It is read as a scan for speed; where that ends at a damaged
/// block, row by row until the damage is behind.
pub(super) struct Rows<'e> {
    engine: &'e dyn Engine,
    table: Table,
    /// Where the part begins: the first one with the table, whatever there is before the first sequence.
    lower: Vec<u8>,
    upper: [u8; 8],
    scan: Option<Scan<'e>>,
    /// A row of the scan that is further on than what was asked for.
    ahead: Option<(u64, Bytes)>,
    /// Rows that the scan has come upon, whatever their keys.
    seen: u64,
    /// Keys and values of them.
    bytes: u64,
    /// A block is damaged: there may be more rows.
    is_cut: bool,
}

impl<'e> Rows<'e> {
    /// The part with these sequences. Parts that follow each other, from 1 on, have each row once.
    pub(super) fn new(
        engine: &'e dyn Engine,
        table: Table,
        sequences: &RangeInclusive<u64>,
    ) -> Self {
        let first = *sequences.start();
        Self {
            engine,
            table,
            lower: match first {
                0 | 1 => Vec::new(),
                _ => encode_sequence(first).to_vec(),
            },
            upper: encode_sequence(sequences.end().saturating_add(1)),
            scan: None,
            ahead: None,
            seen: 0,
            bytes: 0,
            is_cut: false,
        }
    }

    /// Bytes that were read since it was asked last.
    pub(super) fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// The row at `sequence`, which is above the one asked for before.
    pub(super) fn at(&mut self, sequence: u64) -> Result<Row, Error> {
        let key = encode_sequence(sequence);
        loop {
            match &self.ahead {
                Some((ahead, _)) if *ahead > sequence => return Ok(Row::Missing),
                Some((ahead, _)) if *ahead == sequence => {
                    let (_, value) = self.ahead.take().expect("matched above");
                    return Ok(Row::Present(value));
                }
                _ => {}
            }
            match self.read(&key) {
                // A key that is none is found when extra rows are looked for.
                Some(Ok((key, value))) => {
                    if let Ok(ahead) = decode_sequence(&key) {
                        self.ahead = Some((ahead, value));
                    }
                }
                Some(Err(error)) if error.is_corruption() => {
                    self.scan = None;
                    self.ahead = None;
                    self.is_cut = true;
                    let row = get(self.engine, self.table, &key)?;
                    if let Row::Present(value) = &row {
                        self.bytes += (key.len() + value.len()) as u64;
                    }
                    return Ok(row);
                }
                Some(Err(error)) => return Err(error.into()),
                None => {
                    self.ahead = Some((u64::MAX, Bytes::new()));
                }
            }
        }
    }

    /// Reads what is left of the part. How many rows it has; `None` if that cannot be said.
    pub(super) fn finish(&mut self) -> Result<Option<u64>, Error> {
        while !self.is_cut {
            match self.read(&[]) {
                Some(Ok(_)) => {}
                Some(Err(error)) if error.is_corruption() => self.is_cut = true,
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(Some(self.seen)),
            }
        }
        Ok(None)
    }

    /// The next row of the scan; it begins with the part, and again, behind damage, with `key`.
    fn read(&mut self, key: &[u8]) -> Option<Result<(Bytes, Bytes), EngineError>> {
        let (engine, table) = (self.engine, self.table);
        let lower = match self.is_cut {
            true => key,
            false => &self.lower[..],
        };
        let upper = &self.upper[..];
        let scan = self
            .scan
            .get_or_insert_with(|| engine.scan(table, lower, Some(upper), Direction::Forward));
        let next = scan.next();
        if let Some(Ok((key, value))) = &next {
            self.seen += 1;
            self.bytes += (key.len() + value.len()) as u64;
        }
        next
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
