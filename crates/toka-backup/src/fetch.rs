//! Reading a backup's objects, each of them checked.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use toka_ledger::disk::{Disk, DiskFile, SystemDisk};
use tokio::sync::mpsc;

use crate::create::{Progress, Step};
use crate::error::Error;
use crate::manifest::{File, Manifest};
use crate::repository::Repository;

/// What [`off_reactor_telling`] has told and was not listened to yet.
const TOLD_MAX: usize = 16;

/// Reads every object of a backup to its end, and compares size and digest with the manifest's.
pub(crate) async fn check_objects(
    repository: &Repository,
    manifest: &Manifest,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), Error> {
    let mut counter = Counter::new(manifest, progress);
    let mut checked = BTreeSet::new();
    for file in &manifest.files {
        if checked.insert(file.blake3) {
            read(repository, manifest, file, None, &mut counter).await?;
        } else {
            counter.add(file.size_bytes);
        }
    }
    Ok(())
}

/// Puts a backup's files into the directory `dir`, which is there and empty, each checked and synced.
pub(crate) async fn fetch(
    repository: &Repository,
    manifest: &Manifest,
    dir: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), Error> {
    let mut counter = Counter::new(manifest, progress);
    for file in &manifest.files {
        let path = dir.join(&file.name);
        read(repository, manifest, file, Some(&path), &mut counter).await?;
    }
    SystemDisk.sync_dir(dir).map_err(Error::file("sync", dir))
}

struct Counter<'a> {
    progress: &'a mut (dyn FnMut(Progress) + Send),
    done_bytes: u64,
    total_bytes: u64,
}

impl<'a> Counter<'a> {
    fn new(manifest: &Manifest, progress: &'a mut (dyn FnMut(Progress) + Send)) -> Self {
        Self {
            progress,
            done_bytes: 0,
            total_bytes: manifest.size_bytes(),
        }
    }

    fn add(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        (self.progress)(Progress {
            step: Step::Files,
            done: self.done_bytes,
            total: self.total_bytes,
        });
    }
}

/// Reads the object of a file to its end, and writes it to `path` on the way.
async fn read(
    repository: &Repository,
    manifest: &Manifest,
    file: &File,
    path: Option<&Path>,
    counter: &mut Counter<'_>,
) -> Result<(), Error> {
    let what = format!("backup {:?}", manifest.name);
    let object = repository.object_name(&file.blake3);
    let damaged = |reason: String| Error::damaged(what.clone(), format!("{object} {reason}"));
    let found = repository.object(&file.blake3).await?;
    let (size, mut pieces) = found.ok_or_else(|| damaged("is missing".to_owned()))?;
    if size != file.size_bytes {
        let size_bytes = file.size_bytes;
        return Err(damaged(format!("has {size} bytes instead of {size_bytes}")));
    }
    let mut writer = path.map(FileWriter::create).transpose()?;
    let mut hasher: Box<blake3::Hasher> = Box::default();
    let mut offset = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        hasher.update(&piece);
        if let Some(writer) = &mut writer {
            writer.write(piece.clone(), offset).await?;
        }
        offset += piece.len() as u64;
        counter.add(piece.len() as u64);
    }
    if offset != file.size_bytes || *hasher.finalize().as_bytes() != file.blake3 {
        return Err(damaged(format!(
            "was altered: its content is not that of {}",
            file.name
        )));
    }
    match writer {
        Some(writer) => writer.sync().await,
        None => Ok(()),
    }
}

/// A file that is written off the reactor.
struct FileWriter {
    file: Arc<dyn DiskFile>,
    path: std::path::PathBuf,
}

impl FileWriter {
    fn create(path: &Path) -> Result<Self, Error> {
        let file = SystemDisk
            .create(path)
            .map_err(Error::file("create", path))?;
        Ok(Self {
            file: file.into(),
            path: path.to_owned(),
        })
    }

    async fn write(&self, data: bytes::Bytes, offset: u64) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        let written = off_reactor(move || file.write_at(&data, offset)).await;
        written.map_err(Error::file("write", &self.path))
    }

    async fn sync(self) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        let synced = off_reactor(move || file.sync()).await;
        synced.map_err(Error::file("sync", &self.path))
    }
}

/// Runs what blocks.
pub(crate) async fn off_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down, and drops this task too.
            Err(_) => std::future::pending().await,
        },
    }
}

/// As [`off_reactor`]; how far `work` says that it is comes to `progress`, all of it and in order, before this
/// returns.
pub(crate) async fn off_reactor_telling<T: Send + 'static>(
    progress: &mut (dyn FnMut(Progress) + Send),
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> T + Send + 'static,
) -> T {
    let (tell, mut told) = mpsc::channel(TOLD_MAX);
    let working = off_reactor(move || {
        work(&mut |now| {
            // It fails when nobody waits for the work any more.
            let _ = tell.blocking_send(now);
        })
    });
    let listening = async {
        while let Some(now) = told.recv().await {
            progress(now);
        }
    };
    tokio::join!(working, listening).0
}
