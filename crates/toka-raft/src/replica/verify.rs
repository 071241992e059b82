//! Checking this node's vault while it runs.

use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use toka_ledger::dir::DataDir;
use toka_ledger::disk::is_unreadable;
use toka_ledger::read::Position;
use toka_ledger::verify::{Blocks, Options, Problem, Progress, Report, verify_with};
use toka_ledger::{Error, Ledger};

use super::Replica;
use crate::blocking::Blocking;
use crate::error::{FatalError, SnapshotError};
use crate::fatal::Fatal;
use crate::layout::Layout;
use crate::ledger_host::LedgerHost;
use crate::log_store::LogHandle;
use crate::pace::Pace;
use crate::scrub::{check_snapshot, is_note_damaged};
use crate::snapshot::{SnapshotDir, SnapshotStore};

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
    /// are hard links, so that nothing in memory of this process has a say. Then the durable frames of the Raft log, the
    /// complete snapshots, and the small files of the data directory: damage of the log stops the node at once. Commits
    /// go on meanwhile. At most `rate_bytes` are read in a second (0: any number, and the table files of the copy and of
    /// the snapshots are read as wholes besides, to their end), by `threads` threads (0: half as many as there are
    /// processors), never more than there are. Dropped before, it ends. What `progress` is told comes from another thread.
    ///
    /// Whoever has told the caller what was found is to call [`Replica::note_damage`]. If this is dropped before, or
    /// fails, what was found until then is noted as by that.
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
        let pace = || Pace::new(rate_bytes, Arc::default(), blocking, cancelled.clone());
        let (pace, mut pace_beside) = (pace(), pace());
        let log = node.log.clone();
        let is_dropped = cancelled.clone();
        let _ends_with_this = cancelled.drop_guard();
        let fatal = node.fatal.clone();
        let note = move |report: &Report| note_damage(&fatal, report);
        let options = Options {
            ended: Some(Arc::new(note.clone())),
            ..options(rate_bytes, threads, blocking, pace)
        };
        let verifying = blocking.run(move || -> Result<Verified, SnapshotError> {
            headroom.check(0)?;
            let mut verified = verify_copy(&host, &store, &options, &mut progress)?;
            let beside = Beside {
                host: &host,
                store: &store,
                log: &log,
                is_whole: options.blocks == Blocks::WholeFiles,
            };
            beside.check(&mut pace_beside, &mut verified.report);
            if is_dropped.is_cancelled() {
                // Nobody is told any more.
                note(&verified.report);
            }
            Ok(verified)
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

    /// Stops the node if something in `report`, which is of its own vault, cannot be read: as when a pass that looks
    /// for damage has found some, the next start goes on with a sound copy.
    ///
    /// What can be read and does not fit together is only told: if the check itself were wrong it would find the same
    /// on every node, and one node after the other would stop. Nodes compare what they have by themselves, and one
    /// that is contradicted stops.
    pub fn note_damage(&self, report: &Report) {
        note_damage(&self.inner.node.fatal, report);
    }
}

fn note_damage(fatal: &Fatal, report: &Report) {
    if let Some(error) = report.first_damage() {
        fatal.report(FatalError::damaged(&error));
    } else if !report.is_intact() {
        let problems = report.problems_total;
        tracing::error!(problems, "a verification has found what stops nobody");
    }
}

fn options(rate_bytes: u64, threads: usize, blocking: Blocking, pace: Pace) -> Options {
    let pace = Mutex::new(pace);
    // Who waits for the lock is held back with the one that has it.
    let go_on = move |bytes| {
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.go_on(bytes)
    };
    let options = match blocking {
        Blocking::Pool => {
            let all = std::thread::available_parallelism().map_or(1, NonZero::get);
            let blocks = match rate_bytes {
                // They would be read at no pace.
                1.. => Blocks::AsRead,
                0 => Blocks::WholeFiles,
            };
            let threads = match threads {
                0 => (all / 2).max(1),
                threads => threads.min(all),
            };
            Options {
                blocks,
                ..Options::parallel(threads)
            }
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

/// What is beside the ledger, and checked after it. What is wrong there is no damage of the ledger.
struct Beside<'a> {
    host: &'a LedgerHost,
    store: &'a SnapshotStore,
    log: &'a LogHandle,
    /// With what no row is read from.
    is_whole: bool,
}

impl Beside<'_> {
    fn check(&self, pace: &mut Pace, report: &mut Report) {
        let mut problem = |detail: String| {
            report.problem(Problem {
                sequence: None,
                id: None,
                table: None,
                detail,
                is_unreadable: false,
            });
        };
        check_small_files(self.host.layout(), &mut problem);
        match self.log.verify(&mut |bytes| pace.go_on(bytes)) {
            Ok(()) => {}
            Err(error) if error.is_damage() => problem(format!("the Raft log: {error}")),
            Err(error) => tracing::warn!(%error, "the Raft log was not verified"),
        }
        // Older ones are kept where a repair has gone on from another one. A pass that looks for damage makes the
        // current one anew.
        for snapshot in self.store.complete() {
            if pace.is_cancelled() {
                return;
            }
            if let Err(error) = self.check_snapshot(&snapshot, pace)
                && !pace.is_cancelled()
            {
                let dir = snapshot.dir().display();
                problem(format!("the snapshot {dir}: {error}"));
            }
        }
    }

    fn check_snapshot(&self, snapshot: &SnapshotDir, pace: &mut Pace) -> Result<(), SnapshotError> {
        check_snapshot(self.host, snapshot, pace)?;
        // Cancelled, the rows were not read to their end, which is no error; and whole files would be.
        if self.is_whole && !pace.is_cancelled() {
            let engine = self.host.storage().open_copy(&snapshot.ledger())?;
            engine.verify_files()?;
        }
        Ok(())
    }
}

/// Checks files that are replaced as wholes: who this node is, which ledger is the current one, and the note of the
/// last pass that looked for damage.
fn check_small_files(layout: &Layout, problem: &mut dyn FnMut(String)) {
    match DataDir::read(&**layout.disk(), layout.root()) {
        Ok(Some(_)) => {}
        Ok(None) | Err(Error::NotAVault { .. }) => problem("VAULT: it is missing".to_owned()),
        Err(error) if error.is_damage() => problem(format!("VAULT: {error}")),
        Err(error) => tracing::warn!(%error, "VAULT was not verified"),
    }
    // Looked at twice: between its reads a look may meet a failure that passes.
    let pointer = pointer_problem(layout).and_then(|problem| match problem {
        Some(_) => pointer_problem(layout),
        None => Ok(None),
    });
    match pointer {
        Ok(None) => {}
        Ok(Some(detail)) => problem(format!("CURRENT: {detail}")),
        Err(error) => tracing::warn!(%error, "CURRENT was not verified"),
    }
    match is_note_damaged(layout) {
        Ok(false) => {}
        Ok(true) => problem("SCRUB: not what was written; it counts as none".to_owned()),
        Err(error) => tracing::warn!(%error, "SCRUB was not verified"),
    }
}

/// What is wrong with the pointer to the ledger.
fn pointer_problem(layout: &Layout) -> io::Result<Option<String>> {
    let number = match layout.current() {
        Ok(Some(number)) => number,
        Ok(None) => return Ok(Some("it is missing".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData || is_unreadable(&error) => {
            return Ok(Some(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let detail = if !layout.is_current_exactly(number) {
        "not what was written".to_owned()
    } else if !layout.disk().is_dir(&layout.ledger(number)) {
        format!(
            "it names {}, which is missing",
            layout.ledger(number).display()
        )
    } else {
        return Ok(None);
    };
    // A snapshot that was installed meanwhile has moved it.
    let is_moved = layout.current()? != Some(number);
    Ok((!is_moved).then_some(detail))
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
