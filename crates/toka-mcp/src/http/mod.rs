//! Over streamable HTTP: one endpoint, `/mcp`, for clients that are elsewhere or many.
//!
//! Every request is its caller's: it shows a bearer token, which goes on to the vault, and this process lends it
//! nothing. Requests that a browser was talked into by another site are refused by their `Host` and `Origin`.

mod answer;
mod gate;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use toka_bridge::Listeners;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use toka_bridge::{Error as HttpError, TlsFiles};

use self::gate::{Gate, REQUEST_BYTES_MAX};
use crate::server::Server;

/// Where the endpoint is.
const PATH: &str = "/mcp";
/// As log lines name the listener.
const LISTENER: &str = "http";
/// Requests of one connection at once, those that clients listen by among them.
const STREAMS_MAX: u32 = 32;
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

/// A bound address, not accepting yet.
pub struct Endpoint {
    listeners: Listeners,
    origin: String,
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
        let listening = toka_bridge::Settings {
            listen: vec![settings.listen],
            tls: settings.tls,
            insecure: settings.insecure,
        };
        let listeners = Listeners::bind(LISTENER, listening, vault_asks).await?;
        let address = listeners.addresses().next().expect("one was given");
        let scheme = listeners.scheme();
        Ok(Self {
            origin: format!("{scheme}://{address}"),
            config: config(settings.hosts, settings.origins, scheme, address),
            listeners,
            requires_token: vault_asks,
        })
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.origin)
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
        let routes = Routes::from(router);
        Box::pin(self.listeners.serve(routes, STREAMS_MAX, stop)).await
    }
}

/// Who is let in: callers by one of these names, and pages of these origins.
fn config(
    hosts: Vec<String>,
    origins: Vec<String>,
    scheme: &str,
    address: SocketAddr,
) -> StreamableHttpServerConfig {
    let mut names: Vec<String> = LOOPBACK.iter().map(ToString::to_string).collect();
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    let own = names.iter().map(|name| {
        let name = match name.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => name.clone(),
        };
        format!("{scheme}://{name}:{}", address.port())
    });
    let origins: Vec<String> = own.chain(origins).collect();
    names.extend(hosts);
    StreamableHttpServerConfig::default()
        .with_allowed_hosts(names)
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_max_request_body_bytes(REQUEST_BYTES_MAX)
}

#[cfg(test)]
mod tests;
