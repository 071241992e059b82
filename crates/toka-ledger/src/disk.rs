//! Files and directories: the seam between what the vault keeps and the disk that it is kept on.
//!
//! Everything but the storage engine's own files goes through it, so that a whole node can live in
//! memory and lose its power: [`SystemDisk`] is the operating system's file system, [`MemoryDisk`] one
//! that forgets, when it crashes, what was not synced.
//!
//! Invariants of every implementation, which are those of POSIX and no more:
//! - the content of a file is durable after [`DiskFile::sync`], its name after [`Disk::sync_dir`] of the
//!   directory that holds it, and neither says anything about the other;
//! - a rename is atomic: a crash leaves the old name or the new one;
//! - changes of names in one directory become durable in their order.
//!
//! All calls block: keep them off the reactor.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;

mod memory;
mod system;
#[cfg(test)]
mod tests;

pub use self::memory::MemoryDisk;
pub use self::system::SystemDisk;

/// Bytes that [`Disk::copy`] moves at a time.
const COPY_BYTES: usize = 1 << 20;

/// What is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its size.
        bytes: u64,
    },
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Files in directories.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Creates `dir` and those above it, durably. Nothing happens where it is there already.
    ///
    /// # Errors
    /// `NotADirectory` or `AlreadyExists` if a file is in the way; the operating system's.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Creates `dir` in a directory that is there. Durable after [`Disk::sync_dir`] of that one.
    ///
    /// # Errors
    /// `AlreadyExists` if there is something; the operating system's.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes `dir` with all that is in it, one name after the other: a crash may leave a part.
    /// Durable after [`Disk::sync_dir`] of the directory above.
    ///
    /// # Errors
    /// `NotFound` if there is none; the operating system's.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Locks `path` (creating it) until the returned value is dropped.
    ///
    /// # Errors
    /// `WouldBlock` if somebody else holds it, in this process or in another one.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Names in `dir`, sorted.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// What is under `path`.
    ///
    /// # Errors
    /// `NotFound` if nothing is; the operating system's.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if there is none; the operating system's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading and syncing: writes to it fail.
    ///
    /// # Errors
    /// `NotFound` if there is none; the operating system's.
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates an empty file for reading and writing. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists` if there is one; the operating system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file or a directory within the directory that holds it; a file that has the new name
    /// is replaced. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives the file at `from` a second name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; the operating system's.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` if there is none; the operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room on what `path`, which is there, is on.
    ///
    /// # Errors
    /// The operating system's.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Whether `path` is a directory. `false` also where nobody can tell.
    fn is_dir(&self, path: &Path) -> bool {
        matches!(self.metadata(path), Ok(Metadata::Directory))
    }

    /// Whether there is something under `path`. `false` also where nobody can tell.
    fn exists(&self, path: &Path) -> bool {
        self.metadata(path).is_ok()
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// `NotFound` if there is none; the operating system's.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open_to_read(path)?;
        let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Creates a file with `bytes` and syncs it. Its name is durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As [`Disk::create`]; the operating system's.
    fn create_with(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.create(path)?;
        file.write_at(bytes, 0)?;
        file.sync()
    }

    /// Replaces the content of the file at `path`, or creates it, durably and as a whole: a crash
    /// leaves the old content or the new. `temporary`, in the same directory, is overwritten on the way.
    ///
    /// # Errors
    /// The operating system's.
    fn replace(&self, path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.create_with(temporary, bytes) {
            // What a crash has left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(temporary)?;
                self.create_with(temporary, bytes)?;
            }
            written => written?,
        }
        self.rename(temporary, path)?;
        self.sync_dir(parent(path))
    }

    /// Copies a file to a name that is free. Nothing of it is durable yet.
    ///
    /// # Errors
    /// The operating system's.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.open_to_read(from)?, self.create(to)?);
        let mut bytes = vec![0; COPY_BYTES];
        let mut offset = 0;
        loop {
            let read = from.read_at(&mut bytes, offset)?;
            if read == 0 {
                return Ok(());
            }
            to.write_at(&bytes[..read], offset)?;
            offset += read as u64;
        }
    }
}

/// One open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Size in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn size(&self) -> io::Result<u64>;

    /// Reads from `offset` on until `bytes` is full or the file ends; returns the number read.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Says that all of the file will be read soon, for those that can make use of it.
    fn read_soon(&self) {}

    /// Writes all of `bytes` at `offset`, extending the file if need be.
    ///
    /// # Errors
    /// The operating system's; it is then unknown how much was written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what has been written durable, and the length if it has grown.
    ///
    /// # Errors
    /// The operating system's; it is then unknown what is durable, and a second call proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// A lock that is held while it lives. See [`Disk::lock`].
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// Whether `error` says that the medium cannot give back what was written to it: as good as damaged.
#[must_use]
pub fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// The directory that holds `path`.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
