//! Addresses at which exporters are listened to: OTLP over gRPC, and over HTTP as protobuf or JSON, both at each of them.
//!
//! Every request is its sender's: it shows a bearer token, which goes on to the vault, and this process lends it nothing.

mod decode;
mod export;
mod gate;
mod memory;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use toka_bridge::{Callers, Listeners};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use toka_bridge::{Error as ServeError, Settings, TlsFiles};

use self::export::{Exports, GRPC_PATH};
use self::gate::{Gate, PATH};
use crate::receive::Receiver;

/// As log lines name the listeners.
const LISTENER: &str = "otlp";
/// Requests of one connection at once.
const STREAMS_MAX: u32 = 16;

/// Bound addresses, not accepting yet.
#[derive(Debug)]
pub struct Endpoint {
    listeners: Listeners,
    requires_token: bool,
}

impl Endpoint {
    /// Binds the addresses. `vault_asks`: the vault asks callers who they are; then a request without a token is
    /// refused at once.
    ///
    /// # Errors
    /// [`ServeError::Exposed`], [`ServeError::Addresses`], [`ServeError::Bind`], [`ServeError::Tls`].
    pub async fn bind(settings: Settings, vault_asks: bool) -> Result<Self, ServeError> {
        Ok(Self {
            listeners: Listeners::bind(LISTENER, settings, vault_asks).await?,
            requires_token: vault_asks,
        })
    }

    /// Where exporters find it.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let scheme = self.listeners.scheme();
        let addresses = self.listeners.addresses();
        addresses
            .map(|address| format!("{scheme}://{address}"))
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
        Box::pin(self.listeners.serve(routes, STREAMS_MAX, stop)).await
    }
}

fn routes(exports: Arc<Exports>, requires_token: bool) -> Routes {
    let gate = Arc::new(Gate::new(requires_token));
    let router: Router = Router::new()
        .route(PATH, post(export::over_http))
        .route(GRPC_PATH, post(export::over_grpc))
        .fallback(export::elsewhere)
        .with_state(exports)
        .layer(from_fn_with_state(gate, gate::pass));
    Routes::from(router)
}

#[cfg(test)]
mod tests;
