//! Opening a node's stores, with power cuts.

use std::path::PathBuf;

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use toka_ledger::apply::{Ledger, LogMark};
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::disk::Disk;
use toka_ledger::engine::Durability;
use toka_ledger::seam::SystemThreads;

use super::*;
use crate::error::Damage;
use crate::log_store::{Change, LogEngine as _, SegmentLog, SegmentOptions, frames};
use crate::storage::MemoryStorage;
use crate::type_config::{Entry, EntryPayload, LeaderId, LogId};

const PATH: &str = "/vaults/node";

/// Opens the stores and closes them again.
async fn open_and_close(storage: &MemoryStorage) -> Result<(), StartError> {
    let storage = Arc::new(storage.clone());
    let stores = open_stores(
        Path::new(PATH),
        1,
        FEATURE_LEVEL,
        storage,
        &Seams::system(),
        Blocking::Inline,
        &Fatal::new(),
    )?;
    let whole = stores.ledger.map(drop);
    // Its thread holds the lock of the log until then.
    let _ = stores.log.handle().close().await;
    whole.map_err(|reason| StartError::Raft { reason })
}

#[tokio::test]
async fn power_cut_at_every_operation_of_the_first_start_leaves_what_can_be_started() {
    for at in 0.. {
        let storage = MemoryStorage::new();
        storage.disk.fail_after(at);
        let is_open = open_and_close(&storage).await.is_ok();
        for keeps in [false, true] {
            let after = storage.crash(|| keeps);
            let opened = open_and_close(&after).await;
            opened.unwrap_or_else(|error| panic!("operation {at}, {keeps}: {error}"));
        }
        if is_open {
            assert!(at > 20, "{at} operations");
            return;
        }
    }
}

/// What is there after a first start.
async fn started() -> MemoryStorage {
    let storage = MemoryStorage::new();
    open_and_close(&storage).await.expect("opened");
    storage.crash(|| false)
}

/// What a power cut now would leave of the marker.
fn marker(storage: &MemoryStorage) -> DataDir {
    let after = Arc::new(storage.disk.crash(|| false));
    let mode = Mode::Node {
        cluster_id: None,
        node_id: 1,
    };
    DataDir::open_or_create(after, Path::new(PATH), mode).expect("opened")
}

#[tokio::test]
async fn log_that_is_missing_after_the_first_start_is_damage_and_not_made_anew() {
    let storage = started().await;
    let lost = Path::new(PATH).join("raft");
    storage.disk.remove_dir_all(&lost).expect("removed");
    for _ in 0..2 {
        let error = open_and_close(&storage).await.expect_err("it is missed");
        assert_eq!(error.damage(), Some(Damage::Log), "{error}");
    }
}

#[tokio::test]
async fn pointer_that_is_missing_after_the_first_start_is_damage_that_is_noted() {
    let storage = started().await;
    let lost = Path::new(PATH).join("CURRENT");
    storage.disk.remove(&lost).expect("removed");
    let error = open_and_close(&storage).await.expect_err("it is missed");
    assert!(error.to_string().contains("CURRENT is missing"), "{error}");
    assert!(marker(&storage).is_ledger_damaged());
}

#[tokio::test]
async fn what_the_disk_cannot_read_is_damage_and_noted_of_the_ledger_only() {
    let storage = started().await;
    let segment = Path::new(PATH).join("raft/0000000000000001.log");
    storage.disk.spoil(&segment, 0).expect("there");
    let error = open_and_close(&storage).await.expect_err("unreadable");
    assert_eq!(error.damage(), Some(Damage::UnreadableLog), "{error}");
    assert!(!marker(&storage).is_log_damaged(), "it may come back");

    let storage = started().await;
    let pointer = Path::new(PATH).join("CURRENT");
    storage.disk.spoil(&pointer, 0).expect("there");
    open_and_close(&storage).await.expect_err("unreadable");
    assert!(marker(&storage).is_ledger_damaged());
}

/// The next start, after which nothing is noted in the data directory.
async fn refused(storage: &MemoryStorage) -> StartError {
    let error = open_and_close(storage).await.expect_err("not known");
    let data_dir = marker(storage);
    assert!(!data_dir.is_log_damaged() && !data_dir.is_ledger_damaged());
    error
}

/// Makes the entry of the frame at `frame` one of version 9, with checksums that are right: of the record, of
/// the frame, and of the frame's header.
fn of_version_9(frame: &mut [u8], log: &[u8]) {
    const HEADER: usize = 32;
    const RECORD: usize = HEADER + 8;
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let payload = HEADER..HEADER + number(&frame[24..28]) as usize;
    assert_eq!(frame[RECORD..RECORD + 2], [1, 1], "an entry of version 1");
    frame[RECORD + 1] = 9;
    let len = &frame[HEADER..HEADER + 4];
    let checksum = crc32c::crc32c_append(crc32c::crc32c(len), &frame[RECORD..payload.end]);
    frame[HEADER + 4..RECORD].copy_from_slice(&checksum.to_be_bytes());
    let checksum = crc32c::crc32c(&frame[payload]);
    frame[28..HEADER].copy_from_slice(&checksum.to_be_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(log), &frame[8..HEADER]);
    frame[4..8].copy_from_slice(&checksum.to_be_bytes());
}

#[tokio::test]
async fn entry_of_a_newer_build_is_no_damage() {
    let storage = started().await;
    let dir = Layout::new(storage.disk(), PathBuf::from(PATH)).raft();
    let options = SegmentOptions {
        create: false,
        ..storage.segments
    };
    let opened = SegmentLog::open(storage.disk(), Seams::system().entropy, &dir, options);
    let mut log = opened.expect("opened");
    let entry = Entry {
        log_id: LogId::new(LeaderId::new(1, 1), 0),
        payload: EntryPayload::Blank,
    };
    log.write(&[Change::Append(vec![entry])]).expect("written");
    log.sync().expect("synced");
    drop(log);
    let place = frames(&storage.disk, &dir).expect("listed").remove(0);
    let file = storage.disk.open(&place.segment).expect("opened");
    let mut known = [0; 4_096];
    file.read_at(&mut known, place.bytes.start).expect("read");
    let mut id = [0; 8];
    file.read_at(&mut id, 9).expect("read");
    let mut newer = known;
    of_version_9(&mut newer, &id);
    file.write_at(&newer, place.bytes.start).expect("written");
    drop(file);

    let storage = storage.crash(|| true);
    let error = refused(&storage).await;
    let is_newer = matches!(error, StartError::Log(LogError::Newer { .. }));
    assert!(is_newer && error.is_beyond_build(), "{error}");
    assert_eq!(error.damage(), None);

    // The build that knows it, for which the entry as it was stands here, goes on.
    let storage = storage.crash(|| true);
    let file = storage.disk.open(&place.segment).expect("opened");
    file.write_at(&known, place.bytes.start).expect("written");
    drop(file);
    open_and_close(&storage).await.expect("opened");
}

#[tokio::test]
async fn membership_of_a_newer_build_is_no_damage() {
    let storage = started().await;
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let number = layout.current().expect("readable").expect("there is one");
    let engine = storage.open(&layout.ledger(number)).expect("opened");
    let mut ledger = Ledger::open(Arc::clone(&engine), Arc::new(SystemThreads)).expect("opened");
    let mark = LogMark {
        log_id: None,
        // Without a log id, and of version 3.
        membership: Some(Bytes::from_static(&[0, 3])),
    };
    let applied = ledger.apply(&[], mark, Durability::Volatile);
    applied.expect("applied");
    engine.flush().expect("flushed");
    drop((ledger, engine));

    let storage = storage.crash(|| true);
    let error = refused(&storage).await;
    let is_newer = matches!(error, StartError::Newer { .. });
    assert!(is_newer && error.is_beyond_build(), "{error}");
    assert_eq!(error.damage(), None);
}
