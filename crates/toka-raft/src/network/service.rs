//! Answering peers.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::LinearizableReadError;
use openraft::raft::{TransferLeaderError, TransferLeaderRequest};
use toka_ledger::{Digest, Error as LedgerError};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::install_snapshot_request::Part;
use toka_proto::raft_v1::raft_service_server::{RaftService, RaftServiceServer};
use toka_proto::raft_v1::transfer_leader_response::Refusal;
use toka_proto::v1::AlarmKind;
use tonic::{Request, Response, Status, Streaming};

use super::received::{Refused, check_plausible, checked_appends, once_durable};
use super::{Complaints, ServiceParts, status, voting};
use crate::change::Report;
use crate::config::PEER_MESSAGE_BYTES_MAX;
use crate::identity::decode_cluster_id;
use crate::snapshot::{Asked, Receiver, SnapshotError, give};
use crate::transport::Proven;
use crate::type_config::Vote;
use crate::wire;

/// `toka.raft.v1.RaftService` of one node, for the peer listener. It works before the cluster has
/// formed, and is what the forming goes through.
#[derive(Clone)]
pub struct PeerService {
    parts: Arc<ServiceParts>,
    /// About snapshots for which there is no room: they are sent again and again.
    complaints: Arc<Complaints>,
}

impl PeerService {
    pub(crate) fn server(parts: Arc<ServiceParts>) -> RaftServiceServer<Self> {
        let complaints = Arc::default();
        RaftServiceServer::new(Self { parts, complaints })
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }

    /// Refuses a message that is not for this node; returns its sender. The connection over which it came is `proven` to
    /// be a peer's otherwise.
    fn check(&self, proven: &Proven, peer: Option<&pb::Peer>) -> Result<u64, Status> {
        let checked = self.parts.identity.check(peer);
        let from = checked.map_err(status::mismatch)?;
        proven.set();
        // A member that calls is there: it is not left out until it is asked again.
        self.parts.strangers.answered(from);
        Ok(from)
    }

    /// As [`PeerService::check`], and refuses a node that was removed: it may not know it yet. Not for
    /// what leaders send, whose term says whether it counts.
    fn check_member(&self, proven: &Proven, peer: Option<&pb::Peer>) -> Result<u64, Status> {
        let from = self.check(proven, peer)?;
        if self.parts.roster.has_removed(from) {
            return Err(status::removed(from));
        }
        Ok(from)
    }

    /// As [`PeerService::check`], for what is sent before there is a cluster.
    fn check_node(&self, proven: &Proven, peer: Option<&pb::Peer>) -> Result<u64, Status> {
        let checked = self.parts.identity.check_node(peer);
        let from = checked.map_err(status::mismatch)?;
        proven.set();
        Ok(from)
    }

    fn reply(&self, to: u64) -> Option<pb::Peer> {
        Some(self.parts.identity.peer(to))
    }
}

#[tonic::async_trait]
impl RaftService for PeerService {
    async fn probe(
        &self,
        request: Request<pb::ProbeRequest>,
    ) -> Result<Response<pb::ProbeResponse>, Status> {
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_node(&proven, request.peer.as_ref())?;
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
            restored: self.parts.membership.restored(),
        }))
    }

    async fn adopt(
        &self,
        request: Request<pb::AdoptRequest>,
    ) -> Result<Response<pb::AdoptResponse>, Status> {
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_node(&proven, request.peer.as_ref())?;
        let cluster_id = request
            .peer
            .and_then(|peer| decode_cluster_id(&peer.cluster_id))
            .ok_or_else(|| status::refused("there is no cluster id to adopt"))?;
        let adopted = self
            .parts
            .membership
            .adopt(
                cluster_id,
                &request.initial_members,
                request.restored.as_ref(),
            )
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
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_member(&proven, request.peer.as_ref())?;
        let transfer = request.leadership_transfer;
        let vote = wire::vote_request_from(request.vote, request.last_log_id, transfer)
            .map_err(|error| status::garbled(&error))?;
        let response = voting::vote(&self.parts.raft, vote).await;
        let response = response.map_err(status::unavailable)?;
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
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_member(&proven, request.peer.as_ref())?;
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
        let proven = Proven::of(&request);
        let identity = Arc::clone(&self.parts.identity);
        let requests = checked_appends(
            identity,
            self.parts.contact.stream(),
            proven,
            Arc::clone(&self.parts.strangers),
            self.parts.status.room.clone(),
            request.into_inner(),
            Arc::clone(&refusal),
        );
        #[cfg(simulation)]
        let requests = {
            let raft = self.parts.raft.clone();
            requests.map(move |append| voting::followed_twice(&raft, append))
        };
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
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check(&proven, request.peer.as_ref())?;
        let append = wire::append_from(request.append).map_err(|error| status::garbled(&error))?;
        #[cfg(simulation)]
        let append = voting::followed_twice(&self.parts.raft, append);
        // Before openraft has it: its answer may wait for the disk.
        self.parts.contact.heard(append.vote.leader_id.term);
        if !append.entries.is_empty() && self.parts.status.room.borrow().is_spent() {
            return Err(status::unavailable("the disk of this node is nearly full"));
        }
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
        let proven = Proven::of(&request);
        let (from, vote) = self.take_snapshot(request.into_inner(), proven).await?;
        Ok(Response::new(pb::InstallSnapshotResponse {
            peer: self.reply(from),
            vote: Some(wire::vote(&vote)),
        }))
    }

    type PullLedgerStream =
        Pin<Box<dyn Stream<Item = Result<pb::PullLedgerResponse, Status>> + Send>>;

    async fn pull_ledger(
        &self,
        request: Request<pb::PullLedgerRequest>,
    ) -> Result<Response<Self::PullLedgerStream>, Status> {
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_member(&proven, request.peer.as_ref())?;
        let parts = &self.parts;
        if parts.status.fatal.is_reported() {
            return Err(status::unavailable("this node has failed"));
        }
        if parts.status.alarms.is_raised(AlarmKind::StateDiffers) {
            return Err(status::differs());
        }
        // The copy begins with a flush, and keeps files that are replaced.
        let headroom = parts.headroom.clone();
        let has_room = parts.blocking.run(move || headroom.check(0)).await;
        has_room.map_err(|error| status::snapshot(&error))?;
        let peer = parts.identity.peer(from);
        let vote = parts.raft.server_metrics().borrow_watched().vote;
        let (host, store) = (Arc::clone(&parts.host), Arc::clone(&parts.snapshots));
        let asked = Asked::from(&request);
        let given = give(host, store, parts.blocking, peer, vote, asked).await;
        let given = given.map_err(|error| status::snapshot(&error))?;
        Ok(Response::new(Box::pin(given.map(Ok))))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check(&proven, request.peer.as_ref())?;
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
        let proven = Proven::of(&request);
        let from = self.check_member(&proven, request.into_inner().peer.as_ref())?;
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

    async fn append_audit(
        &self,
        request: Request<pb::AppendAuditRequest>,
    ) -> Result<Response<pb::AppendAuditResponse>, Status> {
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_member(&proven, request.peer.as_ref())?;
        let appended = self.parts.auditor.append_entry(request.entry).await;
        appended.map_err(status::not_proposed)?;
        let peer = self.reply(from);
        Ok(Response::new(pb::AppendAuditResponse { peer }))
    }

    async fn get_state_digest(
        &self,
        request: Request<pb::GetStateDigestRequest>,
    ) -> Result<Response<pb::GetStateDigestResponse>, Status> {
        let proven = Proven::of(&request);
        let request = request.into_inner();
        let from = self.check_member(&proven, request.peer.as_ref())?;
        let reader = self.parts.status.reader.clone();
        let read = move || reader.state_digest_at(request.sequence);
        let state = self.parts.blocking.run(read).await;
        let state = state.map_err(status::unavailable)?;
        let bytes = |digest: Digest| Bytes::copy_from_slice(digest.as_bytes());
        let (history_root, state_digest) = state.unzip();
        Ok(Response::new(pb::GetStateDigestResponse {
            peer: self.reply(from),
            history_root: history_root.map(bytes).unwrap_or_default(),
            state_digest: state_digest.map(bytes).unwrap_or_default(),
        }))
    }

    async fn get_vitals(
        &self,
        request: Request<pb::GetVitalsRequest>,
    ) -> Result<Response<pb::GetVitalsResponse>, Status> {
        let proven = Proven::of(&request);
        let from = self.check_member(&proven, request.into_inner().peer.as_ref())?;
        let purged = self.parts.raft.metrics().borrow_watched().purged;
        let lacks = self.parts.base.is_outside_log(purged);
        Ok(Response::new(pb::GetVitalsResponse {
            peer: self.reply(from),
            unix_ms: self.parts.clock.unix_ms(),
            feature_level: self.parts.level_known,
            takes_no_log: self.parts.status.room.borrow().is_spent(),
            log_lacks_beginning: lacks.map_err(status::unavailable)?,
        }))
    }

    async fn get_node_status(
        &self,
        request: Request<pb::GetNodeStatusRequest>,
    ) -> Result<Response<pb::GetNodeStatusResponse>, Status> {
        let proven = Proven::of(&request);
        let from = self.check_member(&proven, request.into_inner().peer.as_ref())?;
        let report = Some(self.parts.reporter.report()).filter(Report::is_leaders);
        Ok(Response::new(pb::GetNodeStatusResponse {
            peer: self.reply(from),
            node: Some(self.parts.status.message()),
            group_sums: self.parts.status.group_sums(),
            membership: report.as_ref().map(Report::membership),
            alarms: report.as_ref().map(Report::alarms).unwrap_or_default(),
        }))
    }
}

impl PeerService {
    /// Receives a snapshot, checks it, and has openraft install it. Returns the sender and this
    /// node's vote. The connection is `proven` to be a peer's by the first message.
    async fn take_snapshot(
        &self,
        mut messages: Streaming<pb::InstallSnapshotRequest>,
        proven: Proven,
    ) -> Result<(u64, Vote), Status> {
        let first = messages.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the transfer is empty"))?;
        let from = self.check(&proven, first.peer.as_ref())?;
        let Some(Part::Manifest(manifest)) = first.part else {
            return Err(Status::invalid_argument(
                "the first message is not the manifest",
            ));
        };
        let vote = wire::vote_from(manifest.vote).map_err(|error| status::garbled(&error))?;
        let failed = |error: SnapshotError| {
            let is_known = matches!(error, SnapshotError::NoRoom { .. });
            if !is_known || self.complaints.due(from).is_some() {
                tracing::warn!(from, %error, "a snapshot was not taken");
            }
            let status = status::snapshot(&error);
            // Without it this node cannot go on, and never will be able to.
            if let SnapshotError::Ledger(error @ LedgerError::FeatureLevel { .. }) = error {
                self.parts.status.fatal.report(error.into());
            }
            status
        };
        let (storage, blocking) = (Arc::clone(&self.parts.storage), self.parts.blocking);
        let (store, headroom) = (&self.parts.snapshots, &self.parts.headroom);
        let receiver = Receiver::begin(store, storage, blocking, headroom, manifest).await;
        let mut receiver = receiver.map_err(failed)?;
        check_plausible(&self.parts.raft, &vote, &receiver.contents().meta)?;
        while let Some(message) = messages.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(Status::invalid_argument("a second manifest"));
            };
            receiver.chunk(chunk).await.map_err(failed)?;
        }
        let (snapshot, _only_one) = receiver.finish().await.map_err(failed)?;
        let meta = snapshot.contents().meta.clone();
        // Again: the node has gone on meanwhile.
        check_plausible(&self.parts.raft, &vote, &meta)?;
        let snapshot = openraft::Snapshot { meta, snapshot };
        let installing = self.parts.raft.install_full_snapshot(vote, snapshot);
        let installed = once_durable(installing, &self.parts.log).await?;
        Ok((from, installed.vote))
    }
}
