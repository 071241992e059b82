//! A disk in memory that forgets, when it crashes, what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// The unit in which unsynced bytes reach the platters, or do not, in a crash.
const SECTOR: usize = 512;

/// A [`Disk`] in memory, for tests and simulation. Clones share the disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    /// Names as of the last sync of their directory, and what was done to them since, in order.
    durable_names: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    unsynced: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    syncs: u64,
    /// Operations that change something, so far.
    operations: u64,
    /// Operation from which on all fail.
    fails_at: Option<u64>,
    /// Whether the next sync of a file fails.
    sync_fails: bool,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, Arc<Mutex<Inode>>),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty_sectors: BTreeSet<usize>,
}

#[derive(Debug)]
struct OpenFile {
    disk: MemoryDisk,
    inode: Arc<Mutex<Inode>>,
}

struct LockGuard(MemoryDisk, PathBuf);

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Number of file syncs so far (directories do not count).
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Number of operations so far that change something: writes, syncs, changes of names.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// After `operations` more such operations, all fail, as if the device were gone.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.state();
        state.fails_at = Some(state.operations + operations);
    }

    /// The next sync of a file fails as Linux fails it: what was written stays readable and counts as
    /// written back, so that later syncs succeed, but it is not durable.
    pub fn fail_next_sync(&self) {
        self.state().sync_fails = true;
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.fails_at.is_some_and(|at| state.operations >= at) {
            return Err(io::Error::other("the disk is failing"));
        }
        state.operations += 1;
        Ok(state)
    }

    /// The disk as a power cut would leave it now. Each unsynced sector is there or not, as `keep`
    /// says; of the changes of names a prefix is there, as in a journalling file system. This disk
    /// stays as it is.
    #[must_use]
    pub fn crash(&self, mut keep: impl FnMut() -> bool) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for change in &state.unsynced {
            if !keep() {
                break;
            }
            apply(&mut names, change);
        }
        let survive = |inode: &Arc<Mutex<Inode>>, keep: &mut dyn FnMut() -> bool| {
            let inode = lock(inode);
            let mut bytes = inode.durable.clone();
            for &sector in &inode.dirty_sectors {
                if !keep() {
                    continue;
                }
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(inode.bytes.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(&inode.bytes[start..end]);
            }
            let durable = bytes.clone();
            Arc::new(Mutex::new(Inode {
                bytes,
                durable,
                dirty_sectors: BTreeSet::new(),
            }))
        };
        let names: BTreeMap<_, _> = names
            .into_iter()
            .map(|(path, inode)| (path, survive(&inode, &mut keep)))
            .collect();
        Self(Arc::new(Mutex::new(State {
            durable_names: names.clone(),
            names,
            ..State::default()
        })))
    }

    /// All bytes of a file, durable or not.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.state().names.get(path)?.clone();
        let bytes = lock(&inode).bytes.clone();
        Some(bytes)
    }

    /// Replaces a file's bytes, durably: to damage them in a test.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) {
        let inode = Inode {
            bytes: bytes.to_vec(),
            durable: bytes.to_vec(),
            dirty_sectors: BTreeSet::new(),
        };
        let inode = Arc::new(Mutex::new(inode));
        let mut state = self.state();
        state.names.insert(path.to_owned(), Arc::clone(&inode));
        state.durable_names.insert(path.to_owned(), inode);
    }

    fn change(&self, change: NameChange) -> io::Result<()> {
        let mut state = self.operate()?;
        apply(&mut state.names, &change);
        state.unsynced.push(change);
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Arc<Mutex<Inode>>>, change: &NameChange) {
    match change {
        NameChange::Add(path, inode) => {
            names.insert(path.clone(), Arc::clone(inode));
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        if !self.state().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(LockGuard(self.clone(), path.to_owned())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self
            .state()
            .names
            .get(path)
            .cloned()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(OpenFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.state().names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Mutex::new(Inode::default()));
        self.change(NameChange::Add(path.to_owned(), Arc::clone(&inode)))?;
        Ok(Box::new(OpenFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(NameChange::Remove(path.to_owned()))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        state.durable_names = state.names.clone();
        state.unsynced.clear();
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.inode).bytes.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let inode = lock(&self.inode);
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(inode.bytes.len());
        let len = bytes.len().min(inode.bytes.len() - start);
        bytes[..len].copy_from_slice(&inode.bytes[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        drop(self.disk.operate()?);
        let mut inode = lock(&self.inode);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + bytes.len();
        if inode.bytes.len() < end {
            inode.bytes.resize(end, 0);
        }
        inode.bytes[start..end].copy_from_slice(bytes);
        inode
            .dirty_sectors
            .extend(start / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        state.syncs += 1;
        let fails = std::mem::take(&mut state.sync_fails);
        let mut inode = lock(&self.inode);
        if fails {
            inode.dirty_sectors.clear();
            return Err(io::Error::other("the disk has failed to write"));
        }
        let Inode {
            bytes,
            durable,
            dirty_sectors,
        } = &mut *inode;
        durable.resize(bytes.len(), 0);
        for sector in std::mem::take(dirty_sectors) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(bytes.len());
            durable[start..end].copy_from_slice(&bytes[start..end]);
        }
        Ok(())
    }
}
