//! `clusters`: the state of the intents.
//!
//! ```text
//! key "state"                        value  version u8 = 1 | embedded varint | sequence varint
//!                                           | next micro-cluster varint | next intent varint
//!                                           | born varint | grouped varint | doubling varint
//!                                           | records varint | d varint | sums i64 [d] | mean i32 [d]
//!                                           | checksum
//! key "micro/" id u32 big-endian     value  version u8 = 1 | intent varint | weight varint
//!                                           | events varint | first varint | last varint
//!                                           | d varint | sums i32 [d] | checksum
//! key "record/" number u64 b.-e.     value  version u8 = 1 | sequence varint | embedded varint
//!                                           | next intent varint | n, n * (micro-cluster, from, to)
//!                                           | n, n * (intent, successor) | n, n * (folded, into)
//!                                           (all varints) | checksum
//! key "alias/" id u32 big-endian     value  version u8 = 1 | micro-cluster varint | checksum
//! key "successor/" intent u64 b.-e.  value  version u8 = 1 | intent varint | checksum
//! key "label/" intent u64 b.-e.      value  version u8 = 1 | UTF-8 | checksum
//! ```
//!
//! Integers of arrays are little-endian. "state" and "micro/" are as of the last save; all other rows
//! are written when they come to be.

use bytes::{Buf, BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::core::limits::{DIMENSIONS_MAX, INTENT_LABEL_BYTES_MAX, SEQUENCE_END};
use crate::core::{IntentId, MicroClusterId};

mod record;

pub use self::record::Record;

const VERSION: u8 = 1;
/// Key of the saved state.
pub const STATE: &[u8] = b"state";
/// In front of the keys of saved micro-clusters.
pub const MICRO: &[u8] = b"micro/";
/// In front of the keys of records.
pub const RECORD: &[u8] = b"record/";
/// In front of the keys of aliases.
pub const ALIAS: &[u8] = b"alias/";
/// In front of the keys of successors.
pub const SUCCESSOR: &[u8] = b"successor/";
/// In front of the keys of labels.
pub const LABEL: &[u8] = b"label/";
/// Key of the chained digest of the whole state; no row has it.
pub const CHECK: &[u8] = b"check";
/// First byte of what is chained to the state digest for a row of this table (compare `meta`).
const CLUSTERS_ROW: u8 = 0xf1;
/// Items of a list in a record: no more than there can be micro-clusters.
const LIST_MAX: usize = 1 << 20;

/// What is saved beside the micro-clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// Embedded events in the state.
    pub embedded: u64,
    /// Sequence of the last of them.
    pub sequence: u64,
    /// The id that the next micro-cluster gets.
    pub next_micro: MicroClusterId,
    /// The id that the next intent gets.
    pub next_intent: IntentId,
    /// Micro-clusters made since the last macro-clustering.
    pub born: u32,
    /// Micro-clusters that the last macro-clustering looked at.
    pub grouped: u32,
    /// Embedded events at which the next macro-clustering is due in any case.
    pub doubling: u64,
    /// Macro-clusterings so far.
    pub records: u64,
    /// Sums of all embeddings, shape `[dimension]`, Q14.
    pub sums: Vec<i64>,
    /// The mean as of the last macro-clustering, shape `[dimension]`, Q14.
    pub mean: Vec<i32>,
}

/// A micro-cluster as it is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMicro {
    /// Its intent.
    pub intent: IntentId,
    /// Events that the sums stand for.
    pub weight: u32,
    /// Events that joined.
    pub events: u64,
    /// Sequence of the first of them.
    pub first: u64,
    /// Sequence of the last of them.
    pub last: u64,
    /// Sums of the embeddings, shape `[dimension]`, Q14.
    pub sums: Vec<i32>,
}

/// The key of a saved micro-cluster.
#[must_use]
pub fn micro_key(id: MicroClusterId) -> Vec<u8> {
    [MICRO, &id.0.to_be_bytes()].concat()
}

/// The key of a record, which are numbered from 0.
#[must_use]
pub fn record_key(number: u64) -> Vec<u8> {
    [RECORD, &number.to_be_bytes()].concat()
}

/// The key of the alias of a micro-cluster that was folded.
#[must_use]
pub fn alias_key(id: MicroClusterId) -> Vec<u8> {
    [ALIAS, &id.0.to_be_bytes()].concat()
}

/// The key of the successor of a retired intent.
#[must_use]
pub fn successor_key(intent: IntentId) -> Vec<u8> {
    [SUCCESSOR, &intent.0.to_be_bytes()].concat()
}

/// The key of an intent's label.
#[must_use]
pub fn label_key(intent: IntentId) -> Vec<u8> {
    [LABEL, &intent.0.to_be_bytes()].concat()
}

/// The keys that start with `prefix` are from it to this one.
#[must_use]
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    *end.last_mut().expect("no prefix is empty") += 1;
    end
}

/// The micro-cluster in a key that starts with `prefix`.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_micro_key(prefix: &[u8], key: &[u8]) -> Result<MicroClusterId, DecodeError> {
    let id = key.strip_prefix(prefix).and_then(|id| id.try_into().ok());
    id.map(|id| MicroClusterId(u32::from_be_bytes(id)))
        .ok_or(DecodeError::Invalid {
            field: "micro-cluster",
        })
}

/// The intent (or the number of a record) in a key that starts with `prefix`.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_intent_key(prefix: &[u8], key: &[u8]) -> Result<IntentId, DecodeError> {
    let id = key.strip_prefix(prefix).and_then(|id| id.try_into().ok());
    id.map(|id| IntentId(u64::from_be_bytes(id)))
        .ok_or(DecodeError::Invalid { field: "intent" })
}

/// What the state chain covers of a row of this table.
#[must_use]
pub fn state_link(key: &[u8], row: &[u8]) -> Vec<u8> {
    let mut link = vec![CLUSTERS_ROW];
    crate::codec::put_prefixed(&mut link, key);
    link.extend_from_slice(row);
    link
}

/// The value of [`STATE`].
#[must_use]
pub fn encode_state(state: &SavedState) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 12 * state.sums.len());
    out.put_u8(VERSION);
    for number in [
        state.embedded,
        state.sequence,
        state.next_micro.0.into(),
        state.next_intent.0,
        state.born.into(),
        state.grouped.into(),
        state.doubling,
        state.records,
        state.sums.len() as u64,
    ] {
        put_varint(&mut out, number);
    }
    for &sum in &state.sums {
        out.put_i64_le(sum);
    }
    put_i32s(&mut out, &state.mean);
    seal(STATE, &mut out);
    out
}

/// Reads the value of [`STATE`].
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_state(value: Bytes) -> Result<SavedState, DecodeError> {
    let mut reader = Reader::new(unseal(STATE, value)?);
    read_version(&mut reader, "intents", VERSION)?;
    let embedded = reader.varint("embedded")?;
    let sequence = sequence(&mut reader, "sequence")?;
    let next_micro = micro(&mut reader)?;
    let next_intent = intent(&mut reader)?;
    let born = number(&mut reader, "born")?;
    let grouped = number(&mut reader, "grouped")?;
    let doubling = reader.varint("doubling")?;
    let records = reader.varint("records")?;
    let dimension = reader.count("dimension", DIMENSIONS_MAX)?;
    let mut bytes = reader.bytes("sums", 8 * dimension)?;
    let sums = (0..dimension).map(|_| bytes.get_i64_le()).collect();
    let mean = i32s(&mut reader, "mean", dimension)?;
    reader.finish()?;
    Ok(SavedState {
        embedded,
        sequence,
        next_micro,
        next_intent,
        born,
        grouped,
        doubling,
        records,
        sums,
        mean,
    })
}

/// The value of a micro-cluster's row; `sums` has shape `[dimension]`.
#[must_use]
pub fn encode_micro(id: MicroClusterId, saved: &SavedMicro) -> Vec<u8> {
    let mut out = Vec::with_capacity(40 + 4 * saved.sums.len());
    out.put_u8(VERSION);
    for number in [
        saved.intent.0,
        saved.weight.into(),
        saved.events,
        saved.first,
        saved.last,
        saved.sums.len() as u64,
    ] {
        put_varint(&mut out, number);
    }
    put_i32s(&mut out, &saved.sums);
    seal(&micro_key(id), &mut out);
    out
}

/// Reads the value of a micro-cluster's row.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_micro(id: MicroClusterId, value: Bytes) -> Result<SavedMicro, DecodeError> {
    let mut reader = Reader::new(unseal(&micro_key(id), value)?);
    read_version(&mut reader, "micro-cluster", VERSION)?;
    let intent = intent(&mut reader)?;
    let weight = number(&mut reader, "weight")?;
    let events = reader.varint("events")?;
    let first = sequence(&mut reader, "first")?;
    let last = sequence(&mut reader, "last")?;
    let dimension = reader.count("dimension", DIMENSIONS_MAX)?;
    let sums = i32s(&mut reader, "sums", dimension)?;
    reader.finish()?;
    Ok(SavedMicro {
        intent,
        weight,
        events,
        first,
        last,
        sums,
    })
}

/// The value of a record's row.
#[must_use]
pub fn encode_record(number: u64, record: &Record) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, record.sequence);
    put_varint(&mut out, record.embedded);
    put_varint(&mut out, record.next_intent.0);
    put_varint(&mut out, record.moved.len() as u64);
    for (micro, from, to) in &record.moved {
        put_varint(&mut out, micro.0.into());
        put_varint(&mut out, from.0);
        put_varint(&mut out, to.0);
    }
    put_varint(&mut out, record.retired.len() as u64);
    for (intent, successor) in &record.retired {
        put_varint(&mut out, intent.0);
        put_varint(&mut out, successor.0);
    }
    put_varint(&mut out, record.folded.len() as u64);
    for (folded, into) in &record.folded {
        put_varint(&mut out, folded.0.into());
        put_varint(&mut out, into.0.into());
    }
    seal(&record_key(number), &mut out);
    out
}

/// Reads the value of a record's row.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_record(number: u64, value: Bytes) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(unseal(&record_key(number), value)?);
    read_version(&mut reader, "record", VERSION)?;
    let record = Record {
        sequence: sequence(&mut reader, "sequence")?,
        embedded: reader.varint("embedded")?,
        next_intent: intent(&mut reader)?,
        moved: list(&mut reader, "moved", |reader| {
            Ok((micro(reader)?, intent(reader)?, intent(reader)?))
        })?,
        retired: list(&mut reader, "retired", |reader| {
            Ok((intent(reader)?, intent(reader)?))
        })?,
        folded: list(&mut reader, "folded", |reader| {
            Ok((micro(reader)?, micro(reader)?))
        })?,
    };
    reader.finish()?;
    Ok(record)
}

/// The value of an alias's row.
#[must_use]
pub fn encode_alias(id: MicroClusterId, into: MicroClusterId) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, into.0.into());
    seal(&alias_key(id), &mut out);
    out
}

/// Reads the value of an alias's row.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_alias(id: MicroClusterId, value: Bytes) -> Result<MicroClusterId, DecodeError> {
    let mut reader = Reader::new(unseal(&alias_key(id), value)?);
    read_version(&mut reader, "alias", VERSION)?;
    let into = micro(&mut reader)?;
    reader.finish()?;
    Ok(into)
}

/// The value of a successor's row.
#[must_use]
pub fn encode_successor(intent: IntentId, successor: IntentId) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, successor.0);
    seal(&successor_key(intent), &mut out);
    out
}

/// Reads the value of a successor's row.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_successor(retired: IntentId, value: Bytes) -> Result<IntentId, DecodeError> {
    let mut reader = Reader::new(unseal(&successor_key(retired), value)?);
    read_version(&mut reader, "successor", VERSION)?;
    let successor = intent(&mut reader)?;
    reader.finish()?;
    Ok(successor)
}

/// The value of a label's row.
#[must_use]
pub fn encode_label(intent: IntentId, label: &str) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_slice(label.as_bytes());
    seal(&label_key(intent), &mut out);
    out
}

/// Reads the value of a label's row.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_label(intent: IntentId, value: Bytes) -> Result<String, DecodeError> {
    let mut reader = Reader::new(unseal(&label_key(intent), value)?);
    read_version(&mut reader, "label", VERSION)?;
    let label = reader.bytes("label", reader.remaining().min(INTENT_LABEL_BYTES_MAX))?;
    reader.finish()?;
    String::from_utf8(label.into()).map_err(|_| DecodeError::Invalid { field: "label" })
}

fn put_i32s(out: &mut Vec<u8>, numbers: &[i32]) {
    let start = out.len();
    out.resize(start + 4 * numbers.len(), 0);
    let (places, _) = out[start..].as_chunks_mut::<4>();
    for (place, number) in places.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
}

fn i32s(reader: &mut Reader, field: &'static str, count: usize) -> Result<Vec<i32>, DecodeError> {
    let mut bytes = reader.bytes(field, 4 * count)?;
    Ok((0..count).map(|_| bytes.get_i32_le()).collect())
}

fn number(reader: &mut Reader, field: &'static str) -> Result<u32, DecodeError> {
    u32::try_from(reader.varint(field)?).map_err(|_| DecodeError::Invalid { field })
}

fn micro(reader: &mut Reader) -> Result<MicroClusterId, DecodeError> {
    number(reader, "micro-cluster").map(MicroClusterId)
}

fn intent(reader: &mut Reader) -> Result<IntentId, DecodeError> {
    reader.varint("intent").map(IntentId)
}

fn sequence(reader: &mut Reader, field: &'static str) -> Result<u64, DecodeError> {
    match reader.varint(field)? {
        sequence if sequence < SEQUENCE_END => Ok(sequence),
        _ => Err(DecodeError::Invalid { field }),
    }
}

fn list<T>(
    reader: &mut Reader,
    field: &'static str,
    item: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.count(field, LIST_MAX.min(reader.remaining()))?;
    (0..count).map(|_| item(reader)).collect()
}

#[cfg(test)]
mod tests;
