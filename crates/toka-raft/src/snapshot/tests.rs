//! A copy that is damaged or not what was announced never becomes a ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use openraft::vote::RaftLeaderId;
use tempfile::TempDir;
use toka_ledger::Digest;
use toka_ledger::command::{self, Command, Create, FEATURE_LEVEL};
use toka_ledger::disk::SystemDisk;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Batch, Direction, Durability, Engine, Table};
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::install_snapshot_request::Part;

use super::build::build;
use super::send::{Progress, manifest, requests};
use super::verify::verify;
use super::*;
use crate::blocking::Blocking;
use crate::layout::Layout;
use crate::ledger_host::LedgerHost;
use crate::storage::{DiskStorage, Storage};
use crate::type_config::{
    Commands, Entry, EntryPayload, LeaderId, LogId, Member, Membership, Vote,
};

mod power_cut;

struct Sender {
    _dir: TempDir,
    snapshot: SnapshotDir,
    storage: Arc<DiskStorage>,
}

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(1, 1), index)
}

fn entry(index: u64, command: &Command) -> Entry {
    let mut batch = command::Batch::default();
    batch.push(&command::encode(command));
    let payload = EntryPayload::Normal(Commands(batch.finish()));
    Entry {
        log_id: log_id(index),
        payload,
    }
}

fn entries(history: &str) -> Vec<Entry> {
    let nodes = BTreeMap::from([(1, Member::default())]);
    let membership = Membership::new(vec![BTreeSet::from([1])], nodes).expect("valid");
    let create = Command::Create(Create {
        cluster_id: 1,
        history_id: 2,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: toka_ledger::intent::Parameters::default(),
        unix_ms: 3,
    });
    let commit = |n: u64| {
        let draft = EventDraft::new("test").payload_bytes(format!("{history} {n}"));
        let commit = prepare_commit([draft], vec![], n).expect("valid");
        entry(n, &Command::Commit(commit))
    };
    let mut entries = vec![Entry {
        log_id: log_id(0),
        payload: EntryPayload::Membership(membership),
    }];
    entries.push(entry(1, &create));
    entries.extend((2..300).map(commit));
    entries
}

/// A node with a snapshot of 298 events.
fn sender() -> Sender {
    sender_of("history")
}

fn sender_of(history: &str) -> Sender {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = Arc::new(DiskStorage::default());
    let layout = Layout::new(storage.disk(), dir.path().to_owned());
    let host = LedgerHost::open(
        layout.clone(),
        Arc::clone(&storage) as _,
        Arc::new(toka_ledger::seam::SystemThreads),
    )
    .expect("opened");
    host.apply(entries(history)).expect("applied");
    let store =
        SnapshotStore::open(storage.disk(), layout.snapshots(), Blocking::Pool).expect("opened");
    let snapshot = build(&host, &store).expect("made");
    Sender {
        _dir: dir,
        snapshot,
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

    async fn receive(
        &self,
        store: &Arc<SnapshotStore>,
        chunks: Vec<pb::SnapshotChunk>,
    ) -> Result<(SnapshotDir, receive::IncomingGuard), SnapshotError> {
        let storage = Arc::clone(&self.storage) as _;
        let manifest = self.manifest();
        let mut receiver = Receiver::begin(store, storage, Blocking::Inline, manifest).await?;
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
        let storage = Arc::clone(&sender.storage) as _;
        let refused = Receiver::begin(&store, storage, Blocking::Inline, manifest).await;
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
    let begin = || {
        let storage = Arc::clone(&sender.storage) as _;
        Receiver::begin(&store, storage, Blocking::Inline, sender.manifest())
    };
    let first = begin().await.expect("begun");
    assert!(matches!(begin().await.map(drop), Err(SnapshotError::Busy)));
    drop(first);
    begin().await.expect("the first one is gone");
}
