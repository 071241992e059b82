//! Stores that are only looked at. Opening them clears up and makes notes: here all of that is done in memory, and
//! what is on the disk stays as it is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toka_ledger::disk::{Disk, DiskFile, DiskLock, MemoryDisk, Metadata, Space, parent};
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::Seams;

use super::{DiskStorage, Storage, start_segments};
use crate::log_store::{LogError, RaftLog};

/// As [`DiskStorage`], but nothing of what is there is changed. Only for a look: what is written is in memory.
#[derive(Clone, Debug)]
pub(crate) struct LookedAt {
    engines: DiskStorage,
    view: View,
}

impl LookedAt {
    /// Of what is in `root`.
    pub(crate) fn new(engines: DiskStorage, root: &Path) -> Self {
        let view = View {
            root: root.to_owned(),
            below: engines.disk(),
            changed: MemoryDisk::new(),
            gone: Arc::default(),
        };
        Self { engines, view }
    }
}

impl Storage for LookedAt {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.view.clone())
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.engines.open_copy(dir)
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.engines.open_copy(dir)
    }

    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        let (segments, log) = (self.engines.segments, self.engines.log);
        start_segments(self.disk(), segments, log, dir, may_create, seams)
    }
}

/// A disk with changes that are in memory. Locks are those of the disk, so that nobody changes it meanwhile.
#[derive(Clone, Debug)]
struct View {
    root: PathBuf,
    below: Arc<dyn Disk>,
    /// Files that were written, and new ones, whole; the directories above them.
    changed: MemoryDisk,
    /// What is below and does not count any more, with all that is in it.
    gone: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl View {
    fn gone(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `path` is in memory, whose disk takes no `..`.
    fn key(&self, path: &Path) -> PathBuf {
        Path::new("/root").join(path.strip_prefix(&self.root).unwrap_or(path))
    }

    fn is_gone(&self, path: &Path) -> bool {
        let gone = self.gone();
        path.ancestors().any(|above| gone.contains(above))
    }

    fn must_be_free(&self, path: &Path) -> io::Result<()> {
        match self.exists(path) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(()),
        }
    }

    /// Where `path` was written, also if it was not before: with what was below, if it is kept.
    fn written(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.changed.exists(&self.key(path)) {
            return self.changed.open(&self.key(path));
        }
        let bytes = self.read(path)?;
        self.changed.create_dir_all(&self.key(parent(path)))?;
        self.changed.create_with(&self.key(path), &bytes)?;
        self.changed.open(&self.key(path))
    }
}

impl Disk for View {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        match self.is_dir(dir) {
            true => Ok(()),
            false => self.changed.create_dir_all(&self.key(dir)),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.must_be_free(dir)?;
        self.metadata(parent(dir))?;
        self.changed.create_dir_all(&self.key(dir))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.metadata(dir)?;
        if self.changed.exists(&self.key(dir)) {
            self.changed.remove_dir_all(&self.key(dir))?;
        }
        self.gone().insert(dir.to_owned());
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if self.below.exists(path) {
            return self.below.lock(path);
        }
        self.changed.create_dir_all(&self.key(parent(path)))?;
        self.changed.lock(&self.key(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.metadata(dir)?;
        let mut names = BTreeSet::new();
        if self.changed.is_dir(&self.key(dir)) {
            names.extend(self.changed.list(&self.key(dir))?);
        }
        if !self.is_gone(dir) && self.below.exists(dir) {
            let below = self.below.list(dir)?.into_iter();
            names.extend(below.filter(|name| !self.is_gone(&dir.join(name))));
        }
        Ok(names.into_iter().collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self.changed.metadata(&self.key(path)) {
            Err(_) if self.is_gone(path) => Err(io::ErrorKind::NotFound.into()),
            Err(_) => self.below.metadata(path),
            changed => changed,
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.changed.exists(&self.key(path)) {
            return self.changed.open(&self.key(path));
        }
        Ok(Box::new(ViewedFile {
            view: self.clone(),
            path: path.to_owned(),
            below: self.open_to_read(path)?,
            written: Mutex::default(),
        }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.changed.exists(&self.key(path)) {
            return self.changed.open_to_read(&self.key(path));
        }
        match self.is_gone(path) {
            true => Err(io::ErrorKind::NotFound.into()),
            false => self.below.open_to_read(path),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.must_be_free(path)?;
        self.metadata(parent(path))?;
        self.changed.create_dir_all(&self.key(parent(path)))?;
        self.changed.create(&self.key(path))
    }

    /// Directories only if they were made here.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.changed.exists(&self.key(from)) {
            drop(self.written(from)?);
        }
        self.changed.rename(&self.key(from), &self.key(to))?;
        self.gone().insert(from.to_owned());
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.copy(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.metadata(path)?;
        if self.changed.exists(&self.key(path)) {
            self.changed.remove(&self.key(path))?;
        }
        self.gone().insert(path.to_owned());
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.below.space(path)
    }
}

/// A file that is read where it is until something is written to it.
#[derive(Debug)]
struct ViewedFile {
    view: View,
    path: PathBuf,
    below: Box<dyn DiskFile>,
    written: Mutex<Option<Box<dyn DiskFile>>>,
}

impl ViewedFile {
    fn written(&self) -> MutexGuard<'_, Option<Box<dyn DiskFile>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for ViewedFile {
    fn size(&self) -> io::Result<u64> {
        match &*self.written() {
            Some(written) => written.size(),
            None => self.below.size(),
        }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match &*self.written() {
            Some(written) => written.read_at(bytes, offset),
            None => self.below.read_at(bytes, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = self.written();
        let file = match written.take() {
            Some(file) => file,
            None => self.view.written(&self.path)?,
        };
        written.insert(file).write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(files: &[&str]) -> (MemoryDisk, View) {
        let below = MemoryDisk::new();
        for path in files {
            below.overwrite(Path::new(path), b"below").expect("written");
        }
        let view = View {
            root: PathBuf::from("/d"),
            below: Arc::new(below.clone()),
            changed: MemoryDisk::new(),
            gone: Arc::default(),
        };
        (below, view)
    }

    #[test]
    fn changes_are_seen_and_nothing_below_is_changed() {
        let (below, view) = view(&["/d/a", "/d/b", "/d/old/c", "/d/old/d"]);
        let before = below.operations();
        let path = |name: &str| Path::new("/d").join(name);
        let file = view.open(&path("a")).expect("there");
        file.write_at(b"B", 0).expect("written");
        assert_eq!(view.read(&path("a")).expect("there"), b"Below");
        let mut bytes = [0; 2];
        assert_eq!(file.read_at(&mut bytes, 0).expect("read"), 2);
        assert_eq!(&bytes, b"Be");
        view.rename(&path("b"), &path("e")).expect("renamed");
        view.remove_dir_all(&path("old")).expect("removed");
        view.create_dir(&path("new")).expect("created");
        view.create_with(&path("new/f"), b"new").expect("written");
        view.remove(&path("e")).expect("removed");
        view.create(&path("a")).expect_err("it is there");
        let names: Vec<_> = view.list(Path::new("/d")).expect("listed");
        assert_eq!(names, ["a", "new"]);
        assert!(!view.exists(&path("old/c")) && !view.exists(&path("b")));
        view.open(&path("old/c")).expect_err("it is gone");
        assert_eq!(below.operations(), before);
        assert_eq!(below.read(&path("a")).expect("there"), b"below");
    }

    #[test]
    fn directory_that_is_made_again_is_empty() {
        let (_, view) = view(&["/d/a"]);
        view.remove_dir_all(Path::new("/d")).expect("removed");
        view.create_dir_all(Path::new("/d")).expect("created");
        assert!(view.list(Path::new("/d")).expect("listed").is_empty());
    }

    #[test]
    fn lock_is_that_of_the_disk() {
        let (below, view) = view(&["/d/LOCK"]);
        let _held = below.lock(Path::new("/d/LOCK")).expect("free");
        let error = view.lock(Path::new("/d/LOCK")).expect_err("held");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
