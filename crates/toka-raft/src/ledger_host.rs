//! The ledger of a node: what Raft applies to, what snapshots copy and replace.
//!
//! All calls block; they run through [`crate::blocking::Blocking`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_ledger::apply::{Ledger, LogMark};
use toka_ledger::command::decode_batch;
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::read::{Position, Reader};
use toka_ledger::seam::Threads;

use crate::codec::{
    DecodeError, decode_log_id, decode_stored_membership, encode_log_id, encode_stored_membership,
};
use crate::error::{FatalError, StartError};
use crate::layout::{Layout, sync_files};
use crate::snapshot::{Contents, SnapshotError, is_immutable, is_part_of_copy};
use crate::storage::Storage;
use crate::type_config::{Applied, Commands, Entry, EntryPayload, LogId, StoredMembership};

/// Owns the ledger and the engine under it.
pub(crate) struct LedgerHost {
    ledger: Mutex<Ledger>,
    current: Mutex<Current>,
    /// Replaced engines that readers may still use, with their directories.
    retired: Mutex<Vec<(Arc<dyn Engine>, PathBuf)>>,
    reader: Reader,
    storage: Arc<dyn Storage>,
    layout: Layout,
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
    ) -> Result<Self, StartError> {
        let root = layout.root().to_owned();
        let found = layout
            .current()
            .map_err(StartError::file("read the pointer in", &root))?;
        let number = found.unwrap_or(1);
        let dir = layout.ledger(number);
        if found.is_some() && !layout.disk().is_dir(&dir) {
            let detail = format!("{} is missing", dir.display());
            return Err(StartError::Contradiction { path: root, detail });
        }
        let engine = storage.open(&dir).map_err(toka_ledger::Error::from)?;
        if found.is_none() {
            layout
                .set_current(number)
                .map_err(StartError::file("write the pointer in", &root))?;
        }
        let ledger = Ledger::open(Arc::clone(&engine), threads)?;
        // Only now: while the one in use was not opened, another might be the only sound one.
        layout
            .remove_other_ledgers(number)
            .map_err(StartError::file("clean up", &root))?;
        Ok(Self {
            reader: ledger.reader(),
            ledger: Mutex::new(ledger),
            current: Mutex::new(Current { number, engine }),
            retired: Mutex::default(),
            storage,
            layout,
        })
    }

    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The last applied entry, and the last membership among those applied. Right after opening this
    /// is what has survived, since nothing else is there.
    pub(crate) fn applied_state(&self) -> Result<(Option<LogId>, StoredMembership), FatalError> {
        Ok(decode_mark(&self.ledger()?.log_mark())?)
    }

    /// Index of the last entry whose effect a crash would leave.
    pub(crate) fn flushed_index(&self) -> Result<Option<u64>, FatalError> {
        let mark = self.ledger()?.flushed_log_mark()?;
        Ok(decode_mark(&mark)?.0.map(|log_id| log_id.index))
    }

    /// Applies consecutive entries in one write, which also holds the log id of the last one and the
    /// membership (docs/openraft.md, section 4, point 1). One result per entry.
    pub(crate) fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Applied>, FatalError> {
        let mut ledger = self.ledger()?;
        let applied = ledger.log_mark().log_id;
        let applied = applied.map(|bytes| decode_log_id(&bytes)).transpose()?;
        let first_index = applied.map_or(0, |log_id| log_id.index + 1);
        let mut commands = Vec::new();
        let mut counts = Vec::with_capacity(entries.len());
        let mut mark = LogMark::default();
        for (expected, Entry { log_id, payload }) in (first_index..).zip(entries) {
            if log_id.index != expected {
                let found = log_id.index;
                return Err(FatalError::Gap { expected, found });
            }
            let before = commands.len();
            match payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Commands(bytes)) => {
                    let decoded = decode_batch(bytes);
                    let index = log_id.index;
                    commands.extend(decoded.map_err(|source| FatalError::Entry { index, source })?);
                }
                EntryPayload::Membership(membership) => {
                    let stored = StoredMembership::new(Some(log_id), membership);
                    mark.membership = Some(encode_stored_membership(&stored).into());
                }
            }
            mark.log_id = Some(Bytes::copy_from_slice(&encode_log_id(&log_id)));
            counts.push(commands.len() - before);
        }
        let outcomes = ledger.apply(&commands, mark, Durability::Volatile)?;
        let mut outcomes = outcomes.into_iter();
        let split = |count| Applied {
            outcomes: outcomes.by_ref().take(count).collect(),
        };
        Ok(counts.into_iter().map(split).collect())
    }

    /// Makes everything applied so far durable.
    pub(crate) fn flush(&self) -> Result<(), FatalError> {
        Ok(self.engine().flush()?)
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> Result<u64, FatalError> {
        Ok(self.engine().disk_bytes()?)
    }

    /// Makes a copy in `dir`, which must not exist. All that it contains is durable afterwards, in the
    /// copy and in the ledger itself.
    pub(crate) fn copy(&self, dir: &Path) -> Result<(), FatalError> {
        let engine = self.engine();
        // Most is written by this; what comes in meanwhile makes the copy's own flush a short one.
        engine.flush()?;
        Ok(engine.checkpoint(dir)?)
    }

    /// Goes on with a copy of the files in `dir`, which have been checked. Readers and subscriptions
    /// follow. The pointer is moved before anything is applied to the new ledger, and after all of it
    /// is durable: a crash leaves the old ledger or the new one.
    pub(crate) fn install(&self, dir: &Path, expected: &Contents) -> Result<(), FatalError> {
        let mut ledger = self.ledger()?;
        let mut current = self.current();
        let number = current.number + 1;
        let new_dir = self.layout.ledger(number);
        self.assemble(dir, number)
            .map_err(SnapshotError::file("install", dir))?;
        let engine = self.storage.open(&new_dir)?;
        self.layout
            .set_current(number)
            .map_err(SnapshotError::file("install", &new_dir))?;
        ledger.install(Arc::clone(&engine))?;
        let (log_id, _) = decode_mark(&ledger.log_mark())?;
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

    /// Puts the next ledger's directory together. Table files never change, so they are linked; what
    /// an engine writes to is copied.
    fn assemble(&self, dir: &Path, number: u64) -> io::Result<()> {
        let disk = self.layout.disk();
        let in_progress = self.layout.ledger_in_progress(number);
        if disk.exists(&in_progress) {
            disk.remove_dir_all(&in_progress)?;
        }
        disk.create_dir(&in_progress)?;
        for name in disk.list(dir)? {
            let (source, target) = (dir.join(&name), in_progress.join(&name));
            match name.to_str() {
                Some(name) if !is_part_of_copy(name) => {}
                Some(name) if is_immutable(name) => disk.hard_link(&source, &target)?,
                _ => disk.copy(&source, &target)?,
            }
        }
        sync_files(&**disk, &in_progress)?;
        disk.rename(&in_progress, &self.layout.ledger(number))?;
        disk.sync_dir(self.layout.root())
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

/// What a copy of a ledger covers.
pub(crate) fn contents(engine: Arc<dyn Engine>) -> Result<Contents, FatalError> {
    let (reader, mark) = Ledger::read_only(engine)?;
    let (last_log_id, last_membership) = decode_mark(&mark)?;
    let position: Position = reader.position();
    let meta = crate::type_config::SnapshotMeta {
        last_log_id,
        last_membership,
    };
    Ok(Contents { meta, position })
}

fn decode_mark(mark: &LogMark) -> Result<(Option<LogId>, StoredMembership), DecodeError> {
    let log_id = mark
        .log_id
        .as_ref()
        .map(|bytes| decode_log_id(bytes))
        .transpose()?;
    let membership = match &mark.membership {
        Some(bytes) => decode_stored_membership(bytes)?,
        None => StoredMembership::default(),
    };
    Ok((log_id, membership))
}
