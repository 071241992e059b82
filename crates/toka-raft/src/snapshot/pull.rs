//! A copy of the ledger for a node whose own is damaged: made when it is asked for, sent as a snapshot is,
//! and checked by the receiver as one.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::install_snapshot_request::Part as Sent;
use toka_proto::raft_v1::pull_ledger_response::Part;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::send::{Progress, manifest, requests};
use super::{Receiver, SnapshotDir, SnapshotError, SnapshotStore};
use crate::blocking::Blocking;
use crate::error::snapshot::SENDING_MAX;
use crate::headroom::Headroom;
use crate::identity::Identity;
use crate::ledger_host::{LedgerHost, contents};
use crate::storage::Storage;
use crate::type_config::Vote;

/// A sender that sends nothing for this long is given up. Making the copy takes time too.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a copy that ends with entry `last` can take the place of a ledger whose log is purged up to
/// `purged`.
fn check_reach(last: Option<u64>, purged: Option<u64>) -> Result<(), SnapshotError> {
    match purged {
        Some(purged) if last < Some(purged) => Err(SnapshotError::Behind { last, purged }),
        _ => Ok(()),
    }
}

/// What the node that asks says.
pub(crate) struct Asked {
    /// Last entry that its log is purged of.
    pub(crate) purged: Option<u64>,
    /// What it got from here the last time was damaged.
    pub(crate) last_was_damaged: bool,
}

impl From<&pb::PullLedgerRequest> for Asked {
    fn from(request: &pb::PullLedgerRequest) -> Self {
        Self {
            purged: request.purged_index,
            last_was_damaged: request.last_was_damaged,
        }
    }
}

/// Makes a copy of what is applied here, and sends it.
pub(crate) async fn give(
    host: Arc<LedgerHost>,
    store: Arc<SnapshotStore>,
    blocking: Blocking,
    peer: pb::Peer,
    vote: Vote,
    asked: Asked,
) -> Result<impl Stream<Item = pb::PullLedgerResponse> + Send + 'static, SnapshotError> {
    if asked.last_was_damaged {
        store.suspect();
    }
    // Where the copy will end is not known yet. Until it is, nothing that follows on it can be purged: no
    // snapshot covers it.
    let sending = store.transfers().begin(peer.to, u64::MAX);
    if store.transfers().under_way() > SENDING_MAX {
        return Err(SnapshotError::Sending);
    }
    let suspicious = Arc::clone(&store);
    let copied = move || -> Result<_, SnapshotError> {
        let place = store.place()?;
        host.copy(&place.ledger())?;
        let contents = contents(host.storage().open_copy(&place.ledger())?)?;
        let dir = place.received(contents);
        check_reach(dir.last_index(), asked.purged)?;
        let files = dir.files()?;
        Ok((dir, files))
    };
    let (dir, files) = blocking.run(copied).await?;
    sending.ends_with(dir.last_index().unwrap_or(0));
    let bytes = files.iter().map(|(_, size)| size).sum();
    let (to, from) = (peer.to, peer.clone());
    tracing::info!(
        to,
        bytes,
        "sending a copy of the ledger to a node whose own is damaged"
    );
    let manifest = manifest(&vote, &dir, &files);
    let progress = Arc::new(Progress::new(bytes));
    let sent = requests(peer, manifest, dir, files, blocking, Arc::clone(&progress));
    let suspicion = SuspectAtEnd {
        store: suspicious,
        progress: Arc::clone(&progress),
    };
    let sent = sent.take_until(async move { progress.stalled().await });
    Ok(sent.map(move |message| {
        let _end_with_this = (&sending, &suspicion);
        let part = message.part.map(|part| match part {
            Sent::Manifest(manifest) => Part::Manifest(manifest),
            Sent::Chunk(chunk) => Part::Chunk(chunk),
        });
        pb::PullLedgerResponse {
            peer: Some(from.clone()),
            part,
        }
    }))
}

/// When a copy was sent that could not be read to its end, this node looks at what it has.
struct SuspectAtEnd {
    store: Arc<SnapshotStore>,
    progress: Arc<Progress>,
}

impl Drop for SuspectAtEnd {
    fn drop(&mut self) {
        if self.progress.failure().is_some() {
            self.store.suspect();
        }
    }
}

/// Why a peer's copy was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    #[error(transparent)]
    Mismatch(#[from] crate::identity::Mismatch),
    #[error("no answer within {STALL_TIMEOUT:?}")]
    Stalled,
    #[error("its vault is at feature level {0}")]
    FeatureLevel(u32),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl PullError {
    /// Whether what has arrived is damaged, so that its sender has to look at what it has.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Snapshot(error) => error.is_damaged_copy(),
            Self::Refused(_) | Self::Mismatch(_) | Self::Stalled | Self::FeatureLevel(_) => false,
        }
    }

    /// The level of the sender's vault, if this node is not to have it.
    pub(crate) fn feature_level(&self) -> Option<u32> {
        match self {
            Self::FeatureLevel(level) => Some(*level),
            Self::Snapshot(SnapshotError::Ledger(toka_ledger::Error::FeatureLevel {
                found,
                ..
            })) => Some(*found),
            _ => None,
        }
    }
}

/// What receiving a copy needs.
pub(crate) struct Pull {
    pub(crate) identity: Arc<Identity>,
    pub(crate) store: Arc<SnapshotStore>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) blocking: Blocking,
    pub(crate) headroom: Headroom,
    /// The highest feature level that this node may have.
    pub(crate) level_known: u32,
}

impl Pull {
    /// Takes the copy of node `from`, and checks it as a snapshot is checked: every row with checksums on,
    /// the history root computed from all headers, position and state digest.
    pub(crate) async fn take(
        &self,
        mut client: RaftServiceClient<Channel>,
        from: u64,
        asked: Asked,
    ) -> Result<SnapshotDir, PullError> {
        let Asked {
            purged,
            last_was_damaged,
        } = asked;
        let request = pb::PullLedgerRequest {
            peer: Some(self.identity.peer(from)),
            purged_index: purged,
            last_was_damaged,
        };
        let answer = timeout(STALL_TIMEOUT, client.pull_ledger(request)).await;
        let mut messages = answer.map_err(|_| PullError::Stalled)??.into_inner();
        let first = next(&mut messages).await?;
        let first = first.ok_or_else(|| SnapshotError::transfer("the transfer is empty"))?;
        self.identity.check(first.peer.as_ref())?;
        let Some(Part::Manifest(manifest)) = first.part else {
            return Err(SnapshotError::transfer("the first message is not the manifest").into());
        };
        let (storage, blocking) = (Arc::clone(&self.storage), self.blocking);
        let headroom = &self.headroom;
        let mut receiver =
            Receiver::begin(&self.store, storage, blocking, headroom, manifest).await?;
        let level = receiver.contents().feature_level;
        if level > self.level_known {
            return Err(PullError::FeatureLevel(level));
        }
        let last = receiver.contents().meta.last_log_id;
        if last.is_none() {
            return Err(SnapshotError::Empty.into());
        }
        check_reach(last.map(|log_id| log_id.index), purged)?;
        while let Some(message) = next(&mut messages).await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(SnapshotError::transfer("a second manifest").into());
            };
            receiver.chunk(chunk).await?;
        }
        Ok(receiver.finish().await?.0)
    }
}

async fn next(
    messages: &mut Streaming<pb::PullLedgerResponse>,
) -> Result<Option<pb::PullLedgerResponse>, PullError> {
    let message = timeout(STALL_TIMEOUT, messages.message()).await;
    Ok(message.map_err(|_| PullError::Stalled)??)
}
