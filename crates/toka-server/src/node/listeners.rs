//! The three sockets of a node.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::transport::server::Connected;

use super::StartError;
use crate::config::Config;
use crate::transport::Security;

/// Bound sockets, not accepting yet. Bound apart from the start of the node, so that several nodes
/// can be told each other's ports before any of them starts.
#[derive(Debug)]
pub struct Listeners {
    pub(super) client: TcpListener,
    pub(super) raft: TcpListener,
    pub(super) http: TcpListener,
}

/// A connection, whatever it goes over.
pub trait Wire: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static> Wire for S {}

/// Connections that come in: of sockets, or of a network in memory.
pub struct Wires<C, R> {
    /// Clients'.
    pub clients: C,
    /// Of other nodes; made on the runtime that answers them.
    pub peers: R,
    /// For HTTP; absent: there is none.
    pub http: Option<TcpListener>,
    /// What the TLS of all these rests on; absent: there is none.
    pub security: Option<Arc<Security>>,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients.
    pub client: SocketAddr,
    /// For other nodes.
    pub raft: SocketAddr,
    /// For HTTP.
    pub http: SocketAddr,
}

impl Listeners {
    /// Binds what `config` names.
    ///
    /// # Errors
    /// [`StartError::Bind`], naming the key and the address.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            client: bind("listen", config.listen).await?,
            raft: bind("raft_listen", config.raft_listen).await?,
            http: bind("http_listen", config.http_listen).await?,
        })
    }

    /// The bound addresses.
    ///
    /// # Errors
    /// [`StartError::Bind`] if the operating system does not tell.
    pub fn addresses(&self) -> Result<Addresses, StartError> {
        let address = |key, listener: &TcpListener| {
            listener.local_addr().map_err(|source| StartError::Bind {
                key,
                address: SocketAddr::from(([0, 0, 0, 0], 0)),
                source,
            })
        };
        Ok(Addresses {
            client: address("listen", &self.client)?,
            raft: address("raft_listen", &self.raft)?,
            http: address("http_listen", &self.http)?,
        })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Bind {
            key,
            address,
            source,
        })
}
