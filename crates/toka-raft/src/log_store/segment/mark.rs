//! The mark: a file that keeps the number of the last frame known to be durable.

use std::path::{Path, PathBuf};

use toka_ledger::disk::{Disk, DiskFile, is_unreadable};

#[cfg(feature = "storage")]
use super::format::PAGE_LEN;
use super::format::{MARK_LEN, PAGE, decode_mark, encode_mark};
use crate::log_store::LogError;
use crate::log_store::error::IoContext;

/// Two slots, a page apart, written in turn, so that a torn write leaves the other one.
pub(super) struct Mark {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    log: u64,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("mark")
}

impl Mark {
    /// The last durable frame on record, and the log it belongs to; `None` if there is no record.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<(u64, u64)>, LogError> {
        let path = path(dir);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.doing("open", &path)?,
        };
        let mut latest = None;
        for slot in 0..2 {
            let mut bytes = [0; MARK_LEN];
            match file.read_at(&mut bytes, slot * PAGE) {
                // As a slot that makes no sense: the other one is left, and nobody depends on them.
                Err(error) if is_unreadable(&error) => continue,
                read => read.doing("read", &path)?,
            };
            latest = latest.max(decode_mark(&bytes).map(|(log, frame)| (frame, log)));
        }
        Ok(latest.map(|(frame, log)| (log, frame)))
    }

    /// What is wrong with the file: the other slot, or no mark at all, does for a start.
    #[cfg(feature = "storage")]
    pub(super) fn problem(
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<Option<(PathBuf, String)>, LogError> {
        let path = path(dir);
        let bytes = match disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_unreadable(&error) => return Ok(Some((path, error.to_string()))),
            bytes => bytes.doing("read", &path)?,
        };
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        for (number, page) in bytes.chunks(PAGE_LEN).enumerate() {
            let (slot, rest) = page.split_at(page.len().min(MARK_LEN));
            let is_slot = is_zero(slot) || (number < 2 && decode_mark(slot).is_some());
            if !is_slot || !is_zero(rest) {
                let detail = format!("slot {number} is not what was written; nobody depends on it");
                return Ok(Some((path, detail)));
            }
        }
        Ok(None)
    }

    /// Opens or creates the mark of a log.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, log: u64) -> Result<Self, LogError> {
        let path = path(dir);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                disk.create(&path).doing("create", &path)?
            }
            file => file.doing("open", &path)?,
        };
        Ok(Self { path, file, log })
    }

    /// Notes that `frame` is durable. Not synced: it is a record of the past, not a promise.
    pub(super) fn write(&mut self, frame: u64) -> Result<(), LogError> {
        let slot = frame % 2;
        self.file
            .write_at(&encode_mark(self.log, frame), slot * PAGE)
            .doing("write", &self.path)
    }

    /// Makes the note durable.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.file.sync().doing("sync", &self.path)
    }
}
