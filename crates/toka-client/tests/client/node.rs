//! A server that fails as it is told.

mod cluster;
mod coordination;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use toka_client::{Builder, Client, Config, Leader};
use toka_proto::convert::metadata::{
    cluster_id, put_cluster_id, put_commits_per_message, put_leader,
};
use toka_proto::convert::read::Header;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::cluster_service_server::ClusterServiceServer;
use toka_proto::v1::cursor_service_server::CursorServiceServer;
use toka_proto::v1::group_service_server::GroupServiceServer;
use toka_proto::v1::vault_service_server::{VaultService, VaultServiceServer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Duration;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// Gives one reply; the number counts the calls, from 0. `None`: no answer ever comes.
type Reply<Q, A> = Box<dyn Fn(usize, Q) -> Option<Result<A, Status>> + Send + Sync>;
/// A stream's messages as they come.
pub(crate) type Sender<A> = mpsc::UnboundedSender<Result<A, Status>>;
/// Serves one stream; it ends when the sender is dropped.
type CommitStreamHandler = Box<
    dyn Fn(usize, Streaming<v1::CommitStreamRequest>, Sender<v1::CommitStreamResponse>)
        + Send
        + Sync,
>;
type SubscribeHandler =
    Box<dyn Fn(usize, v1::SubscribeRequest, Sender<v1::SubscribeResponse>) + Send + Sync>;

/// What a node does.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) commit: Option<Reply<v1::CommitRequest, v1::CommitResponse>>,
    pub(crate) commit_stream: Option<CommitStreamHandler>,
    /// Commits that a message of a stream may have; `None`: as an older node, it does not say.
    pub(crate) commits_per_message: Option<usize>,
    pub(crate) get: Option<Reply<v1::GetRequest, v1::GetResponse>>,
    pub(crate) batch_get: Option<Reply<v1::BatchGetRequest, v1::BatchGetResponse>>,
    pub(crate) list: Option<Reply<v1::ListRequest, v1::ListResponse>>,
    pub(crate) subscribe: Option<SubscribeHandler>,
    pub(crate) save_cursor: Option<Reply<v1::SaveCursorRequest, v1::SaveCursorResponse>>,
    pub(crate) get_cursor: Option<Reply<v1::GetCursorRequest, v1::GetCursorResponse>>,
    pub(crate) list_cursors: Option<Reply<v1::ListCursorsRequest, v1::ListCursorsResponse>>,
    pub(crate) create_group: Option<Reply<v1::CreateGroupRequest, v1::CreateGroupResponse>>,
    pub(crate) get_group: Option<Reply<v1::GetGroupRequest, v1::GetGroupResponse>>,
    pub(crate) pull: Option<Reply<v1::PullRequest, v1::PullResponse>>,
    pub(crate) settle: Option<Reply<v1::SettleRequest, v1::SettleResponse>>,
    pub(crate) list_parked: Option<Reply<v1::ListParkedRequest, v1::ListParkedResponse>>,
    pub(crate) replay_parked: Option<Reply<v1::ReplayParkedRequest, v1::ReplayParkedResponse>>,
    /// Named in every reply.
    pub(crate) leader: Option<Leader>,
    /// Named in every reply to a commit and a read; commits, saved cursors and new groups that name another one are
    /// refused.
    pub(crate) cluster_id: Option<u128>,
    /// What it says when it is asked for its state.
    pub(crate) status: Option<State>,
}

/// The state of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) cluster_id: u128,
    pub(crate) leader_id: Option<u64>,
}

/// What arrived at a node.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) commits: Vec<v1::CommitRequest>,
    pub(crate) commit_streams: usize,
    pub(crate) gets: Vec<v1::GetRequest>,
    pub(crate) batch_gets: Vec<v1::BatchGetRequest>,
    pub(crate) lists: Vec<v1::ListRequest>,
    pub(crate) subscribes: Vec<v1::SubscribeRequest>,
    pub(crate) statuses: usize,
    pub(crate) cursor_saves: Vec<v1::SaveCursorRequest>,
    pub(crate) cursor_lists: Vec<v1::ListCursorsRequest>,
    pub(crate) group_creations: Vec<v1::CreateGroupRequest>,
    pub(crate) pulls: Vec<v1::PullRequest>,
    pub(crate) settles: Vec<v1::SettleRequest>,
    pub(crate) parked_lists: Vec<v1::ListParkedRequest>,
    pub(crate) parked_replays: Vec<v1::ReplayParkedRequest>,
}

#[derive(Clone)]
struct Service {
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
}

/// A server, on a runtime of its own, so that it can be killed.
pub(crate) struct Node {
    pub(crate) endpoint: String,
    pub(crate) seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl Node {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_with(|_| script)
    }

    /// The script may name the node's own endpoint.
    pub(crate) fn start_with(script: impl FnOnce(&str) -> Script) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("settable");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let endpoint = address.to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let service = Service {
            script: Arc::new(script(&endpoint)),
            seen: Arc::clone(&seen),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("it is non-blocking");
            tonic::transport::Server::builder()
                .add_service(ClusterServiceServer::new(service.clone()))
                .add_service(VaultServiceServer::new(service.clone()))
                .add_service(CursorServiceServer::new(service.clone()))
                .add_service(GroupServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        Self {
            endpoint,
            seen,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn as_leader(&self) -> Leader {
        Leader {
            node_id: 2,
            endpoint: self.endpoint.clone(),
        }
    }

    pub(crate) fn seen<T>(&self, what: impl FnOnce(&Seen) -> T) -> T {
        what(&self.seen.lock().expect("no test panics while it holds it"))
    }

    /// Closes the listener and all connections at once.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port at which nobody listens.
pub(crate) fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("bound").to_string()
}

/// Asks the first endpoint first.
#[derive(Debug)]
struct Zeros;

impl toka_ledger::seam::Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

pub(crate) fn builder() -> Builder {
    Client::builder().entropy(Arc::new(Zeros)).config(Config {
        timeout: Duration::from_secs(10),
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
        attempt_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        resume_timeout: Duration::from_secs(10),
        ..Config::default()
    })
}

pub(crate) async fn client(endpoints: &[&str]) -> Client {
    builder()
        .connect(endpoints.iter().copied())
        .await
        .expect("the endpoints are valid")
}

pub(crate) fn header(revision: u64) -> Option<v1::ResponseHeader> {
    header_of(1, revision)
}

/// That of a node of another cluster.
pub(crate) fn header_of(cluster_id: u128, revision: u64) -> Option<v1::ResponseHeader> {
    let header = Header {
        cluster_id,
        history_id: 2,
        node_id: 1,
        term: 1,
        revision,
        sequence: revision,
    };
    Some(header.into())
}

/// A stored event, without a body.
pub(crate) fn event(sequence: u64) -> v1::Event {
    let digest = toka_ledger::Digest([sequence as u8; 32]);
    v1::Event {
        id: toka_ledger::EventId::new(1, sequence, &digest)
            .as_bytes()
            .to_vec()
            .into(),
        sequence,
        unix_ms: 1,
        kind: "k".to_owned(),
        digest: digest.0.to_vec().into(),
        payload_digest: vec![0; 32].into(),
        ..Default::default()
    }
}

pub(crate) fn committed(revision: u64) -> v1::CommitResponse {
    v1::CommitResponse {
        header: header(revision),
        revision,
        events: vec![event(revision)],
    }
}

impl Service {
    async fn reply<Q, A>(
        &self,
        call: usize,
        script: &Option<Reply<Q, A>>,
        request: Q,
    ) -> Result<Response<A>, Status> {
        let script = script
            .as_ref()
            .ok_or_else(|| Status::unimplemented("not in the script"))?;
        let Some(answer) = script(call, request) else {
            return std::future::pending().await;
        };
        let mut response = Response::new(answer.map_err(|refusal| self.named(refusal))?);
        put_leader(response.metadata_mut(), self.script.leader.as_ref());
        if let Some(cluster_id) = self.script.cluster_id {
            put_cluster_id(response.metadata_mut(), cluster_id);
        }
        Ok(response)
    }

    fn named(&self, mut refusal: Status) -> Status {
        if let Some(cluster_id) = self.script.cluster_id {
            put_cluster_id(refusal.metadata_mut(), cluster_id);
        }
        refusal
    }

    /// As a node does it, before anything else.
    fn check_cluster<M>(&self, request: &Request<M>) -> Result<(), Status> {
        let named = cluster_id(request.metadata()).expect("an id or nothing");
        match (named, self.script.cluster_id) {
            (Some(expected), Some(actual)) if expected != actual => {
                Err(self.named(status::other_cluster(expected, actual)))
            }
            _ => Ok(()),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Seen) -> usize) -> usize {
        note(&mut self.seen.lock().expect("no test panics while it holds it"))
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> usize {
    list.push(item);
    list.len() - 1
}

#[tonic::async_trait]
impl VaultService for Service {
    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        self.check_cluster(&request)?;
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.commits, request.clone()));
        self.reply(call, &self.script.commit, request).await
    }

    type CommitStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::CommitStreamResponse, Status>> + Send>>;

    async fn commit_stream(
        &self,
        request: Request<Streaming<v1::CommitStreamRequest>>,
    ) -> Result<Response<Self::CommitStreamStream>, Status> {
        let call = self.note(|seen| {
            seen.commit_streams += 1;
            seen.commit_streams - 1
        });
        let (sender, answers) = mpsc::unbounded_channel();
        let script = self.script.commit_stream.as_ref();
        script.ok_or_else(|| Status::unimplemented("not in the script"))?(
            call,
            request.into_inner(),
            sender,
        );
        let mut response = Response::new(
            Box::pin(UnboundedReceiverStream::new(answers)) as Self::CommitStreamStream
        );
        put_leader(response.metadata_mut(), self.script.leader.as_ref());
        if let Some(count) = self.script.commits_per_message {
            put_commits_per_message(response.metadata_mut(), count);
        }
        Ok(response)
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.gets, request.clone()));
        self.reply(call, &self.script.get, request).await
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.batch_gets, request.clone()));
        self.reply(call, &self.script.batch_get, request).await
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.lists, request.clone()));
        self.reply(call, &self.script.list, request).await
    }

    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let call = self.note(|seen| push(&mut seen.subscribes, request.clone()));
        let (sender, messages) = mpsc::unbounded_channel();
        let script = self.script.subscribe.as_ref();
        script.ok_or_else(|| Status::unimplemented("not in the script"))?(call, request, sender);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            messages,
        ))))
    }
}
