//! Answering peers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, stream};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::LinearizableReadError;
use openraft::raft::{AppendEntriesRequest, TransferLeaderError, TransferLeaderRequest};
use openraft::{Raft, ReadPolicy};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::install_snapshot_request::Part;
use toka_proto::raft_v1::raft_service_server::{RaftService, RaftServiceServer};
use toka_proto::raft_v1::transfer_leader_response::Refusal;
use tonic::{Request, Response, Status, Streaming};

use super::status;
use crate::blocking::Blocking;
use crate::config::PEER_MESSAGE_BYTES_MAX;
use crate::contact::Contact;
use crate::identity::{Identity, decode_cluster_id};
use crate::membership::Membership;
use crate::snapshot::{Receiver, SnapshotError, SnapshotStore};
use crate::state_machine::StateMachine;
use crate::status::StatusSource;
use crate::storage::Storage;
use crate::type_config::{SnapshotMeta, TypeConfig, Vote};
use crate::wire;

/// What the service works with.
pub(crate) struct ServiceParts {
    pub(crate) identity: Arc<Identity>,
    pub(crate) contact: Arc<Contact>,
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) blocking: Blocking,
    pub(crate) status: StatusSource,
}

/// `toka.raft.v1.RaftService` of one node, for the peer listener. It works before the cluster has
/// formed, and is what the forming goes through.
#[derive(Clone)]
pub struct PeerService {
    parts: Arc<ServiceParts>,
}

impl PeerService {
    pub(crate) fn server(parts: Arc<ServiceParts>) -> RaftServiceServer<Self> {
        RaftServiceServer::new(Self { parts })
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }

    /// Refuses a message that is not for this node; returns its sender.
    fn check(&self, peer: Option<&pb::Peer>) -> Result<u64, Status> {
        self.parts.identity.check(peer).map_err(status::mismatch)
    }

    fn reply(&self, to: u64) -> Option<pb::Peer> {
        Some(self.parts.identity.peer(to))
    }
}

/// Why a stream was ended.
type Refused = Arc<Mutex<Option<Status>>>;

/// A follower's half of a stream of appends: messages are checked on their way to openraft, and the
/// first bad one ends the stream, with its reason in `refusal`.
fn checked_appends(
    identity: Arc<Identity>,
    contact: Arc<Contact>,
    requests: Streaming<pb::AppendEntriesRequest>,
    refusal: Refused,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    stream::unfold((requests, refusal), move |(mut requests, refusal)| {
        let (identity, contact) = (Arc::clone(&identity), Arc::clone(&contact));
        async move {
            // A broken connection ends the stream too; the sender knows by itself.
            let message = requests.message().await.ok().flatten()?;
            let checked = identity
                .check(message.peer.as_ref())
                .map_err(status::mismatch)
                .and_then(|_| {
                    wire::append_from(message.append).map_err(|bad| status::garbled(&bad))
                });
            match checked {
                Ok(request) => {
                    contact.heard(request.vote.leader_id.term);
                    Some((request, (requests, refusal)))
                }
                Err(bad) => {
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(bad);
                    None
                }
            }
        }
    })
}

#[tonic::async_trait]
impl RaftService for PeerService {
    async fn probe(
        &self,
        request: Request<pb::ProbeRequest>,
    ) -> Result<Response<pb::ProbeResponse>, Status> {
        let request = request.into_inner();
        let from = self
            .parts
            .identity
            .check_node(request.peer.as_ref())
            .map_err(status::mismatch)?;
        let state = self
            .parts
            .membership
            .state()
            .await
            .map_err(status::unavailable)?;
        Ok(Response::new(pb::ProbeResponse {
            peer: self.reply(from),
            pristine: state.is_pristine,
            initial_members: self.parts.membership.initial_members().clone(),
            membership: state.membership,
        }))
    }

    async fn adopt(
        &self,
        request: Request<pb::AdoptRequest>,
    ) -> Result<Response<pb::AdoptResponse>, Status> {
        let request = request.into_inner();
        let from = self
            .parts
            .identity
            .check_node(request.peer.as_ref())
            .map_err(status::mismatch)?;
        let cluster_id = request
            .peer
            .and_then(|peer| decode_cluster_id(&peer.cluster_id))
            .ok_or_else(|| status::refused("there is no cluster id to adopt"))?;
        let adopted = self
            .parts
            .membership
            .adopt(cluster_id, &request.initial_members)
            .await;
        adopted.map_err(status::refused)?;
        Ok(Response::new(pb::AdoptResponse {
            peer: self.reply(from),
        }))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        let from = self.check(request.peer.as_ref())?;
        let transfer = request.leadership_transfer;
        let vote = wire::vote_request_from(request.vote, request.last_log_id, transfer)
            .map_err(|error| status::garbled(&error))?;
        let response = self
            .parts
            .raft
            .vote(vote)
            .await
            .map_err(status::unavailable)?;
        Ok(Response::new(pb::VoteResponse {
            peer: self.reply(from),
            vote: Some(wire::vote(&response.vote)),
            vote_granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(wire::log_id),
        }))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::PreVoteRequest>,
    ) -> Result<Response<pb::PreVoteResponse>, Status> {
        let request = request.into_inner();
        let from = self.check(request.peer.as_ref())?;
        let transfer = request.leadership_transfer;
        let vote = wire::vote_request_from(request.vote, request.last_log_id, transfer)
            .map_err(|error| status::garbled(&error))?;
        let response = self
            .parts
            .raft
            .pre_vote(vote)
            .await
            .map_err(status::unavailable)?;
        Ok(Response::new(pb::PreVoteResponse {
            peer: self.reply(from),
            vote: Some(wire::vote(&response.vote)),
            vote_granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(wire::log_id),
        }))
    }

    type AppendEntriesStream =
        Pin<Box<dyn Stream<Item = Result<pb::AppendEntriesResponse, Status>> + Send>>;

    /// Answers at once: the sender waits for the stream's beginning before it sends anything.
    async fn append_entries(
        &self,
        request: Request<Streaming<pb::AppendEntriesRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let refusal = Refused::default();
        let identity = Arc::clone(&self.parts.identity);
        let contact = Arc::clone(&self.parts.contact);
        let requests = checked_appends(
            identity,
            contact,
            request.into_inner(),
            Arc::clone(&refusal),
        );
        let peer = self.parts.identity.peer(0);
        let results = self
            .parts
            .raft
            .stream_append(requests)
            .map(move |result| match result {
                Ok(result) => Ok(pb::AppendEntriesResponse {
                    peer: Some(peer.clone()),
                    result: Some(wire::stream_result(result)),
                }),
                Err(fatal) => Err(status::unavailable(fatal)),
            });
        let refused = stream::once(async move {
            refusal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        });
        let refused = refused.filter_map(|refused| async move { refused.map(Err) });
        Ok(Response::new(Box::pin(results.chain(refused))))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let from = self.check(request.peer.as_ref())?;
        let append = wire::append_from(request.append).map_err(|error| status::garbled(&error))?;
        // Before openraft has it: its answer may wait for the disk.
        self.parts.contact.heard(append.vote.leader_id.term);
        let prev = append.prev_log_id;
        let last = append.entries.last().map(|entry| entry.log_id).or(prev);
        let response = self
            .parts
            .raft
            .append_entries(append)
            .await
            .map_err(status::unavailable)?;
        Ok(Response::new(pb::HeartbeatResponse {
            peer: self.reply(from),
            result: Some(wire::append_result(response, prev, last)),
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::InstallSnapshotRequest>>,
    ) -> Result<Response<pb::InstallSnapshotResponse>, Status> {
        let (from, vote) = self.take_snapshot(request.into_inner()).await?;
        Ok(Response::new(pb::InstallSnapshotResponse {
            peer: self.reply(from),
            vote: Some(wire::vote(&vote)),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        let from = self.check(request.peer.as_ref())?;
        let leader =
            wire::vote_from(request.from_leader).map_err(|error| status::garbled(&error))?;
        let last = wire::log_id_from(request.last_log_id);
        let transfer = TransferLeaderRequest::new(leader, request.to_node_id, last);
        let response = self.parts.raft.handle_transfer_leader(transfer).await;
        let refusal = response
            .map_err(status::unavailable)?
            .err()
            .map(|error| match error {
                TransferLeaderError::VoteChanged { expected, actual } => {
                    Refusal::VoteChanged(pb::VoteChanged {
                        expected: Some(wire::vote(&expected)),
                        actual: Some(wire::vote(&actual)),
                    })
                }
                TransferLeaderError::LogNotFlushed { expected, actual } => {
                    Refusal::LogNotFlushed(pb::LogNotFlushed {
                        expected: expected.as_ref().map(wire::log_id),
                        actual: actual.as_ref().map(wire::log_id),
                    })
                }
            });
        Ok(Response::new(pb::TransferLeaderResponse {
            peer: self.reply(from),
            refusal,
        }))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        let from = self.check(request.into_inner().peer.as_ref())?;
        let linearizer = self
            .parts
            .raft
            .get_read_linearizer(ReadPolicy::ReadIndex)
            .await;
        let linearizer = linearizer.map_err(|error| match error.into_api_error() {
            Some(LinearizableReadError::ForwardToLeader(forward)) => {
                status::not_leader(forward.leader_id)
            }
            Some(quorum @ LinearizableReadError::QuorumNotEnough(_)) => status::unavailable(quorum),
            None => status::unavailable("Raft has stopped"),
        })?;
        let read_log_id = Some(wire::log_id(linearizer.read_log_id().log_id()));
        Ok(Response::new(pb::ReadIndexResponse {
            peer: self.reply(from),
            read_log_id,
        }))
    }

    async fn get_node_status(
        &self,
        request: Request<pb::GetNodeStatusRequest>,
    ) -> Result<Response<pb::GetNodeStatusResponse>, Status> {
        let from = self.check(request.into_inner().peer.as_ref())?;
        let node = Some(self.parts.status.message());
        Ok(Response::new(pb::GetNodeStatusResponse {
            peer: self.reply(from),
            node,
        }))
    }
}

impl PeerService {
    /// Receives a snapshot, checks it, and has openraft install it. Returns the sender and this
    /// node's vote.
    async fn take_snapshot(
        &self,
        mut messages: Streaming<pb::InstallSnapshotRequest>,
    ) -> Result<(u64, Vote), Status> {
        let first = messages.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the transfer is empty"))?;
        let from = self.check(first.peer.as_ref())?;
        let Some(Part::Manifest(manifest)) = first.part else {
            return Err(Status::invalid_argument(
                "the first message is not the manifest",
            ));
        };
        let vote = wire::vote_from(manifest.vote).map_err(|error| status::garbled(&error))?;
        let failed = |error: SnapshotError| {
            tracing::warn!(from, %error, "a snapshot was not taken");
            status::snapshot(&error)
        };
        let (storage, blocking) = (Arc::clone(&self.parts.storage), self.parts.blocking);
        let receiver = Receiver::begin(&self.parts.snapshots, storage, blocking, manifest).await;
        let mut receiver = receiver.map_err(failed)?;
        self.check_plausible(&vote, &receiver.contents().meta)?;
        while let Some(message) = messages.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(Status::invalid_argument("a second manifest"));
            };
            receiver.chunk(chunk).await.map_err(failed)?;
        }
        let (snapshot, _only_one) = receiver.finish().await.map_err(failed)?;
        let meta = snapshot.contents().meta.clone();
        // Again: the node has gone on meanwhile.
        self.check_plausible(&vote, &meta)?;
        let snapshot = openraft::Snapshot { meta, snapshot };
        let installed = self.parts.raft.install_full_snapshot(vote, snapshot).await;
        Ok((from, installed.map_err(status::unavailable)?.vote))
    }

    /// openraft panics on a snapshot that no correct cluster can send (docs/openraft.md, section 5); a
    /// message from outside must not bring a node down.
    fn check_plausible(&self, vote: &Vote, meta: &SnapshotMeta) -> Result<(), Status> {
        let Some(last) = meta.last_log_id else {
            return Err(Status::invalid_argument("the snapshot is empty"));
        };
        if last.leader_id > vote.leader_id || !vote.committed {
            return Err(Status::invalid_argument(
                "the snapshot is newer than its sender's term",
            ));
        }
        let committed = self
            .parts
            .raft
            .data_metrics()
            .borrow_watched()
            .local_committed;
        let contradicts =
            committed.is_some_and(|committed| last > committed && last.index <= committed.index);
        if contradicts {
            tracing::error!(
                ?last,
                ?committed,
                "a snapshot contradicts what is committed here"
            );
            return Err(Status::data_loss(
                "the snapshot contradicts what is committed here",
            ));
        }
        Ok(())
    }
}
