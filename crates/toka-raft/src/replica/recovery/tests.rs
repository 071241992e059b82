//! What becomes of what a survivor has.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder as _;
use openraft::vote::RaftLeaderId as _;
use tempfile::TempDir;

use super::*;
use crate::snapshot::Builder;
use crate::testing;
use crate::type_config::{Commands, EntryPayload, IoFlushed, LeaderId, Vote};

const NODE: u64 = 1;
const CLUSTER: u128 = 7;
const ANOTHER_CLUSTER: u128 = 8;
const LARGE_BYTES: usize = 1 << 20;

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(1, NODE), index)
}

/// Of a log that begins with the membership and the vault's creation; then come events.
fn entry(index: u64) -> Entry {
    let command = match index {
        0 => return testing::membership(log_id(index), NODE),
        1 => testing::create(CLUSTER),
        index => testing::commit(format!("event {index}"), index),
    };
    testing::entry(log_id(index), &command)
}

fn entries(indexes: Range<u64>) -> Vec<Entry> {
    indexes.map(entry).collect()
}

/// The stores of a node, as its start opens them.
fn open(path: &Path) -> Stores {
    let storage = Arc::new(DiskStorage::default());
    open_stores(
        path,
        NODE,
        FEATURE_LEVEL,
        storage,
        &Seams::system(),
        Blocking::Inline,
        &Fatal::new(),
    )
    .expect("opened")
}

/// A ledger that has the first `count` entries.
fn ledger_with(root: &Path, count: u64) -> LedgerHost {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::default());
    storage.disk().create_dir_all(root).expect("created");
    let layout = Layout::new(storage.disk(), root.to_owned());
    let threads = Seams::system().threads;
    let host = LedgerHost::open(layout, storage, threads, &Fatal::new()).expect("opened");
    host.apply(entries(0..count)).expect("applied");
    host
}

/// Where a vault is that has the first `count` entries.
fn position_of(count: u64) -> Position {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let host = ledger_with(dir.path(), count);
    host.reader().position()
}

/// The directory of a node that has stopped.
struct Stopped {
    _dir: TempDir,
    old: PathBuf,
    new: PathBuf,
}

impl Stopped {
    /// With the first `logged` entries in its log, of which its ledger has the first `applied`, and with a
    /// snapshot of the first `covered`.
    async fn new(logged: u64, applied: u64, covered: Option<u64>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let mut stores = open(&old);
        stores.data_dir.set_cluster_id(CLUSTER).expect("noted");
        let vote = Vote {
            leader_id: LeaderId::new(1, NODE),
            committed: true,
        };
        stores.log.save_vote(&vote).await.expect("saved");
        let appended = stores.log.append(entries(0..logged), IoFlushed::noop());
        appended.await.expect("appended");
        let host = stores.ledger.expect("sound");
        host.apply(entries(0..applied)).expect("applied");
        host.flush().expect("flushed");
        if let Some(covered) = covered {
            // As it is between the snapshot's name and its place as the ledger.
            let mut builder = Builder {
                host: Arc::new(ledger_with(&dir.path().join("another"), covered)),
                store: Arc::clone(&stores.snapshots),
                blocking: Blocking::Inline,
                metrics: Arc::default(),
                fatal: Fatal::new(),
                tally: Arc::default(),
            };
            builder.build_snapshot().await.expect("made");
        }
        stores.log.handle().close().await.expect("closed");
        let _dir = dir;
        Self { _dir, old, new }
    }

    /// Lets the log go on, or begin later.
    async fn change_log(&self, appended: Vec<Entry>, purged: Option<u64>) {
        let mut stores = open(&self.old);
        if !appended.is_empty() {
            let appended = stores.log.append(appended, IoFlushed::noop());
            appended.await.expect("appended");
        }
        if let Some(purged) = purged {
            stores.log.purge(log_id(purged)).await.expect("purged");
        }
        stores.log.handle().barrier().await.expect("written");
        stores.log.handle().close().await.expect("closed");
    }

    async fn recover(&self) -> Result<Recovered, RecoveryError> {
        let (_, recovered) = recover(&self.old, &self.new, NODE).await?;
        Ok(recovered)
    }

    /// Recovers, and is killed before the old directory is marked.
    async fn recover_and_die(&self) -> Recovered {
        let opened = Opened::new(&self.old).await.expect("opened");
        let made = opened.make(&self.new, NODE).await.expect("made");
        opened.close().await.expect("closed");
        made
    }

    async fn is_marked(&self) -> bool {
        match inspect(&self.old).await {
            Ok(_) => false,
            Err(RecoveryError::Survivor(StartError::Removed { .. })) => true,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Where the vault is with which a node at `path` starts.
async fn position_at_start(path: &Path) -> Position {
    let stores = open(path);
    let host = stores.ledger.expect("sound");
    stores.log.handle().close().await.expect("closed");
    host.reader().position()
}

/// All that is in a directory; `None`: a directory.
fn contents_of(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            contents.extend(contents_of(&path));
            contents.insert(path, None);
        } else {
            let bytes = std::fs::read(&path).expect("read");
            contents.insert(path, Some(bytes));
        }
    }
    contents
}

/// Looks at the directory of a stopped node, which must stay as it is.
async fn look(stopped: &Stopped) -> Result<Survivor, RecoveryError> {
    let before = contents_of(&stopped.old);
    let found = inspect(&stopped.old).await;
    let after = contents_of(&stopped.old);
    let names = |contents: &BTreeMap<PathBuf, _>| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    for (path, bytes) in after {
        assert!(before[&path] == bytes, "{} was changed", path.display());
    }
    found
}

#[tokio::test]
async fn looking_changes_nothing() {
    let stopped = Stopped::new(20, 5, Some(10)).await;
    // What a start clears away.
    for left in ["ledger-9", "ledger-9.tmp", "snapshots/snapshot-99.tmp"] {
        std::fs::create_dir(stopped.old.join(left)).expect("created");
    }
    let found = look(&stopped).await.expect("readable");
    assert_eq!((found.last_log_index, found.applied_log_index), (19, 9));
    // What a start purges: a snapshot was installed, and then the power was cut.
    let ahead = Stopped::new(10, 20, Some(20)).await;
    let found = look(&ahead).await.expect("readable");
    assert_eq!((found.last_log_index, found.applied_log_index), (19, 19));
}

#[tokio::test]
async fn damage_that_is_found_by_looking_is_not_noted() {
    let stopped = Stopped::new(20, 5, None).await;
    let pointer = stopped.old.join("CURRENT");
    let bytes = std::fs::read(&pointer).expect("there");
    std::fs::remove_file(&pointer).expect("removed");
    let error = look(&stopped).await.expect_err("the ledger is not found");
    assert!(matches!(error, RecoveryError::Damaged { .. }), "{error}");
    // Put back, it is as good as before.
    std::fs::write(&pointer, bytes).expect("written");
    assert_eq!(look(&stopped).await.expect("sound").last_log_index, 19);
}

#[tokio::test]
async fn log_behind_the_ledger_is_applied() {
    let stopped = Stopped::new(20, 5, None).await;
    let found = inspect(&stopped.old).await.expect("readable");
    assert_eq!((found.last_log_index, found.applied_log_index), (19, 4));
    let recovered = stopped.recover().await.expect("recovered");
    assert_eq!(recovered.applied_entries, 15);
    assert_eq!(recovered.position, position_of(20));
    assert_eq!(position_at_start(&stopped.new).await, position_of(20));
    assert!(stopped.is_marked().await);
}

#[tokio::test]
async fn snapshot_that_was_not_installed_yet_is_recovered() {
    let stopped = Stopped::new(10, 5, Some(20)).await;
    let found = inspect(&stopped.old).await.expect("readable");
    assert_eq!((found.last_log_index, found.applied_log_index), (19, 19));
    assert_eq!((found.last_log_term, found.position), (1, position_of(20)));
    assert_eq!(found.voters, [NODE]);
    let recovered = stopped.recover().await.expect("recovered");
    assert_eq!(recovered.applied_entries, 0);
    assert_eq!(recovered.position, position_of(20));
    assert_eq!(position_at_start(&stopped.new).await, position_of(20));
}

#[tokio::test]
async fn log_goes_on_from_a_snapshot_that_was_not_installed_yet() {
    let stopped = Stopped::new(30, 5, Some(20)).await;
    let recovered = stopped.recover().await.expect("recovered");
    assert_eq!(recovered.applied_entries, 10);
    assert_eq!(recovered.position, position_of(30));
    assert_eq!(position_at_start(&stopped.new).await, position_of(30));
}

#[tokio::test]
async fn log_that_ends_too_early_is_an_error() {
    let stopped = Stopped::new(10, 5, None).await;
    let mut opened = Opened::new(&stopped.old).await.expect("opened");
    opened.last = Some(log_id(12));
    let made = opened.make(&stopped.new, NODE).await;
    let error = made.expect_err("entries are missing");
    assert!(
        matches!(
            error,
            RecoveryError::Incomplete {
                applied_log_index: 9,
                last_log_index: 12,
                ..
            }
        ),
        "{error}"
    );
    opened.close().await.expect("closed");
    assert!(!stopped.new.exists());
}

#[tokio::test]
async fn ledger_that_lacks_what_was_purged_is_none_to_recover_from() {
    let stopped = Stopped::new(10, 5, None).await;
    stopped.change_log(vec![], Some(9)).await;
    let error = stopped.recover().await.expect_err("entries are missing");
    assert!(matches!(error, RecoveryError::Damaged { .. }), "{error}");
    assert!(!stopped.new.exists());
}

#[tokio::test]
async fn large_entries_are_not_read_all_at_once() {
    let stopped = Stopped::new(10, 10, None).await;
    let large = (10..16).map(|index| Entry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(Commands(Bytes::from(vec![0; LARGE_BYTES]))),
    });
    stopped.change_log(large.collect(), None).await;
    let opened = Opened::new(&stopped.old).await.expect("opened");
    let read = opened.read_log(opened.applied).await.expect("read");
    assert!((1..3).contains(&read.len()), "{} entries", read.len());
    assert_eq!(read[0].log_id, log_id(10));
    opened.close().await.expect("closed");
}

#[tokio::test]
async fn recovery_that_was_killed_before_it_marked_the_old_directory_is_repeated() {
    for is_used in [false, true] {
        let stopped = Stopped::new(20, 5, None).await;
        let made = stopped.recover_and_die().await;
        if is_used {
            let mode = Mode::Node {
                cluster_id: None,
                node_id: NODE,
            };
            let disk = DiskStorage::default().disk();
            let opened = DataDir::open_or_create(disk, &stopped.new, mode);
            let mut new = opened.expect("opened");
            new.set_cluster_id(ANOTHER_CLUSTER).expect("noted");
        }
        assert!(!stopped.is_marked().await);
        assert_eq!(stopped.recover().await.expect("repeated"), made);
        assert!(stopped.is_marked().await);
        assert_eq!(position_at_start(&stopped.new).await, position_of(20));
    }
}

#[tokio::test]
async fn vault_of_another_survivor_is_no_repetition() {
    let stopped = Stopped::new(20, 5, None).await;
    stopped.recover_and_die().await;
    let mut another = Stopped::new(21, 5, None).await;
    another.new.clone_from(&stopped.new);
    let error = another.recover().await.expect_err("another one's");
    assert!(
        matches!(
            error,
            RecoveryError::New(toka_ledger::Error::VaultExists { .. })
        ),
        "{error}"
    );
    assert!(!another.is_marked().await);
}

#[tokio::test]
async fn recovery_that_was_done_is_found_where_it_was_put() {
    let stopped = Stopped::new(20, 5, None).await;
    let (old, new) = (&stopped.old, &stopped.new);
    assert_eq!(find_earlier(old, new, None), None);
    let sequence = stopped
        .recover()
        .await
        .expect("recovered")
        .position
        .sequence;
    let mut done = Earlier {
        node_id: NODE,
        old_cluster_id: CLUSTER,
        cluster_id: None,
        sequence,
    };
    assert_eq!(find_earlier(old, new, None), Some(done));
    assert_eq!(find_earlier(old, new, Some(NODE)), Some(done));
    assert_eq!(find_earlier(old, new, Some(NODE + 1)), None);
    assert_eq!(find_earlier(old, &new.join("elsewhere"), None), None);
    let mode = Mode::Node {
        cluster_id: None,
        node_id: NODE,
    };
    let opened = DataDir::open_or_create(DiskStorage::default().disk(), new, mode);
    // As a node that runs has it.
    let mut running = opened.expect("opened");
    running.set_cluster_id(ANOTHER_CLUSTER).expect("noted");
    done.cluster_id = Some(ANOTHER_CLUSTER);
    assert_eq!(find_earlier(old, new, None), Some(done));
}

#[tokio::test]
async fn recovery_that_was_killed_before_it_marked_the_old_directory_is_not_done() {
    let stopped = Stopped::new(20, 5, None).await;
    stopped.recover_and_die().await;
    assert_eq!(find_earlier(&stopped.old, &stopped.new, None), None);
}

#[tokio::test]
async fn recovery_from_another_survivor_is_not_the_one_that_is_asked_for() {
    let stopped = Stopped::new(20, 5, None).await;
    stopped.recover().await.expect("recovered");
    let another = Stopped::new(30, 25, None).await;
    another.recover().await.expect("recovered");
    assert_eq!(find_earlier(&another.old, &stopped.new, None), None);
    assert!(find_earlier(&another.old, &another.new, None).is_some());
}
