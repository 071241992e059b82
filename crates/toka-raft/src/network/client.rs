//! Speaking to peers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;
use toka_proto::raft_v1::transfer_leader_response::Refusal;
use tonic::transport::Channel;

use super::held::Held;
use super::{Complaints, Strangers, append, status};
use crate::blocking::Blocking;
use crate::config::PEER_MESSAGE_BYTES_MAX;
use crate::identity::Identity;
use crate::purge::Purge;
use crate::snapshot::{Outgoing, SnapshotDir, SnapshotStore};
use crate::transport::{Channels, InvalidEndpoint, Traffic};
use crate::type_config::{Member, TypeConfig, Vote};
use crate::wire;

/// For so long a peer may refuse this node without anything being wrong: members come and go meanwhile.
const EXPECTED: Duration = Duration::from_secs(60);

pub(crate) type RaftClient = RaftServiceClient<Channel>;
pub(super) type RpcError = RPCError<TypeConfig>;

/// A client of the peer at `endpoint`.
pub(crate) fn raft_client(
    channels: &Channels,
    endpoint: &str,
    traffic: Traffic,
) -> Result<RaftClient, InvalidEndpoint> {
    // gRPC's limit of 4 MiB is below that of an entry (docs/openraft.md, section 8, point 4).
    Ok(RaftServiceClient::new(channels.get(endpoint, traffic)?)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX))
}

/// Makes clients for openraft. Connections are kept, so that this does no I/O: the Raft task waits
/// for it.
#[derive(Clone)]
pub(crate) struct PeerNetworks {
    pub(crate) identity: Arc<Identity>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) blocking: Blocking,
    pub(crate) append_timeout: Duration,
    pub(crate) purge: Arc<Purge>,
    pub(crate) complaints: Arc<Complaints>,
    pub(crate) strangers: Arc<Strangers>,
}

impl PeerNetworks {
    /// A client for small, urgent calls.
    pub(crate) fn control(&self, endpoint: &str) -> Result<RaftClient, InvalidEndpoint> {
        self.client(endpoint, Traffic::Control)
    }

    /// A client over a connection that nobody has used, which tells whether somebody listens there now.
    pub(crate) fn dial(&self, endpoint: &str) -> Result<RaftClient, InvalidEndpoint> {
        let channel = self.channels.dial(endpoint, Traffic::Control)?;
        Ok(RaftServiceClient::new(channel))
    }

    fn client(&self, endpoint: &str, traffic: Traffic) -> Result<RaftClient, InvalidEndpoint> {
        raft_client(&self.channels, endpoint, traffic)
    }

    fn network(&self, target: u64, member: &Member, traffic: Traffic) -> PeerNetwork {
        let endpoint = &member.raft_endpoint;
        PeerNetwork {
            networks: self.clone(),
            target,
            traffic,
            control: self.control(endpoint),
            endpoint: endpoint.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerNetworks {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, member: &Member) -> PeerNetwork {
        self.network(target, member, Traffic::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> PeerNetwork {
        self.network(target, member, Traffic::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> PeerNetwork {
        self.network(target, member, Traffic::Snapshot)
    }
}

/// One peer, for one kind of traffic.
pub(crate) struct PeerNetwork {
    networks: PeerNetworks,
    target: u64,
    traffic: Traffic,
    /// Votes and heartbeats, whatever `traffic` is.
    control: Result<RaftClient, InvalidEndpoint>,
    endpoint: String,
}

impl PeerNetwork {
    fn peer(&self) -> Option<pb::Peer> {
        Some(self.networks.identity.peer(self.target))
    }

    fn control(&self) -> Result<RaftClient, RpcError> {
        self.control
            .clone()
            .map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    /// Looked up each time: it may be another connection by now.
    fn bulk(&self) -> Result<RaftClient, RpcError> {
        self.networks
            .client(&self.endpoint, self.traffic)
            .map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    /// A node of another cluster at the peer's address, while that is not to be asked.
    fn stranger(&self) -> Option<Unreachable<TypeConfig>> {
        let cluster_id = self.networks.strangers.resting(self.target)?;
        Some(Unreachable::from_string(format!(
            "a node of cluster {cluster_id:032x} is at the address of node {}",
            self.target
        )))
    }

    /// One call on the control connection, within openraft's time for it.
    async fn call<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RpcError> {
        if let Some(stranger) = self.stranger() {
            return Err(RPCError::Unreachable(stranger));
        }
        let networks = &self.networks;
        let timeout = option.soft_ttl();
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => {
                networks.strangers.answered(self.target);
                Ok(response.into_inner())
            }
            Ok(Err(status)) => {
                let (complaints, strangers) = (&networks.complaints, &networks.strangers);
                Err(refused(complaints, strangers, self.target, &status))
            }
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.networks.identity.node_id(),
                target: self.target,
                timeout,
            })),
        }
    }
}

/// The peer did not do what was asked, or could not be reached. openraft waits before it tries again:
/// a peer that refuses would otherwise be asked at the speed of the network (docs/openraft.md, section 6).
pub(super) fn refused(
    complaints: &Complaints,
    strangers: &Strangers,
    target: u64,
    status: &tonic::Status,
) -> RpcError {
    if let Some(cluster_id) = status::other_cluster(status) {
        strangers.found(target, cluster_id);
    } else if status::is_mismatch(status)
        && let Some(since) = complaints.due(target)
    {
        let (peer, reason) = (target, status.message());
        if since < EXPECTED {
            tracing::warn!(
                peer,
                reason,
                "a peer refuses this node for now, as while a node joins, or takes the place of another one at its \
                 address; it is asked again"
            );
        } else {
            tracing::error!(peer, reason, "a peer refuses this node");
        }
    }
    RPCError::Unreachable(Unreachable::new(status))
}

pub(super) fn garbled(error: &wire::WireError) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

pub(super) fn timed_out(id: u64, target: u64, silence: Duration) -> RpcError {
    tracing::warn!(
        peer = target,
        ?silence,
        "no answer to an append: its stream is given up"
    );
    // Not openraft's Timeout, after which it tries again at once.
    RPCError::Unreachable(Unreachable::from_string(format!(
        "node {target} did not answer an append of node {id} within {silence:?}"
    )))
}

/// The follower lacks what is to be purged; openraft sends it a snapshot.
pub(super) fn left_behind(target: u64, after: u64) -> RpcError {
    tracing::info!(
        peer = target,
        after,
        "a follower is too slow for the log that is kept: it is moved to a snapshot"
    );
    RPCError::Unreachable(Unreachable::from_string(format!(
        "node {target} lacks entries after {after}, which are to be purged"
    )))
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotDir;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let mut client = self.control()?;
        let message = pb::HeartbeatRequest {
            peer: self.peer(),
            append: Some(wire::append(&request)),
        };
        let call = client.heartbeat(message);
        let response = self.call(RPCTypes::AppendEntries, &option, call).await?;
        wire::append_result_from(response.result).map_err(|error| garbled(&error))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: futures::Stream<Item = AppendEntriesRequest<TypeConfig>>
            + OptionalSend
            + Unpin
            + 'static,
    {
        if self.traffic == Traffic::Control {
            // A heartbeat is one request and one answer.
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let mut client = self.bulk()?;
            let timeout = self.networks.append_timeout;
            let (from, to) = (self.networks.identity.node_id(), self.target);
            let window = Arc::new(append::Window::new(self.networks.purge.stream()));
            let reconnect = append::Reconnect {
                channels: Arc::clone(&self.networks.channels),
                endpoint: self.endpoint.clone(),
                traffic: self.traffic,
            };
            // openraft's backoff is in taking a request. A peer that refuses connections would be tried
            // thousands of times a second if connecting came first.
            let Some(first) = input.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            if let Some(stranger) = self.stranger() {
                return Err(RPCError::Unreachable(stranger));
            }
            let source = append::Source::new(futures::stream::iter([first]).chain(input));
            let closer = source.closer();
            let requests = append::Requests {
                source,
                peer: self.networks.identity.peer(to),
                window: Arc::clone(&window),
                held: Held::default(),
            };
            let begin = tokio::time::timeout(timeout, client.append_entries(requests));
            let responses = match begin.await {
                Ok(Ok(response)) => response.into_inner(),
                Ok(Err(status)) => {
                    let networks = &self.networks;
                    let (complaints, strangers) = (&networks.complaints, &networks.strangers);
                    return Err(refused(complaints, strangers, to, &status));
                }
                Err(_) => {
                    reconnect.next_time();
                    return Err(timed_out(from, to, timeout));
                }
            };
            let refusals = append::Refusals {
                complaints: Arc::clone(&self.networks.complaints),
                strangers: Arc::clone(&self.networks.strangers),
            };
            let patience = append::Patience {
                timeout,
                purge: Arc::clone(&self.networks.purge),
                reconnect,
            };
            let ends = (from, to);
            Ok(append::results(responses, window, refusals, ends, patience, closer).boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.control()?;
        let message = pb::VoteRequest {
            peer: self.peer(),
            vote: Some(wire::vote(&request.vote)),
            last_log_id: request.last_log_id.as_ref().map(wire::log_id),
            leadership_transfer: request.leadership_transfer,
        };
        let response = self
            .call(RPCTypes::Vote, &option, client.vote(message))
            .await?;
        wire::vote_response_from(response.vote, response.last_log_id, response.vote_granted)
            .map_err(|error| garbled(&error))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.control()?;
        let message = pb::PreVoteRequest {
            peer: self.peer(),
            vote: Some(wire::vote(&request.vote)),
            last_log_id: request.last_log_id.as_ref().map(wire::log_id),
            leadership_transfer: request.leadership_transfer,
        };
        let response = self
            .call(RPCTypes::Vote, &option, client.pre_vote(message))
            .await?;
        wire::vote_response_from(response.vote, response.last_log_id, response.vote_granted)
            .map_err(|error| garbled(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotDir>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        if let Some(stranger) = self.stranger() {
            return Err(StreamingError::Unreachable(stranger));
        }
        let (strangers, target) = (Arc::clone(&self.networks.strangers), self.target);
        let outgoing = Outgoing {
            refused: Box::new(move |status: &tonic::Status| {
                if let Some(cluster_id) = status::other_cluster(status) {
                    strangers.found(target, cluster_id);
                }
            }),
            client: self.bulk()?,
            peer: self.networks.identity.peer(self.target),
            store: Arc::clone(&self.networks.snapshots),
            blocking: self.networks.blocking,
        };
        crate::snapshot::send(outgoing, vote, snapshot, cancel).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut client = self.control()?;
        let message = pb::TransferLeaderRequest {
            peer: self.peer(),
            from_leader: Some(wire::vote(request.from_leader())),
            to_node_id: *request.to_node_id(),
            last_log_id: request.last_log_id().map(wire::log_id),
        };
        let call = client.transfer_leader(message);
        let response = self.call(RPCTypes::TransferLeader, &option, call).await?;
        let refusal = match response.refusal {
            None => return Ok(Ok(())),
            Some(Refusal::VoteChanged(changed)) => TransferLeaderError::VoteChanged {
                expected: wire::vote_from(changed.expected).map_err(|error| garbled(&error))?,
                actual: wire::vote_from(changed.actual).map_err(|error| garbled(&error))?,
            },
            Some(Refusal::LogNotFlushed(behind)) => TransferLeaderError::LogNotFlushed {
                expected: wire::log_id_from(behind.expected),
                actual: wire::log_id_from(behind.actual),
            },
        };
        Ok(Err(refusal))
    }
}
