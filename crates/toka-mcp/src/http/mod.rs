//! Over streamable HTTP: one endpoint, `/mcp`, for clients that are elsewhere or many.
//!
//! Every request is its caller's: it shows a bearer token, which goes on to the vault, and this process lends it
//! nothing. Requests that a browser was talked into by another site are refused by their `Host` and `Origin`.

mod gate;
mod incoming;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use toka_tls::{
    Acceptor, ClientCertificates, File, ForClients, Pair, Refreshed, Reloading, Served,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::Server as Transport;

use self::gate::Gate;
use crate::server::Server;

/// Where the endpoint is.
const PATH: &str = "/mcp";
/// As log lines name the listener.
const LISTENER: &str = "http";
/// A request's body, bytes: more than the largest event has.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// A request's headers, bytes; a token has at most 12 KiB.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// How often the other end of a connection is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How long requests may take that are being answered when the server stops.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the certificate has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Names of this machine to itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How it is listened, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address; port 0: any that is free.
    pub listen: SocketAddr,
    /// What clients are shown; absent: they speak plain text.
    pub tls: Option<TlsFiles>,
    /// Names, perhaps with a port, by which clients may call this server, beside those of loopback and the address.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call it, such as `https://app.example:443`, beside its own.
    pub origins: Vec<String>,
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

/// Why it is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
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

/// A bound address, not accepting yet.
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    served: Option<Arc<Reloading<Served>>>,
    config: StreamableHttpServerConfig,
    requires_token: bool,
}

impl Endpoint {
    /// Binds the address. `vault_asks`: the vault asks callers who they are; then a request without a token is
    /// answered with 401 at once.
    ///
    /// # Errors
    /// [`HttpError::Exposed`], [`HttpError::Bind`], [`HttpError::Tls`].
    pub async fn bind(settings: Settings, vault_asks: bool) -> Result<Self, HttpError> {
        check_exposure(&settings, vault_asks)?;
        let served = match settings.tls.clone() {
            Some(files) => Some(Arc::new(open(files).await?)),
            None => None,
        };
        let bind = |source| HttpError::Bind {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            config: config(&settings, address),
            served,
            requires_token: vault_asks,
        })
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}{PATH}", scheme(self.served.is_some()), self.address)
    }

    /// Serves clients until `stop` is cancelled.
    ///
    /// # Errors
    /// [`HttpError::Serve`].
    pub async fn serve(self, server: Server, stop: CancellationToken) -> Result<(), HttpError> {
        let manager = Arc::new(LocalSessionManager::default());
        // With the token all streams end, which would else be open for as long as their clients want.
        let config = self.config.with_cancellation_token(stop.child_token());
        let service =
            StreamableHttpService::new(move || Ok(server.clone()), Arc::clone(&manager), config);
        let gate = Arc::new(Gate::new(manager, self.requires_token));
        let router = Router::new()
            .route_service(PATH, service)
            .layer(from_fn_with_state(gate, gate::pass));
        let acceptor = match &self.served {
            Some(served) => Acceptor::new(LISTENER, Some(Arc::clone(served)), None),
            None => Acceptor::plain(LISTENER),
        };
        let serving = Transport::builder()
            .accept_http1(true)
            .http2_max_header_list_size(HEADERS_BYTES_MAX)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING))
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(
                incoming::accept(self.listener, acceptor),
                stop.cancelled(),
            );
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_MAX).await;
        };
        tokio::select! {
            served = Box::pin(serving) => served.map_err(HttpError::Serve),
            () = late => Ok(()),
            () = look_at(self.served) => Ok(()),
        }
    }
}

/// The same rule as that of nodes.
fn check_exposure(settings: &Settings, vault_asks: bool) -> Result<(), HttpError> {
    let is_here = settings.listen.ip().to_canonical().is_loopback();
    if settings.insecure || is_here {
        return Ok(());
    }
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
    Err(HttpError::Exposed {
        address: settings.listen,
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

fn config(settings: &Settings, address: SocketAddr) -> StreamableHttpServerConfig {
    let mut names: Vec<String> = LOOPBACK.iter().map(ToString::to_string).collect();
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    let scheme = scheme(settings.tls.is_some());
    let own = names.iter().map(|name| {
        let name = match name.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => name.clone(),
        };
        format!("{scheme}://{name}:{}", address.port())
    });
    let origins: Vec<String> = own.chain(settings.origins.iter().cloned()).collect();
    names.extend(settings.hosts.iter().cloned());
    StreamableHttpServerConfig::default()
        .with_allowed_hosts(names)
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_max_request_body_bytes(REQUEST_BYTES_MAX)
}

const fn scheme(is_secured: bool) -> &'static str {
    if is_secured { "https" } else { "http" }
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
