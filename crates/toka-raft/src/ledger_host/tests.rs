//! Entries that a newer build has written, entries that come after damage, and what waits for a
//! flush.

use openraft::vote::RaftLeaderId;
use toka_ledger::Error;
use toka_ledger::command::{Batch, Create, SetFeatureLevel, encode};
use toka_ledger::intent::Parameters;
use toka_ledger::seam::SystemThreads;

use super::*;
use crate::blocking::Blocking;
use crate::headroom::Headroom;
use crate::storage::MemoryStorage;
use crate::testing;
use crate::type_config::LeaderId;

const NEXT: u32 = FEATURE_LEVEL + 1;

fn host() -> LedgerHost {
    host_with(&Fatal::new())
}

fn host_with(fatal: &Fatal) -> LedgerHost {
    let storage = MemoryStorage::new();
    let root = PathBuf::from("/node");
    storage.disk.create_dir_all(&root).expect("created");
    let layout = Layout::new(storage.disk(), root);
    let opened = LedgerHost::open(layout, Arc::new(storage), Arc::new(SystemThreads), fatal);
    opened.unwrap_or_else(|error| panic!("{error}"))
}

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(1, 1), index)
}

fn entry(index: u64, command: &[u8]) -> Entry {
    let mut batch = Batch::default();
    batch.push(command);
    Entry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(Commands(batch.finish())),
    }
}

fn create(feature_level: u32) -> Bytes {
    encode(&Command::Create(Create {
        cluster_id: 1,
        history_id: 2,
        feature_level,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: 3,
    }))
}

fn raise(level: u32) -> Bytes {
    encode(&Command::SetFeatureLevel(SetFeatureLevel {
        unix_ms: 4,
        level,
    }))
}

/// A command of a tag that is not in use.
fn unknown() -> Bytes {
    Bytes::from_static(&[1, 99])
}

/// The error of a group of entries that begins at `first`.
fn failure(host: &LedgerHost, first: u64, commands: &[Bytes]) -> FatalError {
    let entries = (first..).zip(commands);
    let entries = entries.map(|(index, command)| entry(index, command));
    host.apply(entries.collect()).expect_err("not applied")
}

fn level_found(error: &FatalError) -> Option<u32> {
    match error {
        FatalError::Ledger(error) => match **error {
            Error::FeatureLevel { found, .. } => Some(found),
            _ => None,
        },
        _ => None,
    }
}

fn applied(host: &LedgerHost) -> Option<u64> {
    let (log_id, _) = host.applied_state().expect("readable");
    log_id.map(|log_id| log_id.index)
}

#[test]
fn rise_in_a_group_says_why_what_follows_cannot_be_decoded() {
    let host = host();
    let created = host.apply(vec![entry(0, &create(FEATURE_LEVEL))]);
    created.expect("applied");
    let error = failure(&host, 1, &[raise(NEXT), raise(FEATURE_LEVEL), unknown()]);
    assert_eq!(level_found(&error), Some(NEXT), "{error}");
    assert_eq!(applied(&host), Some(0));
}

#[test]
fn creation_in_a_group_says_why_what_follows_cannot_be_decoded() {
    let host = host();
    let error = failure(&host, 0, &[create(NEXT), unknown()]);
    assert_eq!(level_found(&error), Some(NEXT), "{error}");
    assert_eq!(applied(&host), None);
}

#[test]
fn command_that_cannot_be_decoded_without_a_rise_is_named_by_its_entry() {
    let host = host();
    let group = [create(FEATURE_LEVEL), raise(FEATURE_LEVEL), unknown()];
    let error = failure(&host, 0, &group);
    assert!(
        matches!(error, FatalError::Entry { index: 2, .. }),
        "{error}"
    );
}

#[test]
fn nothing_is_applied_once_damage_was_found() {
    let fatal = Fatal::new();
    let host = host_with(&fatal);
    let created = host.apply(vec![entry(0, &create(FEATURE_LEVEL))]);
    created.expect("applied");
    // As the guard of the engine does when a reader comes upon it.
    let found = damaged(Path::new("/node/ledger-1/000007.sst"), &"a checksum");
    fatal.report(FatalError::damaged(&found));
    let error = failure(&host, 1, &[raise(FEATURE_LEVEL)]);
    assert!(matches!(error, FatalError::LedgerDamaged(_)), "{error}");
    assert!(error.to_string().contains("000007.sst"), "{error}");
    assert_eq!(applied(&host), Some(0));
}

#[test]
fn failure_that_is_no_damage_does_not_keep_what_waits_from_being_applied() {
    let fatal = Fatal::new();
    let host = host_with(&fatal);
    fatal.report(FatalError::Panic);
    let created = host.apply(vec![entry(0, &create(FEATURE_LEVEL))]);
    created.expect("applied");
}

#[tokio::test]
async fn flush_of_little_is_not_put_off_for_the_much_that_it_could_have_been() {
    let storage = MemoryStorage::new();
    let (disk, root) = (storage.disk.clone(), PathBuf::from("/node"));
    disk.create_dir_all(&root).expect("created");
    let layout = Layout::new(storage.disk(), root.clone());
    let threads = Arc::new(SystemThreads);
    let opened = LedgerHost::open(layout, Arc::new(storage), threads, &Fatal::new());
    let host = Arc::new(opened.unwrap_or_else(|error| panic!("{error}")));
    let headroom = Headroom::new(Arc::new(disk.clone()), root, Some(16 << 20));
    let takes_flush = async || {
        let host = Arc::clone(&host);
        let takes = headroom.takes_flush(Blocking::Inline, move || host.unflushed_bytes());
        takes.await.expect("measured")
    };
    let created = host.apply(vec![entry(0, &create(FEATURE_LEVEL))]);
    created.expect("applied");
    disk.set_free(2 << 20);
    assert!(takes_flush().await, "little waits");
    let much = testing::commit("x".repeat(900 << 10), 5);
    let committed = host.apply(vec![testing::entry(log_id(1), &much)]);
    committed.expect("applied");
    assert!(!takes_flush().await, "it does not fit");
    host.flush().expect("flushed");
    assert!(takes_flush().await, "nothing waits any more");
}
