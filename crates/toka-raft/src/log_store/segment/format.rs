//! The bytes of a segment: header, frames, records. docs/format-raft-log.md has the tables.

use bytes::Bytes;

use super::checksum::joined;
use crate::codec::{
    self, Cursor, DecodeError, ENTRY_HEADER_LEN, encode_entry_header, encode_log_id, encode_vote,
    entry_body, put_log_id_option,
};
use crate::log_store::engine::{Change, LogMeta};
use crate::type_config::{Entry, LogId, Vote};

/// Everything is aligned to this: a page that was synced is never written again, so that a crash
/// while writing cannot harm what was acknowledged.
pub(super) const PAGE: u64 = 4096;
pub(super) const PAGE_LEN: usize = PAGE as usize;

pub(super) const FRAME_HEADER_LEN: usize = 32;
/// From this size on a record is read once for both of its checksums; reading a smaller one twice takes less time.
const JOINED_RECORD_BYTES: usize = 16 << 10;
/// Length and checksum before each record.
pub(super) const RECORD_PREFIX_LEN: usize = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"TOKARLOG";
const SEGMENT_VERSION: u8 = 1;
const FRAME_MAGIC: &[u8; 4] = b"TKFR";
const MARK_MAGIC: &[u8; 8] = b"TOKAMARK";
pub(super) const MARK_LEN: usize = 28;

const TAG_ENTRY: u8 = 1; // persisted
const TAG_TRUNCATE_AFTER: u8 = 2; // persisted
const TAG_PURGE: u8 = 3; // persisted
const TAG_VOTE: u8 = 4; // persisted
const TAG_COMMITTED: u8 = 5; // persisted

/// First page of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Random, drawn once per log.
    pub(super) log: u64,
    pub(super) number: u64,
    /// Random, drawn once per segment. Nobody outside knows it, so that no payload can be made up
    /// that looks like a frame.
    pub(super) salt: u64,
    pub(super) first_frame: u64,
    /// State of the log before the first frame: older segments can go without being read.
    pub(super) meta: LogMeta,
}

pub(super) enum HeaderError {
    /// Not written, torn or damaged.
    Unreadable,
    UnknownVersion(u8),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE_LEN);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.push(SEGMENT_VERSION);
        for number in [
            self.log,
            self.number,
            self.salt,
            self.first_frame,
            self.meta.first_index,
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for log_id in [self.meta.purged, self.meta.last, self.meta.committed] {
            put_log_id_option(&mut out, log_id.as_ref());
        }
        out.push(u8::from(self.meta.vote.is_some()));
        if let Some(vote) = &self.meta.vote {
            out.extend_from_slice(&encode_vote(vote));
        }
        out.resize(PAGE_LEN - 4, 0);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    pub(super) fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        let Some((content, checksum)) = page.split_last_chunk::<4>() else {
            return Err(HeaderError::Unreadable);
        };
        if page.len() != PAGE_LEN
            || crc32c::crc32c(content) != u32::from_be_bytes(*checksum)
            || !content.starts_with(SEGMENT_MAGIC)
        {
            return Err(HeaderError::Unreadable);
        }
        let version = content[SEGMENT_MAGIC.len()];
        if version != SEGMENT_VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        Self::fields(&content[SEGMENT_MAGIC.len() + 1..]).map_err(|_| HeaderError::Unreadable)
    }

    fn fields(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new("segment header", bytes);
        Ok(Self {
            log: cursor.u64()?,
            number: cursor.u64()?,
            salt: cursor.u64()?,
            first_frame: cursor.u64()?,
            meta: LogMeta {
                first_index: cursor.u64()?,
                purged: cursor.log_id_option()?,
                last: cursor.log_id_option()?,
                committed: cursor.log_id_option()?,
                vote: if cursor.flag()? {
                    Some(cursor.vote()?)
                } else {
                    None
                },
            },
        })
    }
}

/// What stands before a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) salt: u64,
    /// Counts frames over the life of the log, from 1.
    pub(super) frame: u64,
    pub(super) payload_len: u32,
    pub(super) payload_checksum: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self, log: u64) -> [u8; FRAME_HEADER_LEN] {
        let mut bytes = [0; FRAME_HEADER_LEN];
        bytes[..4].copy_from_slice(FRAME_MAGIC);
        bytes[8..16].copy_from_slice(&self.salt.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.frame.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.payload_len.to_be_bytes());
        bytes[28..].copy_from_slice(&self.payload_checksum.to_be_bytes());
        let checksum = header_checksum(log, &bytes);
        bytes[4..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The header at the start of `bytes`, if there is an intact one of this log.
    pub(super) fn decode(log: u64, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk()?;
        let mut cursor = Cursor::new("frame header", &bytes[4..]);
        let intact =
            bytes.starts_with(FRAME_MAGIC) && cursor.u32() == Ok(header_checksum(log, bytes));
        intact.then_some(())?;
        Some(Self {
            salt: cursor.u64().ok()?,
            frame: cursor.u64().ok()?,
            payload_len: cursor.u32().ok()?,
            payload_checksum: cursor.u32().ok()?,
        })
    }

    /// Bytes on disk, padding included.
    pub(super) fn padded_len(&self) -> u64 {
        (FRAME_HEADER_LEN as u64 + u64::from(self.payload_len)).next_multiple_of(PAGE)
    }
}

fn header_checksum(log: u64, header: &[u8; FRAME_HEADER_LEN]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&log.to_be_bytes()), &header[8..])
}

/// One decoded record.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Entry(Entry),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
    Committed(Option<LogId>),
}

impl From<Record> for Change {
    fn from(record: Record) -> Self {
        match record {
            Record::Entry(entry) => Self::Append(vec![entry]),
            Record::TruncateAfter(after) => Self::TruncateAfter(after),
            Record::Purge(upto) => Self::Purge(upto),
            Record::Vote(vote) => Self::Vote(vote),
            Record::Committed(committed) => Self::Committed(committed),
        }
    }
}

/// Appends a change's records to `out`; calls `on_entry` with each entry's place in `out`. Returns the checksum of
/// what was appended.
pub(super) fn encode_change(
    out: &mut Vec<u8>,
    change: &Change,
    mut on_entry: impl FnMut(u64, std::ops::Range<usize>),
) -> u32 {
    match change {
        Change::Append(entries) => {
            let mut checksum = 0;
            for entry in entries {
                let start = out.len();
                let own = put_record(out, TAG_ENTRY, |out| {
                    out.extend_from_slice(&encode_entry_header(entry));
                    out.extend_from_slice(&entry_body(entry));
                });
                checksum = joined(checksum, own, out.len() - start);
                on_entry(entry.log_id.index, start..out.len());
            }
            checksum
        }
        Change::TruncateAfter(after) => put_record(out, TAG_TRUNCATE_AFTER, |out| {
            put_log_id_option(out, after.as_ref());
        }),
        Change::Purge(upto) => put_record(out, TAG_PURGE, |out| {
            out.extend_from_slice(&encode_log_id(upto));
        }),
        Change::Vote(vote) => put_record(out, TAG_VOTE, |out| {
            out.extend_from_slice(&encode_vote(vote));
        }),
        Change::Committed(committed) => put_record(out, TAG_COMMITTED, |out| {
            put_log_id_option(out, committed.as_ref());
        }),
    }
}

/// Length u32 (of what follows the checksum), checksum u32, tag u8, content. Returns the checksum of all of it, which the
/// frame needs: of a large record, made from the record's own.
pub(super) fn put_record(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) -> u32 {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_PREFIX_LEN]);
    out.push(tag);
    content(out);
    let (prefix, content) = out[start..].split_at_mut(RECORD_PREFIX_LEN);
    let len = u32::try_from(content.len())
        .expect("the log store limits entries to far less than 4 GiB")
        .to_be_bytes();
    let is_large = content.len() >= JOINED_RECORD_BYTES;
    let of_content = if is_large { crc32c::crc32c(content) } else { 0 };
    let behind = |first: u32| {
        if is_large {
            joined(first, of_content, content.len())
        } else {
            crc32c::crc32c_append(first, content)
        }
    };
    prefix[..4].copy_from_slice(&len);
    prefix[4..].copy_from_slice(&behind(crc32c::crc32c(&len)).to_be_bytes());
    behind(crc32c::crc32c(prefix))
}

fn record_checksum(len: u32, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len.to_be_bytes()), content)
}

/// Bytes of the record at the start of `payload`, prefix included, if its checksum is right.
pub(super) fn record_len(payload: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new("record", payload);
    let len = cursor.u32().ok()?;
    let checksum = cursor.u32().ok()?;
    let content = cursor.bytes(len as usize).ok()?;
    (record_checksum(len, content) == checksum).then_some(RECORD_PREFIX_LEN + content.len())
}

/// Decodes one record, prefix included, whose checksum has been checked. Entries share `record`.
pub(super) fn decode_record(record: Bytes) -> Result<Record, DecodeError> {
    const WHAT: &str = "record";
    let content = record.slice(RECORD_PREFIX_LEN.min(record.len())..);
    let mut cursor = Cursor::new(WHAT, &content);
    let tag = cursor.u8()?;
    let decoded = match tag {
        TAG_ENTRY => {
            let header = cursor.bytes(ENTRY_HEADER_LEN)?;
            let body = content.slice(1 + ENTRY_HEADER_LEN..);
            return codec::decode_entry(header, body).map(Record::Entry);
        }
        TAG_TRUNCATE_AFTER => Record::TruncateAfter(cursor.log_id_option()?),
        TAG_PURGE => Record::Purge(cursor.log_id()?),
        TAG_VOTE => Record::Vote(cursor.vote()?),
        TAG_COMMITTED => Record::Committed(cursor.log_id_option()?),
        tag => return Err(DecodeError::UnknownTag { what: WHAT, tag }),
    };
    cursor.finish()?;
    Ok(decoded)
}

/// Mark: magic, log u64, last durable frame u64, checksum u32.
pub(super) fn encode_mark(log: u64, frame: u64) -> [u8; MARK_LEN] {
    let mut bytes = [0; MARK_LEN];
    bytes[..8].copy_from_slice(MARK_MAGIC);
    bytes[8..16].copy_from_slice(&log.to_be_bytes());
    bytes[16..24].copy_from_slice(&frame.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[..24]);
    bytes[24..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The log and the frame of an intact mark.
pub(super) fn decode_mark(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut cursor = Cursor::new("mark", bytes);
    let magic = cursor.bytes(8).ok()?;
    let (log, frame) = (cursor.u64().ok()?, cursor.u64().ok()?);
    let intact = magic == MARK_MAGIC && cursor.u32().ok()? == crc32c::crc32c(&bytes[..24]);
    intact.then_some((log, frame))
}

#[cfg(test)]
mod tests;
