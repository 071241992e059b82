//! What a node has itself that takes the place of its ledger.

use std::collections::BTreeSet;

use toka_ledger::EventDraft;
use toka_ledger::command::Command;
use toka_ledger::engine::{Batch, Durability, Table};
use toka_ledger::prepare::prepare_commit;
use toka_ledger::store::encode_sequence;

use super::*;
use crate::snapshot::tests::make;
use crate::snapshot::verify;
use crate::type_config::Membership;

/// Where the ledger of a node is when it stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    All,
    Nothing,
}

/// The storage of a node that has applied `entries`, which its log has too, and whose ledger was found to be damaged.
async fn noted(entries: Vec<Entry>, flushed: Flushed) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let Stores {
        mut data_dir,
        ledger,
        mut log,
        ..
    } = open(&shared);
    let appended = log.append(entries.clone(), IoFlushed::noop()).await;
    appended.expect("appended");
    log.handle().barrier().await.expect("durable");
    let host = ledger.expect("sound");
    host.apply(entries).expect("applied");
    if flushed == Flushed::All {
        host.flush().expect("flushed");
    }
    data_dir.set_ledger_damaged().expect("noted");
    log.handle().close().await.expect("closed");
    storage.crash(|| false)
}

/// Starts a node that knows nobody, and whose stores have been opened.
async fn start(
    storage: &Arc<dyn Storage>,
    stores: Stores,
) -> Result<(Stores, LedgerHost), StartError> {
    let (config, identity) = (config(), Arc::new(Identity::new(1, None)));
    let (channels, fatal) = (Channels::new(Arc::new(TcpTransport)), Fatal::new());
    let seams = Seams::system();
    sound_ledger(
        stores, &config, &identity, &channels, storage, &seams, &fatal,
    )
    .await
}

/// Starts it, and returns up to where its ledger has applied the log.
pub(super) async fn applied_at_start(storage: &MemoryStorage) -> Result<Option<LogId>, StartError> {
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let stores = open(&shared);
    let log = stores.log.handle();
    let applied = match start(&shared, stores).await {
        Err(error) => Err(error),
        Ok((mut stores, host)) => {
            let path = Path::new(PATH);
            let progress = check_progress(path, &host, &stores.snapshots, &mut stores.log).await;
            progress.expect("the log goes on from it");
            Ok(host.applied_state().expect("readable").0)
        }
    };
    log.close().await.expect("closed");
    applied
}

/// Starts a node that has lost its ledger.
async fn is_lost(storage: &MemoryStorage) -> bool {
    let applied = applied_at_start(storage).await;
    matches!(applied, Err(StartError::LedgerLost { .. }))
}

#[tokio::test]
async fn lone_node_goes_on_with_its_ledger_when_that_can_be_read_again() {
    let storage = noted(entries(), Flushed::All).await;
    let applied = applied_at_start(&storage).await.expect("not lost");
    assert_eq!(applied, Some(log_id(3, LAST)));
    let shared: Arc<dyn Storage> = Arc::new(storage.crash(|| false));
    assert!(open(&shared).ledger.is_ok(), "it counts as repaired");
}

#[tokio::test]
async fn lone_node_gives_up_a_ledger_that_cannot_be_read_and_keeps_it() {
    let storage = noted(entries(), Flushed::All).await;
    spoil_ledger(&storage, 1);
    for _ in 0..2 {
        assert!(is_lost(&storage).await);
    }
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    assert!(storage.disk.is_dir(&layout.ledger(1)));
}

#[tokio::test]
async fn ledger_without_an_entry_is_whole_while_the_log_has_its_first_one() {
    let storage = noted(entries(), Flushed::Nothing).await;
    let pointer = Path::new(PATH).join("CURRENT");
    storage.disk.remove(&pointer).expect("removed");
    let applied = applied_at_start(&storage).await.expect("not lost");
    assert_eq!(applied, None);

    storage.disk.remove(&pointer).expect("removed");
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut log = open(&shared).log;
    log.purge(log_id(3, 5)).await.expect("purged");
    log.handle().barrier().await.expect("durable");
    log.handle().close().await.expect("closed");
    assert!(is_lost(&storage).await, "it lacks what was purged");
}

/// As [`entries`], with embeddings for the first two events, which are of two intents.
fn embedded() -> Vec<Entry> {
    let mut entries = entries();
    for (number, component) in [(2, 1.0), (3, -1.0)] {
        let draft = EventDraft::new("test")
            .payload_bytes(format!("embedded {number}"))
            .embedding(&[component, 0.0, 0.0, 0.0]);
        let commit = prepare_commit([draft], vec![], number).expect("valid");
        let index = usize::try_from(number).expect("small");
        entries[index] = testing::entry(log_id(3, number), &Command::Commit(commit));
    }
    entries
}

/// A node whose ledger is damaged, and that has a snapshot; it may lack a row without which the second embedding cannot
/// have come to the intent that it is of.
async fn with_snapshot(entries: Vec<Entry>, lacks_row: bool) -> MemoryStorage {
    let storage = noted_with_snapshot(entries, lacks_row).await;
    spoil_ledger(&storage, 1);
    storage.crash(|| false)
}

/// As [`with_snapshot`], where all of the ledger can be read.
async fn noted_with_snapshot(entries: Vec<Entry>, lacks_row: bool) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let Stores {
        mut data_dir,
        ledger,
        snapshots,
        mut log,
        ..
    } = open(&shared);
    let appended = log.append(entries.clone(), IoFlushed::noop()).await;
    appended.expect("appended");
    log.handle().barrier().await.expect("durable");
    let host = ledger.expect("sound");
    host.apply(entries).expect("applied");
    let snapshot = make(&host, &snapshots);
    if lacks_row {
        let engine = storage.open(&snapshot.ledger()).expect("opened");
        let mut batch = Batch::new();
        batch.delete(Table::Embeddings, encode_sequence(1));
        engine.write(batch, Durability::Synced).expect("written");
    }
    verify(&storage, &snapshot.ledger(), snapshot.contents()).expect("its rows are sound");
    data_dir.set_ledger_damaged().expect("noted");
    log.handle().close().await.expect("closed");
    storage
}

/// Notes what applying the log to the ledger finds: that it is damaged.
async fn find_damaged(storage: &MemoryStorage) {
    tried::failed(&Layout::new(storage.disk(), PathBuf::from(PATH)));
    cannot_read(storage).await;
}

/// Notes what anybody may find who reads the ledger.
async fn cannot_read(storage: &MemoryStorage) {
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut stores = open(&shared);
    stores.data_dir.set_ledger_damaged().expect("noted");
    stores.log.handle().close().await.expect("closed");
}

#[tokio::test]
async fn lone_node_tries_a_ledger_to_which_the_log_cannot_be_applied_only_once() {
    let storage = noted(entries(), Flushed::All).await;
    applied_at_start(&storage).await.expect("it can be read");
    find_damaged(&storage).await;
    for _ in 0..2 {
        assert!(is_lost(&storage).await);
    }
    let error = applied_at_start(&storage).await.expect_err("lost");
    let said = error.to_string();
    assert!(
        said.contains("(ledger-1)") && said.contains("TRIED"),
        "{said}"
    );
}

#[tokio::test]
async fn lone_node_goes_on_from_its_snapshot_where_the_log_cannot_be_applied_to_the_ledger() {
    let storage = noted_with_snapshot(entries(), false).await;
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let mut ledgers = Vec::new();
    while !is_lost(&storage).await {
        ledgers.push(layout.current().expect("readable").expect("there is one"));
        assert!(ledgers.len() < 9, "it goes on for ever: {ledgers:?}");
        find_damaged(&storage).await;
    }
    // The first one again, then the snapshot's, and that one again.
    assert_eq!(ledgers, [1, 2, 2]);
}

#[tokio::test]
async fn node_that_was_ready_may_go_on_from_its_ledger_again() {
    let storage = noted(entries(), Flushed::All).await;
    applied_at_start(&storage).await.expect("it can be read");
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    tried::forget(&layout);
    find_damaged(&storage).await;
    applied_at_start(&storage).await.expect("it can be read");
}

#[tokio::test]
async fn disk_that_could_not_be_read_for_a_moment_costs_a_lone_node_nothing() {
    let storage = noted(entries(), Flushed::All).await;
    for _ in 0..4 {
        applied_at_start(&storage).await.expect("it can be read");
        cannot_read(&storage).await;
    }
}

#[tokio::test]
async fn entry_that_cannot_be_applied_tells_of_what_the_repair_went_on_from() {
    let storage = noted(entries(), Flushed::All).await;
    applied_at_start(&storage).await.expect("it can be read");
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let engine = storage.open(&layout.ledger(1)).expect("opened");
    let mut batch = Batch::new();
    batch.delete(Table::Headers, encode_sequence(1));
    engine.write(batch, Durability::Synced).expect("written");
    drop(engine);
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let stores = open(&shared);
    let host = stores.ledger.expect("it opens");
    // The first event again, which is answered with its header.
    let again = testing::commit("event 2".to_owned(), 2);
    let again = testing::entry(log_id(3, LAST + 1), &again);
    assert!(!Tried::read(&layout).has(&layout.ledger(1)));
    let failed = host.apply(vec![again]).expect_err("the header is gone");
    assert!(failed.damage().is_some(), "{failed}");
    assert!(Tried::read(&layout).has(&layout.ledger(1)));
    stores.log.handle().close().await.expect("closed");
}

#[tokio::test]
async fn snapshot_that_cannot_be_opened_as_a_ledger_is_not_taken() {
    let applied = applied_at_start(&with_snapshot(embedded(), false).await).await;
    assert_eq!(applied.expect("not lost"), Some(log_id(3, LAST)));
    assert!(is_lost(&with_snapshot(embedded(), true).await).await);
}

#[tokio::test]
async fn snapshot_from_which_a_repair_went_on_comes_after_the_copies_of_others() {
    let mut storage = with_snapshot(entries(), false).await;
    let again = May {
        use_ledger: false,
        use_again: true,
    };
    let first = May {
        use_again: false,
        ..again
    };
    for (may, expected) in [
        (first, Own::InPlace),
        (first, Own::Used),
        (again, Own::InPlace),
    ] {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut stores = open(&shared);
        let log = stores.log.handle();
        let channels = Channels::new(Arc::new(TcpTransport));
        let nobody = BTreeMap::new();
        let mut repair = repair_of(&mut stores, &shared, &channels, &nobody);
        let found = repair.find_own(None, may).await.expect("looked through");
        assert_eq!(found, expected);
        log.close().await.expect("closed");
        storage = storage.crash(|| false);
    }
}

/// As [`entries`], of a cluster with another voter, which nobody can reach.
fn of_two() -> Vec<Entry> {
    let member = Member {
        raft_endpoint: "127.0.0.1:1".to_owned(),
        ..Member::default()
    };
    let nodes = BTreeMap::from([(1, Member::default()), (2, member)]);
    let membership = Membership::new(vec![BTreeSet::from([1, 2])], nodes).expect("valid");
    let mut entries = entries();
    entries[0].payload = EntryPayload::Membership(membership);
    entries
}

#[tokio::test]
async fn snapshot_from_which_a_repair_went_on_is_better_than_none() {
    let storage = with_snapshot(of_two(), false).await;
    let shared: Arc<dyn Storage> = Arc::new(storage);
    let mut stores = open(&shared);
    let (log, layout) = (stores.log.handle(), stores.layout.clone());
    let snapshot = stores.snapshots.current().expect("made");
    snapshot.set_used().expect("noted");
    let channels = Channels::new(Arc::new(TcpTransport));
    let nobody = BTreeMap::new();
    let mut repair = repair_of(&mut stores, &shared, &channels, &nobody);
    repair.identity = Arc::new(Identity::new(1, Some(1)));
    let repaired = repair.run("it was noted".to_owned()).await;
    repaired.expect("repaired");
    assert_eq!(layout.current().expect("readable"), Some(2));
    log.close().await.expect("closed");
}
