//! A log fits the copy that has taken the place of the ledger, and a power cut on the way there costs nothing.

mod own;
mod power_cut;

use std::path::{Path, PathBuf};

use openraft::vote::RaftLeaderId as _;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::disk::{Disk as _, MemoryDisk};
use toka_ledger::seam::SystemThreads;

use super::*;
use crate::config::RuntimeChoice;
use crate::log_store::{Change, LogEngine as _, LogOptions, MemoryLog};
use crate::replica::checks::check_progress;
use crate::replica::open::open_stores;
use crate::storage::MemoryStorage;
use crate::testing;
use crate::transport::TcpTransport;
use crate::type_config::{Entry, IoFlushed, LeaderId};

const PATH: &str = "/node";
const LAST: u64 = 40;

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

/// A log with entries 0 to 9 of term 2, purged up to 3, of a node that has voted in term 2.
fn log() -> RaftLog {
    let blank = |index| Entry {
        log_id: log_id(2, index),
        payload: EntryPayload::Blank,
    };
    let mut engine = MemoryLog::new();
    let vote = Vote {
        leader_id: LeaderId::new(2, 1),
        committed: true,
    };
    let changes = [
        Change::Vote(vote),
        Change::Append((0..10).map(blank).collect()),
        Change::Purge(log_id(2, 3)),
    ];
    engine.write(&changes).expect("written");
    engine.sync().expect("synced");
    RaftLog::start(engine, LogOptions::default(), &SystemThreads).expect("started")
}

/// Purged up to, last entry, term of the vote.
async fn settled(last: LogId) -> (Option<LogId>, Option<LogId>, u64) {
    let mut log = log();
    settle_log(&mut log, last).await.expect("settled");
    let state = log.get_log_state().await.expect("read");
    let vote = log.get_log_reader().await.read_vote().await.expect("read");
    let term = vote.expect("it has voted").leader_id.term;
    log.handle().close().await.expect("closed");
    (state.last_purged_log_id, state.last_log_id, term)
}

#[tokio::test]
async fn log_that_goes_on_from_the_copy_stays_as_it_is() {
    let as_it_was = (Some(log_id(2, 3)), Some(log_id(2, 9)), 2);
    for index in [3, 6, 9] {
        assert_eq!(settled(log_id(2, index)).await, as_it_was, "{index}");
    }
}

#[tokio::test]
async fn copy_that_is_ahead_ends_the_log_where_it_ends() {
    let last = log_id(3, 20);
    assert_eq!(settled(last).await, (Some(last), Some(last), 3));
}

#[tokio::test]
async fn entries_that_contradict_the_copy_are_cut_off() {
    for index in [4, 7, 9] {
        let last = log_id(3, index);
        let expected = (Some(last), Some(last), 3);
        assert_eq!(settled(last).await, expected, "{index}");
    }
}

/// Entries of a vault whose last one is [`LAST`], each but the first two with an event.
fn entries() -> Vec<Entry> {
    let mut entries = vec![
        testing::membership(log_id(3, 0), 1),
        testing::entry(log_id(3, 1), &testing::create(1)),
    ];
    entries.extend((2..=LAST).map(|number| {
        let commit = testing::commit(format!("event {number}"), number);
        testing::entry(log_id(3, number), &commit)
    }));
    entries
}

fn open(storage: &Arc<dyn Storage>) -> Stores {
    open_stores(
        Path::new(PATH),
        1,
        FEATURE_LEVEL,
        Arc::clone(storage),
        &Seams::system(),
        Blocking::Inline,
        &Fatal::new(),
    )
    .expect("opened")
}

/// A node that knows nobody.
fn config() -> Config {
    let mut config = Config::new(1, PathBuf::from(PATH), BTreeMap::new());
    config.runtime = RuntimeChoice::Current;
    config
}

/// Of another disk: there is always room.
fn headroom() -> Headroom {
    let (disk, path) = (MemoryDisk::new(), PathBuf::from("/data"));
    disk.create_dir_all(&path).expect("created");
    Headroom::new(Arc::new(disk), path, None)
}

fn repair_of<'a>(
    stores: &'a mut Stores,
    storage: &'a Arc<dyn Storage>,
    channels: &'a Channels,
    initial_members: &'a BTreeMap<u64, Member>,
) -> Repair<'a> {
    Repair {
        identity: Arc::new(Identity::new(1, None)),
        initial_members,
        level_known: FEATURE_LEVEL,
        layout: &stores.layout,
        tried: Tried::read(&stores.layout),
        gone_on_from: None,
        storage,
        snapshots: &stores.snapshots,
        log: &mut stores.log,
        channels,
        blocking: Blocking::Inline,
        headroom: headroom(),
    }
}

/// Damages the first thing that ledger `number` has flushed.
fn spoil_ledger(storage: &MemoryStorage, number: u64) {
    let layout = Layout::new(storage.disk(), PathBuf::from(PATH));
    let path = layout.ledger(number).join("flush-0000000000000001");
    storage.disk.overwrite(&path, b"damaged").expect("written");
}
