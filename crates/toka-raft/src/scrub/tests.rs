//! Passes over a node in memory: how fast, and when.

use std::path::PathBuf;

use openraft::storage::RaftLogStorage as _;
use toka_ledger::disk::Disk as _;
use toka_ledger::seam::Seams;

use super::*;
use crate::pace::{ManualTimer, Timer as _};
use crate::snapshot::tests::{entries, make, rows_bytes};
use crate::storage::{MemoryStorage, Storage as _};
use crate::type_config::IoFlushed;

const HOUR_MS: u64 = 3_600_000;
const INTERVAL: Duration = Duration::from_millis(10 * HOUR_MS);
/// Much longer than a pass over so little takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct FixedClock(u64);

impl Clock for FixedClock {
    fn unix_ms(&self) -> u64 {
        self.0
    }
}

/// A node whose ledger, log and snapshot have the same 298 events.
struct Node {
    scrubber: Scrubber,
    storage: Arc<MemoryStorage>,
}

async fn node(now_unix_ms: u64) -> Node {
    let (storage, seams, fatal) = (
        Arc::new(MemoryStorage::new()),
        Seams::system(),
        Fatal::new(),
    );
    let root = PathBuf::from("/node");
    storage.disk.create_dir_all(&root).expect("created");
    let layout = Layout::new(storage.disk(), root);
    let snapshots =
        SnapshotStore::open(storage.disk(), layout.snapshots(), Blocking::Inline).expect("opened");
    let host = LedgerHost::open(
        layout.clone(),
        Arc::clone(&storage) as _,
        Arc::clone(&seams.threads),
        &fatal,
    )
    .expect("opened");
    host.apply(entries("history")).expect("applied");
    make(&host, &snapshots);
    let mut log = storage
        .start_log(&layout.raft(), true, &seams)
        .expect("started");
    log.append(entries("history"), IoFlushed::noop())
        .await
        .expect("appended");
    log.handle().barrier().await.expect("durable");
    let headroom = Headroom::new(storage.disk(), layout.root().to_owned(), None);
    let scrubber = Scrubber {
        host: Arc::new(host),
        snapshots: Arc::new(snapshots),
        log: log.handle(),
        layout,
        clock: Arc::new(FixedClock(now_unix_ms)),
        settings: Scrub {
            interval: Some(INTERVAL),
            rate_bytes: 0,
        },
        progress: Arc::default(),
        headroom,
        room: watch::Sender::new(Room::Enough).subscribe(),
        fatal,
        blocking: Blocking::Inline,
    };
    Node { scrubber, storage }
}

fn pass_at(end_unix_ms: u64) -> ScrubPass {
    ScrubPass {
        end_unix_ms,
        duration_ms: 1,
        bytes: 2,
        snapshot_rebuilt: false,
    }
}

#[tokio::test]
async fn every_byte_of_a_pass_has_its_time_at_the_rate_that_is_set() {
    let Node {
        scrubber, storage, ..
    } = node(0).await;
    let timer = ManualTimer::default();
    let pace = Pace::with_timer(
        1_000,
        Box::new(timer.clone()),
        scrubber.progress.bytes(),
        CancellationToken::new(),
    );
    let rebuilt = scrubber.pass(pace).await.expect("nothing is damaged");
    assert!(!rebuilt);
    let read = scrubber.progress.report().bytes;
    // A byte takes a millisecond.
    assert_eq!(timer.now(), Duration::from_millis(read));
    let copy = PathBuf::from("/node/rows");
    scrubber.host.copy(&copy).expect("copied");
    let rows = rows_bytes(&*storage.open_copy(&copy).expect("opened"));
    assert!(rows > 10_000, "{rows}");
    assert!(
        read > 2 * rows,
        "{read} bytes of ledger, log and snapshot; {rows} of each of two of them"
    );
}

#[tokio::test]
async fn pass_that_is_cancelled_ends_and_reads_no_further() {
    let Node { scrubber, .. } = node(0).await;
    let (timer, cancelled) = (ManualTimer::default(), CancellationToken::new());
    cancelled.cancel();
    let bytes = scrubber.progress.bytes();
    let pace = Pace::with_timer(1, Box::new(timer.clone()), bytes, cancelled);
    scrubber.pass(pace).await.expect("nothing is damaged");
    assert_eq!(timer.now(), Duration::ZERO);
}

#[tokio::test]
async fn pass_that_is_due_begins_with_the_node_and_is_noted() {
    let now = 100 * HOUR_MS;
    let Node { scrubber, .. } = node(now).await;
    let layout = scrubber.layout.clone();
    let before = Note {
        since_unix_ms: 5,
        last: Some(pass_at(now - 10 * HOUR_MS)),
    };
    before.write(&layout).expect("written");
    let (progress, cancelled) = (Arc::clone(&scrubber.progress), CancellationToken::new());
    let running = tokio::spawn(scrubber.run(cancelled.clone()));
    let noted = tokio::time::timeout(PATIENCE, async {
        loop {
            match Note::read(&layout, now) {
                Some(note) if note != before => return note,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    });
    let noted = noted.await.expect("a pass ends");
    cancelled.cancel();
    running.await.expect("it ends");
    assert_eq!(noted.since_unix_ms, 5);
    let last = noted.last.expect("a pass");
    assert_eq!((last.end_unix_ms, last.snapshot_rebuilt), (now, false));
    let report = progress.report();
    assert_eq!(report.last, noted.last);
    // The next one is due in ten hours.
    assert_eq!((report.passes, report.bytes), (1, last.bytes));
}

#[tokio::test]
async fn node_that_is_started_again_waits_for_what_is_left_of_the_interval() {
    let Node { mut scrubber, .. } = node(100 * HOUR_MS).await;
    // For the first pass,
    let (first, wait) = scrubber.begin().await;
    assert_eq!(wait, Some(INTERVAL / 10));
    scrubber.clock = Arc::new(FixedClock(100 * HOUR_MS + HOUR_MS / 4));
    let (again, wait) = scrubber.begin().await;
    assert_eq!(again, first);
    assert_eq!(wait, Some(INTERVAL / 40 * 3));
    // and for those that follow.
    let passed = Note {
        last: Some(pass_at(101 * HOUR_MS)),
        ..first
    };
    scrubber.keep(passed).await;
    scrubber.clock = Arc::new(FixedClock(110 * HOUR_MS));
    let (found, wait) = scrubber.begin().await;
    assert_eq!(found, passed);
    assert_eq!(wait, Some(INTERVAL / 10));
    assert_eq!(scrubber.progress.report().last, passed.last);
}

#[tokio::test]
async fn node_that_is_not_to_look_for_damage_notes_nothing() {
    let Node { mut scrubber, .. } = node(7).await;
    scrubber.settings.interval = None;
    let (_, wait) = scrubber.begin().await;
    assert_eq!(wait, None);
    assert_eq!(Note::read(&scrubber.layout, 7), None);
}
