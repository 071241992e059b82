//! Sending a snapshot to a follower: the manifest, then each file in chunks.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, stream};
use openraft::errors::{ReplicationClosed, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::SnapshotOf;
use toka_ledger::disk::DiskFile;
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::install_snapshot_request::Part;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::{SnapshotDir, SnapshotStore};
use crate::blocking::Blocking;
use crate::codec::encode_stored_membership;
use crate::config::SNAPSHOT_CHUNK_BYTES;
use crate::ticker::ticker;
use crate::type_config::{TypeConfig, Vote};
use crate::wire;

/// A receiver that takes no chunk for this long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a receiver checks and makes durable in a second, at least, once it has all chunks.
const RECEIVER_BYTES_PER_S: u64 = 8 << 20;
const STALL_CHECK: Duration = Duration::from_secs(1);

type SendError = StreamingError<TypeConfig>;

/// What a transfer needs.
pub(crate) struct Outgoing {
    pub(crate) client: RaftServiceClient<Channel>,
    pub(crate) peer: pb::Peer,
    pub(crate) store: Arc<SnapshotStore>,
    pub(crate) blocking: Blocking,
    /// Is told why the receiver did not take it.
    pub(crate) refused: Box<dyn Fn(&tonic::Status) + Send + Sync>,
}

/// Sends `snapshot` and waits until the follower has installed it. HTTP/2's window is the flow
/// control: the next chunk is read when the last one has left, so memory is bounded by the window.
/// openraft puts no timeout around this (docs/openraft.md, section 5): it ends with `cancel`, with a
/// connection that answers no pings, when no chunk is taken for [`STALL_TIMEOUT`], or when the
/// receiver takes longer than a very slow disk would to check what it has.
pub(crate) async fn send(
    outgoing: Outgoing,
    vote: Vote,
    snapshot: SnapshotOf<TypeConfig, SnapshotDir>,
    cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Result<SnapshotResponse<TypeConfig>, SendError> {
    let Outgoing {
        mut client,
        peer,
        store,
        blocking,
        refused,
    } = outgoing;
    let to = peer.to;
    let dir = snapshot.snapshot;
    let sending = store.transfers().begin(to, dir.last_index().unwrap_or(0));
    let listed = {
        let dir = dir.clone();
        blocking.run(move || dir.files()).await
    };
    let files = listed.map_err(|error| unreachable(&error))?;
    let bytes: u64 = files.iter().map(|(_, size)| size).sum();
    tracing::info!(to, files = files.len(), bytes, "sending a snapshot");
    let progress = Arc::new(Progress::new(bytes));
    let manifest = manifest(&vote, &dir, &files);
    let requests = requests(peer, manifest, dir, files, blocking, Arc::clone(&progress));
    let answer = client.install_snapshot(requests);
    let response = tokio::select! {
        closed = cancel => return Err(closed.into()),
        patience = progress.stalled() => {
            let failure = format!("the receiver has been silent for {patience:?}");
            return Err(unreachable(&SendFailure(failure)));
        }
        response = answer => response,
    };
    if let Some(failure) = progress.failure() {
        store.suspect();
        tracing::error!(to, %failure, "cannot read the snapshot that is being sent");
        return Err(unreachable(&SendFailure(failure)));
    }
    let response = response.map_err(|status| {
        tracing::warn!(to, %status, "the snapshot was not taken");
        refused(&status);
        if status.code() == tonic::Code::DataLoss {
            store.suspect();
        }
        if !progress.has_begun() {
            sending.forget();
        }
        unreachable(&SendFailure(status.message().to_owned()))
    })?;
    let vote = response.into_inner().vote;
    let vote = wire::vote_from(vote).map_err(|error| unreachable(&error))?;
    tracing::info!(to, bytes, "snapshot sent");
    Ok(SnapshotResponse::new(vote))
}

/// openraft waits before it tries again, which it would not do for a network error.
fn unreachable(error: &(impl std::error::Error + 'static)) -> SendError {
    StreamingError::Unreachable(Unreachable::new(error))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SendFailure(String);

pub(super) fn manifest(
    vote: &Vote,
    dir: &SnapshotDir,
    files: &[(String, u64)],
) -> pb::SnapshotManifest {
    let contents = dir.contents();
    pb::SnapshotManifest {
        vote: Some(wire::vote(vote)),
        last_log_id: contents.meta.last_log_id.as_ref().map(wire::log_id),
        membership: encode_stored_membership(&contents.meta.last_membership).into(),
        files: files
            .iter()
            .map(|(name, size)| pb::SnapshotFile {
                name: name.clone(),
                size_bytes: *size,
            })
            .collect(),
        position: Some(wire::position(&contents.position)),
        feature_level: contents.feature_level,
    }
}

/// Where the reader of the files is.
struct Reading {
    peer: pb::Peer,
    dir: SnapshotDir,
    files: Vec<(String, u64)>,
    /// Index of the file that is being sent.
    file_index: usize,
    open: Option<Box<dyn DiskFile>>,
    offset: u64,
    blocking: Blocking,
    progress: Arc<Progress>,
}

pub(super) fn requests(
    peer: pb::Peer,
    manifest: pb::SnapshotManifest,
    dir: SnapshotDir,
    files: Vec<(String, u64)>,
    blocking: Blocking,
    progress: Arc<Progress>,
) -> impl Stream<Item = pb::InstallSnapshotRequest> + Send + 'static {
    let first = pb::InstallSnapshotRequest {
        peer: Some(peer.clone()),
        part: Some(Part::Manifest(manifest)),
    };
    let reading = Reading {
        peer,
        dir,
        files,
        file_index: 0,
        open: None,
        offset: 0,
        blocking,
        progress,
    };
    let chunks = stream::unfold(reading, |mut reading| async move {
        reading.progress.advance();
        match reading.next().await {
            Ok(Some(chunk)) => {
                let peer = Some(reading.peer.clone());
                let part = Some(Part::Chunk(chunk));
                Some((pb::InstallSnapshotRequest { peer, part }, reading))
            }
            Ok(None) => {
                reading.progress.finish();
                None
            }
            // The receiver finds the stream too short and refuses it.
            Err(error) => {
                reading.progress.fail(error.to_string());
                None
            }
        }
    });
    futures::StreamExt::chain(stream::once(async { first }), chunks)
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<pb::SnapshotChunk>> {
        // Empty files have no chunk: the manifest says all there is to say.
        while self
            .files
            .get(self.file_index)
            .is_some_and(|(_, size)| self.offset == *size)
        {
            self.file_index += 1;
            self.offset = 0;
            self.open = None;
        }
        let Some((name, size)) = self.files.get(self.file_index) else {
            return Ok(None);
        };
        let (dir, path) = (self.dir.clone(), self.dir.ledger().join(name));
        let left = usize::try_from(size - self.offset).unwrap_or(usize::MAX);
        let (open, offset) = (self.open.take(), self.offset);
        let len = left.min(SNAPSHOT_CHUNK_BYTES);
        let (file, data, crc) = self
            .blocking
            .run(move || dir.read_chunk(open, &path, offset, len))
            .await?;
        let chunk = pb::SnapshotChunk {
            file_index: u32::try_from(self.file_index).unwrap_or(u32::MAX),
            offset: self.offset,
            crc32c: crc,
            data,
        };
        self.open = Some(file);
        self.offset += len as u64;
        Ok(Some(chunk))
    }
}

/// How a transfer goes on, shared by its two ends in this process.
pub(super) struct Progress(Mutex<State>);

struct State {
    /// When the last chunk was taken.
    last: Instant,
    /// Whether a chunk was taken, or the end of them.
    has_begun: bool,
    /// How long the receiver may be silent from then on. When all chunks have been taken, what remains
    /// is its own work, which takes time.
    patience: Duration,
    bytes: u64,
    failure: Option<String>,
}

impl Progress {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Mutex::new(State {
            last: Instant::now(),
            has_begun: false,
            patience: STALL_TIMEOUT,
            bytes,
            failure: None,
        }))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn advance(&self) {
        self.with(|state| {
            state.last = Instant::now();
            state.has_begun = true;
        });
    }

    /// Without a connection there is nobody who takes anything.
    fn has_begun(&self) -> bool {
        self.with(|state| state.has_begun)
    }

    fn finish(&self) {
        self.with(|state| {
            let seconds = state.bytes.div_ceil(RECEIVER_BYTES_PER_S);
            state.patience = STALL_TIMEOUT + Duration::from_secs(seconds);
        });
    }

    fn fail(&self, failure: String) {
        self.with(|state| state.failure = Some(failure));
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.with(|state| state.failure.clone())
    }

    /// How long the receiver may be silent, if it has been for longer.
    fn exhausted(&self, now: Instant) -> Option<Duration> {
        self.with(|state| (now - state.last > state.patience).then_some(state.patience))
    }

    /// Waits until the receiver has been silent for too long; returns how long that is.
    pub(super) async fn stalled(&self) -> Duration {
        let mut check = ticker(STALL_CHECK);
        loop {
            check.tick().await;
            if let Some(patience) = self.exhausted(Instant::now()) {
                return patience;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_receiver_is_given_up_also_after_the_last_chunk() {
        let begin = Instant::now();
        let progress = Progress::new(3 * RECEIVER_BYTES_PER_S);
        let second = Duration::from_secs(1);
        assert_eq!(progress.exhausted(begin + STALL_TIMEOUT), None);
        let later = Instant::now() + STALL_TIMEOUT + second;
        assert_eq!(progress.exhausted(later), Some(STALL_TIMEOUT));
        progress.finish();
        assert_eq!(progress.exhausted(later), None);
        let patience = STALL_TIMEOUT + 3 * second;
        assert_eq!(progress.exhausted(later + 3 * second), Some(patience));
    }
}
