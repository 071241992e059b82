//! Damage on disk is named as damage.

#![cfg(feature = "storage")]

use std::fs;
use std::path::{Path, PathBuf};

use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::{Error, EventDraft, VaultBus};

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
