//! Connections, one per endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tonic::transport::{Channel, Endpoint};

use crate::config::Config;
use crate::error::Error;

/// Port of an endpoint that names none.
const DEFAULT_PORT: u16 = 7311;
/// Unread bytes of one stream and of one connection that a node may have sent.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// How an endpoint is reached: the seam at which a simulation puts its own network.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// A connection to `endpoint` (`host:port`), made when it is first used, and made again when it
    /// broke.
    ///
    /// # Errors
    /// [`Error::Endpoint`] if no address can look like that.
    fn channel(&self, endpoint: &str) -> Result<Channel, Error>;
}

/// Connections over TCP.
#[derive(Clone, Debug)]
pub struct TcpTransport {
    config: Config,
}

impl TcpTransport {
    /// Connections with these timeouts.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
        }
    }
}

impl Transport for TcpTransport {
    fn channel(&self, endpoint: &str) -> Result<Channel, Error> {
        let invalid = |error: tonic::transport::Error| Error::Endpoint {
            endpoint: endpoint.to_owned(),
            reason: error.to_string(),
        };
        let channel = Endpoint::from_shared(format!("http://{endpoint}"))
            .map_err(invalid)?
            .connect_timeout(self.config.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.config.keepalive)
            .keep_alive_timeout(self.config.keepalive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect_lazy();
        Ok(channel)
    }
}

/// What calls are made over.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) type Connection = Channel;
/// What calls are made over: each has a span, and tells its node the trace.
#[cfg(feature = "opentelemetry")]
pub(crate) type Connection = toka_trace::ClientSpans<Channel>;

#[cfg(not(feature = "opentelemetry"))]
fn connection(channel: Channel, _: &str) -> Connection {
    channel
}

#[cfg(feature = "opentelemetry")]
fn connection(channel: Channel, endpoint: &str) -> Connection {
    let callee = || {
        let endpoint = std::sync::Arc::<str>::from(endpoint);
        toka_trace::KeyValue::new("server.address", endpoint)
    };
    Connection::over(channel, toka_trace::Tracer::global(), callee)
}

/// Connections that were used before.
#[derive(Debug)]
pub(crate) struct Channels {
    transport: std::sync::Arc<dyn Transport>,
    open: Mutex<BTreeMap<String, Connection>>,
}

impl Channels {
    pub(crate) fn new(transport: std::sync::Arc<dyn Transport>) -> Self {
        Self {
            transport,
            open: Mutex::default(),
        }
    }

    /// The connection to an endpoint.
    pub(crate) fn get(&self, endpoint: &str) -> Result<Connection, Error> {
        // Nothing panics while the lock is held, so a poisoned one guards a sound map.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.get(endpoint) {
            return Ok(found.clone());
        }
        let made = connection(self.transport.channel(endpoint)?, endpoint);
        open.insert(endpoint.to_owned(), made.clone());
        Ok(made)
    }

    /// Drops the connection to an endpoint, so that the next use makes a new one.
    pub(crate) fn forget(&self, endpoint: &str) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(endpoint);
    }
}

/// `host:port` of what a user wrote: a scheme is taken off, a port is put on.
pub(crate) fn endpoint_of(text: &str) -> Result<String, Error> {
    let error = |reason: &str| Error::Endpoint {
        endpoint: text.to_owned(),
        reason: reason.to_owned(),
    };
    let trimmed = text.trim();
    if trimmed.starts_with("https://") {
        return Err(error("TLS is not supported yet; use host:port"));
    }
    let address = trimmed
        .strip_prefix("http://")
        .unwrap_or(trimmed)
        .trim_end_matches('/');
    if address.is_empty() {
        return Err(error("it is empty; write host:port"));
    }
    let authority: tonic::codegen::http::uri::Authority =
        address.parse().map_err(|_| error("it is not host:port"))?;
    if authority.host().is_empty() || address.contains('@') {
        return Err(error("it is not host:port"));
    }
    match authority.port_u16() {
        Some(_) => Ok(address.to_owned()),
        None if address.ends_with(':') => Err(error("the port is empty")),
        // The end of an IPv6 address in brackets, or of a name.
        None if address
            .rsplit(']')
            .next()
            .is_some_and(|rest| rest.contains(':')) =>
        {
            Err(error("the port is not a number up to 65535"))
        }
        None => Ok(format!("{address}:{DEFAULT_PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_brought_to_host_and_port() {
        for (text, endpoint) in [
            ("127.0.0.1:7311", "127.0.0.1:7311"),
            (" node-1.example:80 ", "node-1.example:80"),
            ("http://localhost:9/", "localhost:9"),
            ("localhost", "localhost:7311"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:7311"),
        ] {
            assert_eq!(endpoint_of(text).expect("valid"), endpoint);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "https://a:1",
            "a b:1",
            "a:70000",
            "a:",
            "http://",
            "me@a:1",
        ] {
            assert!(
                matches!(endpoint_of(text), Err(Error::Endpoint { .. })),
                "{text:?}"
            );
        }
    }
}
