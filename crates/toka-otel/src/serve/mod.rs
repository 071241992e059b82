//! Addresses at which exporters are listened to: OTLP over gRPC, and over HTTP as protobuf, both at each of them.
//!
//! Every request is its sender's: it shows a bearer token, which goes on to the vault, and this process lends it nothing.

mod export;
mod gate;
mod incoming;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use futures::future::try_join_all;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use toka_tls::{
    Acceptor, ClientCertificates, File, ForClients, Pair, Refreshed, Reloading, Served,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::server::Server as Transport;

use self::export::{Exports, OverGrpc, REQUEST_BYTES_MAX};
use self::gate::{Gate, PATH};
use crate::callers::Callers;
use crate::receive::Receiver;

/// As log lines name the listeners.
const LISTENER: &str = "otlp";
/// A request's headers, bytes; a token has at most 12 KiB.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Requests of one connection at once.
const STREAMS_MAX: u32 = 16;
/// How often the other end of a connection is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How long requests may take that are being answered when the receiver stops.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the certificate has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Addresses of one receiver.
const ADDRESSES_MAX: usize = 16;

/// How it is listened, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The addresses, at most 16; port 0: any that is free.
    pub listen: Vec<SocketAddr>,
    /// What exporters are shown; absent: they speak plain text.
    pub tls: Option<TlsFiles>,
    /// Listen to other machines without TLS, or before a vault that does not ask who is calling.
    pub insecure: bool,
}

/// Files with a certificate and its key, PEM; they are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Whoever reaches the address would find it without this.
    #[error(
        "{address} can be reached from other machines, and would be without {lacks}: {remedy}, or say with --insecure that \
         it is meant"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        lacks: &'static str,
        /// What would provide it.
        remedy: &'static str,
    },
    /// There is no address, or there are too many.
    #[error("{actual} addresses to listen on; there must be 1 to {max}")]
    Addresses {
        /// The limit.
        max: usize,
        /// How many there are.
        actual: usize,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] toka_tls::Error),
    /// The server ended by itself.
    #[error("the server has failed: {0}")]
    Serve(#[source] tonic::transport::Error),
}

/// Bound addresses, not accepting yet.
pub struct Endpoint {
    listeners: Vec<(TcpListener, SocketAddr)>,
    served: Option<Arc<Reloading<Served>>>,
    requires_token: bool,
}

impl Endpoint {
    /// Binds the addresses. `vault_asks`: the vault asks callers who they are; then a request without a token is
    /// refused at once.
    ///
    /// # Errors
    /// [`ServeError::Exposed`], [`ServeError::Addresses`], [`ServeError::Bind`], [`ServeError::Tls`].
    pub async fn bind(settings: Settings, vault_asks: bool) -> Result<Self, ServeError> {
        check_exposure(&settings, vault_asks)?;
        let actual = settings.listen.len();
        if !(1..=ADDRESSES_MAX).contains(&actual) {
            return Err(ServeError::Addresses {
                max: ADDRESSES_MAX,
                actual,
            });
        }
        let served = match settings.tls {
            Some(files) => Some(Arc::new(open(files).await?)),
            None => None,
        };
        let mut listeners = Vec::with_capacity(actual);
        for address in settings.listen {
            let bind = |source| ServeError::Bind { address, source };
            let listener = TcpListener::bind(address).await.map_err(bind)?;
            let bound = listener.local_addr().map_err(bind)?;
            listeners.push((listener, bound));
        }
        Ok(Self {
            listeners,
            served,
            requires_token: vault_asks,
        })
    }

    /// Where exporters find it.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let scheme = match self.served.is_some() {
            true => "https",
            false => "http",
        };
        let addresses = self.listeners.iter();
        addresses
            .map(|(_, address)| format!("{scheme}://{address}"))
            .collect()
    }

    /// Receives traces until `stop` is cancelled.
    ///
    /// # Errors
    /// [`ServeError::Serve`].
    pub async fn serve(
        self,
        receiver: Receiver,
        callers: Callers,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let exports = Arc::new(Exports { callers, receiver });
        let routes = routes(exports, self.requires_token);
        let serving = self.listeners.into_iter().map(|(listener, _)| {
            let acceptor = match &self.served {
                Some(served) => Acceptor::new(LISTENER, Some(Arc::clone(served)), None),
                None => Acceptor::plain(LISTENER),
            };
            Transport::builder()
                .accept_http1(true)
                .max_concurrent_streams(STREAMS_MAX)
                .http2_max_header_list_size(HEADERS_BYTES_MAX)
                .http2_keepalive_interval(Some(PING))
                .http2_keepalive_timeout(Some(PING))
                .add_routes(routes.clone())
                .serve_with_incoming_shutdown(
                    incoming::accept(listener, acceptor),
                    stop.clone().cancelled_owned(),
                )
        });
        let serving: Vec<_> = serving.collect();
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_MAX).await;
        };
        tokio::select! {
            served = Box::pin(try_join_all(serving)) => {
                served.map_err(ServeError::Serve)?;
                Ok(())
            }
            () = late => Ok(()),
            () = look_at(self.served.clone()) => Ok(()),
        }
    }
}

fn routes(exports: Arc<Exports>, requires_token: bool) -> Routes {
    let grpc = TraceServiceServer::new(OverGrpc(Arc::clone(&exports)))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let http = Router::new()
        .route(PATH, post(export::over_http))
        .with_state(exports);
    let gate = Arc::new(Gate::new(requires_token));
    let router = Routes::new(grpc).into_axum_router().merge(http);
    Routes::from(router.layer(from_fn_with_state(gate, gate::pass)))
}

/// The same rule as that of nodes.
fn check_exposure(settings: &Settings, vault_asks: bool) -> Result<(), ServeError> {
    let mut others = settings.listen.iter();
    let other = others.find(|address| !address.ip().to_canonical().is_loopback());
    let Some(&address) = other.filter(|_| !settings.insecure) else {
        return Ok(());
    };
    let (lacks, remedy) = match (settings.tls.is_some(), vault_asks) {
        (true, true) => return Ok(()),
        (true, false) => (
            "authentication",
            "use a vault whose nodes ask callers who they are (auth)",
        ),
        (false, true) => ("TLS", "give --tls-cert and --tls-key"),
        (false, false) => (
            "TLS and authentication",
            "give --tls-cert and --tls-key, and use a vault whose nodes ask callers who they are (auth)",
        ),
    };
    Err(ServeError::Exposed {
        address,
        lacks,
        remedy,
    })
}

async fn open(files: TlsFiles) -> Result<Reloading<Served>, toka_tls::Error> {
    let clients = ForClients {
        pair: Pair {
            certificate: File::new("--tls-cert", files.certificate),
            key: File::new("--tls-key", files.key),
        },
        certificates: ClientCertificates::None,
    };
    match tokio::task::spawn_blocking(move || clients.open()).await {
        Ok(opened) => opened,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Looks at the certificate from time to time, for ever.
async fn look_at(served: Option<Arc<Reloading<Served>>>) {
    let Some(served) = served else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let looked = Arc::clone(&served);
        match tokio::task::spawn_blocking(move || looked.refresh()).await {
            Ok(Refreshed::Unchanged) => {}
            Ok(Refreshed::Replaced) => {
                tracing::info!("the certificate has changed, and is in use for new connections");
            }
            Ok(Refreshed::Kept(reason)) => tracing::error!(
                reason,
                "the certificate has changed and cannot be used; the one from before is used on"
            ),
            Err(error) => tracing::error!(%error, "the certificate was not looked at"),
        }
    }
}

#[cfg(test)]
mod tests;
