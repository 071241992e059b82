//! How a node calls other nodes over TLS.

use std::time::Duration;

use toka_raft::Transport;
use toka_raft::transport::{InvalidEndpoint, TcpTransport, Traffic};
use toka_tls::{Connector, Dialer};
use tonic::transport::{Channel, Uri};

/// As of connections in plain text: the handshake is within it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);

/// TCP with TLS, in which both ends show the certificates of nodes: for Raft, for what a node forwards, and for joining.
#[derive(Clone, Debug)]
pub(super) struct TlsTransport {
    dialer: Dialer,
}

impl TlsTransport {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self { dialer }
    }
}

impl Transport for TlsTransport {
    fn channel(&self, endpoint: &str, traffic: Traffic) -> Result<Channel, InvalidEndpoint> {
        let origin = format!("https://{endpoint}")
            .parse::<Uri>()
            .map_err(|error| invalid(endpoint, &error))?;
        let dialer = Some(self.dialer.clone());
        let connector = Connector::new(dialer, CONNECT_TIMEOUT, Some(TCP_KEEPALIVE));
        // TLS is the connector's: to tonic the endpoint is one in plain text.
        let plain = TcpTransport::endpoint(endpoint, traffic)?;
        Ok(plain.origin(origin).connect_with_connector_lazy(connector))
    }
}

fn invalid(endpoint: &str, error: &tonic::codegen::http::uri::InvalidUri) -> InvalidEndpoint {
    InvalidEndpoint {
        endpoint: endpoint.to_owned(),
        reason: error.to_string(),
    }
}
