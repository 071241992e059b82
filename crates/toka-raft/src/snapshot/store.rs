//! The snapshots of a node: one current, perhaps others that are still being sent or received.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_ledger::disk::{Disk, DiskFile, Metadata};
use tokio::sync::Notify;

use super::{Contents, LEDGER_DIR, SnapshotError, Transfers, is_part_of_copy};
use crate::blocking::Blocking;

const PREFIX: &str = "snapshot-";
const TEMPORARY: &str = ".tmp";
/// The file that says that a repair has gone on from the snapshot beside it.
const USED: &str = "USED";

/// A snapshot, as openraft passes it around: a directory that is removed when nobody holds it any
/// more, unless it is the node's current snapshot. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SnapshotDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ground: Ground,
    dir: PathBuf,
    contents: Contents,
    /// The directory outlives this value.
    keep: AtomicBool,
}

impl SnapshotDir {
    fn new(ground: Ground, dir: PathBuf, contents: Contents, keep: bool) -> Self {
        Self(Arc::new(Inner {
            ground,
            dir,
            contents,
            keep: AtomicBool::new(keep),
        }))
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.0.contents
    }

    /// Index of the last entry that it covers.
    pub(crate) fn last_index(&self) -> Option<u64> {
        let last = self.0.contents.meta.last_log_id;
        last.map(|log_id| log_id.index)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.0.ground.disk
    }

    /// Whether a repair has gone on from it before.
    pub(crate) fn is_used(&self) -> bool {
        self.disk().exists(&self.dir().join(USED))
    }

    /// Notes durably that a repair goes on from it. Blocking.
    pub(crate) fn set_used(&self) -> Result<(), SnapshotError> {
        if self.is_used() {
            return Ok(());
        }
        let path = self.dir().join(USED);
        self.disk()
            .create_with(&path, &[])
            .and_then(|()| self.disk().sync_dir(self.dir()))
            .map_err(SnapshotError::file("write", &path))
    }

    /// Where its note is.
    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The engine's files.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.dir.join(LEDGER_DIR)
    }

    /// Bytes of the file at `path`, which stays open from one chunk to the next, and their CRC-32C.
    pub(super) fn read_chunk(
        &self,
        open: Option<Box<dyn DiskFile>>,
        path: &Path,
        offset: u64,
        len: usize,
    ) -> io::Result<(Box<dyn DiskFile>, Bytes, u32)> {
        let file = match open {
            Some(file) => file,
            None => self.disk().open_to_read(path)?,
        };
        let mut data = vec![0; len];
        if file.read_at(&mut data, offset)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let crc = crc32c::crc32c(&data);
        Ok((file, data.into(), crc))
    }

    /// The engine's files with their sizes, by name.
    pub(crate) fn files(&self) -> Result<Vec<(String, u64)>, SnapshotError> {
        let dir = self.ledger();
        let list = || -> io::Result<Vec<(String, u64)>> {
            let mut files = Vec::new();
            for name in self.disk().list(&dir)? {
                let name = name.into_string().map_err(|name| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("file name {name:?}"))
                })?;
                if !is_part_of_copy(&name) {
                    continue;
                }
                match self.disk().metadata(&dir.join(&name))? {
                    Metadata::File { bytes } => files.push((name, bytes)),
                    Metadata::Directory => return Err(io::ErrorKind::IsADirectory.into()),
                }
            }
            files.sort();
            Ok(files)
        };
        list().map_err(SnapshotError::file("list", &dir))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed) {
            self.ground.remove(std::mem::take(&mut self.dir));
        }
    }
}

/// What the directories are on, and how they are removed.
#[derive(Clone, Debug)]
struct Ground {
    disk: Arc<dyn Disk>,
    blocking: Blocking,
}

impl Ground {
    /// Removes a directory without holding up the caller, which may be a task. What is left behind is
    /// removed at the next start.
    fn remove(&self, dir: PathBuf) {
        let disk = Arc::clone(&self.disk);
        self.blocking.run_detached(move || {
            if let Err(error) = disk.remove_dir_all(&dir)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %dir.display(), "cannot remove a snapshot");
            }
        });
    }
}

/// A directory in progress; removed when dropped, unless it was finished.
#[derive(Debug)]
pub(crate) struct Place {
    ground: Ground,
    dir: PathBuf,
    number: u64,
}

impl Place {
    /// What it is on.
    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.ground.disk
    }

    /// Where the note goes.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the engine's files go. Does not exist yet.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.join(LEDGER_DIR)
    }

    /// A handle on what has been received and checked. It keeps its temporary name until it is
    /// installed: a start after a crash must not take for the node's own what openraft has not
    /// accepted, and whose log may contradict this node's.
    pub(crate) fn received(mut self, contents: Contents) -> SnapshotDir {
        let dir = std::mem::take(&mut self.dir);
        SnapshotDir::new(self.ground.clone(), dir, contents, false)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.dir.as_os_str().is_empty() {
            self.ground.remove(std::mem::take(&mut self.dir));
        }
    }
}

/// Keeps track of a node's snapshots.
#[derive(Debug)]
pub(crate) struct SnapshotStore {
    ground: Ground,
    dir: PathBuf,
    current: Mutex<Option<SnapshotDir>>,
    /// Complete ones that are there besides, until [`SnapshotStore::keep_only_current`].
    others: Mutex<Vec<SnapshotDir>>,
    next_number: AtomicU64,
    transfers: Arc<Transfers>,
    /// Held while a snapshot is received.
    incoming: AtomicBool,
    /// Told when a receiver says that what this node sends is damaged.
    suspect: Notify,
}

impl SnapshotStore {
    /// Opens the store in `dir` on `disk`. The newest complete snapshot is the current one. What is in progress is
    /// removed, and nothing else: before the log is opened nobody knows what the node needs.
    ///
    /// # Errors
    /// [`SnapshotError::Contents`] of a note that a newer build has written; the disk's.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        blocking: Blocking,
    ) -> Result<Self, SnapshotError> {
        disk.create_dir_all(&dir)
            .map_err(SnapshotError::file("create", &dir))?;
        let ground = Ground { disk, blocking };
        let mut complete = Vec::new();
        let mut next_number = 1;
        let names = ground.disk.list(&dir);
        let names = names.map_err(SnapshotError::file("list", &dir))?;
        for path in names.into_iter().map(|name| dir.join(name)) {
            let Some(number) = finished_number(&path) else {
                remove(&*ground.disk, &path)?;
                continue;
            };
            next_number = next_number.max(number + 1);
            match Contents::read(&*ground.disk, &path) {
                Ok(contents) => {
                    complete.push(SnapshotDir::new(ground.clone(), path, contents, true));
                }
                // Nothing is wrong with it: that build can go on from it.
                Err(error) if error.is_newer() => return Err(error),
                Err(error) => tracing::warn!(%error, "found a snapshot that cannot be read"),
            }
        }
        newest_first(&mut complete);
        let mut complete = complete.into_iter();
        Ok(Self {
            ground,
            dir,
            current: Mutex::new(complete.next()),
            others: Mutex::new(complete.collect()),
            next_number: AtomicU64::new(next_number),
            transfers: Arc::default(),
            incoming: AtomicBool::new(false),
            suspect: Notify::new(),
        })
    }

    /// All complete snapshots, the newest first.
    pub(crate) fn complete(&self) -> Vec<SnapshotDir> {
        let mut complete = self.others().clone();
        complete.extend(self.current());
        newest_first(&mut complete);
        complete
    }

    /// Makes one of the complete snapshots the current one, or none. The others stay where they are.
    pub(crate) fn choose(&self, chosen: Option<&SnapshotDir>) {
        let complete = self.complete();
        let is_chosen = |snapshot: &SnapshotDir| {
            chosen.is_some_and(|chosen| Arc::ptr_eq(&chosen.0, &snapshot.0))
        };
        let (chosen, others): (Vec<_>, Vec<_>) = complete.into_iter().partition(is_chosen);
        *self.lock() = chosen.into_iter().next();
        *self.others() = others;
    }

    /// Removes all but the current snapshot, durably: with the ledger as it is now, nobody needs another one. Only
    /// before Raft starts. Blocking.
    pub(crate) fn keep_only_current(&self) -> Result<(), SnapshotError> {
        let current = self.current();
        self.others().clear();
        let disk = &*self.ground.disk;
        let names = disk.list(&self.dir);
        let names = names.map_err(SnapshotError::file("list", &self.dir))?;
        let mut is_changed = false;
        for path in names.into_iter().map(|name| self.dir.join(name)) {
            let is_kept = current
                .as_ref()
                .is_some_and(|current| current.dir() == path);
            if !is_kept && finished_number(&path).is_some() {
                remove(disk, &path)?;
                is_changed = true;
            }
        }
        if is_changed {
            disk.sync_dir(&self.dir)
                .map_err(SnapshotError::file("sync", &self.dir))?;
        }
        Ok(())
    }

    /// As [`SnapshotStore::keep_only_current`], but keeps the newest of the others: repairs that fail would pile up more.
    pub(crate) fn keep_one_other(&self) -> Result<(), SnapshotError> {
        let mut others = self.others();
        newest_first(&mut others);
        let kept = others.len().min(1);
        let superfluous = others.split_off(kept).into_iter();
        let removed = superfluous.map(|snapshot| remove(&*self.ground.disk, snapshot.dir()));
        removed.fold(Ok(()), Result::and)
    }

    /// The node's current snapshot.
    pub(crate) fn current(&self) -> Option<SnapshotDir> {
        self.lock().clone()
    }

    /// Index of the last entry that the current snapshot covers.
    pub(crate) fn index(&self) -> Option<u64> {
        self.lock().as_ref()?.last_index()
    }

    /// A new directory to put a snapshot together in.
    pub(crate) fn place(&self) -> Result<Place, SnapshotError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("{PREFIX}{number}{TEMPORARY}"));
        let ground = self.ground.clone();
        ground
            .disk
            .create_dir(&dir)
            .map_err(SnapshotError::file("create", &dir))?;
        Ok(Place {
            ground,
            dir,
            number,
        })
    }

    /// Gives a snapshot that was made here its name, and makes it the current one; unless one that is
    /// as new was installed meanwhile, which is then returned.
    pub(super) fn finish(
        &self,
        mut place: Place,
        contents: Contents,
    ) -> Result<SnapshotDir, SnapshotError> {
        let mut current = self.lock();
        if let Some(newer) = current.as_ref()
            && newer.contents().meta.last_log_id >= contents.meta.last_log_id
        {
            return Ok(newer.clone());
        }
        let temporary = std::mem::take(&mut place.dir);
        self.publish(&mut current, &temporary, place.number, contents)
    }

    /// Gives a snapshot that was received, and is about to be installed, its name, and makes it the current one.
    ///
    /// Returns it under that name.
    pub(crate) fn adopt(&self, snapshot: &SnapshotDir) -> Result<SnapshotDir, SnapshotError> {
        let inner = &snapshot.0;
        if inner.keep.swap(true, Ordering::Relaxed) {
            // The node's own, installed again at start: it has its name.
            return Ok(snapshot.clone());
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let contents = inner.contents.clone();
        self.publish(&mut self.lock(), &inner.dir, number, contents)
    }

    /// Puts a snapshot that was made here in the place of the current one, which is damaged; unless another
    /// one is there by now.
    pub(super) fn replace(
        &self,
        damaged: &SnapshotDir,
        mut place: Place,
        contents: Contents,
    ) -> Result<(), SnapshotError> {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(&current.0, &damaged.0))
        {
            let temporary = std::mem::take(&mut place.dir);
            self.publish(&mut current, &temporary, place.number, contents)?;
        }
        Ok(())
    }

    /// Forgets the current snapshot, which is removed; another one is made when it is needed.
    pub(crate) fn forget(&self) {
        if let Some(old) = self.lock().take() {
            old.0.keep.store(false, Ordering::Relaxed);
        }
    }

    fn publish(
        &self,
        current: &mut Option<SnapshotDir>,
        temporary: &Path,
        number: u64,
        contents: Contents,
    ) -> Result<SnapshotDir, SnapshotError> {
        let dir = self.dir.join(format!("{PREFIX}{number}"));
        let disk = &self.ground.disk;
        disk.rename(temporary, &dir)
            .and_then(|()| self.sync())
            .map_err(SnapshotError::file("rename", temporary))?;
        let snapshot = SnapshotDir::new(self.ground.clone(), dir, contents, true);
        if let Some(old) = current.replace(snapshot.clone()) {
            // Removed as soon as those who are sending it are done.
            old.0.keep.store(false, Ordering::Relaxed);
        }
        Ok(snapshot)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(simulation)]
        if toka_ledger::simulation::Bug::PurgeBeforeSnapshot.is_on() {
            return Ok(());
        }
        self.ground.disk.sync_dir(&self.dir)
    }

    /// Who is sent a copy from here.
    pub(crate) fn transfers(&self) -> &Arc<Transfers> {
        &self.transfers
    }

    /// Whether a snapshot is being received or installed.
    pub(crate) fn is_receiving(&self) -> bool {
        self.incoming.load(Ordering::Relaxed)
    }

    /// A receiver has found damage in what this node sends.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Waits until [`SnapshotStore::suspect`] is called.
    pub(crate) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// Admits one transfer to this node at a time.
    pub(super) fn incoming(self: &Arc<Self>) -> Result<Incoming, SnapshotError> {
        if self.incoming.swap(true, Ordering::Acquire) {
            return Err(SnapshotError::Busy);
        }
        Ok(Incoming(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<SnapshotDir>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, Vec<SnapshotDir>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`SnapshotStore::incoming`].
#[derive(Debug)]
pub(super) struct Incoming(Arc<SnapshotStore>);

impl Drop for Incoming {
    fn drop(&mut self) {
        self.0.incoming.store(false, Ordering::Release);
    }
}

/// Of those that cover the same, the one that was made last is first.
fn newest_first(snapshots: &mut [SnapshotDir]) {
    snapshots.sort_by_key(|snapshot| {
        let last = snapshot.contents().meta.last_log_id;
        Reverse((last, finished_number(snapshot.dir())))
    });
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), SnapshotError> {
    tracing::info!(path = %path.display(), "removing a leftover of an earlier run");
    let removed = if disk.is_dir(path) {
        disk.remove_dir_all(path)
    } else {
        disk.remove(path)
    };
    removed.map_err(SnapshotError::file("remove", path))
}

pub(super) fn finished_number(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_prefix(PREFIX)?
        .parse()
        .ok()
}
