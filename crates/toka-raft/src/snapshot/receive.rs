//! Receiving a snapshot from the leader, and checking it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::disk::DiskFile;
use toka_proto::raft_v1 as pb;

use super::store::Incoming;
use super::verify::verify;
use super::{Contents, Place, SnapshotDir, SnapshotError, SnapshotStore};
use crate::blocking::Blocking;
use crate::codec::decode_stored_membership;
use crate::config::SNAPSHOT_CHUNK_BYTES;
use crate::headroom::Headroom;
use crate::layout::sync_files;
use crate::storage::Storage;
use crate::type_config::SnapshotMeta;
use crate::wire;

/// Files of a snapshot. RocksDB's table files have tens of megabytes each.
const FILES_MAX: usize = 1 << 20;

/// A snapshot on its way in. Dropped before its end, it removes what it has written.
pub(crate) struct Receiver {
    contents: Contents,
    files: Vec<pb::SnapshotFile>,
    writer: Option<Writer>,
    storage: Arc<dyn Storage>,
    blocking: Blocking,
    headroom: Headroom,
    /// Bytes that are still to come.
    left_bytes: u64,
    incoming: Incoming,
}

/// The part that works on the disk.
struct Writer {
    place: Place,
    /// Index of the file that is being received, and how much of it there is.
    file_index: usize,
    offset: u64,
    open: Option<(Box<dyn DiskFile>, PathBuf)>,
}

impl Receiver {
    /// Begins with the manifest.
    ///
    /// # Errors
    /// [`SnapshotError::NoRoom`] if the disk cannot hold what it lists: written until the disk is full, it
    /// would stop the node, whose other files grow too.
    pub(crate) async fn begin(
        store: &Arc<SnapshotStore>,
        storage: Arc<dyn Storage>,
        blocking: Blocking,
        headroom: &Headroom,
        manifest: pb::SnapshotManifest,
    ) -> Result<Self, SnapshotError> {
        let incoming = store.incoming()?;
        let contents = contents(&manifest)?;
        contents.check_level()?;
        check_names(&manifest.files)?;
        let sizes = manifest.files.iter().map(|file| file.size_bytes);
        let left_bytes = sizes.fold(0, u64::saturating_add);
        let place = {
            let (store, headroom) = (Arc::clone(store), headroom.clone());
            let begin = move || {
                headroom.admit(left_bytes)?;
                create(&store)
            };
            blocking.run(begin).await?
        };
        let writer = Writer {
            place,
            file_index: 0,
            offset: 0,
            open: None,
        };
        let files = manifest.files;
        Ok(Self {
            contents,
            files,
            writer: Some(writer),
            storage,
            blocking,
            headroom: headroom.clone(),
            left_bytes,
            incoming,
        })
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Takes the next chunk. The caller asks the network for another one only when this returns: so
    /// the disk's speed is the sender's.
    pub(crate) async fn chunk(&mut self, chunk: pb::SnapshotChunk) -> Result<(), SnapshotError> {
        let mut writer = self.take_writer()?;
        let files = std::mem::take(&mut self.files);
        let (headroom, left_bytes) = (self.headroom.clone(), self.left_bytes);
        self.left_bytes = left_bytes.saturating_sub(chunk.data.len() as u64);
        let work = move || {
            let has_room = headroom.check_rest(left_bytes);
            let result = has_room.and_then(|()| writer.write(&files, &chunk));
            (result, writer, files)
        };
        let (result, writer, files) = self.blocking.run(work).await;
        self.writer = Some(writer);
        self.files = files;
        result
    }

    /// Makes all of it durable and checks it. Whoever holds the second part keeps further transfers
    /// to this node out.
    pub(crate) async fn finish(mut self) -> Result<(SnapshotDir, IncomingGuard), SnapshotError> {
        let writer = self.take_writer()?;
        let Self {
            contents,
            files,
            storage,
            blocking,
            incoming,
            ..
        } = self;
        let work = move || -> Result<SnapshotDir, SnapshotError> {
            let place = writer.finish(&files)?;
            verify(&*storage, &place.ledger(), &contents)?;
            let disk = place.disk();
            contents.write(disk, place.dir())?;
            disk.sync_dir(place.dir())
                .map_err(SnapshotError::file("sync", place.dir()))?;
            Ok(place.received(contents))
        };
        let snapshot = blocking.run(work).await?;
        Ok((snapshot, IncomingGuard(incoming)))
    }

    fn take_writer(&mut self) -> Result<Writer, SnapshotError> {
        self.writer
            .take()
            .ok_or_else(|| SnapshotError::transfer("the transfer was interrupted"))
    }
}

/// Keeps further transfers to this node out while it lives.
pub(crate) struct IncomingGuard(#[expect(dead_code, reason = "held for its drop")] Incoming);

fn create(store: &SnapshotStore) -> Result<Place, SnapshotError> {
    let place = store.place()?;
    let dir = place.ledger();
    place
        .disk()
        .create_dir(&dir)
        .map_err(SnapshotError::file("create", &dir))?;
    Ok(place)
}

fn contents(manifest: &pb::SnapshotManifest) -> Result<Contents, SnapshotError> {
    let invalid = |error: wire::WireError| SnapshotError::transfer(error.to_string());
    let membership = decode_stored_membership(&manifest.membership)
        .map_err(|error| SnapshotError::transfer(error.to_string()))?;
    Ok(Contents {
        meta: SnapshotMeta {
            last_log_id: wire::log_id_from(manifest.last_log_id),
            last_membership: membership,
        },
        position: wire::position_from(manifest.position.as_ref()).map_err(invalid)?,
        feature_level: manifest.feature_level,
    })
}

/// What [`Receiver::begin`] checks before it takes anything.
#[cfg(fuzzing)]
pub(crate) fn check_manifest(manifest: &pb::SnapshotManifest) -> Result<(), SnapshotError> {
    contents(manifest)?.check_level()?;
    check_names(&manifest.files)
}

/// A name from the network must not lead out of the directory.
fn check_names(files: &[pb::SnapshotFile]) -> Result<(), SnapshotError> {
    if files.len() > FILES_MAX {
        return Err(SnapshotError::transfer(format!("{} files", files.len())));
    }
    let mut names = BTreeSet::new();
    for pb::SnapshotFile { name, .. } in files {
        let is_plain = Path::new(name)
            .file_name()
            .is_some_and(|plain| plain == name.as_str());
        if !is_plain || !super::is_part_of_copy(name) || !names.insert(name) {
            return Err(SnapshotError::transfer(format!("the file name {name:?}")));
        }
    }
    Ok(())
}

impl Writer {
    fn write(
        &mut self,
        files: &[pb::SnapshotFile],
        chunk: &pb::SnapshotChunk,
    ) -> Result<(), SnapshotError> {
        self.create_through(files, chunk.file_index as usize)?;
        let Some(file) = files.get(self.file_index) else {
            return Err(SnapshotError::transfer("a chunk after the last file"));
        };
        let len = chunk.data.len() as u64;
        if len == 0
            || chunk.data.len() > SNAPSHOT_CHUNK_BYTES
            || chunk.file_index as usize != self.file_index
            || chunk.offset != self.offset
            || file.size_bytes - self.offset < len
        {
            return Err(SnapshotError::transfer(format!(
                "a chunk of {len} bytes at {} of file {}, expected at {} of file {} of {} bytes",
                chunk.offset, chunk.file_index, self.offset, self.file_index, file.size_bytes
            )));
        }
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(SnapshotError::transfer(format!(
                "the checksum of {:?} at byte {} does not match",
                file.name, chunk.offset
            )));
        }
        if self.open.is_none() {
            self.open = Some(self.create(&file.name)?);
        }
        let (open, path) = self.open.as_mut().expect("opened above");
        open.write_at(&chunk.data, chunk.offset)
            .map_err(SnapshotError::file("write", path))?;
        self.offset += len;
        Ok(())
    }

    /// Completes files before the one at `index`: a file that is complete is synced and closed, an
    /// empty one is created, another one is an error.
    fn create_through(
        &mut self,
        files: &[pb::SnapshotFile],
        index: usize,
    ) -> Result<(), SnapshotError> {
        while self.file_index < index.min(files.len()) {
            let file = &files[self.file_index];
            if self.offset != file.size_bytes {
                return Err(SnapshotError::transfer(format!(
                    "{:?} ends after {} of {} bytes",
                    file.name, self.offset, file.size_bytes
                )));
            }
            let (open, path) = match self.open.take() {
                Some(open) => open,
                None => self.create(&file.name)?,
            };
            open.sync().map_err(SnapshotError::file("sync", &path))?;
            self.file_index += 1;
            self.offset = 0;
        }
        Ok(())
    }

    fn create(&self, name: &str) -> Result<(Box<dyn DiskFile>, PathBuf), SnapshotError> {
        let path = self.place.ledger().join(name);
        let file = self.place.disk().create(&path);
        let file = file.map_err(SnapshotError::file("create", &path))?;
        Ok((file, path))
    }

    fn finish(mut self, files: &[pb::SnapshotFile]) -> Result<Place, SnapshotError> {
        self.create_through(files, files.len())?;
        let dir = self.place.ledger();
        sync_files(self.place.disk(), &dir).map_err(SnapshotError::file("sync", &dir))?;
        Ok(self.place)
    }
}
