//! Making a backup: the files that are not there yet come from a node and become objects, then the
//! manifest is written.

use std::collections::{BTreeMap, BTreeSet};

use toka_client::copy::{CopyChunk, CopyFile, CopyHeader, Part};
use toka_client::{Backup, Client, Consistency, CreateBackup};
use toka_ledger::seam::Clock;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::manifest::{File, Manifest, check_name, rfc3339};
use crate::repository::{ObjectInfo, ObjectWriter, Repository};

/// Digests that a node takes.
const KNOWN_FILES_MAX: usize = 131_072;
/// Files of a backup.
const FILES_MAX: u32 = 131_072;

/// Which backup to make.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its name; absent: made of the time and the sequence.
    pub name: Option<String>,
    /// What the node must have applied before.
    pub consistency: Consistency,
    /// Bytes that the node reads to look for damage, for digests, and that it sends, each at most in a second;
    /// 0: no limit.
    pub rate_limit_bytes_per_s: u64,
}

/// What a backup, a check or a restore is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes of files come, or are compared with their checksums.
    Files,
    /// Events are checked.
    Check,
    /// Of a point in time: events are applied again.
    Repeat,
}

/// How far a backup, a check or a restore is. Within a step `done` grows and ends at `total`; a step may be
/// taken several times, each time from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub step: Step,
    /// Bytes or events done.
    pub done: u64,
    /// Bytes or events of this step.
    pub total: u64,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The backup.
    pub manifest: Manifest,
    /// Files that the node sent.
    pub sent_files: u64,
    /// Their size.
    pub sent_bytes: u64,
}

/// Makes a backup of the cluster that `client` knows, in `repository`.
///
/// Files whose content is there already are not sent. If it fails, or is stopped by `stop`, what has come
/// stays, so that the next attempt need not fetch it again; only the manifest makes it a backup.
///
/// # Errors
/// [`Error::InUse`], [`Error::Exists`], [`Error::OtherCluster`], [`Error::Node`], [`Error::Transfer`],
/// [`Error::Storage`], [`Error::NoRoom`] before a file for which a directory has no room, [`Error::Interrupted`],
/// [`Error::Damaged`] if an object that is there is not what it should be.
pub async fn create(
    client: &Client,
    repository: &Repository,
    options: &Options,
    clock: &dyn Clock,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Created, Error> {
    if let Some(name) = &options.name {
        check_name(name)?;
        require_free(repository, name).await?;
    }
    let exclusive = repository.lock()?;
    // One that is damaged is for `verify` to tell, and no reason not to make another.
    let list = repository.list().await?.into_iter();
    let earlier: Vec<_> = list.filter_map(|(_, manifest)| manifest.ok()).collect();
    let objects = known(repository, &earlier).await?;
    let request = CreateBackup {
        consistency: options.consistency,
        known_files: to_name(&objects, &earlier),
        rate_limit_bytes_per_s: options.rate_limit_bytes_per_s,
    };
    let backup = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Interrupted),
        backup = client.create_backup(&request) => backup?,
    };
    let mut receiving = Receiving {
        endpoint: backup.endpoint().to_owned(),
        repository,
        objects,
        header: None,
        files: Vec::new(),
        open: None,
        sent_files: 0,
        sent_bytes: 0,
        done_bytes: 0,
    };
    let received = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::Interrupted),
        received = receiving.receive(backup, &earlier, progress) => received,
    };
    if let Some(open) = receiving.open.take() {
        // The parts of an upload that is not given up are kept, and paid for.
        open.writer.abort().await;
    }
    if received.is_err()
        && let Err(error) = repository.sweep(&exclusive)
    {
        tracing::warn!(%error, "what is half written of a backup cannot be removed");
    }
    received?;
    let Receiving {
        header,
        files,
        sent_files,
        sent_bytes,
        endpoint,
        ..
    } = receiving;
    let header = header.ok_or_else(|| transfer(&endpoint, "it has no header"))?;
    let manifest = manifest(header, files, options, clock.unix_ms());
    require_free(repository, &manifest.name).await?;
    repository.put_manifest(&manifest).await?;
    Ok(Created {
        manifest,
        sent_files,
        sent_bytes,
    })
}

async fn require_free(repository: &Repository, name: &str) -> Result<(), Error> {
    if repository.names().await?.iter().any(|taken| taken == name) {
        return Err(Error::Exists {
            name: name.to_owned(),
            repository: repository.to_string(),
        });
    }
    Ok(())
}

/// What is there already. An object that has another size than a backup says was damaged since, and is
/// fetched again.
async fn known(
    repository: &Repository,
    earlier: &[Manifest],
) -> Result<BTreeMap<[u8; 32], ObjectInfo>, Error> {
    let mut objects = repository.objects().await?;
    for file in earlier.iter().flat_map(|manifest| &manifest.files) {
        let is_damaged = objects
            .get(&file.blake3)
            .is_some_and(|object| object.size_bytes != file.size_bytes);
        if is_damaged {
            objects.remove(&file.blake3);
        }
    }
    Ok(objects)
}

/// The digests that the node is told, those of the last backup first: there may be more than it takes.
fn to_name(objects: &BTreeMap<[u8; 32], ObjectInfo>, earlier: &[Manifest]) -> Vec<[u8; 32]> {
    let newest = earlier.iter().max_by_key(|manifest| manifest.sequence);
    let likely: BTreeSet<_> = newest
        .into_iter()
        .flat_map(|manifest| &manifest.files)
        .map(|file| file.blake3)
        .filter(|digest| objects.contains_key(digest))
        .collect();
    let others = objects.keys().filter(|digest| !likely.contains(*digest));
    likely
        .iter()
        .chain(others)
        .copied()
        .take(KNOWN_FILES_MAX)
        .collect()
}

fn transfer(endpoint: &str, reason: impl Into<String>) -> Error {
    Error::Transfer {
        endpoint: endpoint.to_owned(),
        reason: reason.into(),
    }
}

/// A copy on its way in.
struct Receiving<'a> {
    endpoint: String,
    repository: &'a Repository,
    objects: BTreeMap<[u8; 32], ObjectInfo>,
    header: Option<CopyHeader>,
    files: Vec<File>,
    /// The object that is being written.
    open: Option<Open>,
    sent_files: u64,
    sent_bytes: u64,
    done_bytes: u64,
}

struct Open {
    file: CopyFile,
    offset: u64,
    writer: ObjectWriter,
}

impl Receiving<'_> {
    async fn receive(
        &mut self,
        mut backup: Backup,
        earlier: &[Manifest],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), Error> {
        while let Some(part) = backup.next().await? {
            match part {
                Part::Header(header) => self.begin(header, earlier)?,
                Part::File(file) => self.file(file).await?,
                Part::Chunk(chunk) => self.chunk(chunk).await?,
                Part::End => {
                    self.complete_file().await?;
                    let expected = self.header.as_ref().map_or(0, |header| header.files);
                    if self.files.len() as u64 != u64::from(expected) {
                        let reason = format!("{} of {expected} files came", self.files.len());
                        return Err(self.transfer(reason));
                    }
                }
            }
            progress(Progress {
                step: Step::Files,
                done: self.done_bytes,
                total: self.header.as_ref().map_or(0, |header| header.size_bytes),
            });
        }
        Ok(())
    }

    fn begin(&mut self, header: CopyHeader, earlier: &[Manifest]) -> Result<(), Error> {
        if self.header.is_some() || header.files > FILES_MAX {
            return Err(self.transfer(format!("a header with {} files", header.files)));
        }
        let ours = header.header.cluster_id;
        if let Some(other) = earlier.iter().find(|other| other.cluster_id != ours) {
            return Err(Error::OtherCluster {
                repository: self.repository.to_string(),
                theirs: other.cluster_id,
                ours,
            });
        }
        self.header = Some(header);
        Ok(())
    }

    async fn file(&mut self, file: CopyFile) -> Result<(), Error> {
        self.complete_file().await?;
        if self.header.is_none() || self.files.len() as u64 >= u64::from(FILES_MAX) {
            return Err(self.transfer("a file that was not announced"));
        }
        self.files.push(File {
            name: file.name.clone(),
            size_bytes: file.size_bytes,
            blake3: file.blake3,
        });
        if file.known {
            let found = self
                .objects
                .get(&file.blake3)
                .map(|object| object.size_bytes);
            if found != Some(file.size_bytes) {
                let reason = format!(
                    "it has {} bytes instead of {}; remove it, and the next backup fetches it again",
                    found.unwrap_or(0),
                    file.size_bytes
                );
                let what = self.repository.object_name(&file.blake3);
                return Err(Error::damaged(what, reason));
            }
            self.done_bytes += file.size_bytes;
            return Ok(());
        }
        // Each time: others write to the disk, too.
        self.repository.check_room(&file.blake3, file.size_bytes)?;
        let writer = self.repository.put_object(&file.blake3);
        self.open = Some(Open {
            file,
            offset: 0,
            writer,
        });
        Ok(())
    }

    async fn chunk(&mut self, chunk: CopyChunk) -> Result<(), Error> {
        let len = chunk.data.len() as u64;
        let endpoint = &self.endpoint;
        let open = self.open.as_mut();
        let open = open.ok_or_else(|| transfer(endpoint, "a chunk of no file"))?;
        if len == 0 || chunk.offset != open.offset || open.file.size_bytes - open.offset < len {
            let reason = format!(
                "{len} bytes at {} of {:?}, where byte {} of {} comes next",
                chunk.offset, open.file.name, open.offset, open.file.size_bytes
            );
            return Err(transfer(endpoint, reason));
        }
        open.writer.write(chunk.data).await?;
        open.offset += len;
        self.done_bytes += len;
        Ok(())
    }

    async fn complete_file(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let Open {
            file,
            offset,
            writer,
        } = open;
        if offset != file.size_bytes {
            writer.abort().await;
            let reason = format!(
                "{:?} ends after {offset} of {} bytes",
                file.name, file.size_bytes
            );
            return Err(self.transfer(reason));
        }
        writer.finish().await?;
        self.sent_files += 1;
        self.sent_bytes += file.size_bytes;
        let object = ObjectInfo {
            size_bytes: file.size_bytes,
            modified_unix_ms: 0,
        };
        // The same content may come again under another name.
        self.objects.insert(file.blake3, object);
        Ok(())
    }

    fn transfer(&self, reason: impl Into<String>) -> Error {
        transfer(&self.endpoint, reason)
    }
}

fn manifest(
    header: CopyHeader,
    mut files: Vec<File>,
    options: &Options,
    created_unix_ms: u64,
) -> Manifest {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let sequence = header.header.sequence;
    let name = options
        .name
        .clone()
        .unwrap_or_else(|| name(created_unix_ms, sequence));
    Manifest {
        name,
        created_unix_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_id: header.header.cluster_id,
        history_id: header.header.history_id,
        node_id: header.header.node_id,
        feature_level: header.feature_level,
        revision: header.header.revision,
        sequence,
        unix_ms: header.unix_ms,
        history_root: *header.history_root.as_bytes(),
        state_digest: *header.state_digest.as_bytes(),
        files,
    }
}

/// A name that sorts by time, such as `20261126T171500.123Z-4711`.
fn name(unix_ms: u64, sequence: u64) -> String {
    let time: String = rfc3339(unix_ms)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("{time}-{sequence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> CopyHeader {
        CopyHeader {
            header: toka_client::Header {
                cluster_id: 1,
                history_id: 1,
                node_id: 1,
                term: 1,
                revision: 1,
                sequence: 1,
            },
            feature_level: 1,
            unix_ms: 1,
            history_root: toka_ledger::Digest::ZERO,
            state_digest: toka_ledger::Digest::ZERO,
            files: 2,
            size_bytes: 2,
        }
    }

    #[tokio::test]
    async fn file_for_which_there_is_no_room_is_refused_when_it_comes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = dir.path().to_str().expect("UTF-8");
        let repository = Repository::create(place).expect("created");
        let exclusive = repository.lock().expect("locked");
        let mut receiving = Receiving {
            endpoint: "node".to_owned(),
            repository: &repository,
            objects: BTreeMap::new(),
            header: None,
            files: Vec::new(),
            open: None,
            sent_files: 0,
            sent_bytes: 0,
            done_bytes: 0,
        };
        receiving.begin(header(), &[]).expect("a first header");
        let file = |name: &str, content: &[u8], size_bytes| CopyFile {
            name: name.to_owned(),
            size_bytes,
            blake3: *blake3::hash(content).as_bytes(),
            known: false,
        };
        let small = file("1.sst", b"small", 5);
        receiving.file(small.clone()).await.expect("there is room");
        let chunk = CopyChunk {
            offset: 0,
            data: b"small".to_vec().into(),
        };
        receiving.chunk(chunk).await.expect("written");
        let huge = file("2.sst", b"huge", u64::MAX);
        let name = repository.object_name(&huge.blake3);
        let refused = receiving.file(huge).await.expect_err("there is no room");
        let Error::NoRoom { path, .. } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(*path, name);
        assert!(receiving.open.is_none(), "nothing of it was begun");
        repository
            .sweep(&exclusive)
            .expect("nothing is half written");
        let objects = repository.objects().await.expect("listed");
        assert_eq!(objects.into_keys().collect::<Vec<_>>(), [small.blake3]);
    }

    #[test]
    fn files_of_the_last_backup_are_named_first() {
        let objects = (0..KNOWN_FILES_MAX + 10).map(|number| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let object = ObjectInfo {
                size_bytes: 1,
                modified_unix_ms: 0,
            };
            (digest, object)
        });
        let objects: BTreeMap<_, _> = objects.collect();
        let (last, _) = objects.last_key_value().expect("there are some");
        let header = header();
        let file = |blake3| File {
            name: "1.sst".to_owned(),
            size_bytes: 1,
            blake3,
        };
        // One of them is gone.
        let files = vec![file(*last), file([0xff; 32])];
        let manifest = manifest(header, files, &Options::default(), 1);
        let named = to_name(&objects, &[manifest]);
        assert_eq!(named.len(), KNOWN_FILES_MAX);
        assert_eq!(named[0], *last);
        assert!(!named.contains(&[0xff; 32]));
    }

    #[test]
    fn name_is_made_of_time_and_sequence() {
        let name = name(1_795_713_300_123, 4711);
        assert_eq!(name, "20261126T171500.123Z-4711");
        check_name(&name).expect("it can be used");
    }
}
