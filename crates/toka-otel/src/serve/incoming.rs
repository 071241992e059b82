//! Connections that come in: so many at once, and none that never says what it wants.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use toka_tls::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpIncoming};

/// Connections to one address at once; further ones are closed.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take until it has said what it speaks, its handshake included.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// Bytes by which that is known: the preface of HTTP/2, which no request with a body is shorter than.
const PREFACE_BYTES: usize = 24;
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One of a bounded number of connections.
pub(super) struct Connection {
    stream: Accepted<TcpStream>,
    /// Until it has said what it speaks: what is missing, and how long it may take.
    begin: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

/// Accepts connections for as long as it is asked for them.
pub(super) fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let receive = move |stream: TcpStream| {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::debug!(
                CONNECTIONS_MAX,
                "a connection is closed: there are too many"
            );
            return None;
        };
        let from = stream.peer_addr().unwrap_or(NOWHERE);
        Some(Connection {
            stream: acceptor.accept(stream, from),
            begin: Some((PREFACE_BYTES, Box::pin(sleep(BEGIN_MAX)))),
            _permit: permit,
        })
    };
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE))
        .filter_map(move |accepted| {
            let accepted = accepted.map(&receive).transpose();
            futures::future::ready(accepted)
        })
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if let Some((missing, limit)) = &mut this.begin {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.begin = None;
            } else if read.is_pending() && limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
