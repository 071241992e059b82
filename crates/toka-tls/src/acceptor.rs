//! How a listener receives callers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::server::ClientHello;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::accepted::Accepted;
use crate::certificate::names;
use crate::config::{NODE_PROTOCOL, Served};
use crate::identity::{Identity, PeerIdentity};
use crate::reason;
use crate::reload::Reloading;

/// Between two log lines about callers that were refused: anybody can make them come.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// How long a caller that was refused has to read why.
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// What it may have sent meanwhile.
const UNREAD_BYTES_MAX: u64 = 64 << 10;

/// How a listener receives callers: in plain text, or over TLS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// As log lines name it.
    listener: &'static str,
    clients: Option<Arc<Reloading<Served>>>,
    nodes: Option<Arc<Reloading<Served>>>,
    refused: AtomicU64,
    /// When a refusal was logged last, and how many there had been by then.
    told: Mutex<Option<(Instant, u64)>>,
}

impl Acceptor {
    /// Callers over TLS: nodes, who say that they are ([`NODE_PROTOCOL`]) and must prove it, and all others as clients.
    /// Without `clients` everybody must prove to be a node, without `nodes` nobody can.
    #[must_use]
    pub fn new(
        listener: &'static str,
        clients: Option<Arc<Reloading<Served>>>,
        nodes: Option<Arc<Reloading<Served>>>,
    ) -> Self {
        Self(Arc::new(Inner {
            listener,
            clients,
            nodes,
            refused: AtomicU64::new(0),
            told: Mutex::new(None),
        }))
    }

    /// Callers in plain text.
    #[must_use]
    pub fn plain(listener: &'static str) -> Self {
        Self::new(listener, None, None)
    }

    /// Callers who were refused in the handshake so far; those who left in its course are not among them.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// What becomes of a connection that was accepted: its handshake is made when it is first read or written, with the
    /// certificates that hold then. How long that may take is for the caller to say.
    #[must_use]
    pub fn accept<S>(&self, stream: S, from: SocketAddr) -> Accepted<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let inner = &self.0;
        let identity = Identity::at(from);
        if inner.clients.is_none() && inner.nodes.is_none() {
            return Accepted::plain(stream, identity);
        }
        let (acceptor, known) = (self.clone(), identity.clone());
        let secured = async move {
            let secured = acceptor.secure(stream, &known).await;
            if let Err(error) = &secured {
                acceptor.complain(error, from);
            }
            secured
        };
        Accepted::secured(Box::pin(secured), identity)
    }

    async fn secure<S>(&self, stream: S, identity: &Identity) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let (served, is_node) = self.0.choose(&hello.client_hello());
        let Some(served) = served else {
            // A listener in plain text secures nothing.
            return Err(std::io::ErrorKind::Unsupported.into());
        };
        let handshake = hello.into_stream(Arc::clone(&served.config));
        let stream = match handshake.into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                hang_up(stream).await;
                return Err(error);
            }
        };
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates();
        if let Some(certificate) = shown.and_then(<[_]>::first) {
            identity.set(PeerIdentity {
                names: names(certificate),
                is_node,
            });
        }
        Ok(stream)
    }

    /// A caller that is there and refused, or refuses this node, is of interest to an operator; one that left is not:
    /// probes that only connect do so all the time.
    fn complain(&self, error: &std::io::Error, from: SocketAddr) {
        let listener = self.0.listener;
        let Some(refusal) = reason::of_tls(error) else {
            tracing::debug!(listener, %from, %error, "a caller left in the handshake");
            return;
        };
        let refused = self.0.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let untold = match *told {
            Some((at, _)) if now.duration_since(at) < COMPLAINT_INTERVAL => return,
            Some((_, before)) => refused.saturating_sub(before + 1),
            None => 0,
        };
        *told = Some((now, refused));
        drop(told);
        let reason = reason::of_caller(refusal);
        tracing::warn!(listener, %from, reason, untold, "a caller is refused");
    }
}

/// Takes leave of a caller who was told why it is refused. Closed at once, with what it has sent unread, the connection would
/// be reset, and the caller might read nothing of it.
async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let leaving = async {
        stream.shutdown().await?;
        let mut unread = (&mut stream).take(UNREAD_BYTES_MAX);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
    };
    // Who does not leave by then is left.
    let _ = tokio::time::timeout(LEAVE_MAX, leaving).await;
}

impl Inner {
    /// What the caller is shown and has to show, and whether it is a node then.
    fn choose(&self, hello: &ClientHello<'_>) -> (Option<Arc<Served>>, bool) {
        let says_node = || {
            hello
                .alpn()
                .is_some_and(|mut names| names.any(|name| name == NODE_PROTOCOL))
        };
        let current = |served: &Arc<Reloading<Served>>| served.current();
        match (&self.clients, &self.nodes) {
            (Some(_), Some(nodes)) if says_node() => (Some(current(nodes)), true),
            (Some(clients), _) => (Some(current(clients)), false),
            (None, nodes) => (nodes.as_ref().map(current), true),
        }
    }
}
