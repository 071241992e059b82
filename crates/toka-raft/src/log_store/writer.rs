//! The write-ahead thread: drain the queue, one write, one sync, then report.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::LogError;
use super::engine::{Change, LogEngine};
use super::shared::Shared;
use crate::type_config::IoFlushed;

/// Bytes after which a group is closed and the rest of the queue waits for the next one.
pub(super) const GROUP_BYTES_MAX: u64 = 8 << 20;

/// Answer to a job.
pub(super) type Done = oneshot::Sender<Result<(), Arc<LogError>>>;

/// What the write-ahead thread is asked to do, in order.
pub(super) enum Job {
    /// Write a change.
    Write {
        change: Change,
        /// Size, as far as it counts against the limits.
        bytes: u64,
        report: Report,
        /// Room in the queue, given back when the job is done.
        room: Option<OwnedSemaphorePermit>,
    },
    /// Answer when all jobs before this one are durable.
    Barrier(Done),
    /// Stop, after all jobs before this one.
    Close(Done),
}

/// Who is told when a change is durable.
pub(super) enum Report {
    Nobody,
    Raft(IoFlushed),
    Caller(Done),
}

impl Report {
    fn send(self, result: &Result<(), Arc<LogError>>) {
        match self {
            Self::Nobody => {}
            // openraft turns an error into a fatal one and stops the node.
            Self::Raft(flushed) => {
                flushed.io_completed(result.clone().map_err(std::io::Error::other));
            }
            // A caller that has gone away does not want to know.
            Self::Caller(done) => drop(done.send(result.clone())),
        }
    }
}

/// Owns the engine. [`Writer::run`] is the body of the write-ahead thread; a simulation may run it as
/// a task instead, as it only blocks where the engine does.
pub struct Writer<E> {
    engine: E,
    jobs: UnboundedReceiver<Job>,
    shared: Arc<Shared>,
    /// How many changes were taken from the queue.
    taken: u64,
    failure: Option<Arc<LogError>>,
}

fn flush(engine: &mut impl LogEngine) -> Result<(), LogError> {
    #[cfg(simulation)]
    if toka_ledger::simulation::Bug::AcknowledgeBeforeFlush.is_on() {
        return Ok(());
    }
    engine.sync()
}

/// Tells those who wait when the thread ends, also if it panics.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Arc::new(LogError::Closed));
        }
        self.0.end();
    }
}

/// Jobs that become durable together.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    reports: Vec<Report>,
    rooms: Vec<OwnedSemaphorePermit>,
    bytes: u64,
    close: Option<Done>,
}

impl<E: LogEngine> Writer<E> {
    pub(super) fn new(engine: E, jobs: UnboundedReceiver<Job>, shared: Arc<Shared>) -> Self {
        Self {
            engine,
            jobs,
            shared,
            taken: 0,
            failure: None,
        }
    }

    /// Writes until the log is closed or nobody holds it any more.
    pub async fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        let mut close = None;
        while let Some(job) = self.jobs.recv().await {
            let mut group = Group::default();
            self.collect(&mut group, job);
            while group.bytes < GROUP_BYTES_MAX && group.close.is_none() {
                let Ok(job) = self.jobs.try_recv() else { break };
                self.collect(&mut group, job);
            }
            close = group.close.take();
            self.commit(group, close.is_some());
            if close.is_some() {
                break;
            }
        }
        let result = self.shut_down();
        if let Some(done) = close {
            Report::Caller(done).send(&result);
        }
    }

    fn collect(&mut self, group: &mut Group, job: Job) {
        match job {
            Job::Write {
                change,
                bytes,
                report,
                room,
            } => {
                self.taken += 1;
                group.bytes += bytes;
                group.changes.push(change);
                group.reports.push(report);
                group.rooms.extend(room);
            }
            Job::Barrier(done) => group.reports.push(Report::Caller(done)),
            Job::Close(done) => group.close = Some(done),
        }
    }

    /// Makes a group durable and reports it.
    fn commit(&mut self, mut group: Group, closing: bool) {
        if !group.changes.is_empty() || closing {
            // Worth no sync of its own. What it speaks of is in this group or an earlier one.
            group.changes.extend(self.shared.take_committed(self.taken));
        }
        let result = self.write(&group.changes);
        if result.is_ok() && !group.changes.is_empty() {
            let truncations = group
                .changes
                .iter()
                .filter(|change| matches!(change, Change::TruncateAfter(_)))
                .count();
            self.shared.synced(self.engine.meta(), truncations);
        }
        drop(group.rooms);
        // Newest first: completion is a watermark, so the newest one says it for all, and openraft
        // wakes up once instead of once per append.
        for report in group.reports.into_iter().rev() {
            report.send(&result);
        }
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), Arc<LogError>> {
        self.check()?;
        if changes.is_empty() {
            return Ok(());
        }
        let sync = self.shared.syncs.begin();
        let result = self
            .engine
            .write(changes)
            .and_then(|()| flush(&mut self.engine));
        drop(sync);
        let result = result.map_err(|error| {
            // After a failed write or sync nobody knows what is on the disk, and trying again would
            // not tell (the kernel drops dirty pages): nothing is written any more.
            tracing::error!(%error, "the Raft log has failed, the node must stop");
            let error = Arc::new(error);
            self.shared.fail(&error);
            self.failure = Some(Arc::clone(&error));
            error
        });
        // What is durable all the same is not acknowledged by a log that has lost something meanwhile.
        result.and_then(|()| self.check())
    }

    /// Fails once the log has: also with damage that a reader has found, which ends what waits in the queue.
    fn check(&mut self) -> Result<(), Arc<LogError>> {
        if self.failure.is_none() {
            self.failure = self.shared.failure();
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn shut_down(self) -> Result<(), Arc<LogError>> {
        let closed = self.engine.close().map_err(Arc::new);
        match self.failure {
            Some(failure) => Err(failure),
            None => closed,
        }
    }
}
