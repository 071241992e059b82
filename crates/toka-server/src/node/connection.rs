//! Accepted connections that a node can cut, and that end by themselves where the client does nothing useful.
//!
//! tonic serves every connection in a task of its own that outlives the server's: without this a
//! stopped node would go on answering on connections that are still open. Nor does it, or hyper, give up a
//! connection that never says what it speaks, or one that takes nothing: an answer to a ping is not missed
//! where the ping itself finds no room. Of the connections of peers, each has to show that it is one.

use std::io::{self, IoSlice};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use toka_raft::transport::Proven;
use toka_tls::{Accepted, Acceptor, Gathering, Identity};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::transport::server::{Connected, TcpIncoming};

use super::serve::Stop;
use crate::config::Connections;
use crate::transport::PeerAddress;

const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// After an error of the operating system, such as too many open files, which comes again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Length of the preface with which every connection of HTTP/2 begins: `PRI * HTTP/2.0`, an empty line, `SM`,
/// an empty line.
const PREFACE_BYTES: usize = 24;
/// Bytes that the operating system takes of a connection beyond those that are on their way. It says that there is room
/// again when half of them are gone, which is what counts as progress: without a bound it takes megabytes, and a slow
/// link would look stalled while they go out.
const UNSENT_BYTES: u32 = 128 << 10;
/// What a connection has to send in the time that it has to show that it is a peer's, to be given as much time again: a
/// large first request over a slow link is no idle connection.
const PROOF_BYTES: usize = 64 << 10;
/// How often it is given as much time again: the largest request is through by then, over a link that can serve.
const PROOF_EXTENSIONS_MAX: u32 = 12;

/// One accepted connection.
pub(super) struct Connection<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the client has said what it speaks.
    handshake: Option<Handshake>,
    proven: Proven,
    /// Until it has shown that it is a peer's, if it has to.
    proof: Option<Proof>,
    stall_timeout: Duration,
    /// Runs while what is to be sent finds no room.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What finds none was written already, into buffers of TLS.
    is_flushing: bool,
    /// It was read from since the last flush, or write that found no room, and could go on.
    is_checked: bool,
    _open: TaskTrackerToken,
}

/// What is known of the caller, of each of its requests.
#[derive(Clone, Debug)]
pub(super) struct Caller<I> {
    proven: Proven,
    /// What the connection underneath says.
    wire: I,
}

/// Puts what is known of the caller where it is looked for: [`Proven`], its [`PeerAddress`], and the
/// [`PeerIdentity`](crate::transport::PeerIdentity) of one that has shown a certificate.
pub(super) fn announce<I: Clone + Send + Sync + 'static>(
    mut request: Request<Body>,
) -> Request<Body> {
    let extensions = request.extensions_mut();
    if let Some(Caller { proven, wire }) = extensions.remove::<Caller<I>>() {
        extensions.insert(proven);
        extensions.insert(wire);
    }
    let wire = extensions.get::<Identity>();
    let (from, shown) = (
        wire.and_then(Identity::address),
        wire.and_then(Identity::get),
    );
    let shown = shown.cloned();
    if let Some(from) = from {
        extensions.insert(PeerAddress(from.ip()));
    }
    if let Some(identity) = shown {
        extensions.insert(identity);
    }
    request
}

/// The connections that `listener` accepts, received by `acceptor`.
pub(super) fn tcp(
    listener: TcpListener,
    acceptor: Acceptor,
) -> impl Stream<Item = io::Result<Accepted<TcpStream>>> + Send + 'static {
    let receive = move |stream: TcpStream| {
        // Of one that is gone already nobody says it, and nobody needs it.
        let from = stream.peer_addr().unwrap_or(NOWHERE);
        acceptor.accept(stream, from)
    };
    sockets(listener).map(move |accepted| accepted.map(&receive))
}

fn sockets(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> + Send + 'static {
    let accepted = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE));
    accepted.inspect(|accepted| {
        if let Ok(stream) = accepted
            && let Err(error) = bound_unsent(stream)
        {
            tracing::debug!(%error, "a connection is left as it is");
        }
    })
}

#[cfg(target_os = "linux")]
fn bound_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)
}

#[cfg(not(target_os = "linux"))]
fn bound_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_send_buffer_size(UNSENT_BYTES as usize)
}

/// What is `accepted`, at most `max` connections at the same time; all of them end when `stop` says so, and each
/// where it does what `bounds` do not allow, or does not show within `proof_timeout` that it is a peer's.
pub(super) fn incoming<S, A: Stream<Item = io::Result<S>>>(
    accepted: A,
    stop: &Stop,
    max: usize,
    bounds: Connections,
    proof_timeout: Option<Duration>,
) -> impl Stream<Item = io::Result<Gathering<Connection<S>>>> + use<S, A> {
    let Stop {
        at_once,
        connections,
        refused,
        ..
    } = stop.clone();
    let mut is_full = false;
    accepted.filter_map(move |accepted| {
        let accepted = accepted.map(|stream| {
            let was_full = mem::replace(&mut is_full, connections.len() >= max);
            if is_full {
                refused.increment();
                if !was_full {
                    tracing::warn!(max, "too many connections; further ones are closed");
                }
                return None;
            }
            let proven = Proven::default();
            let connection = Connection {
                stream,
                cut: Box::pin(at_once.clone().cancelled_owned()),
                handshake: Some(Handshake::new(bounds.handshake_timeout)),
                proof: proof_timeout.map(|timeout| Proof::new(proven.clone(), timeout)),
                proven,
                stall_timeout: bounds.stall_timeout,
                stalled: None,
                is_flushing: false,
                is_checked: false,
                _open: connections.token(),
            };
            // Answers to peers are few.
            Some(Gathering::new(connection, proof_timeout.is_none()))
        });
        async move {
            match accepted {
                Ok(connection) => connection.map(Ok),
                Err(error) => {
                    if !is_of_the_client(&error) {
                        tracing::warn!(%error, "connections cannot be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    Some(Err(error))
                }
            }
        }
    })
}

/// Whether it was the client that broke off; the next one may be accepted at once.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

/// Waits for the preface of HTTP/2, or for the head of a first request of HTTP/1: both end with an empty line.
/// What comes after that is hyper's to wait for.
struct Handshake {
    until: Pin<Box<Sleep>>,
    bytes: usize,
    /// How much of `\r\n\r\n` has been read last; 4: it was there.
    matched: u8,
}

impl Handshake {
    fn new(timeout: Duration) -> Self {
        Self {
            until: Box::pin(sleep(timeout)),
            bytes: 0,
            matched: 0,
        }
    }

    /// Whether it is over, now that `bytes` have come.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        self.bytes = self.bytes.saturating_add(bytes.len());
        for byte in bytes {
            self.matched = match (self.matched, byte) {
                (4, _) => 4,
                (matched @ (0 | 2), b'\r') | (matched @ (1 | 3), b'\n') => matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
        }
        self.matched == 4 && self.bytes >= PREFACE_BYTES
    }
}

/// Waits for a call that is a peer's.
struct Proof {
    proven: Proven,
    timeout: Duration,
    until: Pin<Box<Sleep>>,
    /// What has come since `until` was set.
    bytes: usize,
    /// How often it was set anew.
    extensions: u32,
}

impl Proof {
    fn new(proven: Proven, timeout: Duration) -> Self {
        Self {
            proven,
            timeout,
            until: Box::pin(sleep(timeout)),
            bytes: 0,
            extensions: 0,
        }
    }

    /// Whether it is there.
    fn is_given(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.proven.is_set() {
            return Ok(true);
        }
        while self.until.as_mut().poll(cx).is_ready() {
            if self.bytes < PROOF_BYTES || self.extensions >= PROOF_EXTENSIONS_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.bytes = 0;
            self.extensions += 1;
            self.until.as_mut().reset(Instant::now() + self.timeout);
        }
        Ok(false)
    }
}

impl<S> Connection<S> {
    /// Whether the connection may go on. HTTP reads all the time, but for one that finds no room to write, and one of HTTP/1
    /// whose client sends on while it is answered: that is flushed alone.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(proof) = &mut self.proof
            && proof.is_given(cx)?
        {
            self.proof = None;
        }
        let handshake = self
            .handshake
            .as_mut()
            .map(|handshake| &mut handshake.until);
        for timer in handshake.into_iter().chain(&mut self.stalled) {
            if timer.as_mut().poll(cx).is_ready() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Takes note of what became of a write.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        if self.stalled.is_none() {
            self.stalled = Some(Box::pin(sleep(self.stall_timeout)));
        }
        // The flush that follows may be long after the last read.
        self.is_checked = false;
        // Also lets the timer wake the connection.
        match self.check(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: Connected> Connected for Connection<S> {
    type ConnectInfo = Caller<S::ConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Caller {
            proven: self.proven.clone(),
            wire: self.stream.connect_info(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.check(cx) {
            return Poll::Ready(Err(error));
        }
        self.is_checked = true;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_pending() {
            return polled;
        }
        let came = &buffer.filled()[before..];
        if let Some(proof) = &mut self.proof {
            proof.bytes = proof.bytes.saturating_add(came.len());
        }
        if let Some(handshake) = &mut self.handshake
            && handshake.is_over(came)
        {
            self.handshake = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !mem::take(&mut self.is_checked) {
            self.check(cx)?;
        }
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        let was_flushing = mem::replace(&mut self.is_flushing, polled.is_pending());
        // Of a socket it does nothing, and says nothing of what is to be written.
        if polled.is_ready() && !was_flushing {
            return polled;
        }
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS writes that it ends, and before that what is in its buffers.
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, polled)
    }
}

#[cfg(test)]
mod tests;
