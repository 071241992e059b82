//! Which snapshots are there after a start, and until when.

use super::power_cut::{open, storage_with};
use super::*;
use crate::storage::MemoryStorage;

/// A node that was killed after its second snapshot had got its name, and before the first one was removed.
fn with_two() -> MemoryStorage {
    let storage = storage_with(100);
    let stores = open(&storage);
    // Whoever is sent it keeps it.
    let first = build(&stores.host, &stores.snapshots).expect("made");
    let later = entries("history").into_iter().skip(100).take(50).collect();
    stores.host.apply(later).expect("applied");
    build(&stores.host, &stores.snapshots).expect("made");
    let after = storage.crash(|| true);
    drop(first);
    after
}

fn dir(number: u64) -> PathBuf {
    PathBuf::from(format!("/node/snapshots/snapshot-{number}"))
}

fn note(number: u64) -> PathBuf {
    dir(number).join("META")
}

fn complete(store: &SnapshotStore) -> Vec<Option<u64>> {
    let complete = store.complete();
    complete.iter().map(SnapshotDir::last_index).collect()
}

#[test]
fn nothing_that_is_complete_is_removed_before_it_is_known_what_is_needed() {
    let storage = with_two();
    let store = open(&storage).snapshots;
    assert_eq!(store.index(), Some(149));
    assert_eq!(complete(&store), [Some(149), Some(99)]);

    let chosen = store.complete().pop().expect("the first one");
    store.choose(Some(&chosen));
    assert_eq!(store.index(), Some(99));
    assert_eq!(complete(&store), [Some(149), Some(99)]);
    store.keep_only_current().expect("removed");
    assert_eq!(complete(&store), [Some(99)]);
    let after = open(&storage.crash(|| false)).snapshots;
    assert_eq!(complete(&after), [Some(99)]);
}

#[test]
fn snapshot_whose_note_cannot_be_read_is_removed_when_the_others_are() {
    let storage = with_two();
    storage.disk.spoil(&note(2), 0).expect("there");
    let store = open(&storage).snapshots;
    assert_eq!(complete(&store), [Some(99)]);
    assert!(storage.disk.is_dir(&dir(2)), "it may come back");
    store.keep_only_current().expect("removed");
    assert!(!storage.disk.is_dir(&dir(2)));
}

#[test]
fn snapshot_of_a_newer_build_is_refused_and_stays() {
    let storage = with_two();
    let mut bytes = storage.disk.read(&note(2)).expect("read");
    bytes[0] += 1;
    let body = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..body]).to_be_bytes();
    bytes[body..].copy_from_slice(&checksum);
    storage.disk.overwrite(&note(2), &bytes).expect("written");
    let dir_of_all = PathBuf::from("/node/snapshots");
    let opened = SnapshotStore::open(storage.disk(), dir_of_all, Blocking::Inline);
    let error = opened.expect_err("it is newer");
    assert!(error.is_newer(), "{error}");
    assert!(storage.disk.is_dir(&dir(1)) && storage.disk.is_dir(&dir(2)));
}
