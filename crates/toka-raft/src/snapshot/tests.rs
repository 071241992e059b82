//! A copy that is damaged or not what was announced never becomes a ledger.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt};
use openraft::vote::RaftLeaderId;
use tempfile::TempDir;
use toka_ledger::Digest;
use toka_ledger::disk::{Disk, MemoryDisk, SystemDisk};
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Batch, Direction, Durability, Engine, Table};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::install_snapshot_request::Part;

use super::build::build;
use super::send::{Progress, manifest, requests};
use super::verify::verify;
use super::*;
use crate::blocking::Blocking;
use crate::fatal::Fatal;
use crate::headroom::Headroom;
use crate::layout::Layout;
use crate::ledger_host::LedgerHost;
use crate::storage::{DiskStorage, Storage};
use crate::testing;
use crate::type_config::{Entry, LeaderId, LogId, Vote};

mod copying;
mod kept;
mod power_cut;

struct Sender {
    _dir: TempDir,
    snapshot: SnapshotDir,
    storage: Arc<DiskStorage>,
}

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(1, 1), index)
}

/// A new vault with 298 events.
pub(crate) fn entries(history: &str) -> Vec<Entry> {
    let mut entries = vec![
        testing::membership(log_id(0), 1),
        testing::entry(log_id(1), &testing::create(1)),
    ];
    entries.extend((2..300).map(|n| {
        let commit = testing::commit(format!("{history} {n}"), n);
        testing::entry(log_id(n), &commit)
    }));
    entries
}

/// Bytes of all rows of a copy.
pub(crate) fn rows_bytes(engine: &dyn Engine) -> u64 {
    let mut bytes = 0;
    for table in Table::ALL {
        for row in engine.scan(table, &[], None, Direction::Forward) {
            let (key, value) = row.expect("readable");
            bytes += (key.len() + value.len()) as u64;
        }
    }
    bytes
}

/// Makes a snapshot.
pub(crate) fn make(host: &LedgerHost, store: &SnapshotStore) -> SnapshotDir {
    build(host, store).expect("made")
}

/// A node with a snapshot of 298 events.
fn sender() -> Sender {
    sender_of("history")
}

/// A ledger of 298 events, and where copies of it go.
struct Node {
    dir: TempDir,
    storage: Arc<DiskStorage>,
    host: LedgerHost,
    store: SnapshotStore,
}

fn node(history: &str) -> Node {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = Arc::new(DiskStorage::default());
    let layout = Layout::new(storage.disk(), dir.path().to_owned());
    let host = LedgerHost::open(
        layout.clone(),
        Arc::clone(&storage) as _,
        Arc::new(toka_ledger::seam::SystemThreads),
        &Fatal::new(),
    )
    .expect("opened");
    host.apply(entries(history)).expect("applied");
    let store =
        SnapshotStore::open(storage.disk(), layout.snapshots(), Blocking::Pool).expect("opened");
    Node {
        dir,
        storage,
        host,
        store,
    }
}

fn sender_of(history: &str) -> Sender {
    let Node {
        dir,
        storage,
        host,
        store,
    } = node(history);
    Sender {
        _dir: dir,
        snapshot: make(&host, &store),
        storage,
    }
}

fn open_store(dir: &TempDir) -> Result<SnapshotStore, SnapshotError> {
    let dir = dir.path().join("snapshots");
    SnapshotStore::open(Arc::new(SystemDisk), dir, Blocking::Pool)
}

fn receiving_store() -> (TempDir, Arc<SnapshotStore>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open_store(&dir).expect("opened");
    (dir, Arc::new(store))
}

impl Sender {
    fn manifest(&self) -> pb::SnapshotManifest {
        let vote = Vote {
            leader_id: LeaderId::new(1, 1),
            committed: true,
        };
        manifest(
            &vote,
            &self.snapshot,
            &self.snapshot.files().expect("listed"),
        )
    }

    async fn chunks(&self) -> Vec<pb::SnapshotChunk> {
        chunks(&self.snapshot, self.manifest()).await
    }

    async fn begin(
        &self,
        store: &Arc<SnapshotStore>,
        manifest: pb::SnapshotManifest,
    ) -> Result<Receiver, SnapshotError> {
        self.begin_on(store, &disk().1, manifest).await
    }

    async fn begin_on(
        &self,
        store: &Arc<SnapshotStore>,
        headroom: &Headroom,
        manifest: pb::SnapshotManifest,
    ) -> Result<Receiver, SnapshotError> {
        let storage = Arc::clone(&self.storage) as _;
        Receiver::begin(store, storage, Blocking::Inline, headroom, manifest).await
    }

    async fn receive(
        &self,
        store: &Arc<SnapshotStore>,
        chunks: Vec<pb::SnapshotChunk>,
    ) -> Result<(SnapshotDir, receive::IncomingGuard), SnapshotError> {
        let mut receiver = self.begin(store, self.manifest()).await?;
        for chunk in chunks {
            receiver.chunk(chunk).await?;
        }
        receiver.finish().await
    }

    fn verify(&self) -> Result<(), SnapshotError> {
        verify(
            &*self.storage,
            &self.snapshot.ledger(),
            self.snapshot.contents(),
        )
    }

    /// Writes to the copy behind everybody's back.
    fn tamper(&self, change: impl FnOnce(&RocksEngine, &mut Batch)) {
        let options = RocksOptions {
            wal: false,
            ..RocksOptions::default()
        };
        let engine = RocksEngine::open(&self.snapshot.ledger(), &options).expect("opened");
        let mut batch = Batch::new();
        change(&engine, &mut batch);
        engine.write(batch, Durability::Synced).expect("written");
    }
}

/// What a receiver takes for its disk: 1 TiB, of which 1,000 bytes are kept free.
fn disk() -> (MemoryDisk, Headroom) {
    let (disk, path) = (MemoryDisk::new(), PathBuf::from("/data"));
    disk.create_dir_all(&path).expect("created");
    let headroom = Headroom::new(Arc::new(disk.clone()), path, Some(1_000));
    (disk, headroom)
}

async fn chunks(snapshot: &SnapshotDir, manifest: pb::SnapshotManifest) -> Vec<pb::SnapshotChunk> {
    let files = snapshot.files().expect("listed");
    let (dir, progress) = (snapshot.clone(), Arc::new(Progress::new(0)));
    let peer = pb::Peer::default();
    let sent = requests(peer, manifest, dir, files, Blocking::Inline, progress);
    let chunk = |message: pb::InstallSnapshotRequest| async move {
        match message.part {
            Some(Part::Chunk(chunk)) => Some(chunk),
            Some(Part::Manifest(_)) | None => None,
        }
    };
    sent.filter_map(chunk).collect().await
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).expect("listed").next().is_none()
}

#[test]
fn honest_copy_passes() {
    sender().verify().expect("nothing is wrong");
}

#[test]
fn copy_of_another_position_is_refused() {
    let sender = sender();
    let mut announced = sender.snapshot.contents().clone();
    announced.position.state_digest = Digest::ZERO;
    let error = verify(&*sender.storage, &sender.snapshot.ledger(), &announced);
    assert!(
        matches!(error, Err(SnapshotError::Position { .. })),
        "{error:?}"
    );
}

#[test]
fn copy_that_lacks_a_header_is_refused() {
    let sender = sender();
    sender.tamper(|engine, batch| {
        let mut headers = engine.scan(Table::Headers, &[], None, Direction::Backward);
        let (key, _) = headers.next().expect("a header").expect("readable");
        batch.delete(Table::Headers, key);
    });
    sender.verify().expect_err("it is missed");
}

#[test]
fn copy_with_another_event_in_its_history_is_refused() {
    let (sender, other) = (sender(), sender_of("another history"));
    let copy = other
        .storage
        .open_copy(&other.snapshot.ledger())
        .expect("opened");
    let mut headers = copy.scan(Table::Headers, &[], None, Direction::Forward);
    let (key, row) = headers.nth(99).expect("a header").expect("readable");
    sender.tamper(|_, batch| batch.put(Table::Headers, key, row));
    let error = sender.verify();
    assert!(
        matches!(error, Err(SnapshotError::HistoryRoot { .. })),
        "{error:?}"
    );
}

#[test]
fn copy_with_a_flipped_byte_is_refused() {
    let sender = sender();
    let files = sender.snapshot.files().expect("listed");
    let tables = files.iter().filter(|(name, _)| is_immutable(name));
    let (largest, size) = tables.max_by_key(|(_, size)| *size).expect("a table file");
    let path = sender.snapshot.ledger().join(largest);
    let mut bytes = fs::read(&path).expect("read");
    let middle = usize::try_from(size / 4).expect("small");
    bytes[middle] ^= 1;
    // Table files are shared with the ledger through links: this one is not any more.
    fs::remove_file(&path).expect("removed");
    fs::write(&path, bytes).expect("written");
    sender.verify().expect_err("damage is found");
}

#[tokio::test]
async fn transfer_gives_an_equal_copy() {
    let (sender, (_dir, store)) = (sender(), receiving_store());
    let chunks = sender.chunks().await;
    let (received, _guard) = sender.receive(&store, chunks).await.expect("received");
    assert_eq!(received.contents(), sender.snapshot.contents());
    assert_eq!(
        received.files().expect("listed"),
        sender.snapshot.files().expect("listed")
    );
}

#[tokio::test]
async fn received_snapshot_that_is_not_installed_goes_away() {
    let (sender, (dir, store)) = (sender(), receiving_store());
    let chunks = sender.chunks().await;
    let received = sender.receive(&store, chunks).await.expect("received");
    let place = received.0.ledger();
    assert!(place.exists());
    drop((received, store));
    // What a crash would have left, the next start removes.
    open_store(&dir).expect("opened");
    assert!(!place.exists());
}

#[tokio::test]
async fn adopted_snapshot_is_there_after_a_restart() {
    let (sender, (dir, store)) = (sender(), receiving_store());
    let chunks = sender.chunks().await;
    let received = sender.receive(&store, chunks).await.expect("received");
    store.adopt(&received.0).expect("adopted");
    drop((received, store));
    let store = open_store(&dir).expect("opened");
    let current = store.current().expect("a snapshot");
    assert_eq!(current.contents(), sender.snapshot.contents());
    verify(&*sender.storage, &current.ledger(), current.contents()).expect("nothing is wrong");
}

#[tokio::test]
async fn every_kind_of_broken_transfer_is_refused() {
    let sender = sender();
    let good = sender.chunks().await;
    assert!(good.len() > 3);
    let flipped = {
        let mut chunks = good.clone();
        let mut data = chunks[1].data.to_vec();
        data[0] ^= 1;
        chunks[1].data = data.into();
        chunks
    };
    let swapped = {
        let mut chunks = good.clone();
        chunks.swap(1, 2);
        chunks
    };
    let short = good[..good.len() - 1].to_vec();
    let doubled = [&good[..1], &good[..]].concat();
    for (name, chunks) in [
        ("flipped", flipped),
        ("swapped", swapped),
        ("short", short),
        ("doubled", doubled),
    ] {
        let (_dir, store) = receiving_store();
        let refused = sender.receive(&store, chunks).await.map(drop);
        assert!(
            matches!(refused, Err(SnapshotError::Transfer { .. })),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn names_that_lead_out_of_the_directory_are_refused() {
    let (sender, (dir, store)) = (sender(), receiving_store());
    for name in ["../x", "/etc/x", "a/b", "..", ".", "", "LOCK"] {
        let mut manifest = sender.manifest();
        manifest.files[0].name = name.to_owned();
        let refused = sender.begin(&store, manifest).await;
        assert!(
            matches!(refused.map(drop), Err(SnapshotError::Transfer { .. })),
            "{name:?}"
        );
    }
    assert!(is_empty(&dir.path().join("snapshots")));
}

#[tokio::test]
async fn one_transfer_at_a_time() {
    let (sender, (_dir, store)) = (sender(), receiving_store());
    let begin = || sender.begin(&store, sender.manifest());
    let first = begin().await.expect("begun");
    assert!(matches!(begin().await.map(drop), Err(SnapshotError::Busy)));
    drop(first);
    begin().await.expect("the first one is gone");
}

#[tokio::test]
async fn snapshot_that_does_not_fit_is_refused_before_anything_is_written() {
    let (sender, (dir, store)) = (sender(), receiving_store());
    let manifest = sender.manifest();
    let bytes: u64 = manifest.files.iter().map(|file| file.size_bytes).sum();
    let (disk, headroom) = disk();
    disk.set_free(bytes + 499);
    let refused = sender.begin_on(&store, &headroom, manifest.clone()).await;
    let refused = refused.map(drop).expect_err("half of the reserve is left");
    assert!(
        matches!(
            refused,
            SnapshotError::NoRoom { free_bytes, needed_bytes }
                if free_bytes == bytes + 499 && needed_bytes == bytes + 500
        ),
        "{refused}"
    );
    assert!(is_empty(&dir.path().join("snapshots")));
    disk.set_free(bytes + 500);
    let begun = sender.begin_on(&store, &headroom, manifest).await;
    drop(begun.expect("there is room now, and the refused one is not in the way"));
}

#[tokio::test]
async fn transfer_is_broken_off_when_the_room_goes_meanwhile() {
    let (sender, (_dir, store)) = (sender(), receiving_store());
    let (disk, headroom) = disk();
    let begun = sender.begin_on(&store, &headroom, sender.manifest()).await;
    let mut receiver = begun.expect("begun");
    let chunks = sender.chunks().await;
    let mut left: u64 = chunks.iter().map(|chunk| chunk.data.len() as u64).sum();
    let mut chunks = chunks.into_iter();
    let first = chunks.next().expect("a chunk");
    disk.set_free(left + 250);
    left -= first.data.len() as u64;
    receiver.chunk(first).await.expect("there is room");
    disk.set_free(left + 249);
    let second = chunks.next().expect("another chunk");
    let broken_off = receiver.chunk(second).await.expect_err("no room is left");
    assert!(
        matches!(broken_off, SnapshotError::NoRoom { .. }),
        "{broken_off}"
    );
}

#[tokio::test]
async fn giver_looks_at_what_it_has_if_it_cannot_read_it_or_the_last_copy_was_damaged() {
    for (last_was_damaged, is_unreadable) in [(false, false), (true, false), (false, true)] {
        let node = node("history");
        let store = Arc::new(node.store);
        let vote = Vote {
            leader_id: LeaderId::new(1, 1),
            committed: true,
        };
        let asked = Asked {
            purged: None,
            last_was_damaged,
        };
        let (host, given) = (Arc::new(node.host), Arc::clone(&store));
        let peer = pb::Peer::default();
        let given = give(host, given, Blocking::Inline, peer, vote, asked).await;
        let given = given.expect("it is sound");
        if is_unreadable {
            let layout = Layout::new(node.storage.disk(), node.dir.path().to_owned());
            let copy = layout.snapshots().join("snapshot-1.tmp").join(LEDGER_DIR);
            fs::remove_dir_all(copy).expect("removed");
        }
        given.for_each(|_| async {}).await;
        assert_eq!(
            store.suspected().now_or_never().is_some(),
            last_was_damaged || is_unreadable,
            "{last_was_damaged} {is_unreadable}"
        );
    }
}
