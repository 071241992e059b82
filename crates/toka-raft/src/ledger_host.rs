//! The ledger of a node: what Raft applies to, what snapshots copy and replace.
//!
//! All calls block; they run through [`crate::blocking::Blocking`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_ledger::apply::{Ledger, LogMark};
use toka_ledger::command::{Command, FEATURE_LEVEL, decode_batch_to};
use toka_ledger::disk::{Disk, is_unreadable};
use toka_ledger::engine::{Durability, Engine, EngineError, Usage};
use toka_ledger::read::{Position, Reader};
use toka_ledger::seam::Threads;

use crate::codec::{
    AppliedMembership, DecodeError, decode_applied_membership, decode_log_id,
    encode_applied_membership, encode_log_id,
};
use crate::error::{FatalError, StartError};
use crate::fatal::Fatal;
use crate::guard::GuardedEngine;
use crate::layout::{Layout, sync_files};
use crate::roster::Roster;
use crate::snapshot::{Contents, SnapshotError, is_immutable, is_part_of_copy};
use crate::storage::Storage;
use crate::tried;
use crate::type_config::{Applied, Commands, Entry, EntryPayload, LogId, StoredMembership};

/// Owns the ledger and the engine under it.
pub(crate) struct LedgerHost {
    ledger: Mutex<Ledger>,
    current: Mutex<Current>,
    /// Replaced engines that readers may still use, with their directories.
    retired: Mutex<Vec<(Arc<dyn Engine>, PathBuf)>>,
    reader: Reader,
    roster: Arc<Roster>,
    storage: Arc<dyn Storage>,
    layout: Layout,
    fatal: Fatal,
}

struct Current {
    number: u64,
    engine: Arc<dyn Engine>,
}

impl LedgerHost {
    /// Opens the current ledger, or makes the first one, and removes leftovers of others.
    pub(crate) fn open(
        layout: Layout,
        storage: Arc<dyn Storage>,
        threads: Arc<dyn Threads>,
        fatal: &Fatal,
    ) -> Result<Self, StartError> {
        let root = layout.root().to_owned();
        let found = match layout.current() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::InvalidData || is_unreadable(&error) => {
                return Err(damaged(&layout.current_pointer(), &error).into());
            }
            Err(error) => return Err(StartError::file("read the pointer in", &root)(error)),
        };
        let number = found.unwrap_or(1);
        let dir = layout.ledger(number);
        if found.is_some() && !layout.disk().is_dir(&dir) {
            let detail = format!("it names {}, which is missing", dir.display());
            return Err(damaged(&layout.current_pointer(), &detail).into());
        }
        let opened = match found {
            // Made anew, it would be empty.
            Some(_) => storage.open_existing(&dir),
            None => storage.open(&dir),
        };
        let guard = GuardedEngine::asleep(opened.map_err(|error| open_error(&dir, error))?, fatal);
        let engine = Arc::clone(&guard) as Arc<dyn Engine>;
        if found.is_none() {
            layout
                .set_current(number)
                .map_err(StartError::file("write the pointer in", &root))?;
        }
        let ledger = Ledger::open(Arc::clone(&engine), threads)?;
        // A start reads these too.
        ledger.reader().settings()?;
        guard.wake();
        // Only now: while the one in use was not opened, another might be the only sound one.
        if let Err(error) = layout.remove_other_ledgers(number) {
            tracing::warn!(%error, "ledgers that nobody needs cannot be removed");
        }
        let roster = Arc::new(Roster::default());
        let applied = decode_membership(&ledger.log_mark());
        roster.set(applied.map_err(|error| membership_error(&dir, &error))?);
        Ok(Self {
            reader: ledger.reader(),
            roster,
            ledger: Mutex::new(ledger),
            current: Mutex::new(Current { number, engine }),
            retired: Mutex::default(),
            storage,
            layout,
            fatal: fatal.clone(),
        })
    }

    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The last applied entry, and the last membership among those applied. Right after opening this
    /// is what has survived, since nothing else is there.
    pub(crate) fn applied_state(&self) -> Result<(Option<LogId>, StoredMembership), FatalError> {
        Ok(decode_mark(&self.ledger()?.log_mark())?)
    }

    /// Index of the last entry whose effect a crash would leave.
    pub(crate) fn flushed_index(&self) -> Result<Option<u64>, FatalError> {
        #[cfg(simulation)]
        if toka_ledger::simulation::Bug::PurgeBeforeSnapshot.is_on() {
            return Ok(self.applied_state()?.0.map(|log_id| log_id.index));
        }
        let mark = self.ledger()?.flushed_log_mark()?;
        Ok(decode_mark(&mark)?.0.map(|log_id| log_id.index))
    }

    /// Applies consecutive entries in one write, which also holds the log id of the last one and the
    /// membership (docs/openraft.md, section 4, point 1). One result per entry. Fails once damage was found,
    /// whoever found it: what waits to be applied would build on it.
    pub(crate) fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Applied>, FatalError> {
        let mut ledger = self.ledger()?;
        self.check_sound()?;
        let applied = ledger.log_mark().log_id;
        let applied = applied.map(|bytes| decode_log_id(&bytes)).transpose()?;
        let first_index = applied.map_or(0, |log_id| log_id.index + 1);
        let mut commands = Vec::new();
        let mut counts = Vec::with_capacity(entries.len());
        let mut last = None;
        let mut applied_membership: Option<AppliedMembership> = None;
        for (expected, Entry { log_id, payload }) in (first_index..).zip(entries) {
            if log_id.index != expected {
                let found = log_id.index;
                return Err(FatalError::Gap { expected, found });
            }
            let before = commands.len();
            match payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Commands(bytes)) => {
                    let decoded = decode_batch_to(&mut commands, bytes);
                    let index = log_id.index;
                    decoded.map_err(|source| undecodable(index, source, &commands))?;
                }
                EntryPayload::Membership(membership) => {
                    let stored = StoredMembership::new(Some(log_id), membership);
                    let before = match applied_membership.take() {
                        Some(before) => before,
                        None => decode_membership(&ledger.log_mark())?,
                    };
                    applied_membership = Some(before.followed_by(stored));
                }
            }
            last = Some(log_id);
            counts.push(commands.len() - before);
        }
        let mark = LogMark {
            log_id: last.map(|log_id| Bytes::copy_from_slice(&encode_log_id(&log_id))),
            membership: applied_membership
                .as_ref()
                .map(|applied| encode_applied_membership(applied).into()),
        };
        #[cfg(simulation)]
        let commands = in_hash_map_order(commands);
        let outcomes = ledger.apply(&commands, mark, Durability::Volatile);
        let outcomes = outcomes.map_err(|error| self.not_applied(error))?;
        self.check_sound()?;
        if let Some(applied) = applied_membership {
            self.roster.set(applied);
        }
        let mut outcomes = outcomes.into_iter();
        let split = |count| Applied {
            outcomes: outcomes.by_ref().take(count).collect(),
            during: None,
        };
        Ok(counts.into_iter().map(split).collect())
    }

    /// Rows that can be read and contradict an entry are no better the next time, unlike a disk that cannot be read.
    fn not_applied(&self, error: toka_ledger::Error) -> FatalError {
        if matches!(error, toka_ledger::Error::Corrupt { .. }) {
            tried::failed(&self.layout);
        }
        error.into()
    }

    /// Makes everything applied so far durable.
    pub(crate) fn flush(&self) -> Result<(), FatalError> {
        Ok(self.engine().flush()?)
    }

    /// Bytes that a flush would write, about.
    pub(crate) fn unflushed_bytes(&self) -> Result<u64, FatalError> {
        Ok(self.engine().unflushed_bytes()?)
    }

    /// What the engine uses and has done.
    pub(crate) fn usage(&self) -> Result<Usage, FatalError> {
        Ok(self.engine().usage()?)
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> Result<u64, FatalError> {
        Ok(self.engine().disk_bytes()?)
    }

    /// Makes a copy in `dir`, which must not exist. All that it contains is durable afterwards, in the
    /// copy and in the ledger itself. Returns the number of the ledger that was copied.
    pub(crate) fn copy(&self, dir: &Path) -> Result<u64, FatalError> {
        let (number, engine) = {
            let current = self.current();
            (current.number, Arc::clone(&current.engine))
        };
        // Most is written by this; what comes in meanwhile makes the copy's own flush a short one.
        #[cfg(simulation)]
        let is_flushed_first = !toka_ledger::simulation::Bug::PurgeBeforeSnapshot.is_on();
        #[cfg(not(simulation))]
        let is_flushed_first = true;
        if is_flushed_first {
            engine.flush()?;
        }
        engine.checkpoint(dir)?;
        Ok(number)
    }

    /// Goes on with a copy of the files in `dir`, which have been checked. Readers and subscriptions
    /// follow. The pointer is moved before anything is applied to the new ledger, and after all of it
    /// is durable: a crash leaves the old ledger or the new one.
    pub(crate) fn install(&self, dir: &Path, expected: &Contents) -> Result<(), FatalError> {
        let mut ledger = self.ledger()?;
        let mut current = self.current();
        let number = current.number + 1;
        let new_dir = self.layout.ledger(number);
        assemble(&self.layout, dir, number).map_err(|error| match is_unreadable(&error) {
            // At a start the node would come upon it again and again; another node has a copy.
            true => FatalError::from(damaged(dir, &error)),
            false => FatalError::from(SnapshotError::file("install", dir)(error)),
        })?;
        let opened = self.storage.open(&new_dir);
        let engine = opened.map_err(|error| open_error(&new_dir, error))?;
        let engine = GuardedEngine::over(engine, &self.fatal);
        self.layout
            .set_current(number)
            .map_err(SnapshotError::file("install", &new_dir))?;
        ledger.install(Arc::clone(&engine))?;
        let (log_id, _) = decode_mark(&ledger.log_mark())?;
        self.roster.set(decode_membership(&ledger.log_mark())?);
        if log_id != expected.meta.last_log_id || ledger.position() != expected.position {
            return Err(SnapshotError::Position {
                expected: Box::new(expected.position),
                found: Box::new(ledger.position()),
            }
            .into());
        }
        let old_dir = self.layout.ledger(current.number);
        let old = std::mem::replace(&mut *current, Current { number, engine });
        self.retired().push((old.engine, old_dir));
        Ok(())
    }

    /// Removes replaced ledgers that no reader holds any more. What a crash leaves, the next start
    /// removes.
    pub(crate) fn remove_retired(&self) {
        self.retired().retain_mut(|(engine, dir)| {
            // With this reference the last one, nobody can make another.
            if Arc::strong_count(engine) > 1 {
                return true;
            }
            // The engine's files are unlinked while it is still open, which is harmless; were it
            // closed first, it would flush into a directory that is about to go.
            if let Err(error) = self.layout.disk().remove_dir_all(dir) {
                tracing::warn!(%error, path = %dir.display(), "cannot remove a replaced ledger");
            }
            false
        });
    }

    fn check_sound(&self) -> Result<(), FatalError> {
        match self.fatal.first() {
            Some(first) if first.damage().is_some() => Err(first),
            _ => Ok(()),
        }
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.current().engine)
    }

    /// A panic in the ledger leaves it in an unknown state: it is closed for good.
    fn ledger(&self) -> Result<MutexGuard<'_, Ledger>, FatalError> {
        self.ledger
            .lock()
            .map_err(|_| toka_ledger::Error::Closed.into())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<(Arc<dyn Engine>, PathBuf)>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The commands of an apply as a hash map that takes them in would give them back.
#[cfg(simulation)]
fn in_hash_map_order(commands: Vec<Command>) -> Vec<Command> {
    if !toka_ledger::simulation::Bug::HashMapOrder.is_on() {
        return commands;
    }
    let by_place: std::collections::HashMap<usize, Command> =
        commands.into_iter().enumerate().collect();
    by_place.into_values().collect()
}

/// Puts the directory of ledger `number` together from the copy in `dir`, durably. Table files never change,
/// so they are linked; what an engine writes to is copied.
pub(crate) fn assemble(layout: &Layout, dir: &Path, number: u64) -> io::Result<()> {
    let disk = layout.disk();
    let in_progress = layout.ledger_in_progress(number);
    if disk.exists(&in_progress) {
        disk.remove_dir_all(&in_progress)?;
    }
    disk.create_dir(&in_progress)?;
    for name in disk.list(dir)? {
        let (source, target) = (dir.join(&name), in_progress.join(&name));
        match name.to_str() {
            Some(name) if !is_part_of_copy(name) => {}
            Some(name) if is_immutable(name) => link(&**disk, &source, &target)?,
            _ => disk.copy(&source, &target)?,
        }
    }
    sync_files(&**disk, &in_progress)?;
    disk.rename(&in_progress, &layout.ledger(number))?;
    disk.sync_dir(layout.root())
}

/// Links a file that never changes, or copies it from another file system.
fn link(disk: &dyn Disk, source: &Path, target: &Path) -> io::Result<()> {
    match disk.hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => disk.copy(source, target),
        linked => linked,
    }
}

/// Why the commands of entry `index` cannot be decoded. A command that only a newer build knows comes behind the
/// rise to its feature level, which may be among those `before` it and not applied yet: that says which build
/// is needed.
fn undecodable(
    index: u64,
    source: toka_ledger::codec::DecodeError,
    before: &[Command],
) -> FatalError {
    let levels = before.iter().filter_map(|command| match command {
        Command::Create(create) => Some(create.feature_level),
        Command::SetFeatureLevel(set) => Some(set.level),
        _ => None,
    });
    match levels.max() {
        Some(found) if found > FEATURE_LEVEL => toka_ledger::Error::FeatureLevel {
            found,
            supported: FEATURE_LEVEL,
        }
        .into(),
        _ => FatalError::Entry { index, source },
    }
}

/// A ledger of which `path` is not what was written.
fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> toka_ledger::Error {
    toka_ledger::Error::Corrupt {
        table: "file",
        key: path.display().to_string(),
        detail: detail.to_string(),
    }
}

/// The membership in the ledger in `dir`, whose checksum is right, cannot be decoded.
fn membership_error(dir: &Path, error: &DecodeError) -> StartError {
    if error.is_newer() {
        return StartError::Newer {
            detail: format!("the membership in {}: {error}", dir.display()),
        };
    }
    damaged(dir, error).into()
}

/// A store that is named and not there is as good as damaged.
fn open_error(dir: &Path, error: EngineError) -> toka_ledger::Error {
    match &error {
        EngineError::NotFound { .. } => damaged(dir, &error),
        _ => error.into(),
    }
}

/// What a copy of a ledger covers.
pub(crate) fn contents(engine: Arc<dyn Engine>) -> Result<Contents, FatalError> {
    let (reader, mark) = Ledger::read_only(engine)?;
    let (last_log_id, last_membership) = decode_mark(&mark)?;
    let position: Position = reader.position();
    let meta = crate::type_config::SnapshotMeta {
        last_log_id,
        last_membership,
    };
    let settings = reader.settings()?;
    Ok(Contents {
        meta,
        position,
        feature_level: settings.map_or(0, |settings| settings.feature_level),
    })
}

fn decode_mark(mark: &LogMark) -> Result<(Option<LogId>, StoredMembership), DecodeError> {
    let log_id = mark
        .log_id
        .as_ref()
        .map(|bytes| decode_log_id(bytes))
        .transpose()?;
    Ok((log_id, decode_membership(mark)?.stored))
}

fn decode_membership(mark: &LogMark) -> Result<AppliedMembership, DecodeError> {
    match &mark.membership {
        Some(bytes) => decode_applied_membership(bytes),
        None => Ok(AppliedMembership::default()),
    }
}

#[cfg(test)]
mod tests;
