//! Connections, one per endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use toka_tls::Connector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::config::Config;
use crate::error::Error;
use crate::tls::Tls;

/// Port of an endpoint that names none.
const DEFAULT_PORT: u16 = 7311;
/// Unread bytes of one stream and of one connection that a node may have sent.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of one frame of HTTP/2 that a node may send: what it has gathered of a subscription, in one.
const FRAME_BYTES_MAX: u32 = 64 << 10;

/// How an endpoint is reached: the seam at which a simulation puts its own network.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// A connection to `endpoint` (`host:port`), made when it is first used, and made again when it
    /// broke.
    ///
    /// # Errors
    /// [`Error::Endpoint`] if no address can look like that.
    fn channel(&self, endpoint: &str) -> Result<Channel, Error>;

    /// Why `endpoint` has refused the last connection that was made to it, where a call over it may be told only that it has
    /// ended; `None`: it has not, or nobody knows.
    fn refusal(&self, _endpoint: &str) -> Option<String> {
        None
    }
}

/// Connections over TCP, in plain text or with TLS, and never sometimes the one and sometimes the other.
#[derive(Clone, Debug)]
pub struct TcpTransport {
    config: Config,
    connector: Connector,
    is_secured: bool,
    /// Without TLS, and a token is not for everybody on the way.
    is_on_loopback_only: bool,
}

impl TcpTransport {
    /// Connections in plain text with these timeouts.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            connector: Connector::new(None, config.connect_timeout, None).gathering(),
            is_secured: false,
            is_on_loopback_only: false,
        }
    }

    /// The same, to this machine alone.
    pub(crate) fn on_loopback_only(self) -> Self {
        Self {
            is_on_loopback_only: true,
            ..self
        }
    }

    /// Connections with TLS and these timeouts. Reads the files that `tls` names, and blocks on the disk for that.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub fn secured(config: &Config, tls: &Tls) -> Result<Self, Error> {
        let dialer = Some(tls.dialer()?);
        Ok(Self {
            config: config.clone(),
            connector: Connector::new(dialer, config.connect_timeout, None).gathering(),
            is_secured: true,
            is_on_loopback_only: false,
        })
    }
}

impl Transport for TcpTransport {
    fn channel(&self, endpoint: &str) -> Result<Channel, Error> {
        // Also of an endpoint that a reply has named.
        if self.is_on_loopback_only && !is_on_loopback(endpoint) {
            return Err(Error::PlaintextToken {
                endpoint: endpoint.to_owned(),
            });
        }
        let invalid = |reason: String| Error::Endpoint {
            endpoint: endpoint.to_owned(),
            reason,
        };
        // TLS is the connector's: to tonic every endpoint is one in plain text.
        let plain = Endpoint::from_shared(format!("http://{endpoint}"))
            .map_err(|error| invalid(error.to_string()))?;
        let named = if self.is_secured {
            let origin = format!("https://{endpoint}").parse::<Uri>();
            plain.origin(origin.map_err(|error| invalid(error.to_string()))?)
        } else {
            plain
        };
        let channel = named
            .connect_timeout(self.config.connect_timeout)
            .http2_keep_alive_interval(self.config.keepalive)
            .keep_alive_timeout(self.config.keepalive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .connect_with_connector_lazy(self.connector.clone());
        Ok(channel)
    }

    fn refusal(&self, endpoint: &str) -> Option<String> {
        self.connector.refusals().of(endpoint)
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

    pub(crate) fn transport(&self) -> &std::sync::Arc<dyn Transport> {
        &self.transport
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

    /// Why a node has refused the connection over which a try has failed with `status`; `None`: it has not.
    pub(crate) fn refusal(&self, endpoint: &str, status: &Status) -> Option<String> {
        // Without a source it is what a node has said, or what ran out of time.
        std::error::Error::source(status)?;
        self.transport.refusal(endpoint)
    }

    /// Drops the connection to an endpoint, so that the next use makes a new one.
    pub(crate) fn forget(&self, endpoint: &str) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(endpoint);
    }
}

/// Whether an endpoint, `host:port`, is on this machine for sure.
fn is_on_loopback(endpoint: &str) -> bool {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// What the scheme of an endpoint says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http://`: there is to be none.
    Plain,
    /// `https://`: there must be TLS.
    Secured,
}

/// Whether a client with these endpoints, and settings of TLS if `is_configured`, speaks TLS: with all or with none, since
/// it goes on to addresses that have no scheme.
pub(crate) fn speaks_tls(
    endpoints: &[(String, Option<Scheme>)],
    is_configured: bool,
) -> Result<bool, Error> {
    let with = |wanted| {
        let found = endpoints.iter().find(|(_, scheme)| *scheme == Some(wanted));
        found.map(|(endpoint, _)| endpoint)
    };
    let secured = with(Scheme::Secured);
    match with(Scheme::Plain) {
        Some(plain) if is_configured || secured.is_some() => Err(Error::Endpoint {
            endpoint: format!("http://{plain}"),
            reason: "a client speaks TLS with all nodes or with none: write https:// before it, or leave TLS out"
                .to_owned(),
        }),
        _ => Ok(is_configured || secured.is_some()),
    }
}

/// `host:port` of what a user wrote, and what its scheme says: that is taken off, and a port is put on.
pub(crate) fn endpoint_of(text: &str) -> Result<(String, Option<Scheme>), Error> {
    let error = |reason: &str| Error::Endpoint {
        endpoint: text.to_owned(),
        reason: reason.to_owned(),
    };
    let trimmed = text.trim();
    let (scheme, address) = if let Some(rest) = trimmed.strip_prefix("https://") {
        (Some(Scheme::Secured), rest)
    } else if let Some(rest) = trimmed.strip_prefix("http://") {
        (Some(Scheme::Plain), rest)
    } else {
        (None, trimmed)
    };
    let address = address.trim_end_matches('/');
    if address.is_empty() {
        return Err(error("it is empty; write host:port"));
    }
    let authority: tonic::codegen::http::uri::Authority =
        address.parse().map_err(|_| error("it is not host:port"))?;
    if authority.host().is_empty() || address.contains('@') {
        return Err(error("it is not host:port"));
    }
    match authority.port_u16() {
        Some(_) => Ok((address.to_owned(), scheme)),
        None if address.ends_with(':') => Err(error("the port is empty")),
        // The end of an IPv6 address in brackets, or of a name.
        None if address
            .rsplit(']')
            .next()
            .is_some_and(|rest| rest.contains(':')) =>
        {
            Err(error("the port is not a number up to 65535"))
        }
        None => Ok((format!("{address}:{DEFAULT_PORT}"), scheme)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_not_on_loopback() {
        for endpoint in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert!(is_on_loopback(endpoint), "{endpoint}");
        }
        for endpoint in [
            "10.0.0.1:1",
            "[2001:db8::1]:1",
            "localhost.example:1",
            "node:1",
        ] {
            assert!(!is_on_loopback(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn endpoints_are_brought_to_host_and_port() {
        for (text, endpoint) in [
            ("127.0.0.1:7311", ("127.0.0.1:7311", None)),
            (" node-1.example:80 ", ("node-1.example:80", None)),
            ("http://localhost:9/", ("localhost:9", Some(Scheme::Plain))),
            ("https://a:1", ("a:1", Some(Scheme::Secured))),
            ("https://a/", ("a:7311", Some(Scheme::Secured))),
            ("localhost", ("localhost:7311", None)),
            ("[::1]:9", ("[::1]:9", None)),
            ("[::1]", ("[::1]:7311", None)),
        ] {
            let (found, scheme) = endpoint_of(text).expect("valid");
            assert_eq!((found.as_str(), scheme), endpoint);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "", "https://", "a b:1", "a:70000", "a:", "http://", "me@a:1",
        ] {
            assert!(
                matches!(endpoint_of(text), Err(Error::Endpoint { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn tls_is_spoken_with_all_endpoints_or_with_none() {
        let speaks = |texts: &[&str], is_configured| {
            let endpoints: Result<Vec<_>, _> = texts.iter().map(|text| endpoint_of(text)).collect();
            speaks_tls(&endpoints.expect("valid"), is_configured)
        };
        assert!(matches!(speaks(&["a", "http://b"], false), Ok(false)));
        assert!(matches!(speaks(&["a", "https://b"], false), Ok(true)));
        assert!(matches!(speaks(&["a"], true), Ok(true)));
        for (texts, is_configured) in [
            (&["https://a", "http://b"][..], false),
            (&["a", "http://b"][..], true),
        ] {
            let refused = speaks(texts, is_configured).expect_err("mixed").to_string();
            assert!(refused.contains("http://b:7311"), "{refused}");
        }
    }
}
