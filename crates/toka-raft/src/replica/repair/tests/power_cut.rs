//! A power cut at any operation of the disk, while a copy of another node's ledger takes the place of a damaged one.

use futures::StreamExt as _;
use toka_ledger::read::Position;
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::pull_ledger_response::Part;

use super::*;
use crate::snapshot::{Asked, Receiver, give};

/// Where the log of the node that is repaired ends.
const OWN_LAST: u64 = 4;

/// What another node sends, and where its ledger is.
async fn given() -> (Vec<pb::PullLedgerResponse>, Position) {
    let storage = MemoryStorage::new();
    storage
        .disk
        .create_dir_all(Path::new(PATH))
        .expect("created");
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let store = SnapshotStore::open(storage.disk(), layout.snapshots(), Blocking::Inline);
    let store = Arc::new(store.expect("opened"));
    let threads = Arc::new(SystemThreads);
    let host = LedgerHost::open(layout, Arc::new(storage), threads, &Fatal::new());
    let host = Arc::new(host.expect("opened"));
    host.apply(entries()).expect("applied");
    let position = host.reader().position();
    let vote = Vote {
        leader_id: LeaderId::new(3, 1),
        committed: true,
    };
    let asked = Asked {
        purged: None,
        last_was_damaged: false,
    };
    let peer = pb::Peer::default();
    let sent = give(host, store, Blocking::Inline, peer, vote, asked).await;
    (sent.expect("it is sound").collect().await, position)
}

/// The storage of a node with a vote, and with entries that contradict the copy, whose ledger is damaged.
async fn damaged() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut stores = open(&shared);
    let vote = Vote {
        leader_id: LeaderId::new(2, 1),
        committed: false,
    };
    stores.log.save_vote(&vote).await.expect("saved");
    let blank = |index| Entry {
        log_id: log_id(2, index),
        payload: EntryPayload::Blank,
    };
    let own: Vec<Entry> = (0..=OWN_LAST).map(blank).collect();
    let appended = stores.log.append(own, IoFlushed::noop()).await;
    appended.expect("appended");
    stores.log.handle().barrier().await.expect("durable");
    stores.data_dir.set_ledger_damaged().expect("noted");
    stores.log.handle().close().await.expect("closed");
    spoil_ledger(&storage, 1);
    storage.crash(|| false)
}

async fn receive(
    stores: &Stores,
    storage: &Arc<dyn Storage>,
    sent: &[pb::PullLedgerResponse],
) -> Result<SnapshotDir, SnapshotError> {
    let mut parts = sent.iter().filter_map(|message| message.part.clone());
    let Some(Part::Manifest(manifest)) = parts.next() else {
        panic!("the manifest is first");
    };
    let storage = Arc::clone(storage);
    let (store, headroom) = (&stores.snapshots, headroom());
    let receiver = Receiver::begin(store, storage, Blocking::Inline, &headroom, manifest);
    let mut receiver = receiver.await?;
    for part in parts {
        let Part::Chunk(chunk) = part else {
            panic!("a second manifest");
        };
        receiver.chunk(chunk).await?;
    }
    Ok(receiver.finish().await?.0)
}

/// As [`sound_ledger`] does it, with a copy that has been sent.
async fn repair(
    storage: &Arc<dyn Storage>,
    mut stores: Stores,
    sent: &[pb::PullLedgerResponse],
) -> Result<(), StartError> {
    let snapshot = receive(&stores, storage, sent).await.map_err(raft)?;
    let channels = Channels::new(Arc::new(TcpTransport));
    let nobody = BTreeMap::new();
    let mut repair = repair_of(&mut stores, storage, &channels, &nobody);
    repair.put_in_place(snapshot, log_id(3, LAST)).await?;
    let (config, seams) = (config(), Seams::system());
    let opened = open_repaired(stores, &config, storage, &seams, &Fatal::new()).await;
    opened.map(drop)
}

/// Starts the node again. It has the copy, or its marker says that it still needs one; then its log is as it was, since
/// nobody may be left to give one that reaches a log that is cut off.
async fn check(storage: MemoryStorage, expected: &Position, is_complete: bool) {
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let mut stores = open(&storage);
    let is_damaged = stores.ledger.is_err();
    if is_damaged && stores.snapshots.current().is_none() {
        let state = stores.log.get_log_state().await.expect("read");
        let as_it_was = (None, Some(log_id(2, OWN_LAST)));
        assert_eq!((state.last_purged_log_id, state.last_log_id), as_it_was);
    }
    assert!(!(is_damaged && is_complete), "it has been repaired");
    let (config, identity) = (config(), Arc::new(Identity::new(1, None)));
    let (channels, fatal) = (Channels::new(Arc::new(TcpTransport)), Fatal::new());
    let seams = Seams::system();
    let sound = sound_ledger(
        stores, &config, &identity, &channels, &storage, &seams, &fatal,
    );
    let (stores, host) = match sound.await {
        Ok(sound) => sound,
        Err(StartError::LedgerLost { .. }) if is_damaged => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(host.reader().position(), *expected);
    let Stores {
        mut log, snapshots, ..
    } = stores;
    let progress = check_progress(Path::new(PATH), &host, &snapshots, &mut log).await;
    progress.expect("the log fits the ledger");
    let state = log.get_log_state().await.expect("read");
    assert_eq!(state.last_log_id, Some(log_id(3, LAST)));
    let vote = log.get_log_reader().await.read_vote().await.expect("read");
    assert_eq!(vote.map(|vote| vote.leader_id.term), Some(3));
    log.handle().close().await.expect("closed");
}

#[tokio::test]
async fn power_cut_at_any_step_of_a_repair_leads_to_the_same_place() {
    let (sent, position) = given().await;
    let storage = damaged().await;
    for at in 0.. {
        let copy = MemoryStorage {
            disk: storage.disk.crash(|| true),
            ..storage.clone()
        };
        let shared: Arc<dyn Storage> = Arc::new(copy.clone());
        let stores = open(&shared);
        copy.disk.fail_after(at);
        let is_complete = repair(&shared, stores, &sent).await.is_ok();
        for keeps in [false, true] {
            check(copy.crash(|| keeps), &position, is_complete).await;
        }
        if is_complete {
            assert!(at > 20, "{at} operations");
            return;
        }
    }
}

#[tokio::test]
async fn repairs_that_fail_do_not_pile_up_copies() {
    let (sent, _) = given().await;
    let mut storage = damaged().await;
    // What is no directory cannot be removed as one, and is in nobody's way.
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let stuck = storage.disk.overwrite(&layout.ledger_in_progress(0), b"x");
    stuck.expect("written");
    for _ in 0..4 {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut stores = open(&shared);
        let log = stores.log.handle();
        let snapshot = receive(&stores, &shared, &sent).await.expect("received");
        let channels = Channels::new(Arc::new(TcpTransport));
        let nobody = BTreeMap::new();
        let mut repair = repair_of(&mut stores, &shared, &channels, &nobody);
        repair.remove_leftovers().await;
        let placed = repair.put_in_place(snapshot, log_id(3, LAST)).await;
        placed.expect("in place");
        log.close().await.expect("closed");
        storage = storage.crash(|| true);
    }
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let snapshots = storage.disk.list(&layout.snapshots()).expect("listed");
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    let names = storage.disk.list(layout.root()).expect("listed");
    let is_ledger = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("ledger-");
    // The one that cannot be removed, the damaged one, the one before, and the last one.
    assert_eq!(names.iter().filter(is_ledger).count(), 4, "{names:?}");
    let applied = own::applied_at_start(&storage).await;
    assert_eq!(applied.expect("repaired"), Some(log_id(3, LAST)));
}
