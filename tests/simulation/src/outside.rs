//! What a node takes from outside: a clock that can be wrong, randomness from the seed, and a disk with a pace.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use toka_ledger::disk::{Disk, MemoryDisk};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::{Clock, Entropy, InlineThreads, Seams};
use toka_raft::Storage;
use toka_raft::log_store::{LogError, LogOptions, RaftLog, SegmentLog, SegmentOptions};
use tokio::time::{Instant, Sleep, sleep};

use crate::interpose::EPOCH_SECONDS;
use crate::random::Random;

/// The simulation's time, milliseconds. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now(Arc<AtomicU64>);

impl Now {
    pub(crate) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

/// A node's wall clock, which goes on while the node does not run.
#[derive(Clone, Debug)]
pub(crate) struct WallClock {
    now: Now,
    offset_ms: Arc<AtomicI64>,
}

impl WallClock {
    pub(crate) fn new(now: Now) -> Self {
        let offset_ms = Arc::default();
        Self { now, offset_ms }
    }

    pub(crate) fn set_offset(&self, ms: i64) {
        self.offset_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for WallClock {
    fn unix_ms(&self) -> u64 {
        let right = EPOCH_SECONDS * 1_000 + self.now.ms();
        right.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }
}

struct Seeded(Mutex<Random>);

impl fmt::Debug for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeded")
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        random.fill(bytes);
    }
}

pub(crate) fn entropy(random: Random) -> Arc<dyn Entropy> {
    Arc::new(Seeded(Mutex::new(random)))
}

pub(crate) fn seams(clock: &WallClock, random: Random) -> Seams {
    Seams {
        clock: Arc::new(clock.clone()),
        entropy: entropy(random),
        threads: Arc::new(InlineThreads),
    }
}

/// How long the disk takes for a write of the Raft log. Clones share it.
#[derive(Clone)]
pub(crate) struct Pace(Arc<Mutex<(Random, u64, u64)>>);

impl Pace {
    /// A fast disk.
    pub(crate) fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new((random, 0, 1))))
    }

    /// From now on writes take so many milliseconds.
    pub(crate) fn set(&self, low_ms: u64, high_ms: u64) {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (pace.1, pace.2) = (low_ms, high_ms);
    }

    fn next(&self) -> Duration {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = (pace.1, pace.2);
        Duration::from_millis(pace.0.between(low, high))
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pace")
    }
}

/// Everything of a node, on one disk in memory. As [`toka_raft::MemoryStorage`], but the Raft log is written by a
/// task, at the disk's pace, and not by a thread.
#[derive(Clone, Debug)]
pub(crate) struct NodeStorage {
    pub(crate) disk: MemoryDisk,
    pub(crate) segment_bytes: u64,
    pub(crate) log: LogOptions,
    pub(crate) pace: Pace,
}

impl NodeStorage {
    /// As [`toka_raft::MemoryStorage::crash`].
    pub(crate) fn crash(&self, keep: impl FnMut() -> bool) -> Self {
        self.disk.fail_after(0);
        Self {
            disk: self.disk.crash(keep),
            ..self.clone()
        }
    }
}

impl Storage for NodeStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(MemoryEngine::open(self.disk(), dir)?))
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(MemoryEngine::open_checkpoint(self.disk(), dir)?))
    }

    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        let options = SegmentOptions {
            segment_bytes: self.segment_bytes,
            create: may_create,
        };
        let engine = SegmentLog::open(self.disk(), Arc::clone(&seams.entropy), dir, options)?;
        let (log, writer) = RaftLog::new(engine, self.log);
        tokio::spawn(Paced {
            writing: Box::pin(writer.run()),
            pace: self.pace.clone(),
            wait: None,
        });
        Ok(log)
    }
}

/// Writes that take their time: what is asked for meanwhile becomes durable together.
struct Paced<F> {
    writing: Pin<Box<F>>,
    pace: Pace,
    wait: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Paced<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let pace = &this.pace;
        let wait = this
            .wait
            .get_or_insert_with(|| Box::pin(sleep(pace.next())));
        if wait.deadline() > Instant::now() {
            ready!(wait.as_mut().poll(cx));
        }
        this.wait = None;
        this.writing.as_mut().poll(cx)
    }
}
