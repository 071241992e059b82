//! The content of a file, and what a crash would leave of it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use super::{DiskFile, DiskLock, MemoryDisk, lock};

/// The unit in which unsynced bytes reach the platters, or do not, in a crash.
const SECTOR: usize = 512;

/// A file without its names.
#[derive(Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty_sectors: BTreeSet<usize>,
    /// Those that the disk cannot read.
    spoilt_sectors: BTreeSet<usize>,
    pub(super) is_locked: bool,
}

impl Inode {
    /// A file whose content is durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self {
            durable: bytes.clone(),
            bytes,
            dirty_sectors: BTreeSet::new(),
            spoilt_sectors: BTreeSet::new(),
            is_locked: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What a crash leaves: each unsynced sector is there or not, as `keep` says.
    pub(super) fn survivor(&self, keep: &mut dyn FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        for &sector in &self.dirty_sectors {
            if !keep() {
                continue;
            }
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.bytes.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(&self.bytes[start..end]);
        }
        Self {
            spoilt_sectors: self.spoilt_sectors.clone(),
            ..Self::durable(bytes)
        }
    }

    /// See [`MemoryDisk::spoil`].
    pub(super) fn spoil(&mut self, offset: usize) {
        self.spoilt_sectors.insert(offset / SECTOR);
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let start = start.min(self.bytes.len());
        let len = bytes.len().min(self.bytes.len() - start);
        let sectors = start / SECTOR..(start + len).div_ceil(SECTOR);
        if len > 0 && self.spoilt_sectors.range(sectors).next().is_some() {
            return Err(rustix::io::Errno::IO.into());
        }
        bytes[..len].copy_from_slice(&self.bytes[start..start + len]);
        Ok(len)
    }

    fn write_at(&mut self, bytes: &[u8], start: usize) {
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        let sectors = start / SECTOR..end.div_ceil(SECTOR);
        self.spoilt_sectors
            .retain(|sector| !sectors.contains(sector));
        self.dirty_sectors.extend(sectors);
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty_sectors) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.bytes.len());
            self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
        }
    }
}

pub(super) struct OpenFile {
    pub(super) disk: MemoryDisk,
    pub(super) inode: Arc<Mutex<Inode>>,
    pub(super) is_writable: bool,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile")
            .field("bytes", &lock(&self.inode).len())
            .field("is_writable", &self.is_writable)
            .finish_non_exhaustive()
    }
}

impl DiskFile for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.inode).len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        lock(&self.inode).read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.is_writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        // Held until it is done: a crash comes before a write or after it.
        let _operation = self.disk.operate()?;
        lock(&self.inode).write_at(bytes, start);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        state.syncs += 1;
        let mut inode = lock(&self.inode);
        if std::mem::take(&mut state.sync_fails) {
            inode.dirty_sectors.clear();
            return Err(io::Error::other("the disk has failed to write"));
        }
        inode.sync();
        Ok(())
    }
}

/// Keeps others out while it lives.
pub(super) struct LockGuard(pub(super) Arc<Mutex<Inode>>);

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}

impl DiskLock for LockGuard {}

impl Drop for LockGuard {
    fn drop(&mut self) {
        lock(&self.0).is_locked = false;
    }
}
