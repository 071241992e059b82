//! The three servers of a node.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use futures::Stream;
use toka_proto::v1::auth_service_server::AuthServiceServer;
use toka_proto::v1::cluster_service_server::ClusterServiceServer;
use toka_proto::v1::cursor_service_server::CursorServiceServer;
use toka_proto::v1::group_service_server::GroupServiceServer;
use toka_proto::v1::intent_service_server::IntentServiceServer;
use toka_proto::v1::lineage_service_server::LineageServiceServer;
use toka_proto::v1::vault_service_server::VaultServiceServer;
use toka_raft::Replica;
use toka_raft::meters::Counter;
use toka_raft::transport::peer_server;
use toka_tls::{Acceptor, Identity};
use toka_trace::ServerSpans;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::Builder;
use tonic_web::GrpcWebLayer;
use tower::layer::layer_fn;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tower::{Layer as _, Service};

use super::connection::{announce, incoming, tcp};
use super::error::StartError;
use super::front::Front;
use super::listeners::Wire;
use crate::api::{Auth, Cluster, Cursors, Groups, Intents, Lineage, Shared, Vault};
use crate::auth::{Authorized, Guard};
use crate::calls::CountLayer;
use crate::config::Connections;
use crate::http::Pages;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADERS_BYTES_MAX, HTTP_CONNECTIONS_MAX,
    PEER_CONNECTIONS_MAX, REQUEST_GRACE, STREAM_WINDOW_BYTES,
};
use crate::refusal;
use crate::routing::{TimeLimit, name_cluster, name_members};
use crate::sites::Sites;

/// How a server is stopped.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    /// Accept no more, and let calls finish.
    pub(super) gently: CancellationToken,
    /// End every connection.
    pub(super) at_once: CancellationToken,
    /// Open connections.
    pub(super) connections: TaskTracker,
    /// Those that were closed as there were too many.
    pub(super) refused: Arc<Counter>,
}

impl Stop {
    /// `at_once` follows from `parent`'s.
    pub(super) fn new(gently: CancellationToken, parent: &CancellationToken) -> Self {
        Self {
            gently,
            at_once: parent.child_token(),
            connections: TaskTracker::new(),
            refused: Arc::default(),
        }
    }

    /// Ends every connection and waits until they are gone, and with them what they held.
    pub(super) async fn cut(&self) {
        self.gently.cancel();
        self.at_once.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}

/// What clients may call.
pub(super) fn routes(
    shared: &Arc<Shared>,
    health: HealthServer<impl Health>,
) -> Result<Routes, StartError> {
    // Peers' services are described together with these, and not offered to clients.
    let reflection = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(toka_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            );
        REFLECTED
            .iter()
            .fold(builder, |builder, name| builder.with_service_name(*name))
    };
    Ok(Routes::new(Vault::server(Arc::clone(shared)))
        .add_service(Intents::server(Arc::clone(shared)))
        .add_service(Lineage::server(Arc::clone(shared)))
        .add_service(Cursors::server(Arc::clone(shared)))
        .add_service(Groups::server(Arc::clone(shared)))
        .add_service(Auth::server(Arc::clone(shared)))
        .add_service(Cluster::server(Arc::clone(shared)))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // What grpcurl and Python's client still ask for.
        .add_service(reflection().build_v1alpha()?))
}

const REFLECTED: &[&str] = &[
    VaultServiceServer::<Vault>::NAME,
    IntentServiceServer::<Intents>::NAME,
    LineageServiceServer::<Lineage>::NAME,
    CursorServiceServer::<Cursors>::NAME,
    GroupServiceServer::<Groups>::NAME,
    AuthServiceServer::<Auth>::NAME,
    ClusterServiceServer::<Cluster>::NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The services behind all that every call of a client goes through, wherever it has come in.
pub(super) fn guarded(
    shared: Arc<Shared>,
    guard: Option<Arc<Guard>>,
    routes: Routes,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    let limit = shared.limits.request_timeout_max + REQUEST_GRACE;
    let calls = CountLayer(Arc::clone(&shared.calls));
    let tracer = shared.router.tracer().clone();
    let front = Front::over(Vault::server(Arc::clone(&shared)), routes);
    let name_members = MapResponseLayer::new(move |response: Response<Body>| {
        let router = &shared.router;
        let response = refusal::received_response(response);
        let response = name_cluster(response, shared.cluster_header());
        name_members(response, router.leader_headers(), router.member_endpoints())
    });
    // No call gets past the guard; what it denies has a span, and is counted, as every call.
    let authorized = Authorized::over(TimeLimit::over(front, limit), guard);
    let answered = ServerSpans::over(authorized, tracer);
    // Above what changes statuses: what is counted is what callers are told.
    GrpcWebLayer::new().layer(calls.layer(name_members.layer(answered)))
}

/// Serves clients until `stop` says otherwise, and browsers as far as they are answered.
pub(super) async fn clients<S: Wire>(
    accepted: impl Stream<Item = io::Result<S>> + Send + 'static,
    shared: Arc<Shared>,
    guard: Option<Arc<Guard>>,
    (routes, sites): (Routes, Sites),
    stop: Stop,
) {
    let (limits, bounds) = (shared.limits, shared.connections);
    let served = Server::builder()
        // For gRPC-web.
        .accept_http1(true)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(limits.connection_streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(bounds.ping_interval))
        .http2_keepalive_timeout(Some(bounds.ping_timeout))
        .layer(MapRequestLayer::new(announce::<S::ConnectInfo>))
        .layer(layer_fn(move |routes: Routes| {
            sites.before(guarded(Arc::clone(&shared), guard.clone(), routes))
        }))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            incoming(accepted, &stop, bounds.max, bounds, None),
            stop.gently.cancelled(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server for clients failed");
    }
}

/// Starts to serve peers on Raft's own threads.
pub(super) fn peers<S, A>(
    accept: impl FnOnce() -> io::Result<A> + Send + 'static,
    replica: &Replica,
    bounds: Connections,
    stop: Stop,
) where
    S: Wire,
    A: Stream<Item = io::Result<S>> + Send + 'static,
{
    let service = replica.peer_service();
    let bounds = bounds.of_peers();
    replica.runtime().spawn(async move {
        // Registered here, so that it wakes Raft's threads and no others.
        let accepted = match accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "peers cannot be listened for");
                return;
            }
        };
        let proof = Some(bounds.peer_proof_timeout);
        let served = peer_server()
            .layer(MapRequestLayer::new(announce::<S::ConnectInfo>))
            .add_service(service)
            .serve_with_incoming_shutdown(
                incoming(accepted, &stop, PEER_CONNECTIONS_MAX, bounds, proof),
                stop.gently.cancelled(),
            )
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the server for peers failed");
        }
    });
}

/// Serves HTTP until `stop` says otherwise. By tonic's server: axum's own waits for ever for the end of a head.
pub(super) async fn http(listener: TcpListener, pages: Pages, bounds: Connections, stop: Stop) {
    let security = pages.security.as_ref();
    let acceptor = security.map_or_else(
        || Acceptor::plain("http_listen"),
        |security| security.http.clone(),
    );
    let accepted = tcp(listener, acceptor);
    let served = Server::builder()
        .accept_http1(true)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(bounds.ping_interval))
        .http2_keepalive_timeout(Some(bounds.ping_timeout))
        .layer(MapRequestLayer::new(announce::<Identity>))
        .add_routes(Routes::from(pages.router()))
        .serve_with_incoming_shutdown(
            incoming(accepted, &stop, HTTP_CONNECTIONS_MAX, bounds, None),
            stop.gently.cancelled(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server for HTTP failed");
    }
}
