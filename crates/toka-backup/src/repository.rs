//! Where backups are kept: a directory, or a bucket of S3-compatible storage.
//!
//! ```text
//! objects/<2 digits>/<64 digits>   a file's content, by its BLAKE3
//! backups/<name>                   manifest of a backup, written last
//! LOCK                             of a directory only: held by who writes
//! ```
//!
//! Invariants: an object appears under its name whole, or not at all, and never changes; a manifest
//! appears after all objects that it names. So whatever is interrupted, each backup that is there is
//! complete.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use toka_ledger::disk::{Disk, DiskLock, SystemDisk};
use tokio::io::AsyncWriteExt as _;

use crate::error::Error;
use crate::manifest::{Manifest, check_name};
use crate::place::{self, BACKUPS, LOCK, OBJECTS};

/// BLAKE3 of a file's content.
pub(crate) type FileDigest = [u8; 32];

const S3: &str = "s3://";
/// Between the name of a file and the number of the attempt to write it.
const ATTEMPT: char = '#';
/// A larger object is uploaded in parts of this size,
const PART_BYTES: usize = 8 << 20;
/// of which so many are on their way at once.
const PARTS_MAX: usize = 4;
/// Bytes of a manifest; one with 131,072 files has less.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A place where backups are kept.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    /// In front of every key.
    prefix: Key,
    /// As it was given.
    shown: String,
    directory: Option<PathBuf>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repository").field(&self.shown).finish()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Keeps others from writing to the same directory while it lives.
#[derive(Debug)]
pub(crate) struct Exclusive(
    #[expect(dead_code, reason = "held for its drop")] Option<Box<dyn DiskLock>>,
);

/// An object, and when it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectInfo {
    pub(crate) size_bytes: u64,
    pub(crate) modified_unix_ms: u64,
}

impl Repository {
    /// The repository at `place`: the path of a directory, or `s3://BUCKET/PREFIX`. For the latter the
    /// usual environment variables say where it is and who asks (`AWS_ENDPOINT`, `AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ALLOW_HTTP` and others).
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::NoBackups`] if there is no such directory.
    pub fn open(place: &str) -> Result<Self, Error> {
        match place.strip_prefix(S3) {
            Some(rest) => Self::s3(place, rest),
            None if !SystemDisk.is_dir(Path::new(place)) => Err(Error::NoBackups {
                repository: place.to_owned(),
            }),
            None => Self::directory(place),
        }
    }

    /// As [`Repository::open`], to make backups in; a directory that is not there is made. One that is must be
    /// empty, or a place for backups already, and outside of every data directory.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::InDataDirectory`], [`Error::NotEmpty`], [`Error::File`].
    pub fn create(place: &str) -> Result<Self, Error> {
        if !place.starts_with(S3) {
            let path = Path::new(place);
            place::check(path)?;
            SystemDisk
                .create_dir_all(path)
                .map_err(Error::file("create", path))?;
        }
        Self::open(place)
    }

    fn directory(place: &str) -> Result<Self, Error> {
        let path = Path::new(place);
        let store = LocalFileSystem::new_with_prefix(path)
            .map_err(invalid(place))?
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            prefix: Key::default(),
            shown: place.to_owned(),
            directory: Some(path.to_owned()),
        })
    }

    fn s3(place: &str, rest: &str) -> Result<Self, Error> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::Invalid {
                what: "place for backups",
                text: place.to_owned(),
                reason: "it names no bucket; write s3://BUCKET/PREFIX".to_owned(),
            });
        }
        // The client takes the process's cryptography; that there is one already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(invalid(place))?;
        let prefix = Key::parse(prefix).map_err(|error| Error::Invalid {
            what: "place for backups",
            text: place.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            store: Arc::new(store),
            prefix,
            shown: place.to_owned(),
            directory: None,
        })
    }

    /// Keeps others out, and removes what a crash has left of objects on their way. In a bucket there is
    /// no lock: objects are named by their content, so that two who write do not disturb each other.
    pub(crate) fn lock(&self) -> Result<Exclusive, Error> {
        let Some(directory) = &self.directory else {
            return Ok(Exclusive(None));
        };
        let path = directory.join(LOCK);
        let lock = SystemDisk.lock(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                Error::InUse {
                    path: directory.clone(),
                }
            } else {
                Error::file("lock", &path)(error)
            }
        })?;
        let exclusive = Exclusive(Some(lock));
        self.sweep(&exclusive)?;
        Ok(exclusive)
    }

    /// Removes what is half written in a directory; a store in a bucket does so itself.
    pub(crate) fn sweep(&self, _exclusive: &Exclusive) -> Result<(), Error> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        sweep(&SystemDisk, &directory.join(BACKUPS))?;
        let objects = directory.join(OBJECTS);
        for shard in names(&SystemDisk, &objects)? {
            sweep(&SystemDisk, &objects.join(shard))?;
        }
        Ok(())
    }

    /// Refuses an object of `needed_bytes` for which a directory has no room. Of a bucket nobody can tell.
    pub(crate) fn check_room(&self, digest: &FileDigest, needed_bytes: u64) -> Result<(), Error> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let space = SystemDisk.space(directory);
        let space = space.map_err(Error::file("measure the room on", directory))?;
        // Some file systems of networks do not tell.
        if space.total_bytes > 0 && space.free_bytes < needed_bytes {
            return Err(Error::NoRoom {
                path: self.object_name(digest),
                needed_bytes,
                free_bytes: space.free_bytes,
            });
        }
        Ok(())
    }

    /// Names of all backups, sorted.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn names(&self) -> Result<Vec<String>, Error> {
        let folder = self.folder(BACKUPS);
        let entries: Vec<_> = self
            .store
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(Error::storage("list", &self.shown))?;
        let names = entries.iter().filter_map(|entry| entry.location.filename());
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::NewerFormat`], [`Error::Storage`].
    pub async fn manifest(&self, name: &str) -> Result<Manifest, Error> {
        check_name(name)?;
        let key = self.backup_key(name);
        let shown = self.show(&key);
        let found = match self.store.get(&key).await {
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::NotFound {
                    name: name.to_owned(),
                    repository: self.shown.clone(),
                });
            }
            found => found.map_err(Error::storage("read", &shown))?,
        };
        if found.meta.size > MANIFEST_BYTES_MAX {
            let reason = format!("its manifest has {} bytes", found.meta.size);
            return Err(Error::damaged(format!("backup {name:?}"), reason));
        }
        let bytes = found.bytes().await.map_err(Error::storage("read", shown))?;
        Manifest::decode(name, &bytes)
    }

    /// The manifests of all backups, by name; those that are damaged with what is wrong.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn list(&self) -> Result<Vec<(String, Result<Manifest, Error>)>, Error> {
        let mut list = Vec::new();
        for name in self.names().await? {
            match self.manifest(&name).await {
                // Removed meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(error @ Error::Storage { .. }) => return Err(error),
                manifest => list.push((name, manifest)),
            }
        }
        Ok(list)
    }

    /// The manifests of all backups, in the order of their positions.
    ///
    /// # Errors
    /// As [`Repository::manifest`], for the first one that cannot be read.
    pub async fn manifests(&self) -> Result<Vec<Manifest>, Error> {
        let list = self.list().await?.into_iter();
        let mut manifests = list
            .map(|(_, manifest)| manifest)
            .collect::<Result<Vec<_>, _>>()?;
        manifests.sort_by(Manifest::by_position);
        Ok(manifests)
    }

    /// Writes a manifest, and with it makes the backup one.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let key = self.backup_key(&manifest.name);
        let written = self.store.put(&key, manifest.encode().into()).await;
        written.map_err(Error::storage("write", self.show(&key)))?;
        Ok(())
    }

    /// Removes a manifest; its objects stay.
    pub(crate) async fn delete_manifest(&self, name: &str) -> Result<(), Error> {
        let key = self.backup_key(name);
        let removed = self.store.delete(&key).await;
        removed.map_err(Error::storage("remove", self.show(&key)))
    }

    /// All objects, also those that no backup names.
    pub(crate) async fn objects(&self) -> Result<BTreeMap<FileDigest, ObjectInfo>, Error> {
        let folder = self.folder(OBJECTS);
        let mut objects = BTreeMap::new();
        let mut entries = self.store.list(Some(&folder));
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(Error::storage("list", &self.shown))?;
            let digest = entry
                .location
                .filename()
                .and_then(|name| blake3::Hash::from_hex(name).ok());
            if let Some(digest) = digest {
                let modified = entry.last_modified.timestamp_millis();
                objects.insert(
                    *digest.as_bytes(),
                    ObjectInfo {
                        size_bytes: entry.size,
                        modified_unix_ms: u64::try_from(modified).unwrap_or(0),
                    },
                );
            }
        }
        Ok(objects)
    }

    /// Begins to write an object.
    pub(crate) fn put_object(&self, digest: &FileDigest) -> ObjectWriter {
        let key = self.object_key(digest);
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), key.clone(), PART_BYTES);
        ObjectWriter {
            shown: self.show(&key),
            writer: writer.with_max_concurrency(PARTS_MAX),
            hasher: Box::default(),
            expected: *digest,
        }
    }

    /// The content of an object, piece by piece, and its size; `None` if there is none.
    pub(crate) async fn object(
        &self,
        digest: &FileDigest,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes, Error>>)>, Error> {
        let key = self.object_key(digest);
        let shown = self.show(&key);
        let found = match self.store.get(&key).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(Error::storage("read", &shown))?,
        };
        let size = found.meta.size;
        let pieces = found
            .into_stream()
            .map_err(move |error| Error::storage("read", &shown)(error));
        Ok(Some((size, pieces.boxed())))
    }

    /// Removes an object.
    pub(crate) async fn delete_object(&self, digest: &FileDigest) -> Result<(), Error> {
        let key = self.object_key(digest);
        let removed = self.store.delete(&key).await;
        removed.map_err(Error::storage("remove", self.show(&key)))
    }

    /// How an object is called in messages.
    pub(crate) fn object_name(&self, digest: &FileDigest) -> String {
        self.show(&self.object_key(digest))
    }

    /// How a manifest is called in messages.
    pub(crate) fn manifest_name(&self, name: &str) -> String {
        self.show(&self.backup_key(name))
    }

    fn folder(&self, name: &str) -> Key {
        self.prefix.clone().join(name)
    }

    fn backup_key(&self, name: &str) -> Key {
        self.folder(BACKUPS).join(name)
    }

    fn object_key(&self, digest: &FileDigest) -> Key {
        let name = blake3::Hash::from_bytes(*digest).to_hex();
        self.folder(OBJECTS).join(&name[..2]).join(name.as_str())
    }

    fn show(&self, key: &Key) -> String {
        match &self.directory {
            Some(directory) => directory.join(key.as_ref()).display().to_string(),
            None => {
                let bucket = self.shown[S3.len()..].split('/').next().unwrap_or_default();
                format!("{S3}{bucket}/{key}")
            }
        }
    }
}

/// For `map_err`: the place cannot be used.
fn invalid(place: &str) -> impl FnOnce(object_store::Error) -> Error {
    let text = place.to_owned();
    move |error| Error::Invalid {
        what: "place for backups",
        text,
        reason: error.to_string(),
    }
}

fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(Error::file("list", dir)),
    }
}

/// Removes files in `dir` that were left half written, under names of their own.
fn sweep(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for name in names(disk, dir)? {
        if name.to_string_lossy().contains(ATTEMPT) {
            let path = dir.join(name);
            match disk.remove(&path) {
                // Whoever gave the upload up was quicker.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(Error::file("remove", &path))?,
            }
        }
    }
    Ok(())
}

/// An object on its way. It appears when it is finished, and only if its content has its digest.
pub(crate) struct ObjectWriter {
    writer: BufWriter,
    shown: String,
    hasher: Box<blake3::Hasher>,
    expected: FileDigest,
}

impl ObjectWriter {
    /// Adds to it. Waits while as much as may be is on its way.
    pub(crate) async fn write(&mut self, data: Bytes) -> Result<(), Error> {
        self.hasher.update(&data);
        let written = self.writer.put(data).await;
        written.map_err(Error::storage("write", &self.shown))
    }

    /// Completes it.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        if *self.hasher.finalize().as_bytes() != self.expected {
            let what = self.shown.clone();
            self.abort().await;
            return Err(Error::damaged(what, "its content was altered on the way"));
        }
        self.writer.shutdown().await.map_err(|source| {
            Error::storage("write", &self.shown)(object_store::Error::Generic {
                store: "writer",
                source: Box::new(source),
            })
        })
    }

    /// Gives it up, and what was sent of it.
    pub(crate) async fn abort(mut self) {
        if let Err(error) = self.writer.abort().await {
            tracing::warn!(%error, object = self.shown, "cannot give up an upload");
        }
    }
}
