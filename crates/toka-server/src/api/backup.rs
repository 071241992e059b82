//! Copies of the vault for backups.
//!
//! One task for each copy reads its files and hands the parts over through a short queue: it knows how
//! long the caller takes, ends with it, and holds the copy no longer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream;
use toka_proto::convert::backup::{self, Part};
use toka_proto::convert::read::{Header, check_vault};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::snapshot::{CopyFile, FileDigest, LedgerCopy, SnapshotError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Request, Response, Status};

use super::Shared;
use super::vault::Answers;
use crate::limits::{BACKUP_KNOWN_FILES_MAX, BACKUP_PARTS_AHEAD, BACKUP_STALL_TIMEOUT};
use crate::refusal;

type Parts = mpsc::Sender<Result<v1::CreateBackupResponse, Status>>;

pub(super) async fn open(
    shared: &Arc<Shared>,
    request: Request<v1::CreateBackupRequest>,
) -> Result<Response<Answers<v1::CreateBackupResponse>>, Status> {
    let call = shared.admit(&request)?;
    let permit = shared.gates.backups.enter_or_leave("backups")?;
    let request = request.into_inner();
    let known = check_vault(&request.vault)
        .and_then(|()| backup::known_files(&request.known_files, BACKUP_KNOWN_FILES_MAX))
        .map_err(|error| status::invalid(&error))?;
    shared.barrier(&call, request.read).await?;
    shared.audit.note_of(&call.access, "backup.begun", &[]);
    let (parts, queue) = mpsc::channel(BACKUP_PARTS_AHEAD);
    let sending = Sending {
        shared: Arc::clone(shared),
        parts,
        known,
        rate_limit_bytes_per_s: request.rate_limit_bytes_per_s,
        hashing: Pace::new(request.rate_limit_bytes_per_s),
        sending: Pace::new(request.rate_limit_bytes_per_s),
        _permit: permit,
    };
    // It ends with its queue, when the node stops, or when the caller takes too long.
    tokio::spawn(toka_trace::with_current(sending.run()));
    let answers = stream::unfold(queue, |mut queue| async move {
        let part = queue.recv().await?;
        Some((part, queue))
    });
    Ok(Response::new(Box::pin(answers)))
}

/// One copy on its way out.
struct Sending {
    shared: Arc<Shared>,
    parts: Parts,
    /// Contents that the caller has, and those that have been sent.
    known: BTreeSet<FileDigest>,
    /// 0: none. Of the check of the copy, of `hashing` and of `sending`, each.
    rate_limit_bytes_per_s: u64,
    hashing: Pace,
    sending: Pace,
    _permit: OwnedSemaphorePermit,
}

/// Why a copy is not sent to its end.
enum Ended {
    /// The caller is told.
    Failed(Status),
    /// There is nobody to tell.
    CallerIsGone,
}

impl From<SnapshotError> for Ended {
    fn from(error: SnapshotError) -> Self {
        Self::Failed(refusal::copy(&error))
    }
}

impl Sending {
    async fn run(mut self) {
        let draining = self.shared.draining.clone();
        let node_id = self.shared.replica.node_id();
        let parts = self.parts.clone();
        let replica = self.shared.replica.clone();
        tracing::info!(node_id, "making a copy for a backup, and checking it");
        let ended = tokio::select! {
            biased;
            () = draining.cancelled() => Err(Ended::Failed(status::stopping())),
            no_room = replica.no_room() => Err(no_room.into()),
            ended = self.send() => ended,
        };
        match ended {
            Ok(()) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let now = now.unwrap_or_default().as_secs();
                self.shared.backup_ended_unix_s.set(now);
                tracing::info!(node_id, "backup sent");
            }
            Err(Ended::CallerIsGone) => tracing::info!(node_id, "backup broken off by its caller"),
            Err(Ended::Failed(status)) => {
                tracing::warn!(node_id, reason = status.message(), "backup not sent");
                // A caller that takes nothing is not waited for again.
                let _ = parts.try_send(Err(status));
            }
        }
    }

    async fn send(&mut self) -> Result<(), Ended> {
        let copying = self.shared.replica.copy_ledger(self.rate_limit_bytes_per_s);
        let copy = tokio::select! {
            biased;
            // It takes long to read all of a large vault slowly.
            () = self.parts.closed() => return Err(Ended::CallerIsGone),
            copy = copying => copy?,
        };
        let position = copy.position();
        let size_bytes = copy.files().iter().map(|file| file.size_bytes).sum();
        tracing::info!(
            node_id = self.shared.replica.node_id(),
            sequence = position.sequence,
            files = copy.files().len(),
            size_bytes,
            "sending a backup"
        );
        let shared = &self.shared;
        let header = backup::CopyHeader {
            header: Header {
                cluster_id: shared.replica.cluster_id().unwrap_or_default(),
                history_id: shared.history_id(),
                node_id: shared.replica.node_id(),
                term: shared.replica.term(),
                revision: position.revision,
                sequence: position.sequence,
            },
            feature_level: copy.settings().feature_level,
            unix_ms: position.unix_ms,
            history_root: position.history_root,
            state_digest: position.state_digest,
            files: u32::try_from(copy.files().len()).unwrap_or(u32::MAX),
            size_bytes,
        };
        self.part(Part::Header(header)).await?;
        for file in copy.files() {
            self.file(&copy, file).await?;
        }
        self.sending.wait(0).await;
        self.part(Part::End).await
    }

    async fn file(&mut self, copy: &LedgerCopy, file: &CopyFile) -> Result<(), Ended> {
        let digest = self.digest(copy, file).await?;
        let known = !self.known.insert(digest);
        self.part(Part::File(backup::CopyFile {
            name: file.name.clone(),
            size_bytes: file.size_bytes,
            blake3: digest,
            known,
        }))
        .await?;
        if known {
            return Ok(());
        }
        let mut reader = copy.read(file);
        while let Some(chunk) = reader.next().await? {
            self.sending.wait(chunk.data.len()).await;
            self.part(Part::Chunk(backup::CopyChunk {
                offset: chunk.offset,
                data: chunk.data,
            }))
            .await?;
        }
        Ok(())
    }

    /// BLAKE3 of a file. Read first, and sent after: whoever has the content is not sent it.
    async fn digest(&mut self, copy: &LedgerCopy, file: &CopyFile) -> Result<FileDigest, Ended> {
        if let Some(digest) = copy.known_digest(file) {
            return Ok(digest);
        }
        let mut reader = copy.read(file);
        while let Some(chunk) = reader.next().await? {
            self.hashing.wait(chunk.data.len()).await;
            if self.parts.is_closed() {
                return Err(Ended::CallerIsGone);
            }
        }
        Ok(reader.digest())
    }

    async fn part(&self, part: Part) -> Result<(), Ended> {
        match timeout(BACKUP_STALL_TIMEOUT, self.parts.send(Ok(part.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::CallerIsGone),
            Err(_) => {
                let reason = format!("the caller has taken nothing for {BACKUP_STALL_TIMEOUT:?}");
                Err(Ended::Failed(status::no_leader(reason)))
            }
        }
    }
}

/// Keeps to a number of bytes a second.
struct Pace {
    bytes_per_s: u64,
    /// When what was let through so far has had its time.
    free_at: Instant,
}

impl Pace {
    /// 0: as fast as it goes.
    fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s,
            free_at: Instant::now(),
        }
    }

    /// Lets `bytes` through, when those before have had their time. What was not used is not saved up.
    async fn wait(&mut self, bytes: usize) {
        sleep_until(self.due(Instant::now(), bytes)).await;
    }

    /// When `bytes` that are ready `now` may go.
    fn due(&mut self, now: Instant, bytes: usize) -> Instant {
        if self.bytes_per_s == 0 {
            return now;
        }
        let due = self.free_at.max(now);
        let nanos = (bytes as u128) * 1_000_000_000 / u128::from(self.bytes_per_s);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at = due + time;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_is_kept_over_many_pieces_and_not_saved_up() {
        let mut pace = Pace::new(1_000_000);
        let begin = pace.free_at;
        for piece in 0..10 {
            let due = pace.due(begin, 100_000);
            assert_eq!(due - begin, Duration::from_millis(100 * piece));
        }
        let later = begin + Duration::from_secs(60);
        assert_eq!(pace.due(later, 100_000), later);
        let due = pace.due(later, 0);
        assert_eq!(due - later, Duration::from_millis(100));
    }

    #[test]
    fn no_limit_waits_for_nothing() {
        let mut pace = Pace::new(0);
        let now = Instant::now();
        assert_eq!(pace.due(now, usize::MAX), now);
        assert_eq!(pace.due(now, usize::MAX), now);
    }
}
