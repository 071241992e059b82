//! The write-ahead thread, the watermark and the readers, through openraft's interface.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use openraft::vote::RaftLeaderId;
use toka_ledger::disk::{Disk, MemoryDisk};
use toka_ledger::seam::{SystemEntropy, SystemThreads};
use toka_raft::codec::entry_len;
use toka_raft::log_store::{
    Change, DurableWatermark, EngineReader, LogEngine, LogError, LogMeta, LogOptions, MemoryLog,
    READ_BYTES_MAX, RaftLog, SegmentLog, SegmentOptions, TailLimits, Writer, frames,
};
use toka_raft::type_config::{
    Commands, Entry, EntryPayload, IoFlushed, LeaderId, LogId, TypeConfig, Vote,
};

type Flushed = OneshotReceiverOf<TypeConfig, Result<(), std::io::Error>>;

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64, len: usize) -> Entry {
    let body = Bytes::from(vec![7; len]);
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Commands(body)),
    }
}

fn entries(term: u64, indexes: Range<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index, 100)).collect()
}

/// Appends and returns what tells when it is durable.
async fn append(log: &mut RaftLog, entries: Vec<Entry>) -> Flushed {
    let (flushed, durable) = TypeConfig::oneshot();
    log.append(entries, IoFlushed::signal(flushed))
        .await
        .expect("append");
    durable
}

async fn indexes(log: &RaftLog, range: Range<u64>) -> Vec<(u64, u64)> {
    let entries = log
        .handle()
        .reader()
        .try_get_log_entries(range)
        .await
        .expect("readable");
    entries
        .iter()
        .map(|entry| (entry.log_id.leader_id.term, entry.log_id.index))
        .collect()
}

/// A log whose writer only runs when the test lets it: a disk as slow as one likes.
fn stalled(engine: &MemoryLog) -> (RaftLog, Writer<MemoryLog>) {
    RaftLog::new(engine.clone(), LogOptions::default())
}

/// Lets the writer work until its queue is empty.
fn work(writer: &mut (impl Future<Output = ()> + Unpin)) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(writer).poll(&mut context).is_pending());
}

fn is_ready<T>(future: impl Future<Output = T>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(future).poll(&mut context), Poll::Ready(_))
}

#[tokio::test]
async fn entries_are_readable_before_they_are_durable() {
    let engine = MemoryLog::new();
    let (mut log, _writer) = stalled(&engine);
    let mut flushed = append(&mut log, entries(1, 0..3)).await;
    assert_eq!(indexes(&log, 0..10).await, [(1, 0), (1, 1), (1, 2)]);
    assert!(!is_ready(&mut flushed));
    assert_eq!(engine.syncs(), 0);
}

#[tokio::test]
async fn appends_that_wait_share_one_sync() {
    let engine = MemoryLog::new();
    let (mut log, writer) = stalled(&engine);
    let mut flushed = Vec::new();
    for index in 0..100 {
        flushed.push(append(&mut log, entries(1, index..index + 1)).await);
    }
    let mut writer = Box::pin(writer.run());
    work(&mut writer);
    for durable in flushed {
        durable.await.expect("answered").expect("durable");
    }
    assert_eq!(engine.syncs(), 1);
}

#[tokio::test]
async fn commit_position_costs_no_sync_and_goes_out_with_the_next_append() {
    let engine = MemoryLog::new();
    let (mut log, writer) = stalled(&engine);
    let mut writer = Box::pin(writer.run());
    drop(append(&mut log, entries(1, 0..2)).await);
    work(&mut writer);
    log.save_committed(Some(log_id(1, 1))).await.expect("saved");
    work(&mut writer);
    assert_eq!(engine.syncs(), 1);
    assert_eq!(
        log.read_committed().await.expect("read"),
        Some(log_id(1, 1))
    );
    assert_eq!(engine.crash().meta().committed, None);
    drop(append(&mut log, entries(1, 2..3)).await);
    work(&mut writer);
    assert_eq!(engine.crash().meta().committed, Some(log_id(1, 1)));
}

#[tokio::test]
async fn vote_is_durable_before_it_is_given() {
    let engine = MemoryLog::new();
    let (mut log, writer) = stalled(&engine);
    let mut writer = Box::pin(writer.run());
    let vote = Vote::new(4, 1);
    {
        let mut save = pin!(log.save_vote(&vote));
        let mut context = Context::from_waker(Waker::noop());
        assert!(save.as_mut().poll(&mut context).is_pending());
        work(&mut writer);
        save.await.expect("saved");
    }
    assert_eq!(engine.crash().meta().vote, Some(vote));
    assert_eq!(
        log.handle().reader().read_vote().await.expect("read"),
        Some(vote)
    );
}

#[tokio::test]
async fn truncate_and_purge_do_not_wait_for_the_disk() {
    let engine = MemoryLog::new();
    let (mut log, _writer) = stalled(&engine);
    drop(append(&mut log, entries(1, 0..10)).await);
    assert!(is_ready(log.truncate_after(Some(log_id(1, 6)))));
    assert!(is_ready(log.purge(log_id(1, 2))));
    assert_eq!(indexes(&log, 0..20).await, [(1, 3), (1, 4), (1, 5), (1, 6)]);
}

#[tokio::test]
async fn watermark_falls_at_once_when_durable_entries_are_truncated() {
    let engine = MemoryLog::new();
    let (mut log, writer) = stalled(&engine);
    let mut writer = Box::pin(writer.run());
    let mut durable = log.handle().durable();
    drop(append(&mut log, entries(1, 0..10)).await);
    assert!(!is_ready(durable.wait_for(0)));
    work(&mut writer);
    assert!(is_ready(durable.wait_for(9)));
    log.truncate_after(Some(log_id(1, 4)))
        .await
        .expect("truncated");
    drop(append(&mut log, entries(2, 5..8)).await);
    assert_eq!(durable.index(), Some(4));
    assert!(!is_ready(durable.wait_for(5)));
    work(&mut writer);
    assert!(is_ready(durable.wait_for(7)));
    assert!(!is_ready(durable.wait_for(8)));
}

/// A log that notes how far the watermark is whenever it is written to.
struct Probe {
    log: MemoryLog,
    durable: Arc<OnceLock<DurableWatermark>>,
    seen: Arc<Mutex<Vec<Option<u64>>>>,
}

impl LogEngine for Probe {
    fn meta(&self) -> &LogMeta {
        self.log.meta()
    }

    fn reader(&self) -> Box<dyn EngineReader> {
        LogEngine::reader(&self.log)
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), LogError> {
        let durable = self.durable.get().expect("set before the writer runs");
        self.seen.lock().expect("no panic").push(durable.index());
        self.log.write(changes)
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.log.sync()
    }

    fn close(self) -> Result<(), LogError> {
        self.log.close()
    }
}

#[tokio::test]
async fn watermark_does_not_rise_over_a_truncation_in_the_queue() {
    let (durable, seen) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(Vec::new())));
    let log = MemoryLog::new();
    let probe = Probe {
        log,
        durable: Arc::clone(&durable),
        seen: Arc::clone(&seen),
    };
    let (mut log, writer) = RaftLog::new(probe, LogOptions::default());
    let watermark = durable.get_or_init(|| log.handle().durable());
    // A group is full at 8 MiB, so these are three groups; the last begins with the truncation.
    let big = |term, index| vec![entry(term, index, 8 << 20)];
    drop(append(&mut log, big(1, 0)).await);
    drop(append(&mut log, big(1, 1)).await);
    log.truncate_after(Some(log_id(1, 0)))
        .await
        .expect("truncated");
    drop(append(&mut log, big(2, 1)).await);
    work(&mut Box::pin(writer.run()));
    // Entry 1 of term 1 was durable when the third group came, but was no longer the log's entry 1.
    assert_eq!(*seen.lock().expect("no panic"), [None, Some(0), Some(0)]);
    assert_eq!(watermark.index(), Some(1));
}

#[tokio::test]
async fn waiting_for_what_is_never_written_ends_when_the_log_is_closed() {
    let (log, writer) = stalled(&MemoryLog::new());
    let mut writer = Box::pin(writer.run());
    let handle = log.handle();
    {
        let mut close = pin!(handle.close());
        let mut context = Context::from_waker(Waker::noop());
        assert!(close.as_mut().poll(&mut context).is_pending());
        writer.as_mut().await;
        close.await.expect("closed");
    }
    assert!(handle.durable().wait_for(0).await.is_err());
    assert!(!is_ready(handle.failure().wait()));
    assert!(matches!(
        &*handle.barrier().await.expect_err("closed"),
        LogError::Closed
    ));
}

#[tokio::test]
async fn failed_write_is_reported_to_everyone_who_waits() {
    let engine = MemoryLog::new();
    let (mut log, writer) = stalled(&engine);
    let mut writer = Box::pin(writer.run());
    let handle = log.handle();
    let (first, second) = (
        append(&mut log, entries(1, 0..1)).await,
        append(&mut log, entries(1, 1..2)).await,
    );
    engine.fail();
    work(&mut writer);
    assert!(first.await.expect("answered").is_err());
    assert!(second.await.expect("answered").is_err());
    assert!(matches!(
        &*handle.failure().wait().await,
        LogError::Io { .. }
    ));
    assert!(handle.durable().wait_for(0).await.is_err());
    let (flushed, _) = TypeConfig::oneshot();
    assert!(
        log.append(entries(1, 2..3), IoFlushed::signal(flushed))
            .await
            .is_err()
    );
    // At once: nothing of it gets to the writer.
    let vote = Vote::new(2, 2);
    let saved = log.save_vote(&vote).now_or_never();
    assert!(saved.is_some_and(|saved| saved.is_err()));
}

#[tokio::test]
async fn limited_read_stops_at_the_byte_limit_after_at_least_one_entry() {
    let engine = MemoryLog::new();
    let (mut log, _writer) = stalled(&engine);
    let third = usize::try_from(READ_BYTES_MAX / 3).expect("small");
    let sizes = [third, third, third, 3 * third, 10];
    let all = sizes
        .iter()
        .zip(0..)
        .map(|(len, index)| entry(1, index, *len))
        .collect();
    drop(append(&mut log, all).await);
    let mut reader = log.get_log_reader().await;
    for (start, count) in [(0, 2), (2, 1), (3, 1), (4, 1)] {
        let read = reader
            .limited_get_log_entries(start, 5)
            .await
            .expect("readable");
        assert_eq!(read.len(), count, "from {start}");
    }
}

#[tokio::test]
async fn apply_reads_more_than_one_piece() {
    let engine = MemoryLog::new();
    let (mut log, _writer) = stalled(&engine);
    let twenty = (0..20).map(|index| entry(1, index, 500_000)).collect();
    drop(append(&mut log, twenty).await);
    let mut reader = log.get_log_reader().await;
    let read: Vec<_> = reader.entries_stream(3..20).await.collect().await;
    let read: Vec<u64> = read
        .into_iter()
        .map(|entry| entry.expect("read").log_id.index)
        .collect();
    assert_eq!(read, (3..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn entry_over_the_limit_is_refused() {
    let engine = MemoryLog::new();
    let (mut log, _writer) = stalled(&engine);
    let (flushed, _) = TypeConfig::oneshot();
    let huge = vec![entry(1, 0, (64 << 20) + 1)];
    let error = log
        .append(huge, IoFlushed::signal(flushed))
        .await
        .expect_err("too large");
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<LogError>());
    assert!(
        matches!(error, Some(LogError::EntryTooLarge { .. })),
        "{error:?}"
    );
}

fn segments(disk: &MemoryDisk) -> SegmentLog {
    let options = SegmentOptions {
        segment_bytes: 64 << 10,
        ..SegmentOptions::default()
    };
    let dir = Path::new("/raft");
    SegmentLog::open(
        Arc::new(disk.clone()),
        Arc::new(SystemEntropy),
        dir,
        options,
    )
    .expect("the log opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn close_drains_syncs_and_lets_the_log_be_opened_again() {
    let disk = MemoryDisk::new();
    let mut log =
        RaftLog::start(segments(&disk), LogOptions::default(), &SystemThreads).expect("starts");
    drop(append(&mut log, entries(1, 0..50)).await);
    log.save_committed(Some(log_id(1, 40)))
        .await
        .expect("saved");
    log.handle().close().await.expect("closed");
    assert!(log.truncate_after(None).await.is_err());
    let reopened = segments(&disk.crash(|| false));
    assert_eq!(reopened.meta().range(), 0..50);
    assert_eq!(reopened.meta().committed, Some(log_id(1, 40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn barrier_makes_a_truncation_durable() {
    let disk = MemoryDisk::new();
    let mut log =
        RaftLog::start(segments(&disk), LogOptions::default(), &SystemThreads).expect("starts");
    drop(append(&mut log, entries(1, 0..9)).await);
    log.truncate_after(Some(log_id(1, 3)))
        .await
        .expect("truncated");
    log.handle().barrier().await.expect("durable");
    assert_eq!(segments(&disk.crash(|| false)).meta().range(), 0..4);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sync_serves_many_appends_on_disk() {
    let disk = MemoryDisk::new();
    let (mut log, writer) = RaftLog::new(segments(&disk), LogOptions::default());
    for index in 0..100 {
        drop(append(&mut log, entries(1, index..index + 1)).await);
    }
    let before = disk.syncs();
    work(&mut Box::pin(writer.run()));
    assert_eq!(disk.syncs() - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_join_disk_and_memory() {
    let disk = MemoryDisk::new();
    let tail = TailLimits {
        bytes_max: 10 * entry_len(&entry(1, 0, 100)),
        entries_max: 1000,
    };
    let mut log =
        RaftLog::start(segments(&disk), LogOptions { tail }, &SystemThreads).expect("starts");
    let flushed = append(&mut log, entries(1, 0..200)).await;
    flushed.await.expect("answered").expect("durable");
    let expected: Vec<_> = (5..200).map(|index| (1, index)).collect();
    assert_eq!(indexes(&log, 5..300).await, expected);
    log.truncate_after(Some(log_id(1, 100)))
        .await
        .expect("truncated");
    drop(append(&mut log, entries(2, 101..103)).await);
    assert_eq!(
        indexes(&log, 99..300).await,
        [(1, 99), (1, 100), (2, 101), (2, 102)]
    );
}

/// Nobody but the reader may hear of it otherwise, and openraft only that a read has failed.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_read_or_the_scrub_finds_ends_the_log() {
    for is_read in [true, false] {
        let disk = MemoryDisk::new();
        // All that is durable is read from the disk.
        let tail = TailLimits {
            bytes_max: 0,
            entries_max: 0,
        };
        let mut log =
            RaftLog::start(segments(&disk), LogOptions { tail }, &SystemThreads).expect("starts");
        for index in 0..5 {
            let flushed = append(&mut log, entries(1, index..index + 1)).await;
            flushed.await.expect("answered").expect("durable");
        }
        assert_eq!(indexes(&log, 0..9).await.len(), 5);
        let places = frames(&disk, Path::new("/raft")).expect("listed");
        let file = disk.open(&places[2].segment).expect("opened");
        file.write_at(&[8], places[2].bytes.start + 100)
            .expect("written");

        let handle = log.handle();
        assert!(handle.failure().get().is_none());
        if is_read {
            let read = handle.reader().try_get_log_entries(0..5).await;
            read.expect_err("damaged");
        } else {
            handle.verify(&mut |_| true).expect_err("damaged");
        }
        let failure = handle.failure().get().expect("it is told");
        assert!(failure.is_damage(), "{failure}");
        // It may have acknowledged what it has lost.
        let vote = log.save_vote(&Vote::new(7, 1)).await;
        vote.expect_err("no vote is given any more");
        let _ = handle.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_read_finds_ends_what_waits_for_the_writer() {
    let disk = MemoryDisk::new();
    let tail = TailLimits {
        bytes_max: 0,
        entries_max: 0,
    };
    let (mut log, writer) = RaftLog::new(segments(&disk), LogOptions { tail });
    let mut writer = Box::pin(writer.run());
    let handle = log.handle();
    for index in 0..5 {
        let flushed = append(&mut log, entries(1, index..index + 1)).await;
        work(&mut writer);
        flushed.await.expect("answered").expect("durable");
    }
    let places = frames(&disk, Path::new("/raft")).expect("listed");
    let file = disk.open(&places[2].segment).expect("opened");
    file.write_at(&[8], places[2].bytes.start + 100)
        .expect("written");

    let waiting = append(&mut log, entries(1, 5..6)).await;
    let read = handle.reader().try_get_log_entries(0..5).await;
    read.expect_err("damaged");
    let syncs = disk.syncs();
    work(&mut writer);
    let error = waiting
        .await
        .expect("answered")
        .expect_err("not acknowledged");
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Arc<LogError>>());
    assert!(error.is_some_and(|error| error.is_damage()), "{error:?}");
    assert_eq!(disk.syncs(), syncs, "nothing is written any more");
    assert_eq!(handle.durable().index(), Some(4));
}
