//! Opening a vault on disk.

#![cfg(feature = "storage")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::SystemDisk;
use toka_ledger::engine::EngineError;
use toka_ledger::{Error, EventDraft, Start, VaultBus};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open_error(path: &Path) -> Error {
    VaultBus::open(path).expect_err("refused")
}

#[tokio::test]
async fn reopened_vault_has_everything() {
    let dir = temporary();
    let path = dir.path().join("deep/vault");
    let vault = VaultBus::open(&path).expect("created");
    let parent = vault
        .event("a")
        .payload("first")
        .source("me")
        .commit()
        .await
        .expect("committed");
    let embedding = ndarray::arr1(&[0.6, 0.8]);
    let child = vault
        .commit(&"second", std::slice::from_ref(&parent), "b", embedding)
        .await
        .expect("committed");
    let position = vault.position();
    let settings = vault.settings().expect("created");
    drop(vault);

    let vault = VaultBus::open(&path).expect("opened");
    assert_eq!(vault.position(), position);
    assert_eq!(vault.settings().expect("created"), settings);
    assert_eq!(vault.get(parent.id).expect("found"), parent);
    assert_eq!(vault.get_by_digest(&child.digest).expect("found"), child);
    assert_eq!(vault.payload::<String>(&child).expect("read"), "second");
    assert_eq!(
        vault
            .embedding(&child)
            .expect("read")
            .expect("there")
            .dimension(),
        2
    );
    let again = vault
        .event("a")
        .payload("first")
        .commit()
        .await
        .expect("known");
    assert!(again.deduplicated);
    let report = vault.verify().expect("verified");
    assert!(report.is_intact(), "{:?}", report.problems);
    assert_eq!(
        (report.events, report.payloads, report.embeddings),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn vault_cannot_be_opened_twice() {
    let dir = temporary();
    let vault = VaultBus::open(dir.path()).expect("created");
    let error = open_error(dir.path());
    assert!(
        matches!(error, Error::Engine(EngineError::Locked { .. })),
        "{error}"
    );
    vault.close().await;
    assert!(VaultBus::open(dir.path()).is_ok());
}

#[tokio::test]
async fn ended_subscription_frees_the_directory_when_dropped() {
    let dir = temporary();
    let vault = VaultBus::open(dir.path()).expect("created");
    let mut events = vault.subscribe_from(Start::Beginning, Default::default());
    vault.event("a").commit().await.expect("committed");
    vault.close().await;
    assert_eq!(events.recv().await.expect("what was left").sequence, 1);
    assert!(matches!(events.recv().await, Err(Error::Closed)));
    drop(events);
    assert!(VaultBus::open(dir.path()).is_ok());
}

#[test]
fn cluster_nodes_directory_is_refused() {
    let dir = temporary();
    let mode = Mode::Node {
        cluster_id: None,
        node_id: 2,
    };
    drop(DataDir::open_or_create(Arc::new(SystemDisk), dir.path(), mode).expect("created"));
    let error = open_error(dir.path());
    assert!(
        matches!(error, Error::ClusterNode { node_id: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("toka serve"), "{error}");
}

#[test]
fn path_that_is_no_vault_is_refused() {
    let dir = temporary();
    fs::write(dir.path().join("photo.jpg"), "x").expect("written");
    let error = open_error(dir.path());
    assert!(matches!(error, Error::NotAVault { .. }), "{error}");
    let error = open_error(&dir.path().join("photo.jpg"));
    assert!(matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn newer_format_is_refused() {
    let dir = temporary();
    drop(VaultBus::open(dir.path()).expect("created"));
    fs::write(dir.path().join("VAULT"), "toka-vault 7\nmode embedded\n").expect("written");
    let error = open_error(dir.path());
    assert!(
        matches!(
            error,
            Error::NewerFormat {
                found: 7,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("use a newer toka"), "{error}");
}

#[test]
fn lost_store_is_not_replaced_by_an_empty_one() {
    let dir = temporary();
    drop(VaultBus::open(dir.path()).expect("created"));
    fs::remove_dir_all(dir.path().join("ledger")).expect("removed");
    let error = open_error(dir.path());
    assert!(
        matches!(error, Error::Engine(EngineError::NotFound { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn interrupted_creation_is_completed() {
    // The steps of creation: the lock, the marker in progress, the marker, an empty store.
    for step in 0..4 {
        let dir = temporary();
        fs::write(dir.path().join("LOCK"), "").expect("written");
        match step {
            0 => {}
            1 => fs::write(dir.path().join("VAULT.tmp"), "toka").expect("written"),
            2 => drop(
                DataDir::open_or_create(Arc::new(SystemDisk), dir.path(), Mode::Embedded)
                    .expect("created"),
            ),
            _ => {
                drop(
                    DataDir::open_or_create(Arc::new(SystemDisk), dir.path(), Mode::Embedded)
                        .expect("created"),
                );
                fs::create_dir(dir.path().join("ledger")).expect("created");
                fs::write(dir.path().join("ledger/engine.lock"), "").expect("written");
            }
        }
        let vault = VaultBus::open(dir.path()).expect("completed");
        assert_eq!(
            vault.event("a").commit().await.expect("committed").sequence,
            1
        );
    }
}

#[tokio::test]
async fn acknowledged_commits_survive_without_a_close() {
    let dir = temporary();
    let path = dir.path().join("vault");
    let copy = dir.path().join("copy");
    let vault = VaultBus::open(&path).expect("created");
    let drafts = (0..100_u32).map(|n| EventDraft::new("n").payload(&n));
    vault.commit_batch(drafts).await.expect("committed");
    let root = vault.position().history_root;
    // What a crash would leave: the files as they are, without the close.
    copy_files(&path, &copy);
    let survivor = VaultBus::open(&copy).expect("recovered");
    assert_eq!(survivor.position().history_root, root);
    assert!(survivor.verify().expect("verified").is_intact());
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
