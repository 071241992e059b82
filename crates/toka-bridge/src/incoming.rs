//! Connections that come in: so many at once, and none that never says what it wants or never takes what it is sent.

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
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take until it has said what it speaks, its handshake included.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take nothing of what waits for it.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Bytes by which that is known: the preface of HTTP/2, which no request with a body is shorter than.
const PREFACE_BYTES: usize = 24;
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits {
    begin: BEGIN_MAX,
    stall: STALL_MAX,
};
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How long a connection may keep this process waiting.
#[derive(Clone, Copy)]
struct Limits {
    begin: Duration,
    stall: Duration,
}

/// One of a bounded number of connections.
pub(crate) struct Connection {
    stream: Accepted<TcpStream>,
    /// Until it has said what it speaks: what is missing, and how long it may take.
    begin: Option<(usize, Pin<Box<Sleep>>)>,
    /// While something waits that it does not take: how long that may last.
    stall: Option<Pin<Box<Sleep>>>,
    limits: Limits,
    _permit: OwnedSemaphorePermit,
}

/// Accepts connections for as long as it is asked for them.
pub(crate) fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    accept_within(listener, acceptor, LIMITS)
}

fn accept_within(
    listener: TcpListener,
    acceptor: Acceptor,
    limits: Limits,
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
            begin: Some((PREFACE_BYTES, Box::pin(sleep(limits.begin)))),
            stall: None,
            limits,
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

impl Connection {
    /// Passes on what became of a write, and gives up where nothing has become of it for too long.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let max = self.limits.stall;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(max)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
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
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection that came in, and its other end.
    async fn connected() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let soon = Duration::from_millis(20);
        let limits = Limits {
            begin: soon,
            stall: soon,
        };
        let incoming = accept_within(listener, Acceptor::plain("test"), limits);
        let mut incoming = Box::pin(incoming);
        let (connection, other) = tokio::join!(incoming.next(), TcpStream::connect(address));
        let connection = connection.expect("one").expect("accepted");
        (connection, other.expect("connected"))
    }

    #[tokio::test]
    async fn who_never_says_what_it_speaks_is_given_up() {
        let (mut connection, mut other) = connected().await;
        other.write_all(b"GET").await.expect("sent");
        let read = connection.read_to_end(&mut Vec::new()).await;
        let error = read.expect_err("given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_nothing_of_what_it_is_sent_is_given_up() {
        let (mut connection, _other) = connected().await;
        let much = vec![0_u8; 64 << 20];
        let error = connection.write_all(&much).await.expect_err("given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
