//! How peers are reached: the seam between Raft and the network.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

mod memory;
mod proven;

pub use memory::{MemoryListener, MemoryNetwork, MemoryStream, MemoryTransport};
pub use proven::Proven;

/// Bytes that may be under way on one stream, and on one connection: enough for a fast network with
/// a few milliseconds of round trip, and a bound on what a slow reader has to keep.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of one frame of HTTP/2 that each side takes: a large entry is four of them, and not 64 of the smallest, each
/// with a look at both windows. Nothing urgent waits behind one, as bulk has connections of its own. No larger,
/// since room for a frame is made when its head has come, whoever has sent it.
const FRAME_BYTES_MAX: u32 = 256 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A peer that answers no ping for this long is gone, whatever TCP says: streams to it fail.
const CONTROL_PING_TIMEOUT: Duration = Duration::from_secs(3);
/// As before, where a ping and its answer wait behind all that is under way on the connection: a window takes a
/// slow link that long. Whoever sends has a patience of its own, which looks at what arrives.
const BULK_PING_TIMEOUT: Duration = Duration::from_secs(20);
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);

/// What a connection is for. Each has its own, so that none holds up another (docs/openraft.md, section 8,
/// point 6): a heartbeat never waits behind a snapshot's chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Heartbeats, votes, read indexes, forming: small and urgent.
    Control,
    /// Log entries.
    Replication,
    /// Snapshots.
    Snapshot,
}

/// Why an endpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint:?} is not an address of the form host:port: {reason}")]
pub struct InvalidEndpoint {
    /// The endpoint.
    pub endpoint: String,
    /// What is wrong.
    pub reason: String,
}

/// Reaches peers.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// A new connection for `traffic` to the peer at `endpoint` (`host:port`). It is made when it is
    /// first used, and again when it breaks; this call does no I/O.
    ///
    /// # Errors
    /// [`InvalidEndpoint`].
    fn channel(&self, endpoint: &str, traffic: Traffic) -> Result<Channel, InvalidEndpoint>;
}

/// TCP, without encryption.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport;

impl TcpTransport {
    /// The endpoint with all that matters set, for transports that connect in their own way.
    ///
    /// # Errors
    /// [`InvalidEndpoint`].
    pub fn endpoint(endpoint: &str, traffic: Traffic) -> Result<Endpoint, InvalidEndpoint> {
        let ping_timeout = match traffic {
            Traffic::Control => CONTROL_PING_TIMEOUT,
            Traffic::Replication | Traffic::Snapshot => BULK_PING_TIMEOUT,
        };
        let uri = format!("http://{endpoint}");
        let parsed = Endpoint::from_shared(uri).map_err(|error| InvalidEndpoint {
            endpoint: endpoint.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(parsed
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(ping_timeout)
            .keep_alive_while_idle(true))
    }
}

impl Transport for TcpTransport {
    fn channel(&self, endpoint: &str, traffic: Traffic) -> Result<Channel, InvalidEndpoint> {
        Ok(Self::endpoint(endpoint, traffic)?.connect_lazy())
    }
}

/// Connections of peers. With a listener of one's own, tonic leaves the sockets as they are, and Nagle's
/// algorithm with delayed acknowledgements adds 40 ms to an answer now and then.
#[must_use]
pub fn peer_incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE))
}

/// A server for [`peer_incoming`], with the windows and timeouts that fit [`TcpTransport`]: what a
/// peer may send before it must wait is the receiver's to say.
#[must_use]
pub fn peer_server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        // It does not know what a connection is for.
        .http2_keepalive_timeout(Some(BULK_PING_TIMEOUT))
}

/// Connections that are kept: openraft asks for a client before every vote.
#[derive(Debug)]
pub(crate) struct Channels {
    transport: Arc<dyn Transport>,
    open: Mutex<BTreeMap<(String, Traffic), Channel>>,
}

impl Channels {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            open: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, endpoint: &str, traffic: Traffic) -> Result<Channel, InvalidEndpoint> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (endpoint.to_owned(), traffic);
        if let Some(channel) = open.get(&key) {
            return Ok(channel.clone());
        }
        let channel = self.transport.channel(endpoint, traffic)?;
        open.insert(key, channel.clone());
        Ok(channel)
    }

    /// A connection that is not kept.
    pub(crate) fn dial(
        &self,
        endpoint: &str,
        traffic: Traffic,
    ) -> Result<Channel, InvalidEndpoint> {
        self.transport.channel(endpoint, traffic)
    }

    /// Whoever asks next gets a new connection. Those who have the old one keep it.
    pub(crate) fn forget(&self, endpoint: &str, traffic: Traffic) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&(endpoint.to_owned(), traffic));
    }
}
