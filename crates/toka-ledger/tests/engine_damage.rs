//! What RocksDB does with damaged, torn, locked, missing and foreign directories.
#![cfg(feature = "storage")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use toka_ledger::disk::SystemDisk;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Table};

const RECORDS: u8 = 12;

fn options(wal: bool) -> RocksOptions {
    RocksOptions {
        wal,
        ..RocksOptions::default()
    }
}

fn temp() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn row(key: u8) -> Batch {
    let mut batch = Batch::new();
    // Two tables, so that a half-applied batch would show.
    batch.put(
        Table::Headers,
        [key],
        vec![key | 0x80; 50 + usize::from(key)],
    );
    batch.put(Table::Meta, b"last", [key]);
    batch
}

/// A store with [`RECORDS`] synced writes, all of them only in its write-ahead log.
fn logged(dir: &TempDir) -> PathBuf {
    let engine = RocksEngine::open(&dir.path().join("source"), &options(true)).expect("create");
    for key in 1..=RECORDS {
        engine.write(row(key), Durability::Synced).expect("write");
    }
    let image = dir.path().join("image");
    engine.crash_image(&image).expect("crash image");
    image
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// The log file that holds the records.
fn log(dir: &Path) -> PathBuf {
    files(dir, "log")
        .into_iter()
        .max_by_key(|path| fs::metadata(path).expect("metadata").len())
        .expect("a log file")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

/// The store's rows are those of the first `n` writes; returns `n`.
fn whole_writes(engine: &RocksEngine) -> u8 {
    let rows: Vec<_> = engine
        .scan(Table::Headers, &[], None, Direction::Forward)
        .map(|row| row.expect("scan").0[0])
        .collect();
    let n = u8::try_from(rows.len()).expect("few rows");
    assert_eq!(rows, (1..=n).collect::<Vec<_>>());
    let last = engine.get(Table::Meta, b"last").expect("get");
    assert_eq!(last.map_or(0, |value| value[0]), n);
    n
}

#[test]
fn a_flipped_byte_in_the_log_is_an_error_and_not_a_shorter_history() {
    let dir = temp();
    let image = logged(&dir);
    let len = fs::read(log(&image)).expect("read").len();
    for at in (0..len).step_by(29).chain([4, 5, 6, len - 1]) {
        let copied = dir.path().join(format!("flip-{at}"));
        copy(&image, &copied);
        let log = log(&copied);
        let mut bytes = fs::read(&log).expect("read");
        bytes[at] ^= 0xff;
        fs::write(&log, bytes).expect("write");
        let error = RocksEngine::open(&copied, &options(true)).expect_err("damaged");
        assert!(error.is_corruption(), "byte {at}: {error}");
        fs::remove_dir_all(copied).expect("remove");
    }
}

#[test]
fn a_log_cut_anywhere_opens_with_the_whole_writes_before_the_cut() {
    let dir = temp();
    let image = logged(&dir);
    let len = fs::read(log(&image)).expect("read").len();
    let mut longest = 0;
    for cut in (0..len).step_by(41).chain([len - 1, len]) {
        let copied = dir.path().join(format!("cut-{cut}"));
        copy(&image, &copied);
        let log = log(&copied);
        let bytes = fs::read(&log).expect("read");
        fs::write(&log, &bytes[..cut]).expect("write");
        let engine = RocksEngine::open(&copied, &options(true)).expect("torn tail");
        let writes = whole_writes(&engine);
        assert!(writes >= longest, "{cut} bytes: {writes} < {longest}");
        longest = writes;
        // It goes on from there.
        engine
            .write(row(writes + 1), Durability::Synced)
            .expect("write");
        drop(engine);
        let engine = RocksEngine::open(&copied, &options(true)).expect("reopen");
        assert_eq!(whole_writes(&engine), writes + 1);
        drop(engine);
        fs::remove_dir_all(copied).expect("remove");
    }
    assert_eq!(longest, RECORDS);
}

#[test]
fn a_log_with_zeros_at_the_end_opens_with_everything() {
    let dir = temp();
    let image = logged(&dir);
    let log = log(&image);
    let mut bytes = fs::read(&log).expect("read");
    bytes.resize(bytes.len() + 10_000, 0);
    fs::write(&log, bytes).expect("write");
    let engine = RocksEngine::open(&image, &options(true)).expect("open");
    assert_eq!(whole_writes(&engine), RECORDS);
}

#[test]
fn a_log_zeroed_in_the_middle_is_an_error() {
    let dir = temp();
    let image = logged(&dir);
    let log = log(&image);
    let mut bytes = fs::read(&log).expect("read");
    let middle = bytes.len() / 3..bytes.len() / 2;
    bytes[middle].fill(0);
    fs::write(&log, bytes).expect("write");
    let error = RocksEngine::open(&image, &options(true)).expect_err("damaged");
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn checksums_find_a_flipped_byte_in_a_table_file_even_if_cached() {
    let dir = temp();
    let engine = RocksEngine::open(&dir.path().join("store"), &options(false)).expect("create");
    for key in 1..=RECORDS {
        engine.write(row(key), Durability::Volatile).expect("write");
    }
    engine.flush().expect("flush");
    assert!(engine.get(Table::Headers, &[1]).expect("get").is_some());
    engine.verify_checksums().expect("intact");
    for file in files(&dir.path().join("store"), "sst") {
        let mut bytes = fs::read(&file).expect("read");
        bytes[10] ^= 0x01;
        fs::write(&file, bytes).expect("write");
    }
    let error = engine.verify_checksums().expect_err("damaged");
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn a_missing_table_file_is_an_error_on_open() {
    let dir = temp();
    let path = dir.path().join("store");
    let engine = RocksEngine::open(&path, &options(false)).expect("create");
    engine.write(row(1), Durability::Synced).expect("write");
    drop(engine);
    fs::remove_file(&files(&path, "sst")[0]).expect("remove");
    let error = RocksEngine::open(&path, &options(false)).expect_err("damaged");
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn a_store_opens_only_once() {
    let dir = temp();
    let path = dir.path().join("store");
    let engine = RocksEngine::open(&path, &options(true)).expect("create");
    for _ in 0..2 {
        let error = RocksEngine::open(&path, &options(true)).expect_err("open already");
        assert!(matches!(error, EngineError::Locked { .. }), "{error}");
    }
    engine.write(row(1), Durability::Synced).expect("write");
    drop(engine);
    let engine = RocksEngine::open(&path, &options(true)).expect("reopen");
    assert_eq!(whole_writes(&engine), 1);
}

#[test]
fn a_running_store_can_be_read_by_a_second_reader() {
    let dir = temp();
    let path = dir.path().join("store");
    let engine = RocksEngine::open(&path, &options(true)).expect("create");
    engine.write(row(1), Durability::Synced).expect("write");
    let reading = RocksOptions {
        read_only: true,
        ..RocksOptions::default()
    };
    let reader = RocksEngine::open(&path, &reading).expect("read-only");
    assert_eq!(whole_writes(&reader), 1);
    let error = reader
        .write(row(2), Durability::Synced)
        .expect_err("read-only");
    assert!(matches!(error, EngineError::ReadOnly { .. }), "{error}");
}

#[test]
fn a_missing_store_is_not_created_unasked() {
    let dir = temp();
    let path = dir.path().join("nothing");
    let open_only = RocksOptions {
        create: false,
        ..RocksOptions::default()
    };
    let error = RocksEngine::open(&path, &open_only).expect_err("missing");
    assert!(matches!(error, EngineError::NotFound { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn another_database_is_refused() {
    let dir = temp();
    let mut foreign = rocksdb::Options::default();
    foreign.create_if_missing(true);
    foreign.create_missing_column_families(true);
    let db = rocksdb::DB::open_cf(&foreign, dir.path(), ["foreign"]).expect("create");
    drop(db);
    let error = RocksEngine::open(dir.path(), &options(true)).expect_err("foreign");
    assert!(matches!(error, EngineError::WrongFormat { .. }), "{error}");
}

#[test]
fn a_store_with_a_log_refuses_volatile_writes() {
    let dir = temp();
    let engine = RocksEngine::open(dir.path(), &options(true)).expect("create");
    let error = engine
        .write(row(1), Durability::Volatile)
        .expect_err("refused");
    assert!(
        matches!(error, EngineError::DurabilityRefused { .. }),
        "{error}"
    );
}

#[test]
fn volatile_writes_survive_a_crash_only_after_a_flush() {
    let dir = temp();
    let engine = RocksEngine::open(&dir.path().join("store"), &options(false)).expect("create");
    engine.write(row(1), Durability::Volatile).expect("write");
    engine.flush().expect("flush");
    engine.write(row(2), Durability::Volatile).expect("write");
    let last = |value: u8| Some(bytes::Bytes::from(vec![value]));
    assert_eq!(engine.get(Table::Meta, b"last").expect("get"), last(2));
    assert_eq!(
        engine.get_flushed(Table::Meta, b"last").expect("get"),
        last(1)
    );
    let image = dir.path().join("image");
    engine.crash_image(&image).expect("crash image");
    let image = RocksEngine::open(&image, &options(false)).expect("open");
    assert_eq!(whole_writes(&image), 1);
}

#[test]
fn a_full_write_buffer_flushes_whole_batches() {
    let dir = temp();
    let small = RocksOptions {
        wal: false,
        write_buffer_bytes: 4 << 20,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(&dir.path().join("store"), &small).expect("create");
    let mut flushed = None;
    for n in 0..2_000u32 {
        let mut batch = Batch::new();
        batch.put(Table::Payloads, n.to_be_bytes(), vec![n as u8; 10_000]);
        batch.put(Table::Meta, b"last", n.to_be_bytes());
        engine.write(batch, Durability::Volatile).expect("write");
        flushed = engine.get_flushed(Table::Meta, b"last").expect("get");
        if flushed.is_some() && n > 1_000 {
            break;
        }
    }
    assert!(flushed.is_some(), "20 MB went through a 4 MiB buffer");
    let image = dir.path().join("image");
    engine.crash_image(&image).expect("crash image");
    let image = RocksEngine::open(&image, &small).expect("open");
    let last = image
        .get(Table::Meta, b"last")
        .expect("get")
        .expect("flushed");
    let rows = image.scan(Table::Payloads, &[], None, Direction::Backward);
    let newest = rows.map(|row| row.expect("scan").0).next();
    assert_eq!(newest, Some(last));
}

/// With the directory gone no table file can be made, as if the disk refused.
#[test]
fn a_failed_flush_is_an_error_of_flush_and_of_every_later_write() {
    for wal in [true, false] {
        let dir = temp();
        let path = dir.path().join("store");
        let engine = RocksEngine::open(&path, &options(wal)).expect("create");
        let durability = if wal {
            Durability::Synced
        } else {
            Durability::Volatile
        };
        engine.write(row(1), durability).expect("write");
        fs::rename(&path, dir.path().join("gone")).expect("rename");
        let error = engine.flush().expect_err("no directory");
        assert!(matches!(error, EngineError::Io { .. }), "{error}");
        for _ in 0..2 {
            let error = engine.write(row(2), durability).expect_err("stopped");
            assert!(
                matches!(error, EngineError::Io { .. }),
                "wal {wal}: {error}"
            );
        }
    }
}

#[test]
fn a_copy_is_not_made_over_something() {
    let dir = temp();
    let rocks = RocksEngine::open(&dir.path().join("store"), &options(true)).expect("create");
    let memory = MemoryEngine::on(Arc::new(SystemDisk));
    let engines: [&dyn Engine; 2] = [&rocks, &memory];
    for engine in engines {
        let error = engine.checkpoint(dir.path()).expect_err("exists");
        assert!(
            matches!(error, EngineError::AlreadyExists { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_copy_of_a_memory_store_is_an_error() {
    let dir = temp();
    let copy = dir.path().join("copy");
    let memory = MemoryEngine::on(Arc::new(SystemDisk));
    memory.write(row(1), Durability::Volatile).expect("write");
    memory.checkpoint(&copy).expect("checkpoint");
    let file = copy.join("headers.table");
    let mut bytes = fs::read(&file).expect("read");
    bytes[30] ^= 1;
    fs::write(&file, bytes).expect("write");
    let error = MemoryEngine::open_checkpoint(Arc::new(SystemDisk), &copy).expect_err("damaged");
    assert!(error.is_corruption(), "{error}");
}
