//! Accepted connections that a node can cut, and that end by themselves where the client does nothing useful.
//!
//! tonic serves every connection in a task of its own that outlives the server's: without this a
//! stopped node would go on answering on connections that are still open. Nor does it, or hyper, give up a
//! connection that never says what it speaks, or one that takes nothing: an answer to a ping is not missed
//! where the ping itself finds no room.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::transport::server::{Connected, TcpIncoming};

use super::serve::Stop;
use crate::config::Connections;

const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
/// After an error of the operating system, such as too many open files, which comes again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Length of the preface with which every connection of HTTP/2 begins: `PRI * HTTP/2.0`, an empty line, `SM`,
/// an empty line.
const PREFACE_BYTES: usize = 24;

/// One accepted connection.
pub(super) struct Connection<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the client has said what it speaks.
    handshake: Option<Handshake>,
    stall_timeout: Duration,
    /// Runs while what is to be sent finds no room.
    stalled: Option<Pin<Box<Sleep>>>,
    _open: TaskTrackerToken,
}

/// The connections that `listener` accepts.
pub(super) fn tcp(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE))
}

/// What is `accepted`, at most `max` connections at the same time; all of them end when `stop` says so, and each
/// where it does what `bounds` do not allow.
pub(super) fn incoming<S, A: Stream<Item = io::Result<S>>>(
    accepted: A,
    stop: &Stop,
    max: usize,
    bounds: Connections,
) -> impl Stream<Item = io::Result<Connection<S>>> + use<S, A> {
    let Stop {
        at_once,
        connections,
        ..
    } = stop.clone();
    let mut is_full = false;
    accepted.filter_map(move |accepted| {
        let accepted = accepted.map(|stream| {
            let was_full = mem::replace(&mut is_full, connections.len() >= max);
            if is_full {
                if !was_full {
                    tracing::warn!(max, "too many connections; further ones are closed");
                }
                return None;
            }
            Some(Connection {
                stream,
                cut: Box::pin(at_once.clone().cancelled_owned()),
                handshake: Some(Handshake::new(bounds.handshake_timeout)),
                stall_timeout: bounds.stall_timeout,
                stalled: None,
                _open: connections.token(),
            })
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

impl<S> Connection<S> {
    /// Whether the connection may go on. HTTP reads all the time, but for one that finds no room to write.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
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
        // Also lets the timer wake the connection.
        match self.check(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: Connected> Connected for Connection<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
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
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready()
            && let Some(handshake) = &mut self.handshake
            && handshake.is_over(&buffer.filled()[before..])
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
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of a socket it does nothing.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of `text` are read, one by one, until the handshake is over.
    fn read(text: &[u8]) -> Option<usize> {
        let mut handshake = Handshake::new(Duration::from_secs(1));
        let over = text.iter().position(|byte| handshake.is_over(&[*byte]));
        over.map(|index| index + 1)
    }

    #[tokio::test]
    async fn a_handshake_is_over_with_the_preface_or_a_whole_head() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(read(preface), Some(PREFACE_BYTES));
        let head = b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n";
        assert_eq!(read(head), Some(head.len()));
        assert_eq!(read(b"GET /livez HTTP/1.1\r\nHost: node\r\n\rX"), None);
        assert_eq!(read(&preface[..PREFACE_BYTES - 1]), None);
        assert_eq!(read(b"GET /livez HTTP/1.1\r\r\n\r\n"), Some(24));
    }
}
