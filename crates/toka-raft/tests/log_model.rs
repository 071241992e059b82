//! Random use of the log against a model: what is read, what is durable, what a crash leaves.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use openraft::vote::RaftLeaderId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use toka_ledger::disk::MemoryDisk;
use toka_ledger::seam::SystemEntropy;
use toka_raft::codec::ENTRY_HEADER_LEN;
use toka_raft::log_store::{
    LogEngine, LogOptions, MemoryLog, RaftLog, ReadPlan, SegmentLog, SegmentOptions, TailLimits,
};
use toka_raft::type_config::{Commands, Entry, EntryPayload, IoFlushed, LeaderId, LogId};

const BODY_LEN: usize = 50;

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let body = Bytes::from(vec![u8::try_from(index % 251).expect("small"); BODY_LEN]);
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Commands(body)),
    }
}

/// What openraft may ask for, and what the disk may do meanwhile.
#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    TruncateLast(u64),
    PurgeFirst(u64),
    /// All but the last so many entries are committed: a quorum has them, which need not have been this node's disk.
    CommitAllBut(u64),
    /// The write-ahead thread works off its queue.
    Work,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..12u64).prop_map(Step::Append),
        2 => (1..10u64).prop_map(Step::TruncateLast),
        1 => (1..8u64).prop_map(Step::PurgeFirst),
        3 => (0..6u64).prop_map(Step::CommitAllBut),
        4 => Just(Step::Work),
    ]
}

/// An engine and a way to see what a crash would leave of it.
trait Crashable {
    type Engine: LogEngine;
    fn open(&self) -> Self::Engine;
    fn crash(&self) -> Self::Engine;
}

impl Crashable for MemoryLog {
    type Engine = Self;

    fn open(&self) -> Self {
        self.clone()
    }

    fn crash(&self) -> Self {
        Self::crash(self)
    }
}

fn segments(disk: &MemoryDisk) -> SegmentLog {
    let options = SegmentOptions {
        segment_bytes: 20 << 10,
        ..SegmentOptions::default()
    };
    SegmentLog::open(
        Arc::new(disk.clone()),
        Arc::new(SystemEntropy),
        Path::new("/raft"),
        options,
    )
    .expect("the log opens")
}

impl Crashable for MemoryDisk {
    type Engine = SegmentLog;

    fn open(&self) -> SegmentLog {
        segments(self)
    }

    fn crash(&self) -> SegmentLog {
        segments(&Self::crash(self, || false))
    }
}

fn entries_of(engine: &impl LogEngine) -> BTreeMap<u64, Entry> {
    let entries = match engine.reader().plan(engine.meta().range(), u64::MAX) {
        ReadPlan::Ready(entries) => entries,
        ReadPlan::Blocking(read) => read().expect("readable"),
    };
    entries
        .into_iter()
        .map(|entry| (entry.log_id.index, entry))
        .collect()
}

async fn run(medium: &impl Crashable, steps: &[Step]) -> Result<(), TestCaseError> {
    let entry_len = (BODY_LEN + ENTRY_HEADER_LEN) as u64;
    let tail = TailLimits {
        bytes_max: 6 * entry_len,
        entries_max: 5,
    };
    let (mut log, writer) = RaftLog::new(medium.open(), LogOptions { tail });
    let mut writer = Box::pin(writer.run());
    let (durable, mut reader) = (log.handle().durable(), log.handle().reader());
    let mut model: BTreeMap<u64, Entry> = BTreeMap::new();
    let (mut term, mut next, mut purged) = (1, 0, None);
    // What is committed, what the disk must have of it, and whether there is anything to take it along.
    let (mut committed, mut durable_committed, mut is_queued) = (None::<LogId>, None, false);
    for step in steps {
        match step {
            Step::Append(count) => {
                let entries: Vec<_> = (next..next + count).map(|at| entry(term, at)).collect();
                next += count;
                model.extend(
                    entries
                        .iter()
                        .map(|entry| (entry.log_id.index, entry.clone())),
                );
                log.append(entries, IoFlushed::noop())
                    .await
                    .expect("append");
            }
            Step::TruncateLast(count) => {
                term += 1;
                let is_committed = |index: u64| committed.is_some_and(|at| index <= at.index);
                for _ in 0..*count {
                    if let Some(last) = model.last_entry()
                        && !is_committed(*last.key())
                    {
                        last.remove();
                    }
                }
                let last = model
                    .last_key_value()
                    .map(|(_, entry)| entry.log_id)
                    .or(purged);
                next = last.map_or(0, |last| last.index + 1);
                log.truncate_after(last).await.expect("truncate");
            }
            Step::PurgeFirst(count) => {
                for _ in 0..*count {
                    purged = model.pop_first().map(|(_, entry)| entry.log_id).or(purged);
                }
                if let Some(purged) = purged {
                    log.purge(purged).await.expect("purge");
                }
            }
            Step::CommitAllBut(count) => {
                let mut entries = model.values().rev().skip(*count as usize);
                let newest = entries.next().map(|entry| entry.log_id);
                if newest > committed {
                    committed = newest;
                    log.save_committed(committed).await.expect("committed");
                }
            }
            Step::Work => {
                let mut context = Context::from_waker(Waker::noop());
                assert!(Pin::new(&mut writer).poll(&mut context).is_pending());
            }
        }
        match step {
            Step::Append(_) | Step::TruncateLast(_) => is_queued = true,
            Step::PurgeFirst(_) => is_queued |= purged.is_some(),
            Step::Work if std::mem::take(&mut is_queued) => durable_committed = committed,
            Step::CommitAllBut(_) | Step::Work => {}
        }
        let expected: Vec<Entry> = model.values().cloned().collect();
        prop_assert_eq!(
            &reader.try_get_log_entries(..).await.expect("read"),
            &expected
        );
        let state = log.get_log_state().await.expect("state");
        let last = expected.last().map(|entry| entry.log_id).or(purged);
        prop_assert_eq!(
            (state.last_purged_log_id, state.last_log_id),
            (purged, last)
        );
        // Whatever the watermark covers is what a crash now would leave, entry by entry.
        let crashed = medium.crash();
        // A commit position never comes to the disk before the entries that it speaks of.
        prop_assert_eq!(crashed.meta().committed, durable_committed);
        if let Some(at) = durable_committed {
            prop_assert!(at.index < crashed.meta().next_index());
        }
        let crashed = entries_of(&crashed);
        for (index, entry) in &model {
            if durable.index() >= Some(*index) {
                prop_assert_eq!(crashed.get(index), Some(entry));
            }
        }
        if matches!(step, Step::Work) {
            prop_assert_eq!(&crashed, &model);
            prop_assert_eq!(durable.index(), next.checked_sub(1));
        }
    }
    Ok(())
}

fn check<M: Crashable>(cases: u32, medium: impl Fn() -> M) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut runner = TestRunner::new(Config {
        cases,
        ..Config::default()
    });
    runner
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            runtime.block_on(run(&medium(), &steps))
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn memory_log_matches_the_model() {
    check(Config::default().cases, MemoryLog::new);
}

#[test]
fn segment_log_matches_the_model() {
    check(Config::default().cases.div_ceil(4), MemoryDisk::new);
}
