//! A power cut at any operation of the disk, while a snapshot is made, received and installed.

use std::path::PathBuf;

use toka_ledger::disk::Disk;
use toka_ledger::read::Position;

use super::*;
use crate::error::FatalError;
use crate::storage::MemoryStorage;

/// A node's ledger and snapshots, in memory.
pub(super) struct Stores {
    pub(super) storage: Arc<MemoryStorage>,
    pub(super) host: LedgerHost,
    pub(super) snapshots: Arc<SnapshotStore>,
}

pub(super) fn open(storage: &MemoryStorage) -> Stores {
    let storage = Arc::new(storage.clone());
    let root = PathBuf::from("/node");
    storage.disk.create_dir_all(&root).expect("created");
    let layout = Layout::new(storage.disk(), root);
    let snapshots =
        SnapshotStore::open(storage.disk(), layout.snapshots(), Blocking::Inline).expect("opened");
    let threads = Arc::new(toka_ledger::seam::SystemThreads);
    let host = LedgerHost::open(layout, Arc::clone(&storage) as _, threads, &Fatal::new())
        .expect("opened");
    Stores {
        storage,
        host,
        snapshots: Arc::new(snapshots),
    }
}

impl Stores {
    fn position(&self) -> Position {
        self.host.reader().position()
    }

    /// As the state machine does it.
    fn install(&self, snapshot: &SnapshotDir) -> Result<(), FatalError> {
        let own = self.snapshots.adopt(snapshot)?;
        self.host.install(&own.ledger(), own.contents())
    }
}

/// The storage of a node that has applied `count` entries and flushed them.
pub(super) fn storage_with(count: usize) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let stores = open(&storage);
    let entries = entries("history").into_iter().take(count).collect();
    stores.host.apply(entries).expect("applied");
    stores.host.flush().expect("flushed");
    storage.crash(|| true)
}

/// Every operation of `play` at which the power may go, on copies of `storage`; `check` gets what is
/// left, opened again, and whether `play` had come to its end.
fn at_every_operation<F: Future<Output = bool>>(
    storage: &MemoryStorage,
    play: impl Fn(Stores) -> F,
    check: impl Fn(Stores, bool),
) {
    for at in 0.. {
        let copy = storage.disk.crash(|| true);
        let copy = MemoryStorage {
            disk: copy,
            ..storage.clone()
        };
        let stores = open(&copy);
        copy.disk.fail_after(at);
        let is_complete = futures::executor::block_on(play(stores));
        for keeps in [false, true] {
            check(open(&copy.crash(|| keeps)), is_complete);
        }
        if is_complete {
            assert!(at > 20, "{at} operations");
            return;
        }
    }
}

#[test]
fn power_cut_while_one_is_made_leaves_the_ledger_and_a_whole_snapshot_or_none() {
    let storage = storage_with(100);
    let applied = open(&storage).position();
    let play = |stores: Stores| async move { build(&stores.host, &stores.snapshots).is_ok() };
    at_every_operation(&storage, play, |stores, is_complete| {
        assert_eq!(stores.position(), applied);
        let snapshot = stores.snapshots.current();
        assert!(snapshot.is_some() || !is_complete);
        if let Some(snapshot) = snapshot {
            verify(&*stores.storage, &snapshot.ledger(), snapshot.contents()).expect("whole");
        }
    });
}

#[test]
fn power_cut_while_one_is_received_and_installed_leaves_the_old_ledger_or_the_new() {
    let sender = open(&storage_with(250));
    let snapshot = build(&sender.host, &sender.snapshots).expect("made");
    let sender = Sending {
        snapshot,
        new: sender.position(),
    };
    let storage = storage_with(50);
    let old = open(&storage).position();
    assert_ne!(old, sender.new);
    let chunks = futures::executor::block_on(sender.chunks());
    let play = |stores: Stores| {
        let (manifest, chunks) = (sender.manifest(), chunks.clone());
        async move {
            let Ok(snapshot) = receive(&stores, manifest, chunks).await else {
                return false;
            };
            stores.install(&snapshot).is_ok()
        }
    };
    at_every_operation(&storage, play, |stores, is_complete| {
        let found = stores.position();
        assert!(found == sender.new || (!is_complete && found == old));
        let current = stores.snapshots.current();
        if let Some(snapshot) = &current {
            verify(&*stores.storage, &snapshot.ledger(), snapshot.contents()).expect("whole");
            // What openraft does at start, if the ledger has not followed.
            stores.install(snapshot).expect("installed");
            assert_eq!(stores.position(), sender.new);
        }
        assert!(
            current.is_some() || found == old,
            "a log that ends before the ledger needs a snapshot that explains it"
        );
    });
}

struct Sending {
    snapshot: SnapshotDir,
    new: Position,
}

impl Sending {
    fn manifest(&self) -> pb::SnapshotManifest {
        let files = self.snapshot.files().expect("listed");
        let vote = Vote {
            leader_id: LeaderId::new(1, 1),
            committed: true,
        };
        manifest(&vote, &self.snapshot, &files)
    }

    async fn chunks(&self) -> Vec<pb::SnapshotChunk> {
        chunks(&self.snapshot, self.manifest()).await
    }
}

async fn receive(
    stores: &Stores,
    manifest: pb::SnapshotManifest,
    chunks: Vec<pb::SnapshotChunk>,
) -> Result<SnapshotDir, SnapshotError> {
    let storage = Arc::clone(&stores.storage) as _;
    let (store, (_, headroom)) = (&stores.snapshots, disk());
    let receiver = Receiver::begin(store, storage, Blocking::Inline, &headroom, manifest);
    let mut receiver = receiver.await?;
    for chunk in chunks {
        receiver.chunk(chunk).await?;
    }
    Ok(receiver.finish().await?.0)
}
