//! A copy of the ledger that is read file by file, for a backup.
//!
//! It is made as a snapshot is, and lies where snapshots in progress do: it goes with its last handle,
//! and what a crash leaves of it is removed at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_ledger::Ledger;
use toka_ledger::disk::DiskFile;
use toka_ledger::read::{Position, Settings};

use super::{SnapshotDir, SnapshotError, SnapshotStore, is_immutable};
use crate::blocking::Blocking;
use crate::config::SNAPSHOT_CHUNK_BYTES;
use crate::ledger_host::{LedgerHost, contents};
use crate::pace::{Pace, check_rows};

/// BLAKE3 of a file's content.
pub type FileDigest = [u8; 32];

/// A copy of the ledger at one position. It is removed when it and all that read from it are dropped.
#[derive(Clone, Debug)]
pub struct LedgerCopy {
    dir: SnapshotDir,
    settings: Settings,
    files: Arc<[CopyFile]>,
    /// Number of the ledger that it is a copy of.
    ledger: u64,
    digests: Arc<CopyDigests>,
    blocking: Blocking,
}

/// A file of a [`LedgerCopy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
}

/// Consecutive bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyChunk {
    /// Where in the file they begin.
    pub offset: u64,
    /// CRC-32C of `data`.
    pub crc32c: u32,
    /// 1 byte to 1 MiB.
    pub data: Bytes,
}

/// Digests of table files, so that those which did not change since the last copy are not read again.
///
/// A name means the same content only within one ledger directory, and only for files that are never
/// written to once they are complete: nothing else is remembered, and nothing beyond this process.
#[derive(Debug, Default)]
pub(crate) struct CopyDigests(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Number of the ledger that the names are of.
    ledger: u64,
    by_name: BTreeMap<String, (u64, FileDigest)>,
}

/// Makes a copy of what the ledger has applied, and reads all of it at `pace`. All of it is durable.
pub(crate) fn copy(
    host: &LedgerHost,
    store: &SnapshotStore,
    digests: Arc<CopyDigests>,
    blocking: Blocking,
    pace: &mut Pace,
) -> Result<LedgerCopy, SnapshotError> {
    let place = store.place()?;
    let ledger = host.copy(&place.ledger())?;
    // Read from the copy: the ledger has gone on meanwhile.
    let engine = host.storage().open_copy(&place.ledger())?;
    // A backup is not read with checksums on until it is needed: it must be sound when it is made.
    check_rows(&*engine, pace)?;
    if pace.is_cancelled() {
        return Err(SnapshotError::Stopped);
    }
    let contents = contents(Arc::clone(&engine))?;
    let settings = Ledger::read_only(engine)?.0.settings()?;
    let settings = settings.ok_or(SnapshotError::Empty)?;
    let dir = place.received(contents);
    let files: Vec<_> = dir
        .files()?
        .into_iter()
        .map(|(name, size_bytes)| CopyFile { name, size_bytes })
        .collect();
    digests.keep_only(ledger, &files);
    Ok(LedgerCopy {
        dir,
        settings,
        files: files.into(),
        ledger,
        digests,
        blocking,
    })
}

impl LedgerCopy {
    /// Where the vault is in the copy.
    #[must_use]
    pub fn position(&self) -> Position {
        self.dir.contents().position
    }

    /// The vault's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its files, by name.
    #[must_use]
    pub fn files(&self) -> &[CopyFile] {
        &self.files
    }

    /// BLAKE3 of a file that was read to its end before, for this copy or an earlier one.
    #[must_use]
    pub fn known_digest(&self, file: &CopyFile) -> Option<FileDigest> {
        self.digests.get(self.ledger, file)
    }

    /// Reads a file from its beginning.
    #[must_use]
    pub fn read(&self, file: &CopyFile) -> CopyReader {
        CopyReader {
            copy: self.clone(),
            file: file.clone(),
            open: None,
            offset: 0,
            hasher: Box::default(),
        }
    }
}

/// Reads a file of a copy, chunk by chunk, and computes its digest.
#[derive(Debug)]
pub struct CopyReader {
    copy: LedgerCopy,
    file: CopyFile,
    open: Option<Box<dyn DiskFile>>,
    offset: u64,
    hasher: Box<blake3::Hasher>,
}

impl CopyReader {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// [`SnapshotError::File`], also if the file ends early.
    pub async fn next(&mut self) -> Result<Option<CopyChunk>, SnapshotError> {
        let left = self.file.size_bytes - self.offset;
        if left == 0 {
            return Ok(None);
        }
        let len = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(SNAPSHOT_CHUNK_BYTES);
        let (dir, offset, open) = (self.copy.dir.clone(), self.offset, self.open.take());
        let mut hasher = std::mem::take(&mut self.hasher);
        let path = dir.ledger().join(&self.file.name);
        let work = move || {
            let read = dir.read_chunk(open, &path, offset, len);
            let (file, data, crc32c) = read.map_err(SnapshotError::file("read", &path))?;
            hasher.update(&data);
            Ok::<_, SnapshotError>((file, data, crc32c, hasher))
        };
        let (file, data, crc32c, hasher) = self.copy.blocking.run(work).await?;
        self.open = Some(file);
        self.hasher = hasher;
        self.offset += len as u64;
        Ok(Some(CopyChunk {
            offset,
            crc32c,
            data,
        }))
    }

    /// BLAKE3 of the file, which has been read to its end.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn digest(self) -> FileDigest {
        assert_eq!(self.offset, self.file.size_bytes, "read to the end");
        let digest = *self.hasher.finalize().as_bytes();
        self.copy.digests.note(self.copy.ledger, &self.file, digest);
        digest
    }
}

impl CopyDigests {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, ledger: u64, file: &CopyFile) -> Option<FileDigest> {
        let known = self.lock();
        let (size_bytes, digest) = known.by_name.get(&file.name)?;
        (known.ledger == ledger && *size_bytes == file.size_bytes).then_some(*digest)
    }

    fn note(&self, ledger: u64, file: &CopyFile, digest: FileDigest) {
        let mut known = self.lock();
        if known.ledger == ledger && is_immutable(&file.name) {
            let entry = (file.size_bytes, digest);
            known.by_name.insert(file.name.clone(), entry);
        }
    }

    /// Forgets what is in no copy any more: so there are never more than a ledger has files.
    fn keep_only(&self, ledger: u64, files: &[CopyFile]) {
        let mut known = self.lock();
        if known.ledger > ledger {
            // A copy of an older ledger, which was replaced meanwhile.
            return;
        }
        if known.ledger < ledger {
            *known = Known {
                ledger,
                by_name: BTreeMap::new(),
            };
        }
        let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        known
            .by_name
            .retain(|name, _| names.contains(name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size_bytes: u64) -> CopyFile {
        CopyFile {
            name: name.to_owned(),
            size_bytes,
        }
    }

    #[test]
    fn digest_is_known_for_the_same_table_file_of_the_same_ledger_only() {
        let digests = CopyDigests::default();
        let files = [file("000012.sst", 10), file("MANIFEST-000005", 10)];
        digests.keep_only(1, &files);
        for file in &files {
            digests.note(1, file, [7; 32]);
        }
        assert_eq!(digests.get(1, &files[0]), Some([7; 32]));
        assert_eq!(digests.get(1, &files[1]), None, "it is written to");
        assert_eq!(digests.get(1, &file("000012.sst", 11)), None);
        assert_eq!(digests.get(2, &files[0]), None, "another ledger");

        digests.keep_only(2, &files);
        assert_eq!(digests.get(2, &files[0]), None, "another ledger");
        digests.note(1, &files[0], [7; 32]);
        assert_eq!(digests.get(2, &files[0]), None, "noted of the old one");
    }

    #[test]
    fn digests_of_files_that_are_gone_are_forgotten() {
        let digests = CopyDigests::default();
        let (old, new) = (file("1.sst", 1), file("2.sst", 1));
        digests.keep_only(1, std::slice::from_ref(&old));
        digests.note(1, &old, [1; 32]);
        digests.keep_only(1, &[new]);
        assert_eq!(digests.get(1, &old), None);
    }
}
