//! For the fuzz targets alone: decoders with what encodes their results again, and segments whose checksums are right
//! whatever they hold.

use bytes::Bytes;

use super::format::{
    FRAME_HEADER_LEN, FrameHeader, PAGE_LEN, RECORD_PREFIX_LEN, SegmentHeader, decode_mark,
    decode_record, encode_change, encode_mark, put_record, record_len,
};
use crate::log_store::engine::{Change, LogMeta};

/// Identity of the log that [`segment`] makes a segment of.
pub(crate) const LOG: u64 = 7;
const SALT: u64 = 9;

/// A segment that begins with `meta` and has these frames. A frame is records, a record a tag and its content.
pub(crate) fn segment(
    number: u64,
    first_frame: u64,
    meta: &LogMeta,
    frames: &[Vec<Bytes>],
) -> Vec<u8> {
    let header = SegmentHeader {
        log: LOG,
        number,
        salt: SALT,
        first_frame,
        meta: meta.clone(),
    };
    let mut out = header.encode();
    for (frame, records) in (first_frame..=u64::MAX).zip(frames) {
        let mut payload = Vec::new();
        for record in records {
            record_of(record, &mut payload);
        }
        let header = FrameHeader {
            salt: SALT,
            frame,
            payload_len: u32::try_from(payload.len()).expect("inputs are small"),
            payload_checksum: crc32c::crc32c(&payload),
        };
        out.extend_from_slice(&header.encode(LOG));
        out.extend_from_slice(&payload);
        out.resize(out.len().next_multiple_of(PAGE_LEN), 0);
    }
    out
}

/// A record with a right checksum; `record` is its tag and its content.
fn record_of(record: &[u8], out: &mut Vec<u8>) {
    let (tag, content) = record.split_first().unwrap_or((&0, &[]));
    put_record(out, *tag, |out| out.extend_from_slice(content));
}

/// A record is decoded to what encodes to the same bytes, or refused.
pub(crate) fn check_record(record: &[u8]) {
    let _ = record_len(record);
    let _ = decode_record(Bytes::copy_from_slice(record));
    let mut sealed = Vec::new();
    record_of(record, &mut sealed);
    assert_eq!(record_len(&sealed), Some(sealed.len()));
    assert!(sealed.len() > RECORD_PREFIX_LEN);
    let Ok(decoded) = decode_record(Bytes::from(sealed.clone())) else {
        return;
    };
    let mut again = Vec::new();
    encode_change(&mut again, &Change::from(decoded), |_, _| ());
    assert_eq!(again, sealed, "a record has one form");
}

/// The first page of a segment is decoded to what encodes to one that is read as the same, or refused.
pub(crate) fn check_header(content: &[u8]) {
    let _ = SegmentHeader::decode(content);
    let mut page = content.to_vec();
    page.resize(PAGE_LEN - 4, 0);
    let checksum = crc32c::crc32c(&page);
    page.extend_from_slice(&checksum.to_be_bytes());
    if let Ok(header) = SegmentHeader::decode(&page) {
        let again = SegmentHeader::decode(&header.encode());
        assert!(again.is_ok_and(|again| again == header));
    }
}

/// The header of a frame is decoded to what encodes to the same bytes, or refused.
pub(crate) fn check_frame_header(bytes: &[u8]) {
    if let Some(header) = FrameHeader::decode(LOG, bytes) {
        assert_eq!(header.encode(LOG), bytes[..FRAME_HEADER_LEN]);
        assert!(header.padded_len().is_multiple_of(PAGE_LEN as u64));
    }
}

/// A slot of the mark is decoded to what encodes to the same bytes, or refused.
pub(crate) fn check_mark(bytes: &[u8]) {
    if let Some((log, frame)) = decode_mark(bytes) {
        assert_eq!(encode_mark(log, frame), bytes[..encode_mark(0, 0).len()]);
    }
}

/// The parts of a segment, for the first inputs.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let frame = FrameHeader {
        salt: SALT,
        frame: 1,
        payload_len: 5,
        payload_checksum: 6,
    };
    vec![
        ("frame-header", frame.encode(LOG).to_vec()),
        ("mark", encode_mark(LOG, 3).to_vec()),
    ]
}
