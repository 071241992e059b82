//! A store in files on a disk in memory.

use std::path::Path;
use std::sync::Arc;

use super::*;

const DIR: &str = "/store";

fn open(disk: &MemoryDisk) -> Result<MemoryEngine, EngineError> {
    MemoryEngine::open(Arc::new(disk.clone()), Path::new(DIR))
}

fn put(engine: &MemoryEngine, n: u32) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    batch.put(Table::Events, n.to_be_bytes(), b"row");
    batch.put(Table::Meta, b"last", n.to_be_bytes());
    batch.delete(Table::Events, (n / 2).to_be_bytes());
    engine.write(batch, Durability::Volatile)
}

fn rows(engine: &MemoryEngine) -> Vec<Rows> {
    engine
        .read()
        .live
        .iter()
        .map(|rows| (**rows).clone())
        .collect()
}

/// Rows after the first `count` batches.
fn expected(count: u32) -> Vec<Rows> {
    let engine = MemoryEngine::new();
    (1..=count).for_each(|n| put(&engine, n).expect("written"));
    rows(&engine)
}

/// Writes and flushes `count` batches, until the disk fails. Returns how many were flushed.
fn play(disk: &MemoryDisk, count: u32) -> u32 {
    let Ok(engine) = open(disk) else { return 0 };
    for n in 1..=count {
        if put(&engine, n).and_then(|()| engine.flush()).is_err() {
            put(&engine, n).expect_err("a failed flush is the last one");
            return n - 1;
        }
    }
    count
}

#[test]
fn what_was_flushed_survives_and_what_was_not_is_gone() {
    let disk = MemoryDisk::new();
    play(&disk, 5);
    let engine = open(&disk).expect("opened");
    put(&engine, 6).expect("written");
    drop(engine);
    assert_eq!(rows(&open(&disk).expect("opened")), expected(5));
    let crashed = disk.crash(|| false);
    assert_eq!(rows(&open(&crashed).expect("opened")), expected(5));
}

#[test]
fn store_cannot_be_opened_twice() {
    let disk = MemoryDisk::new();
    let first = open(&disk).expect("opened");
    let error = open(&disk).expect_err("in use");
    assert!(matches!(error, EngineError::Locked { .. }), "{error}");
    drop(first);
    open(&disk).expect("opened");
}

#[test]
fn power_cut_at_every_disk_operation_leaves_what_was_flushed() {
    // Enough for everything to be written anew once.
    const COUNT: u32 = 70;
    let whole = MemoryDisk::new();
    assert_eq!(play(&whole, COUNT), COUNT);
    let files = whole.list(Path::new(DIR)).expect("listed").len();
    assert!(files < 10, "{files} files are left");
    for at in 0..whole.operations() {
        let disk = MemoryDisk::new();
        disk.fail_after(at);
        let flushed = play(&disk, COUNT);
        for keeps in [false, true] {
            let engine = open(&disk.crash(|| keeps)).expect("opened");
            let found = rows(&engine);
            assert!(
                found == expected(flushed) || found == expected(flushed + 1),
                "operation {at}: {flushed} were flushed"
            );
            engine.verify_checksums().expect("nothing is damaged");
        }
    }
}

#[test]
fn copy_opens_as_a_store() {
    let disk = MemoryDisk::new();
    let original = MemoryEngine::on(Arc::new(disk.clone()));
    put(&original, 1).expect("written");
    original.checkpoint(Path::new(DIR)).expect("copied");
    let engine = open(&disk.crash(|| false)).expect("opened");
    assert_eq!(rows(&engine), expected(1));
    let again = open(&disk).expect("opened");
    put(&again, 2)
        .and_then(|()| again.flush())
        .expect("flushed");
    let engine = open(&disk.crash(|| false)).expect("opened");
    assert_eq!(rows(&engine), expected(2));
}

#[test]
fn every_flipped_byte_and_every_missing_flush_is_found() {
    let disk = MemoryDisk::new();
    play(&disk, 3);
    let path = |n: u32| Path::new(DIR).join(format!("flush-{n:016x}"));
    let bytes = disk.read(&path(2)).expect("read");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        let disk = disk.crash(|| true);
        disk.overwrite(&path(2), &damaged).expect("written");
        let error = open(&disk).expect_err("damaged");
        assert!(error.is_corruption(), "byte {at}: {error}");
    }
    disk.remove(&path(2)).expect("removed");
    assert!(open(&disk).expect_err("missing").is_corruption());
}
