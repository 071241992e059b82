//! Tests of the engine on a simulated disk: what a crash leaves, and what damage looks like.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use toka_ledger::disk::MemoryDisk;
use toka_ledger::seam::SystemEntropy;

use super::format::{PAGE, PAGE_LEN};
use super::*;
use crate::log_store::engine::ReadPlan;
use crate::log_store::error::Damage;
use crate::type_config::{Commands, Entry, EntryPayload, LeaderId, LogId, Vote};

mod crash;
mod unfilled;
mod unreadable;

const DIR: &str = "/raft";
/// Small, so that a few entries fill a segment.
const OPTIONS: SegmentOptions = SegmentOptions {
    segment_bytes: 8 * PAGE,
    create: true,
};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64, len: usize) -> Entry {
    let body = vec![index.to_be_bytes()[7]; len];
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Commands(Bytes::from(body))),
    }
}

fn try_open(disk: &MemoryDisk) -> Result<SegmentLog, LogError> {
    open_with(disk, OPTIONS)
}

fn open_with(disk: &MemoryDisk, options: SegmentOptions) -> Result<SegmentLog, LogError> {
    SegmentLog::open(
        Arc::new(disk.clone()),
        Arc::new(SystemEntropy),
        Path::new(DIR),
        options,
    )
}

fn open(disk: &MemoryDisk) -> SegmentLog {
    try_open(disk).expect("the log opens")
}

fn put(log: &mut SegmentLog, changes: &[Change]) {
    log.write(changes).expect("write");
    log.sync().expect("sync");
}

/// Appends entries of 100 bytes, one group (and so one page) each.
fn append(log: &mut SegmentLog, indexes: std::ops::Range<u64>) {
    for index in indexes {
        put(log, &[Change::Append(vec![entry(1, index, 100)])]);
    }
}

fn read(log: &SegmentLog) -> Vec<Entry> {
    match log.reader().plan(log.meta().range(), u64::MAX) {
        ReadPlan::Blocking(read) => read().expect("readable"),
        ReadPlan::Ready(entries) => entries,
    }
}

fn segment_file(number: u64) -> PathBuf {
    segment_path(Path::new(DIR), number)
}

/// A copy of the disk with all that was written, as the death of the process alone leaves it.
fn killed(disk: &MemoryDisk) -> MemoryDisk {
    disk.crash(|| true)
}

fn damage(disk: &MemoryDisk, number: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let path = segment_file(number);
    let mut bytes = disk.read(&path).expect("the segment is there");
    change(&mut bytes);
    disk.overwrite(&path, &bytes).expect("written");
}

fn forget_mark(disk: &MemoryDisk) {
    let mark = Path::new(DIR).join("mark");
    disk.overwrite(&mark, &[]).expect("written");
}

fn damage_found(disk: &MemoryDisk) -> Damage {
    match try_open(disk).err() {
        Some(LogError::Damaged { damage, .. }) => damage,
        other => panic!("expected damage, found {other:?}"),
    }
}

/// Page of the frame that holds entry `index` of [`append`] from 0 on, in segment 1.
fn page_of(index: u64) -> usize {
    (index as usize + 1) * PAGE_LEN
}

#[test]
fn reopen_yields_the_same() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    put(&mut log, &[Change::Vote(Vote::new_committed(3, 1))]);
    put(
        &mut log,
        &[Change::Append(
            (0..20).map(|index| entry(1, index, 300)).collect(),
        )],
    );
    put(
        &mut log,
        &[
            Change::TruncateAfter(Some(log_id(1, 9))),
            Change::Append((10..40).map(|index| entry(2, index, 2000)).collect()),
            Change::Purge(log_id(1, 3)),
            Change::Committed(Some(log_id(2, 15))),
        ],
    );
    let (meta, entries) = (log.meta().clone(), read(&log));
    log.close().expect("close");
    let log = open(&disk);
    assert_eq!(log.meta(), &meta);
    assert_eq!(read(&log), entries);
    assert_eq!(entries.len(), 36);
}

#[test]
fn group_larger_than_a_segment_is_kept() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..2);
    put(&mut log, &[Change::Append(vec![entry(1, 2, 100_000)])]);
    append(&mut log, 2 + 1..5);
    let entries = read(&log);
    drop(log);
    assert_eq!(read(&open(&disk)), entries);
}

#[test]
fn log_opened_twice_is_refused() {
    let disk = MemoryDisk::new();
    let _log = open(&disk);
    assert!(matches!(try_open(&disk), Err(LogError::InUse { .. })));
}

#[test]
fn segment_of_a_later_version_is_refused_by_name() {
    let disk = MemoryDisk::new();
    drop(open(&disk));
    damage(&disk, 1, |bytes| {
        bytes[8] = 9;
        let checksum = crc32c::crc32c(&bytes[..PAGE_LEN - 4]);
        bytes[PAGE_LEN - 4..PAGE_LEN].copy_from_slice(&checksum.to_be_bytes());
    });
    assert!(matches!(
        try_open(&disk),
        Err(LogError::UnknownVersion { version: 9, .. })
    ));
}

#[test]
fn purge_reclaims_and_recycles_segments() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    let mut most = 0;
    for round in 0..40 {
        append(&mut log, round * 20..round * 20 + 20);
        put(&mut log, &[Change::Purge(log_id(1, round * 20 + 15))]);
        most = most.max(disk.list(Path::new(DIR)).expect("list").len());
    }
    // Twenty pages are three segments; what a purge frees is kept for reuse; mark and lock come on top.
    assert!(most <= 12, "{most} files");
    drop(log);
    assert_eq!(read(&open(&disk)).len(), 4);
}

#[test]
fn reader_finishes_a_purged_segment() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..7);
    let ReadPlan::Blocking(read) = log.reader().plan(0..7, u64::MAX) else {
        panic!("segments are read from the disk")
    };
    append(&mut log, 7..8);
    put(&mut log, &[Change::Purge(log_id(1, 7))]);
    append(&mut log, 8..40);
    assert_eq!(read().expect("still there").len(), 7);
}

#[test]
fn read_stops_at_the_byte_limit_after_at_least_one_entry() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..5);
    for (limit, expected) in [(0, 1), (300, 2), (u64::MAX, 5)] {
        let ReadPlan::Blocking(read) = log.reader().plan(0..5, limit) else {
            panic!("segments are read from the disk")
        };
        assert_eq!(read().expect("readable").len(), expected);
    }
}

#[test]
fn torn_last_frame_is_cut() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..3);
    log.write(&[Change::Append(vec![entry(1, 3, 3000)])])
        .expect("write");
    // The machine dies before the sync: half of the frame is there.
    let mut sectors = 0;
    let disk = disk.crash(|| {
        sectors += 1;
        sectors <= 4
    });
    let mut log = open(&disk);
    assert_eq!(log.meta().range(), 0..3);
    append(&mut log, 3..6);
    assert_eq!(read(&log).len(), 6);
}

#[test]
fn damage_before_a_later_frame_is_refused() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..5);
    // Also without the mark: the later frames are proof enough.
    forget_mark(&disk);
    for offset in [0, 5, 10, 18, 25, 29, 40, 100] {
        let disk = killed(&disk);
        damage(&disk, 1, |bytes| bytes[page_of(2) + offset] ^= 1);
        assert_eq!(
            damage_found(&disk),
            Damage::LaterFrame { frame: 3, later: 4 }
        );
    }
}

#[test]
fn lost_page_before_a_later_frame_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..5);
    damage(&disk, 1, |bytes| bytes[page_of(2)..page_of(4)].fill(0));
    assert_eq!(
        damage_found(&disk),
        Damage::LaterFrame { frame: 3, later: 5 }
    );
}

#[test]
fn damage_in_the_last_frame_is_refused_after_a_sync() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..5);
    damage(&disk, 1, |bytes| bytes[page_of(4) + 60] ^= 1);
    assert_eq!(
        damage_found(&disk),
        Damage::DurableFrame {
            frame: 5,
            durable: 5
        }
    );
}

#[test]
fn damage_at_the_end_of_a_full_segment_is_refused() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..9);
    forget_mark(&disk);
    damage(&disk, 1, |bytes| bytes[page_of(6) + 60] ^= 1);
    assert_eq!(
        damage_found(&disk),
        Damage::LaterSegment { frame: 7, later: 8 }
    );
}

#[test]
fn damaged_header_of_a_used_segment_is_refused() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..9);
    forget_mark(&disk);
    for number in [1, 2] {
        let disk = killed(&disk);
        damage(&disk, number, |bytes| bytes[20] ^= 1);
        assert_eq!(damage_found(&disk), Damage::SegmentHeader);
    }
}

#[test]
fn missing_newest_segment_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..9);
    disk.remove(&segment_file(2)).expect("remove");
    assert_eq!(
        damage_found(&disk),
        Damage::DurableFrame {
            frame: 8,
            durable: 9
        }
    );
}

#[test]
fn missing_oldest_segment_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..20);
    disk.remove(&segment_file(1)).expect("remove");
    assert_eq!(
        damage_found(&disk),
        Damage::MissingEntries { first_index: 0 }
    );
}

#[test]
fn missing_middle_segment_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..20);
    disk.remove(&segment_file(2)).expect("remove");
    assert_eq!(
        damage_found(&disk),
        Damage::MissingEntries { first_index: 0 }
    );
}

#[test]
fn missing_log_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..3);
    disk.remove(&segment_file(1)).expect("remove");
    assert!(matches!(damage_found(&disk), Damage::DurableFrame { .. }));
}

#[test]
fn old_purged_segment_that_came_back_is_ignored() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..4);
    let old = disk.read(&segment_file(1)).expect("segment 1");
    append(&mut log, 4..40);
    put(&mut log, &[Change::Purge(log_id(1, 38))]);
    drop(log);
    assert!(!disk.exists(&segment_file(1)));
    disk.overwrite(&segment_file(1), &old).expect("written");
    assert_eq!(read(&open(&disk)).len(), 1);
}

#[test]
fn entry_that_rots_after_opening_is_not_returned() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..3);
    let file = disk.open(&segment_file(1)).expect("open");
    file.write_at(&[0xff], page_of(1) as u64 + 80)
        .expect("write");
    let ReadPlan::Blocking(read) = log.reader().plan(1..2, u64::MAX) else {
        panic!("segments are read from the disk")
    };
    let error = read().expect_err("the checksum is wrong");
    let damage = match error {
        LogError::Damaged { damage, .. } => damage,
        other => panic!("expected damage, found {other}"),
    };
    assert_eq!(damage, Damage::Checksum { index: 1 });
}

#[test]
fn frames_are_listed_and_garbage_after_the_last_one_is_cut() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..9);
    let places = frames(&disk, Path::new(DIR)).expect("readable");
    let numbers: Vec<u64> = places.iter().map(|place| place.frame).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    let last = places.last().expect("nine");
    let file = disk.open(&last.segment).expect("open");
    file.write_at(&[0xa5; 3000], last.bytes.end).expect("write");
    assert_eq!(read(&open(&disk)).len(), 9);
}

#[test]
fn frame_with_another_salt_is_not_replayed() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..2);
    // What a recycled file may hold, or what a payload may be made to look like.
    log.active.salt ^= 1;
    log.write(&[Change::Append(vec![entry(1, 2, 100)])])
        .expect("write");
    drop(log);
    assert_eq!(read(&open(&killed(&disk))).len(), 2);
}

#[test]
fn segment_that_contradicts_the_one_before_it_is_damage() {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 0..9);
    damage(&disk, 2, |bytes| {
        let header = SegmentHeader::decode(&bytes[..PAGE_LEN]);
        let mut header = header.unwrap_or_else(|_| panic!("the header is intact"));
        header.meta.vote = Some(Vote::new(9, 9));
        bytes[..PAGE_LEN].copy_from_slice(&header.encode());
    });
    assert_eq!(damage_found(&disk), Damage::SegmentChain);
}

#[test]
fn frame_is_durable_before_the_next_one_is_written() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    for index in 0..2 {
        let change = Change::Append(vec![entry(1, index, 100)]);
        log.write(&[change]).expect("write");
    }
    assert_eq!(open(&disk.crash(|| false)).meta().range(), 0..1);
}

#[test]
fn torn_mark_leaves_the_one_before_it() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).expect("created");
    let mut mark = Mark::open(&disk, Path::new(DIR), 5).expect("created");
    mark.write(1).expect("write");
    mark.write(2).expect("write");
    let file = disk.open(&Path::new(DIR).join("mark")).expect("there");
    file.write_at(&[0xff; 4], 20).expect("write");
    let read = Mark::read(&disk, Path::new(DIR)).expect("read");
    assert_eq!(read, Some((5, 1)));
}

#[test]
fn failed_sync_is_reported() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..1);
    disk.fail_after(0);
    let result = log
        .write(&[Change::Vote(Vote::new(2, 1))])
        .and_then(|()| log.sync());
    assert!(matches!(result, Err(LogError::Io { .. })));
}

#[test]
fn hole_is_refused_and_changes_nothing() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..2);
    let result = log.write(&[Change::Append(vec![entry(1, 5, 10)])]);
    assert!(matches!(result, Err(LogError::Hole { expected: 2, .. })));
    append(&mut log, 2..3);
    drop(log);
    assert_eq!(read(&open(&disk)).len(), 3);
}

#[test]
fn frame_whose_sync_failed_is_durable_before_it_is_used() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 0..3);
    disk.fail_next_sync();
    log.write(&[Change::Append(vec![entry(1, 3, 100)])])
        .expect("written to the page cache");
    log.sync().expect_err("the disk fails");
    drop(log);
    // The process starts again in the same boot, and finds the frame in the page cache.
    let log = open(&disk);
    assert_eq!(read(&log).len(), 4);
    drop(log);
    let after_power_cut = disk.crash(|| false);
    assert_eq!(read(&open(&after_power_cut)).len(), 4);
}

#[test]
fn log_that_is_gone_is_not_made_anew() {
    let existing = SegmentOptions {
        create: false,
        ..OPTIONS
    };
    let disk = MemoryDisk::new();
    assert!(matches!(
        open_with(&disk, existing),
        Err(LogError::Missing { .. })
    ));
    append(&mut open(&disk), 0..3);
    let log = open_with(&disk, existing).expect("there is one");
    assert_eq!(read(&log).len(), 3);
}
