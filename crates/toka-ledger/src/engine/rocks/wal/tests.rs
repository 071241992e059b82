use super::*;

/// Writes records as RocksDB's log::Writer does; returns the bytes and where each record ends.
fn log_of(records: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let mut log = Vec::new();
    let mut ends = Vec::new();
    for record in records {
        let mut rest = &record[..];
        let mut is_first = true;
        loop {
            let padded = skip_padding(log.len());
            log.resize(padded, 0);
            let room = block_end(log.len()) - log.len() - HEADER_BYTES;
            let (data, left) = rest.split_at(rest.len().min(room));
            let kind = match (is_first, left.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            let checksum = masked(crc32c::crc32c_append(crc32c::crc32c(&[kind]), data));
            log.extend_from_slice(&checksum.to_le_bytes());
            let len = u16::try_from(data.len()).expect("a block is 32 KiB");
            log.extend_from_slice(&len.to_le_bytes());
            log.push(kind);
            log.extend_from_slice(data);
            rest = left;
            is_first = false;
            if rest.is_empty() {
                break;
            }
        }
        ends.push(log.len());
    }
    (log, ends)
}

/// `len` bytes without zeros.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8 + 1).collect()
}

/// Two small records, one over three blocks, one that leaves five bytes of padding, one small.
fn sample() -> (Vec<u8>, Vec<usize>) {
    let (log, _) = log_of(&[data(100), data(900), data(70_000)]);
    let to_padding = block_end(log.len()) - log.len() - HEADER_BYTES - 5;
    log_of(&[
        data(100),
        data(900),
        data(70_000),
        data(to_padding),
        data(600),
    ])
}

#[test]
fn an_undamaged_log_is_clean() {
    let (log, ends) = sample();
    let scan = scan(&log);
    assert_eq!(
        (scan.records, scan.valid_bytes, scan.end),
        (5, ends[4], End::Clean)
    );
}

#[test]
fn a_cut_anywhere_is_a_torn_tail_after_the_whole_records() {
    let (log, ends) = sample();
    for len in (0..log.len()).step_by(13).chain(log.len() - 700..log.len()) {
        let scan = scan(&log[..len]);
        let whole = ends.iter().filter(|&&end| end <= len).count();
        assert_eq!(scan.records, whole, "{len} bytes");
        let valid_bytes = whole.checked_sub(1).map_or(0, |last| ends[last]);
        assert_eq!(scan.valid_bytes, valid_bytes, "{len} bytes");
        assert!(!matches!(scan.end, End::Damaged { .. }), "{len} bytes");
    }
}

#[test]
fn a_flipped_byte_anywhere_is_damage_or_padding() {
    let (log, ends) = sample();
    let padding = ends[3]..ends[3] + 5;
    for at in (0..log.len()).step_by(11).chain(log.len() - 700..log.len()) {
        for mask in [0x01, 0x80, 0xff] {
            let mut log = log.clone();
            log[at] ^= mask;
            let is_damaged = matches!(scan(&log).end, End::Damaged { .. });
            assert_eq!(is_damaged, !padding.contains(&at), "byte {at} ^ {mask:#x}");
        }
    }
}

#[test]
fn preallocated_zeros_at_the_end_are_a_torn_tail() {
    let (mut log, ends) = sample();
    log.resize(log.len() + 100_000, 0);
    let scan = scan(&log);
    assert_eq!((scan.valid_bytes, scan.end), (ends[4], End::Torn));
}

#[test]
fn a_last_record_with_a_missing_page_is_a_torn_tail() {
    let (log, ends) = log_of(&[data(100), data(20_000)]);
    for page in [0, 4096, 8192, 16384] {
        let mut log = log.clone();
        // What the page held before the last record was synced with it.
        let start = page.max(ends[0]);
        let end = log.len().min(page + 4096);
        log[start..end].fill(0);
        let scan = scan(&log);
        assert_eq!(
            (scan.valid_bytes, scan.end),
            (ends[0], End::Torn),
            "page {page}"
        );
    }
}

#[test]
fn a_missing_page_before_later_records_is_damage() {
    let (mut log, _) = log_of(&[data(100), data(20_000), data(10)]);
    log[4096..8192].fill(0);
    assert!(matches!(scan(&log).end, End::Damaged { .. }));
}

#[test]
fn zeroed_blocks_in_the_middle_are_damage() {
    let (mut log, _) = log_of(&[data(100), data(200), data(300)]);
    let second = HEADER_BYTES + 100;
    log[second..second + HEADER_BYTES + 200].fill(0);
    assert_eq!(scan(&log).end, End::Damaged { at: second });
}

#[test]
fn a_torn_file_before_a_written_one_is_damage() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (log, _) = sample();
    fs::write(dir.path().join("000004.log"), &log[..log.len() - 1]).expect("write");
    fs::write(dir.path().join("000010.log"), &log).expect("write");
    let error = cut_torn_tail(dir.path()).expect_err("damaged");
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn a_torn_file_before_an_empty_one_is_cut() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (log, ends) = sample();
    fs::write(dir.path().join("000009.log"), &log[..log.len() - 1]).expect("write");
    fs::write(dir.path().join("000010.log"), b"").expect("write");
    cut_torn_tail(dir.path()).expect("cut");
    let cut = fs::read(dir.path().join("000009.log")).expect("read");
    assert_eq!(cut, &log[..ends[3]]);
}
