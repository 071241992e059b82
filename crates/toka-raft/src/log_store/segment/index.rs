//! Where each entry is, in memory; shared by the writer and the readers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use toka_ledger::disk::{DiskFile, is_unreadable};

use super::format::{Record, decode_record, record_len};
use super::scrub;
use crate::log_store::LogError;
use crate::log_store::engine::{EngineReader, ReadPlan};
use crate::log_store::error::{Damage, IoContext};
use crate::type_config::Entry;

/// An open segment. Whoever holds it can read it: it is not recycled before.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn DiskFile>,
}

impl Segment {
    /// Reads from `offset` on until `bytes` is full or the file ends; returns the number read. What the disk
    /// cannot read is lost.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, LogError> {
        match self.file.read_at(bytes, offset) {
            Err(error) if is_unreadable(&error) => {
                Err(self.damaged(offset, Damage::Unreadable(error.to_string())))
            }
            read => read.doing("read", &self.path),
        }
    }

    /// Damage at `offset`.
    pub(super) fn damaged(&self, offset: u64, damage: Damage) -> LogError {
        LogError::Damaged {
            dir: self.path.parent().unwrap_or(&self.path).to_owned(),
            segment: self.number,
            offset,
            damage,
        }
    }
}

/// Place of an entry's record, prefix included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Index of the entry that `positions` begins with.
    first: u64,
    positions: VecDeque<Position>,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    /// Identity of the log.
    pub(super) log: u64,
    /// Number of the last frame that is durable.
    pub(super) durable_frame: u64,
}

impl Index {
    pub(super) fn push(&mut self, index: u64, position: Position) {
        if self.positions.is_empty() {
            self.first = index;
        }
        self.positions.push_back(position);
    }

    /// Forgets what is outside of `range`.
    pub(super) fn trim(&mut self, range: &Range<u64>) {
        let len = self.positions.len() as u64;
        let purged = range.start.saturating_sub(self.first).min(len);
        self.positions
            .drain(..usize::try_from(purged).expect("at most the length"));
        self.first += purged;
        let kept = range.end.saturating_sub(self.first).min(len);
        self.positions
            .truncate(usize::try_from(kept).expect("at most the length"));
        if self.positions.is_empty() {
            self.first = range.end;
        }
    }

    /// Indexes of the entries whose places are known.
    pub(super) fn range(&self) -> Range<u64> {
        self.first..self.first + self.positions.len() as u64
    }

    /// Segment of the first entry.
    pub(super) fn first_segment(&self) -> Option<u64> {
        self.positions.front().map(|position| position.segment)
    }

    fn get(&self, index: u64) -> Option<(Position, Arc<Segment>)> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let position = *self.positions.get(at)?;
        Some((position, Arc::clone(self.segments.get(&position.segment)?)))
    }
}

/// The index behind its lock, which is only held for look-ups and updates in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedIndex(Arc<RwLock<Index>>);

impl SharedIndex {
    pub(super) fn new(index: Index) -> Self {
        Self(Arc::new(RwLock::new(index)))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineReader for SharedIndex {
    fn plan(&self, range: Range<u64>, bytes_max: u64) -> ReadPlan {
        let index = self.read();
        let mut records = Vec::new();
        let mut bytes = 0;
        for at in range {
            let Some((position, segment)) = index.get(at) else {
                break;
            };
            bytes += u64::from(position.len);
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push((at, position, segment));
        }
        ReadPlan::Blocking(Box::new(move || {
            records
                .into_iter()
                .map(|(at, position, segment)| read_entry(&segment, position, at))
                .collect()
        }))
    }

    fn verify(&self, pace: &mut dyn FnMut(u64) -> bool) -> Result<(), LogError> {
        scrub::verify(self, pace)
    }
}

/// Reads one entry; its checksum is verified every time.
fn read_entry(segment: &Segment, position: Position, index: u64) -> Result<Entry, LogError> {
    let mut record = vec![0; position.len as usize];
    let read = segment.read_at(&mut record, position.offset)?;
    let damaged = |damage| segment.damaged(position.offset, damage);
    if read != record.len() || record_len(&record) != Some(record.len()) {
        return Err(damaged(Damage::Checksum { index }));
    }
    match decode_record(Bytes::from(record)) {
        Ok(Record::Entry(entry)) if entry.log_id.index == index => Ok(entry),
        Ok(_) => Err(damaged(Damage::Contradiction)),
        Err(source) if source.is_newer() => Err(LogError::Newer {
            path: segment.path.clone(),
            offset: position.offset,
            source,
        }),
        Err(error) => Err(damaged(Damage::Record(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(range: Range<u64>) -> Index {
        let mut index = Index::default();
        for at in range {
            index.push(
                at,
                Position {
                    segment: 1,
                    offset: at,
                    len: 1,
                },
            );
        }
        index
    }

    #[test]
    fn trim_keeps_the_range() {
        let mut index = index(3..10);
        index.trim(&(5..8));
        assert_eq!(index.range(), 5..8);
        assert_eq!(
            index.positions.front().map(|position| position.offset),
            Some(5)
        );
    }

    #[test]
    fn trim_past_the_end_leaves_nothing() {
        let mut index = index(3..10);
        index.trim(&(20..20));
        assert_eq!(index.range(), 20..20);
    }

    #[test]
    fn trim_before_the_start_leaves_nothing() {
        let mut index = index(3..10);
        index.trim(&(0..2));
        assert_eq!(index.range(), 2..2);
    }
}
