//! Checking this node's vault while it runs.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use toka_ledger::Ledger;
use toka_ledger::read::Position;
use toka_ledger::verify::{Blocks, Options, Progress, Report, verify_with};

use super::Replica;
use crate::blocking::Blocking;
use crate::error::{FatalError, SnapshotError};
use crate::ledger_host::LedgerHost;
use crate::pace::Pace;
use crate::snapshot::SnapshotStore;

/// What a verification has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where the vault was.
    pub position: Position,
    /// What was found.
    pub report: Report,
}

impl Replica {
    /// Checks every event of the vault, and every index, as this node has them now: in a copy, whose table files
    /// are hard links, so that nothing in memory has a say. Commits go on meanwhile. At most `rate_bytes` are read
    /// in a second (0: any number), by `threads` threads (0: half as many as there are processors), never more
    /// than there are. Dropped before, it ends. What `progress` is told comes from another thread.
    ///
    /// Whoever has told the caller what was found is to call [`Replica::note_damage`].
    ///
    /// # Errors
    /// [`SnapshotError`], if the copy cannot be made, or the vault has not been created yet;
    /// [`SnapshotError::NoRoom`], if less than half of what is kept free on the disk is left, also if that comes
    /// about meanwhile; [`SnapshotError::Ledger`], if the copy cannot be opened. If that is damage, it is noted.
    pub async fn verify(
        &self,
        rate_bytes: u64,
        threads: usize,
        mut progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Verified, SnapshotError> {
        let node = &self.inner.node;
        let (host, store) = (Arc::clone(&node.host), Arc::clone(&node.snapshots));
        let (headroom, blocking) = (node.headroom.clone(), node.blocking);
        let cancelled = self.inner.cancelled.child_token();
        let pace = Pace::new(rate_bytes, Arc::default(), blocking, cancelled.clone());
        let _ends_with_this = cancelled.drop_guard();
        let options = options(threads, blocking, pace);
        let verifying = blocking.run(move || {
            headroom.check(0)?;
            verify_copy(&host, &store, &options, &mut progress)
        });
        let verified = tokio::select! {
            biased;
            verified = verifying => verified,
            no_room = self.no_room() => Err(no_room),
        };
        if let Err(SnapshotError::Ledger(error)) = &verified
            && error.is_damage()
        {
            node.fatal.report(FatalError::damaged(error));
        }
        verified
    }

    /// Stops the node if something is wrong in `report`, which is of its own vault: as when a pass that looks for
    /// damage has found some, the next start goes on with a sound copy.
    pub fn note_damage(&self, report: &Report) {
        if let Some(error) = report.first_damage() {
            self.note_failed_read(&error);
        }
    }
}

fn options(threads: usize, blocking: Blocking, pace: Pace) -> Options {
    let pace = Mutex::new(pace);
    // Who waits for the lock is held back with the one that has it.
    let go_on = move |bytes| {
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.go_on(bytes)
    };
    let options = match blocking {
        Blocking::Pool => {
            let all = std::thread::available_parallelism().map_or(1, NonZero::get);
            Options::parallel(match threads {
                0 => (all / 2).max(1),
                threads => threads.min(all),
            })
        }
        Blocking::Inline => Options {
            blocks: Blocks::AsRead,
            ..Options::default()
        },
    };
    Options {
        pace: Some(Arc::new(go_on)),
        ..options
    }
}

fn verify_copy(
    host: &LedgerHost,
    store: &SnapshotStore,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, SnapshotError> {
    // Removed when it is dropped, behind what reads from it; what a crash leaves, at the next start.
    let place = store.place()?;
    host.copy(&place.ledger())?;
    let engine = host.storage().open_copy(&place.ledger())?;
    let (reader, _) = Ledger::read_only(engine)?;
    if reader.settings()?.is_none() {
        return Err(SnapshotError::Empty);
    }
    let report = verify_with(&reader, options, progress)?;
    Ok(Verified {
        position: reader.position(),
        report: report.ok_or(SnapshotError::Stopped)?,
    })
}
