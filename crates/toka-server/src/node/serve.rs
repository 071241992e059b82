//! The three servers of a node.

use std::io;
use std::sync::Arc;

use futures::Stream;
use toka_proto::v1::cluster_service_server::ClusterServiceServer;
use toka_proto::v1::intent_service_server::IntentServiceServer;
use toka_proto::v1::vault_service_server::VaultServiceServer;
use toka_raft::Replica;
use toka_raft::transport::peer_server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::Builder;
use tonic_web::GrpcWebLayer;
use tower::util::MapResponseLayer;

use super::connection::incoming;
use super::error::StartError;
use super::listeners::Wire;
use crate::api::{Cluster, Intents, Shared, Vault};
use crate::http::Pages;
use crate::limits::{CONNECTION_WINDOW_BYTES, PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW_BYTES};
use crate::routing::name_members;

/// How a server is stopped.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    /// Accept no more, and let calls finish.
    pub(super) gently: CancellationToken,
    /// End every connection.
    pub(super) at_once: CancellationToken,
    /// Open connections.
    pub(super) connections: TaskTracker,
}

impl Stop {
    /// `at_once` follows from `parent`'s.
    pub(super) fn new(gently: CancellationToken, parent: &CancellationToken) -> Self {
        Self {
            gently,
            at_once: parent.child_token(),
            connections: TaskTracker::new(),
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
        .add_service(Cluster::server(Arc::clone(shared)))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // What grpcurl and Python's client still ask for.
        .add_service(reflection().build_v1alpha()?))
}

const REFLECTED: &[&str] = &[
    VaultServiceServer::<Vault>::NAME,
    IntentServiceServer::<Intents>::NAME,
    ClusterServiceServer::<Cluster>::NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Serves clients until `stop` says otherwise.
pub(super) async fn clients<S: Wire>(
    accepted: impl Stream<Item = io::Result<S>> + Send + 'static,
    shared: Arc<Shared>,
    routes: Routes,
    stop: Stop,
) {
    let streams_max = shared.limits.connection_streams_max;
    let name_members = MapResponseLayer::new(move |response: Response<Body>| {
        let router = &shared.router;
        name_members(response, router.leader(), router.member_endpoints())
    });
    let served = Server::builder()
        // For gRPC-web.
        .accept_http1(true)
        .max_concurrent_streams(streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(GrpcWebLayer::new())
        .layer(name_members)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming(accepted, &stop), stop.gently.cancelled())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server for clients failed");
    }
}

/// Starts to serve peers on Raft's own threads.
pub(super) fn peers<S, A>(
    accept: impl FnOnce() -> io::Result<A> + Send + 'static,
    replica: &Replica,
    stop: Stop,
) where
    S: Wire,
    A: Stream<Item = io::Result<S>> + Send + 'static,
{
    let service = replica.peer_service();
    replica.runtime().spawn(async move {
        // Registered here, so that it wakes Raft's threads and no others.
        let accepted = match accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "peers cannot be listened for");
                return;
            }
        };
        let served = peer_server()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming(accepted, &stop), stop.gently.cancelled())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the server for peers failed");
        }
    });
}

/// Serves HTTP until `stop` is cancelled.
pub(super) async fn http(listener: TcpListener, pages: Pages, stop: CancellationToken) {
    let served = axum::serve(listener, pages.router())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server for HTTP failed");
    }
}
