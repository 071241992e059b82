//! A disk in memory that forgets, when it crashes, what was not synced.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod directory;
mod file;

use self::directory::{Change, Directory, Node};
use self::file::{Inode, LockGuard, OpenFile};
use super::{Disk, DiskFile, DiskLock, Metadata, Space, parent};

/// Bytes that such a disk is said to have.
const MEMORY_BYTES: u64 = 1 << 40;

/// A [`Disk`] in memory, for tests and simulation. Clones share the disk. Relative paths begin at its
/// root. There are no links but hard ones, and no `..`.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// Its lock is taken before those inside it, and held during each operation that looks a name up or
/// changes something.
#[derive(Default)]
struct State {
    root: Arc<Mutex<Directory>>,
    syncs: u64,
    /// Operations that change something, so far.
    operations: u64,
    /// Operation from which on all fail.
    fails_at: Option<u64>,
    /// Whether the next sync of a file fails.
    sync_fails: bool,
    /// What is said to be left; nothing is ever refused for want of room.
    free_bytes: Option<u64>,
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

    /// From now on `bytes` are said to be free, of 2^40.
    pub fn set_free(&self, bytes: u64) {
        self.state().free_bytes = Some(bytes);
    }

    /// Begins an operation that changes something, and keeps others out until it is done.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operate()?;
        Ok(state)
    }

    /// The disk as a power cut would leave it now. Each unsynced sector is there or not, as `keep`
    /// says; of the unsynced changes of names in a directory a prefix is there. This disk stays as it
    /// is.
    #[must_use]
    pub fn crash(&self, mut keep: impl FnMut() -> bool) -> Self {
        let root = lock(&self.state().root).survivor(&mut keep);
        Self(Arc::new(Mutex::new(State {
            root: Arc::new(Mutex::new(root)),
            ..State::default()
        })))
    }

    /// Replaces a file's bytes, durably, or creates it and the directories above: to damage or
    /// prepare something in a test. The names beside it become durable too.
    ///
    /// # Errors
    /// `IsADirectory`, `NotADirectory` if something else is in the way.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let state = self.state();
        let (above, name) = split(path)?;
        let mut directory = Arc::clone(&state.root);
        for name in above {
            directory = make_durably(&directory, name)?;
        }
        let mut directory = lock(&directory);
        if let Ok(node) = directory.get(name) {
            node.file()?;
        }
        let inode = Arc::new(Mutex::new(Inode::durable(bytes.to_vec())));
        directory.put_durably(name.to_owned(), &Node::File(inode));
        Ok(())
    }

    /// From now on the disk cannot read the sector that holds byte `offset` of the file at `path`, until it is
    /// written again.
    ///
    /// # Errors
    /// `NotFound` if there is no such file; `IsADirectory`.
    pub fn spoil(&self, path: &Path, offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        lock(self.state().node(path)?.file()?).spoil(offset);
        Ok(())
    }

    fn open_as(&self, path: &Path, is_writable: bool) -> io::Result<Box<dyn DiskFile>> {
        let inode = Arc::clone(self.state().node(path)?.file()?);
        Ok(Box::new(OpenFile {
            disk: self.clone(),
            inode,
            is_writable,
        }))
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk")
            .field("operations", &self.operations())
            .finish_non_exhaustive()
    }
}

/// The directory `name` in `directory`, made durably if it is not there.
fn make_durably(
    directory: &Arc<Mutex<Directory>>,
    name: &OsStr,
) -> io::Result<Arc<Mutex<Directory>>> {
    let mut directory = lock(directory);
    if let Ok(node) = directory.get(name) {
        return node.directory().cloned();
    }
    let made = Arc::new(Mutex::new(Directory::default()));
    directory.put_durably(name.to_owned(), &Node::Directory(Arc::clone(&made)));
    Ok(made)
}

/// The names on the way to `path`.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    let name = |component| match component {
        Component::Normal(name) => Some(Ok(name)),
        Component::RootDir | Component::CurDir => None,
        Component::ParentDir | Component::Prefix(_) => Some(Err(invalid(path))),
    };
    path.components().filter_map(name).collect()
}

/// The names on the way to the directory of `path`, and its own.
fn split(path: &Path) -> io::Result<(Vec<&OsStr>, &OsStr)> {
    let mut names = names(path)?;
    let name = names.pop().ok_or_else(|| invalid(path))?;
    Ok((names, name))
}

fn invalid(path: &Path) -> io::Error {
    let path = path.display();
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("not a path on a disk in memory: {path}"),
    )
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        if self.fails_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the disk is failing"));
        }
        self.operations += 1;
        Ok(())
    }

    fn walk(&self, names: &[&OsStr]) -> io::Result<Arc<Mutex<Directory>>> {
        let mut directory = Arc::clone(&self.root);
        for name in names {
            let next = lock(&directory).get(name)?.directory()?.clone();
            directory = next;
        }
        Ok(directory)
    }

    /// The directory that holds `path`, and the name in it.
    fn holder<'a>(&self, path: &'a Path) -> io::Result<(Arc<Mutex<Directory>>, &'a OsStr)> {
        let (above, name) = split(path)?;
        Ok((self.walk(&above)?, name))
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        if names(path)?.is_empty() {
            return Ok(Node::Directory(Arc::clone(&self.root)));
        }
        let (directory, name) = self.holder(path)?;
        let directory = lock(&directory);
        directory.get(name).cloned()
    }

    /// Adds a name that must be free.
    fn add(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let (directory, name) = self.holder(path)?;
        let mut directory = lock(&directory);
        directory.require_absent(name)?;
        self.operate()?;
        directory.change(Change::Add(name.to_owned(), node));
        Ok(())
    }

    fn sync(&mut self, directory: &Mutex<Directory>) -> io::Result<()> {
        self.operate()?;
        lock(directory).sync();
        Ok(())
    }

    /// Empties `directory` name by name, deepest first.
    fn clear(&mut self, directory: &Mutex<Directory>) -> io::Result<()> {
        let names: Vec<OsString> = lock(directory).names().cloned().collect();
        for name in names {
            let node = lock(directory).get(&name)?.clone();
            if let Node::Directory(inner) = node {
                self.clear(&inner)?;
            }
            self.operate()?;
            lock(directory).change(Change::Remove(name));
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut directory = Arc::clone(&state.root);
        for name in names(dir)? {
            let found = lock(&directory).get(name).cloned();
            let next = match found {
                Ok(node) => Arc::clone(node.directory()?),
                Err(_) => {
                    let made = Arc::new(Mutex::new(Directory::default()));
                    let add = Change::Add(name.to_owned(), Node::Directory(Arc::clone(&made)));
                    state.operate()?;
                    lock(&directory).change(add);
                    state.sync(&directory)?;
                    made
                }
            };
            directory = next;
        }
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().add(dir, Node::Directory(Arc::default()))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let (above, name) = state.holder(dir)?;
        let directory = Arc::clone(lock(&above).get(name)?.directory()?);
        state.clear(&directory)?;
        state.operate()?;
        lock(&above).change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state();
        let inode = match state.node(path) {
            Ok(node) => Arc::clone(node.file()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let inode = Arc::<Mutex<Inode>>::default();
                state.add(path, Node::File(Arc::clone(&inode)))?;
                inode
            }
            Err(error) => return Err(error),
        };
        if std::mem::replace(&mut lock(&inode).is_locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(LockGuard(inode)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        let directory = state.walk(&names(dir)?)?;
        let directory = lock(&directory);
        Ok(directory.names().cloned().collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        Ok(match self.state().node(path)? {
            Node::Directory(_) => Metadata::Directory,
            Node::File(inode) => Metadata::File {
                bytes: lock(&inode).len() as u64,
            },
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_as(path, true)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_as(path, false)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = Arc::<Mutex<Inode>>::default();
        self.state().add(path, Node::File(Arc::clone(&inode)))?;
        Ok(Box::new(OpenFile {
            disk: self.clone(),
            inode,
            is_writable: true,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if names(parent(from))? != names(parent(to))? {
            // As the trait says: two directories could not be synced at once.
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let mut state = self.state();
        let (directory, from) = state.holder(from)?;
        let (_, to) = split(to)?;
        let mut directory = lock(&directory);
        directory.check_rename(from, to)?;
        state.operate()?;
        if from != to {
            directory.change(Change::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = Arc::clone(state.node(from)?.file()?);
        state.add(to, Node::File(inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let (directory, name) = state.holder(path)?;
        let mut directory = lock(&directory);
        directory.get(name)?.file()?;
        state.operate()?;
        directory.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.metadata(path)?;
        Ok(Space {
            free_bytes: self.state().free_bytes.unwrap_or(MEMORY_BYTES),
            total_bytes: MEMORY_BYTES,
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let directory = state.walk(&names(dir)?)?;
        state.sync(&directory)
    }
}
