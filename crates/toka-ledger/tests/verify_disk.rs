//! Damage on disk is named as damage.

#![cfg(feature = "storage")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::verify::{Blocks, Options, Report, verify_with};
use toka_ledger::{Error, EventDraft, Ledger, VaultBus};

/// A closed vault in `dir`, all of it in table files.
async fn make(dir: &Path) {
    let vault = VaultBus::open(dir).expect("created");
    for batch in 0..10_u32 {
        let drafts = (0..100_u32).map(|n| {
            // Noise does not compress: the files have something to damage.
            let noise = blake3::hash(&(batch * 100 + n).to_be_bytes());
            let payload = noise.as_bytes().repeat(8);
            EventDraft::new("noise")
                .payload_bytes(payload)
                .embedding(&[1.0, n as f32, 3.0])
        });
        vault
            .commit_batch(drafts.collect::<Vec<_>>())
            .await
            .expect("committed");
    }
    vault.close().await;
    let engine = RocksEngine::open(&dir.join("ledger"), &RocksOptions::default()).expect("opened");
    engine.flush().expect("flushed");
}

fn table_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("ledger"))
        .expect("listed")
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn flipped_byte_of_a_table_file_is_named_as_damage() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    make(dir.path()).await;
    let mut with_event = 0;
    for file in table_files(dir.path()) {
        let sound = fs::read(&file).expect("read");
        for part in [1, 3, 5] {
            let mut damaged = sound.clone();
            let at = damaged.len() * part / 8;
            damaged[at] ^= 0x10;
            fs::write(&file, &damaged).expect("written");
            with_event += usize::from(is_named(dir.path(), &file, at));
        }
        fs::write(&file, &sound).expect("written");
    }
    assert!(with_event > 0, "damaged data blocks name events");
    let vault = VaultBus::open(dir.path()).expect("opened");
    assert!(vault.verify().expect("readable").is_intact());
}

/// Fails unless opening or verifying tells of the damage; returns whether an event was named.
fn is_named(dir: &Path, file: &Path, at: usize) -> bool {
    match VaultBus::open(dir) {
        Err(Error::Engine(error @ EngineError::Corruption { .. })) => {
            assert!(error.to_string().contains("damaged data"), "{error}");
            false
        }
        Err(Error::Corrupt { .. }) => false,
        Err(error) => panic!("byte {at} of {}: {error}", file.display()),
        Ok(vault) => {
            let report = vault.verify().expect("readable");
            assert!(!report.is_intact(), "byte {at} of {}", file.display());
            report
                .problems
                .iter()
                .any(|problem| problem.sequence.is_some())
        }
    }
}

/// Parts of a file of each of which a byte is flipped.
const PARTS: usize = 24;

/// Checks the files of the closed vault in `dir` as wholes, in two threads.
fn check_files(dir: &Path) -> Result<Report, Error> {
    let options = RocksOptions {
        create: false,
        read_only: true,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(&dir.join("ledger"), &options)?;
    let (reader, _) = Ledger::read_only(Arc::new(engine))?;
    let options = Options {
        blocks: Blocks::WholeFiles,
        ..Options::parallel(2)
    };
    Ok(verify_with(&reader, &options, &mut |_| {})?.expect("nobody ends it"))
}

/// The list of table files in use, and the pointer to it.
fn lists(dir: &Path) -> Vec<PathBuf> {
    let ledger = dir.join("ledger");
    let pointer = ledger.join("CURRENT");
    let name = fs::read_to_string(&pointer).expect("read");
    vec![ledger.join(name.trim()), pointer]
}

#[tokio::test]
async fn flipped_byte_anywhere_in_a_file_is_found_also_where_no_row_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    make(dir.path()).await;
    let report = check_files(dir.path()).expect("sound");
    assert!(report.is_intact(), "{:?}", report.problems);
    let files = table_files(dir.path());
    for file in files.into_iter().chain(lists(dir.path())) {
        let sound = fs::read(&file).expect("read");
        for part in 0..PARTS {
            let mut damaged = sound.clone();
            let at = damaged.len() * part / PARTS;
            damaged[at] ^= 0x10;
            fs::write(&file, &damaged).expect("written");
            let place = format!("byte {at} of {}", file.display());
            match check_files(dir.path()) {
                Ok(report) => assert!(!report.is_intact(), "{place}"),
                Err(error) => assert!(error.is_damage(), "{place}: {error}"),
            }
        }
        fs::write(&file, &sound).expect("written");
    }
    let report = check_files(dir.path()).expect("sound");
    assert!(report.is_intact(), "{:?}", report.problems);
}
