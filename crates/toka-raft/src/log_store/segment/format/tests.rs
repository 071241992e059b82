use openraft::vote::RaftLeaderId;
use proptest::prelude::*;

use super::*;
use crate::type_config::{Commands, EntryPayload, LeaderId};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 4), index)
}

fn header() -> SegmentHeader {
    SegmentHeader {
        log: 11,
        number: 3,
        salt: 77,
        first_frame: 9,
        meta: LogMeta {
            first_index: 5,
            purged: Some(log_id(1, 4)),
            last: Some(log_id(2, 8)),
            committed: None,
            vote: Some(Vote::new_committed(2, 4)),
        },
    }
}

#[test]
fn segment_header_round_trips() {
    assert_eq!(
        SegmentHeader::decode(&header().encode()).ok(),
        Some(header())
    );
}

#[test]
fn segment_header_of_a_later_version_is_named() {
    let mut page = header().encode();
    page[8] = 2;
    let checksum = crc32c::crc32c(&page[..PAGE_LEN - 4]);
    page[PAGE_LEN - 4..].copy_from_slice(&checksum.to_be_bytes());
    assert!(matches!(
        SegmentHeader::decode(&page),
        Err(HeaderError::UnknownVersion(2))
    ));
}

#[test]
fn frame_header_of_another_log_is_not_ours() {
    let header = FrameHeader {
        salt: 1,
        frame: 2,
        payload_len: 3,
        payload_checksum: 4,
    };
    let bytes = header.encode(11);
    assert_eq!(FrameHeader::decode(11, &bytes), Some(header));
    assert_eq!(FrameHeader::decode(12, &bytes), None);
}

#[test]
fn frame_is_padded_to_pages() {
    let len = |payload_len| {
        FrameHeader {
            salt: 0,
            frame: 0,
            payload_len,
            payload_checksum: 0,
        }
        .padded_len()
    };
    assert_eq!((len(1), len(4064), len(4065)), (4096, 4096, 8192));
}

#[test]
fn mark_round_trips_and_a_torn_one_is_ignored() {
    let mut bytes = encode_mark(11, 42);
    assert_eq!(decode_mark(&bytes), Some((11, 42)));
    bytes[20] ^= 1;
    assert_eq!(decode_mark(&bytes), None);
}

#[test]
fn every_change_round_trips() {
    let entry = Entry {
        log_id: log_id(2, 9),
        payload: EntryPayload::Normal(Commands(Bytes::from_static(b"commands"))),
    };
    let changes = [
        Change::Append(vec![entry]),
        Change::TruncateAfter(None),
        Change::TruncateAfter(Some(log_id(1, 1))),
        Change::Purge(log_id(1, 2)),
        Change::Vote(Vote::new(3, 3)),
        Change::Committed(Some(log_id(2, 2))),
        Change::Committed(None),
    ];
    for change in changes {
        let mut out = Vec::new();
        let checksum = encode_change(&mut out, &change, |_, _| {});
        assert_eq!(checksum, crc32c::crc32c(&out));
        assert_eq!(record_len(&out), Some(out.len()));
        let record = decode_record(Bytes::from(out)).expect("what was encoded");
        assert_eq!(Change::from(record), change);
    }
}

#[test]
fn checksums_of_large_and_small_records_are_those_of_their_bytes() {
    let entry = |index, len| Entry {
        log_id: log_id(1, index),
        payload: EntryPayload::Normal(Commands(Bytes::from(vec![3; len]))),
    };
    let sizes = [JOINED_RECORD_BYTES - 100, 5, JOINED_RECORD_BYTES, 100_000];
    let entries = (0..).zip(sizes).map(|(index, len)| entry(index, len));
    let mut out = Vec::new();
    let mut places = Vec::new();
    let change = Change::Append(entries.collect());
    let checksum = encode_change(&mut out, &change, |_, place| places.push(place));
    assert_eq!(checksum, crc32c::crc32c(&out));
    for place in places {
        assert_eq!(record_len(&out[place.clone()]), Some(place.len()));
    }
}

proptest! {
    #[test]
    fn decoders_are_total(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SegmentHeader::decode(&bytes);
        let _ = FrameHeader::decode(1, &bytes);
        let _ = decode_mark(&bytes);
        let _ = record_len(&bytes);
        let _ = decode_record(Bytes::from(bytes));
    }

    #[test]
    fn segment_header_fields_are_total(bytes in prop::collection::vec(0u8..3, 0..200)) {
        let mut page = header().encode();
        page[9..9 + bytes.len()].copy_from_slice(&bytes);
        let checksum = crc32c::crc32c(&page[..PAGE_LEN - 4]);
        page[PAGE_LEN - 4..].copy_from_slice(&checksum.to_be_bytes());
        let _ = SegmentHeader::decode(&page);
    }

    #[test]
    fn a_flipped_bit_in_a_record_is_noticed(body in prop::collection::vec(any::<u8>(), 0..100), at in any::<usize>(), bit in 0u8..8) {
        let entry = Entry { log_id: log_id(1, 1), payload: EntryPayload::Normal(Commands(Bytes::from(body))) };
        let mut out = Vec::new();
        encode_change(&mut out, &Change::Append(vec![entry]), |_, _| {});
        let at = at % out.len();
        out[at] ^= 1 << bit;
        prop_assert_eq!(record_len(&out), None);
    }
}
