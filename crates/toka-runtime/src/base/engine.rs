//! A store that leaves payloads and embeddings where they are.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use toka_client::Include;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};
use toka_ledger::store::{decode_sequence, embeddings, encode_sequence, headers, payloads};
use toka_ledger::{EventHeader, Stored};

use super::cache::RowCache;
use super::{Base, embedding_of, payload_of};

/// Events whose payloads or embeddings are fetched at once.
const FETCH_EVENTS: usize = 64;
/// What errors name in place of a directory.
const PATH: &str = "cluster";

/// Everything that follows from the headers and embeddings is here, in memory; payloads and embeddings are read from the
/// base when they are asked for.
#[derive(Debug)]
pub(super) struct MirrorEngine {
    base: Arc<dyn Base>,
    local: MemoryEngine,
    cache: RowCache,
}

impl MirrorEngine {
    pub(super) fn new(base: Arc<dyn Base>, cache_bytes: usize) -> Self {
        Self {
            base,
            local: MemoryEngine::new(),
            cache: RowCache::new(cache_bytes),
        }
    }

    /// The event whose row in a table of the base is under `key`; `None` if there is no such row.
    fn owner(&self, table: Table, key: &[u8]) -> Result<Option<EventHeader>, EngineError> {
        let Ok(sequence) = decode_sequence(key) else {
            return Ok(None);
        };
        let row = self.local.get(Table::Headers, &encode_sequence(sequence))?;
        let header = row.map(|row| header(sequence, row)).transpose()?;
        Ok(header.filter(|header| has_row(table, header)))
    }

    /// The rows of these events in a table of the base, in order.
    fn rows(&self, table: Table, owners: &[EventHeader]) -> Result<Vec<Bytes>, EngineError> {
        let mut rows: Vec<Option<Bytes>> = owners
            .iter()
            .map(|owner| self.cache.get(table, owner.sequence))
            .collect();
        let absent: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].is_none()).collect();
        for places in absent.chunks(FETCH_EVENTS) {
            let wanted: Vec<&EventHeader> = places.iter().map(|&at| &owners[at]).collect();
            for (&at, row) in places.iter().zip(self.fetch(table, &wanted)?) {
                self.cache.insert(table, owners[at].sequence, row.clone());
                rows[at] = Some(row);
            }
        }
        // A base that answers with fewer than it was asked for has failed before.
        Ok(rows.into_iter().flatten().collect())
    }

    fn fetch(&self, table: Table, owners: &[&EventHeader]) -> Result<Vec<Bytes>, EngineError> {
        let sequences: Vec<u64> = owners.iter().map(|owner| owner.sequence).collect();
        let include = Include {
            payload: table == Table::Payloads,
            embedding: table == Table::Embeddings,
        };
        let events = self.base.get(&sequences, include).map_err(failed)?;
        if events.len() != owners.len() {
            return Err(failed(format!(
                "{} events in answer to {}",
                events.len(),
                owners.len()
            )));
        }
        let rows = owners.iter().zip(events).map(|(owner, event)| {
            let sequence = owner.sequence;
            if event.header.digest != owner.digest {
                return Err(failed(format!(
                    "the event at sequence {sequence} is another one now"
                )));
            }
            Ok(Bytes::from(match table {
                Table::Payloads => payloads::encode(sequence, &payload_of(event).map_err(failed)?),
                _ => {
                    let embedding: Stored<_> =
                        embedding_of(owner, event.embedding).map_err(failed)?;
                    embeddings::encode(sequence, &embedding)
                }
            }))
        });
        rows.collect()
    }
}

/// Whether a table is left where it is.
const fn is_remote(table: Table) -> bool {
    matches!(table, Table::Payloads | Table::Embeddings)
}

/// Whether an event has a row of its own in a table of the base.
fn has_row(table: Table, header: &EventHeader) -> bool {
    match table {
        Table::Payloads => header.payload_sequence == header.sequence,
        _ => header.embedding.is_some(),
    }
}

fn header(sequence: u64, row: Bytes) -> Result<EventHeader, EngineError> {
    headers::decode(sequence, row).map_err(|error| EngineError::Corruption {
        path: PathBuf::from(PATH),
        table: Some(Table::Headers),
        detail: error.to_string(),
        source: None,
    })
}

/// The base did not answer as it should.
fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Io {
        action: "read from the",
        path: PathBuf::from(PATH),
        source: io::Error::other(error),
    }
}

impl Engine for MirrorEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        if !is_remote(table) {
            return self.local.get(table, key);
        }
        let Some(owner) = self.owner(table, key)? else {
            return Ok(None);
        };
        Ok(self.rows(table, &[owner])?.pop())
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        if !is_remote(table) {
            return self.local.multi_get(table, keys);
        }
        let owners = keys.iter().map(|key| self.owner(table, key));
        let owners = owners.collect::<Result<Vec<_>, _>>()?;
        let found: Vec<EventHeader> = owners.iter().flatten().cloned().collect();
        let mut rows = self.rows(table, &found)?.into_iter();
        Ok(owners
            .into_iter()
            .map(|owner| owner.and_then(|_| rows.next()))
            .collect())
    }

    fn scan(
        &self,
        table: Table,
        lower: &[u8],
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Scan<'_> {
        if !is_remote(table) {
            return self.local.scan(table, lower, upper, direction);
        }
        Box::new(RemoteScan {
            engine: self,
            table,
            // Of these tables and that one the keys are the same.
            headers: self.local.scan(Table::Headers, lower, upper, direction),
            ready: VecDeque::new(),
            is_over: false,
        })
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        let mut kept = Batch::new();
        for op in batch.ops().filter(|op| !is_remote(op.table)) {
            match op.value {
                Some(row) => kept.put(op.table, op.key, row),
                None => kept.delete(op.table, op.key),
            }
        }
        self.local.write(kept, durability)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.local.flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        if is_remote(table) {
            return self.get(table, key);
        }
        self.local.get_flushed(table, key)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.local.verify_checksums()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        Err(EngineError::Io {
            action: "copy a mirror to",
            path: dir.to_owned(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.local.disk_bytes()
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.local.unflushed_bytes()
    }
}

/// Rows of a table of the base, fetched some at a time.
struct RemoteScan<'a> {
    engine: &'a MirrorEngine,
    table: Table,
    headers: Scan<'a>,
    ready: VecDeque<(Bytes, Bytes)>,
    is_over: bool,
}

impl RemoteScan<'_> {
    fn fetch(&mut self) -> Result<(), EngineError> {
        let mut owners = Vec::new();
        while owners.len() < FETCH_EVENTS {
            let Some(row) = self.headers.next() else {
                self.is_over = true;
                break;
            };
            let (key, value) = row?;
            let Ok(sequence) = decode_sequence(&key) else {
                continue;
            };
            let header = header(sequence, value)?;
            if has_row(self.table, &header) {
                owners.push(header);
            }
        }
        let rows = self.engine.rows(self.table, &owners)?;
        for (owner, row) in owners.iter().zip(rows) {
            let key = Bytes::copy_from_slice(&encode_sequence(owner.sequence));
            self.ready.push_back((key, row));
        }
        Ok(())
    }
}

impl Iterator for RemoteScan<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(Ok(row));
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.is_over = true;
                return Some(Err(error));
            }
        }
    }
}
