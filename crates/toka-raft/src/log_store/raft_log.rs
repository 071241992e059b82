//! The log as openraft's `RaftLogStorage`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{fmt, io};

use openraft::OptionalSend;
use openraft::storage::RaftLogStorage;
use toka_ledger::seam::{JoinThread, Threads};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::engine::{Change, LogEngine};
use super::reader::LogReader;
use super::shared::{Shared, State};
use super::syncs::SyncTimes;
use super::tail::TailLimits;
use super::watermark::{DurableWatermark, Failure};
use super::writer::{GROUP_BYTES_MAX, Job, Report, Writer};
use super::{LogError, entry_limit_check};
use crate::codec::entry_len;
use crate::meters::Distribution;
use crate::type_config::{Entry, IoFlushed, LogId, LogState, TypeConfig, Vote};

/// Bytes of entries that may wait for the disk before `append` makes openraft wait too.
pub const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// Limits of the log in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogOptions {
    /// How much of the log stays in memory.
    pub tail: TailLimits,
}

/// openraft's log store. Given to `Raft`, which is its only user; keep a [`LogHandle`] for the rest.
///
/// openraft's task awaits every method here, and while it waits it sends no heartbeat. So only
/// `save_vote` waits for the disk (a vote must be durable before it is given), and `append` waits if
/// [`QUEUE_BYTES_MAX`] is exceeded, which admission control is there to prevent.
pub struct RaftLog {
    handle: LogHandle,
    room: Arc<Semaphore>,
}

/// What a node needs of its log beside openraft. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
    jobs: UnboundedSender<Job>,
    thread: Arc<Mutex<Option<Box<dyn JoinThread>>>>,
}

/// Knows when entries became durable on this node, of those of the last moments.
#[derive(Clone)]
pub struct DurableTimes(Arc<Shared>);

impl DurableTimes {
    /// When the entry at `index` did; `None` if it has not, or if that is long ago.
    #[must_use]
    pub fn of(&self, index: u64) -> Option<Instant> {
        let when = self.0.syncs.reached_at(index);
        when.map(tokio::time::Instant::into_std)
    }
}

impl fmt::Debug for DurableTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableTimes").finish_non_exhaustive()
    }
}

impl RaftLog {
    /// Takes an opened engine and starts the write-ahead thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        engine: impl LogEngine,
        options: LogOptions,
        threads: &dyn Threads,
    ) -> io::Result<Self> {
        let (log, writer) = Self::new(engine, options);
        let body = move || futures::executor::block_on(writer.run());
        let thread = threads.spawn("raft-log", Box::new(body))?;
        *log.handle
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(log)
    }

    /// As [`RaftLog::start`], but the caller drives [`Writer::run`]: as a task, in a simulation.
    #[must_use]
    pub fn new<E: LogEngine>(engine: E, options: LogOptions) -> (Self, Writer<E>) {
        let shared = Arc::new(Shared::new(
            engine.meta().clone(),
            engine.reader(),
            options.tail,
        ));
        let (jobs, queue) = unbounded_channel();
        let writer = Writer::new(engine, queue, Arc::clone(&shared));
        let room = usize::try_from(QUEUE_BYTES_MAX).expect("64 MiB fit in usize");
        let handle = LogHandle {
            shared,
            jobs,
            thread: Arc::default(),
        };
        (
            Self {
                handle,
                room: Arc::new(Semaphore::new(room)),
            },
            writer,
        )
    }

    /// What the node needs of the log beside openraft.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    async fn append_group(&self, entries: Vec<Entry>, report: Report) -> Result<(), LogError> {
        let bytes = entries.iter().map(entry_len).sum();
        let room = self.room(bytes).await?;
        self.handle
            .change(Change::Append(entries), bytes, report, Some(room))
    }

    async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, LogError> {
        let permits = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).expect("the limit fits in u32");
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        room.map_err(|_| LogError::Closed)
    }
}

impl LogHandle {
    /// How far the log is durable.
    #[must_use]
    pub fn durable(&self) -> DurableWatermark {
        DurableWatermark(self.shared.progress.subscribe())
    }

    /// Tells when the log has failed and the node has to stop.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure(self.shared.failed.subscribe())
    }

    /// How long the disk has taken so far.
    #[must_use]
    pub fn sync_times(&self) -> SyncTimes {
        self.shared.syncs.times()
    }

    /// How long each group has taken to be written and synced.
    #[must_use]
    pub fn sync_distribution(&self) -> Distribution {
        self.shared.syncs.distribution()
    }

    /// Knows when entries became durable.
    #[must_use]
    pub fn durable_times(&self) -> DurableTimes {
        DurableTimes(Arc::clone(&self.shared))
    }

    /// A reader of the log.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// Reads everything that is durable, and checks it, in the caller's thread: see
    /// [`EngineReader::verify`](super::EngineReader::verify).
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Io`].
    pub fn verify(&self, pace: &mut dyn FnMut(u64) -> bool) -> Result<(), LogError> {
        self.shared.verify(pace)
    }

    /// Waits until everything that openraft has asked for so far is durable. To be awaited before a
    /// snapshot is installed: a truncation that a crash undoes while the snapshot stays would leave a
    /// log that contradicts the state machine, and openraft would not start.
    ///
    /// # Errors
    /// The error that stopped the log.
    pub async fn barrier(&self) -> Result<(), Arc<LogError>> {
        self.ask(Job::Barrier).await
    }

    /// Writes what waits, syncs, closes the engine and joins the thread. Later calls fail.
    ///
    /// # Errors
    /// The error that stopped the log; [`LogError::Closed`] if it was closed before.
    pub async fn close(&self) -> Result<(), Arc<LogError>> {
        let result = self.ask(Job::Close).await;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It has answered, or is gone: there is nothing left for it to do but to return.
            thread.join();
        }
        result
    }

    async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), Arc<LogError>>>) -> Job,
    ) -> Result<(), Arc<LogError>> {
        let (done, answer) = oneshot::channel();
        let closed = || Arc::new(LogError::Closed);
        self.jobs.send(job(done)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Fails if the log has.
    fn check(&self) -> Result<(), LogError> {
        match self.shared.failure() {
            Some(failure) => Err(LogError::clone(&failure)),
            None => Ok(()),
        }
    }

    /// Makes a change visible and queues it, in one step: the queue's order is the log's order.
    fn change(
        &self,
        change: Change,
        bytes: u64,
        report: Report,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), LogError> {
        self.check()?;
        let mut state = self.shared.state();
        self.shared.apply(&mut state, &change)?;
        let job = Job::Write {
            change,
            bytes,
            report,
            room,
        };
        self.queue(&mut state, job)
    }

    /// Queues a change and counts it, in one step.
    fn queue(&self, state: &mut State, write: Job) -> Result<(), LogError> {
        state.queued += 1;
        self.jobs.send(write).map_err(|_| LogError::Closed)
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState> {
        let meta = self.handle.shared.state().meta.clone();
        Ok(LogState {
            last_purged_log_id: meta.purged,
            last_log_id: meta.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.handle.reader()
    }

    /// Waits for the disk, alone of all methods: a vote that is forgotten could be given twice.
    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.handle.check()?;
        let (done, durable) = oneshot::channel();
        let job = Job::Write {
            change: Change::Vote(*vote),
            bytes: 0,
            report: Report::Caller(done),
            room: None,
        };
        self.handle.queue(&mut self.handle.shared.state(), job)?;
        durable
            .await
            .map_err(|_| LogError::Closed)?
            .map_err(io::Error::other)?;
        let mut state = self.handle.shared.state();
        self.handle.shared.apply(&mut state, &Change::Vote(*vote))?;
        Ok(())
    }

    /// Never worth a sync (docs/openraft.md, section 4, point 5), nor waking the write-ahead thread: it goes out with the
    /// next append. What a crash loses of it, the cluster tells again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.handle.check()?;
        Ok(self.handle.shared.note_committed(committed)?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.handle.shared.state().meta.committed)
    }

    /// Returns when the entries can be read; `flushed` is called when they are durable.
    async fn append<I>(&mut self, entries: I, flushed: IoFlushed) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut group = Vec::new();
        let mut bytes = 0;
        for entry in entries.into_iter().collect::<Vec<_>>() {
            entry_limit_check(&entry)?;
            // Large appends are cut, so that frames stay small; the last part reports for all.
            if bytes + entry_len(&entry) > GROUP_BYTES_MAX && !group.is_empty() {
                self.append_group(std::mem::take(&mut group), Report::Nobody)
                    .await?;
                bytes = 0;
            }
            bytes += entry_len(&entry);
            group.push(entry);
        }
        Ok(self.append_group(group, Report::Raft(flushed)).await?)
    }

    /// Queued, not awaited: appends that follow are behind it in the same queue.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        Ok(self
            .handle
            .change(Change::TruncateAfter(last_log_id), 0, Report::Nobody, None)?)
    }

    /// Queued, not awaited; the space is reclaimed by the write-ahead thread.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        Ok(self
            .handle
            .change(Change::Purge(log_id), 0, Report::Nobody, None)?)
    }
}
