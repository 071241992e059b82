//! Reading everything that is stored from time to time, to find damage before it is needed.
//!
//! A pass reads a copy of the ledger's files (hard links: the same blocks on the disk, and memory has no say
//! in it), the durable frames of the Raft log, and the files of the current snapshot, all with checksums on
//! and no faster than it is told to. Damage of the ledger or the log stops the node, which never serves or
//! votes with it; a damaged snapshot is made anew. What else fails is tried again later. A node whose copy was damaged
//! when it had arrived elsewhere makes its snapshot anew at once, and looks through everything, faster than otherwise.

mod note;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::seam::Clock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::note::Note;
#[cfg(fuzzing)]
pub(crate) use self::note::rewritten as rewritten_note;
use crate::blocking::Blocking;
use crate::config::Scrub;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::headroom::Headroom;
use crate::layout::Layout;
use crate::ledger_host::LedgerHost;
use crate::log_store::{LogError, LogHandle};
use crate::pace::{Pace, check_rows};
use crate::room::Room;
use crate::scrub_report::{ScrubPass, ScrubProgress};
use crate::snapshot::{SnapshotDir, SnapshotError, SnapshotStore, rebuild, verify_note};

/// The next try when a pass was not possible, or not to its end; earlier, where passes come more often.
const RETRY: Duration = Duration::from_secs(60);
/// Between two times that this node takes the word of others for it: who refuses a copy may be wrong itself, and
/// will ask again soon.
const SUSPICION_INTERVAL: Duration = Duration::from_secs(600);
/// How much faster than it may a pass reads that was begun by suspicion: nobody is helped by this node meanwhile.
const SUSPICION_HASTE: u64 = 8;

/// How far a pass came.
enum Passed {
    /// To its end.
    Whole {
        /// The snapshot was damaged and is another one now.
        snapshot_rebuilt: bool,
    },
    /// Until a suspicion, for which another one begins.
    Outrun,
    /// Until the disk was too full.
    NoRoom,
}

/// The task.
pub(crate) struct Scrubber {
    pub(crate) host: Arc<LedgerHost>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) log: LogHandle,
    pub(crate) layout: Layout,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Scrub,
    pub(crate) progress: Arc<ScrubProgress>,
    pub(crate) headroom: Headroom,
    pub(crate) room: watch::Receiver<Room>,
    pub(crate) fatal: Fatal,
    pub(crate) blocking: Blocking,
}

impl Scrubber {
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let suspected = Notify::new();
        tokio::join!(
            self.passes(&suspected, &cancelled),
            self.suspicions(&suspected, &cancelled)
        );
    }

    async fn passes(&self, suspected: &Notify, cancelled: &CancellationToken) {
        let (mut note, mut wait) = self.begin().await;
        let mut haste = 1;
        loop {
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancelled.cancelled() => return,
                // Whatever the interval.
                () = suspected.notified() => haste = SUSPICION_HASTE,
                () = due => {}
            }
            let interval = self.settings.interval;
            wait = Some(interval.map_or(RETRY, |interval| interval.min(RETRY)));
            let headroom = self.headroom.clone();
            // The copy that is read keeps files that are replaced, and begins with a flush.
            if let Err(error) = self.blocking.run(move || headroom.check(0)).await {
                tracing::warn!(%error, "scrub: put off");
                continue;
            }
            let (begin, read) = (Instant::now(), self.progress.report().bytes);
            self.progress.set_running(true);
            let passed = self.pass_or_part(haste, suspected, cancelled).await;
            self.progress.set_running(false);
            let snapshot_rebuilt = match passed {
                Err(error) if error.damage().is_some() => {
                    self.fatal.report(error);
                    return;
                }
                _ if cancelled.is_cancelled() => return,
                Ok(Passed::Whole { snapshot_rebuilt }) => snapshot_rebuilt,
                // It begins again, in haste.
                Ok(Passed::Outrun) => continue,
                Ok(Passed::NoRoom) => {
                    tracing::warn!("scrub: broken off, the disk is nearly full");
                    continue;
                }
                Err(error) => {
                    // Nothing is known to be lost, and who needs what has failed here finds out.
                    tracing::warn!(%error, "scrub: not possible, tried again later");
                    continue;
                }
            };
            (haste, wait) = (1, interval);
            let pass = self.ended(begin, read, snapshot_rebuilt);
            note.last = Some(pass);
            self.keep(note).await;
        }
    }

    /// Takes note of a pass that is at its end, and began with so many bytes `read` before it.
    fn ended(&self, begin: Instant, read: u64, snapshot_rebuilt: bool) -> ScrubPass {
        let pass = ScrubPass {
            end_unix_ms: self.clock.unix_ms(),
            duration_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes: self.progress.report().bytes - read,
            snapshot_rebuilt,
        };
        self.progress.ended(pass);
        tracing::info!(
            millis = pass.duration_ms,
            bytes = pass.bytes,
            "scrub: no damage in ledger and log"
        );
        pass
    }

    /// A pass that ends early when it is outrun by a suspicion, and when there is no room for it any more.
    async fn pass_or_part(
        &self,
        haste: u64,
        suspected: &Notify,
        cancelled: &CancellationToken,
    ) -> Result<Passed, FatalError> {
        let ending = cancelled.child_token();
        let mut pass = std::pin::pin!(self.pass(self.pace(haste, &ending)));
        let early = tokio::select! {
            passed = &mut pass => {
                return passed.map(|snapshot_rebuilt| Passed::Whole { snapshot_rebuilt });
            }
            () = suspected.notified(), if haste == 1 => {
                suspected.notify_one();
                Passed::Outrun
            }
            () = self.no_room() => Passed::NoRoom,
        };
        ending.cancel();
        pass.await.map(|_| early)
    }

    /// Returns when less is free than a pass may begin with: the copy keeps files whose removal would make room.
    async fn no_room(&self) {
        let mut room = self.room.clone();
        let is_spent = room.wait_for(|room| room.is_spent()).await.is_ok();
        if !is_spent {
            // Nobody looks any more.
            std::future::pending::<()>().await;
        }
    }

    /// What another node has found damage in is not sent again, whatever a pass is at.
    async fn suspicions(&self, suspected: &Notify, cancelled: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = self.snapshots.suspected() => {}
            }
            tracing::warn!(
                "scrub: a copy from here is said to be damaged: everything is looked through"
            );
            if let Some(snapshot) = self.snapshots.current() {
                let (host, store) = (Arc::clone(&self.host), Arc::clone(&self.snapshots));
                let rebuilt = move || rebuild(&host, &store, &snapshot);
                match self.blocking.run(rebuilt).await {
                    Ok(()) => self.progress.rebuilt(),
                    Err(error) => tracing::warn!(%error, "the snapshot was not made anew"),
                }
            }
            suspected.notify_one();
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = tokio::time::sleep(SUSPICION_INTERVAL) => {}
            }
        }
    }

    /// What is known of earlier passes, and how long to wait for the next one: a node that is started often
    /// is not looked through more often, nor never.
    async fn begin(&self) -> (Note, Option<Duration>) {
        let (layout, now) = (self.layout.clone(), self.clock.unix_ms());
        let read = move || Note::read(&layout, now);
        let found = self.blocking.run(read).await;
        let note = found.unwrap_or_else(|| Note::new(now));
        self.progress.remember(note.last);
        let interval = self.settings.interval;
        let wait = interval.map(|interval| note.wait(interval, now));
        if found.is_none() && wait.is_some() {
            self.keep(note).await;
        }
        (note, wait)
    }

    /// Without the note, the next start waits as the first one did.
    async fn keep(&self, note: Note) {
        let layout = self.layout.clone();
        if let Err(error) = self.blocking.run(move || note.write(&layout)).await {
            tracing::warn!(%error, "when the last scrub was cannot be noted");
        }
    }

    fn pace(&self, haste: u64, cancelled: &CancellationToken) -> Pace {
        Pace::new(
            self.settings.rate_bytes.saturating_mul(haste),
            self.progress.bytes(),
            self.blocking,
            cancelled.clone(),
        )
    }

    /// Reads everything. Whether the snapshot was damaged and is another one now.
    async fn pass(&self, mut pace: Pace) -> Result<bool, FatalError> {
        let (host, store) = (Arc::clone(&self.host), Arc::clone(&self.snapshots));
        let ledger = move || -> Result<Pace, FatalError> {
            check_ledger(&host, &store, &mut pace)?;
            Ok(pace)
        };
        let mut pace = self.blocking.run(ledger).await?;
        let log = self.log.clone();
        let log = move || -> Result<Pace, Arc<LogError>> {
            log.verify(&mut |bytes| pace.go_on(bytes))
                .map_err(Arc::new)?;
            Ok(pace)
        };
        let mut pace = self.blocking.run(log).await?;
        let Some(snapshot) = self.snapshots.current() else {
            return Ok(false);
        };
        let (host, store) = (Arc::clone(&self.host), Arc::clone(&self.snapshots));
        let check = move || -> Result<bool, FatalError> {
            let Err(error) = check_snapshot(&host, &snapshot, &mut pace) else {
                return Ok(false);
            };
            if pace.is_cancelled() {
                return Ok(false);
            }
            tracing::error!(%error, "scrub: the snapshot is damaged; another one takes its place");
            rebuild(&host, &store, &snapshot)?;
            Ok(true)
        };
        self.blocking.run(check).await
    }
}

/// Whether the note of the last pass is not what was written.
pub(crate) fn is_note_damaged(layout: &Layout) -> std::io::Result<bool> {
    Note::is_damaged(layout)
}

fn check_ledger(
    host: &LedgerHost,
    store: &SnapshotStore,
    pace: &mut Pace,
) -> Result<(), FatalError> {
    let place = store.place()?;
    host.copy(&place.ledger())?;
    let engine = host.storage().open_copy(&place.ledger())?;
    Ok(check_rows(&*engine, pace)?)
}

/// Reads a snapshot, and checks it.
pub(crate) fn check_snapshot(
    host: &LedgerHost,
    snapshot: &SnapshotDir,
    pace: &mut Pace,
) -> Result<(), SnapshotError> {
    verify_note(snapshot)?;
    let engine = host.storage().open_copy(&snapshot.ledger())?;
    Ok(check_rows(&*engine, pace)?)
}
