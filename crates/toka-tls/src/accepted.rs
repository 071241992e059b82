//! A connection that was accepted.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::identity::Identity;

type Handshake<S> = Pin<Box<dyn Future<Output = io::Result<TlsStream<S>>> + Send>>;

/// A connection that was accepted, in plain text or over TLS. The handshake is made by whoever reads or writes first.
pub struct Accepted<S> {
    state: State<S>,
    identity: Identity,
}

enum State<S> {
    Plain(S),
    Handshake(Handshake<S>),
    Secured(Box<TlsStream<S>>),
    /// The handshake has failed, or was given up.
    Ended,
}

impl<S> Accepted<S> {
    pub(crate) fn plain(stream: S, identity: Identity) -> Self {
        Self {
            state: State::Plain(stream),
            identity,
        }
    }

    pub(crate) fn secured(handshake: Handshake<S>, identity: Identity) -> Self {
        Self {
            state: State::Handshake(handshake),
            identity,
        }
    }

    fn poll_secured(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Handshake(handshake) = &mut self.state {
            let secured = ready!(handshake.as_mut().poll(cx));
            match secured {
                Ok(stream) => self.state = State::Secured(Box::new(stream)),
                Err(error) => {
                    self.state = State::Ended;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn ended<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl<S> Connected for Accepted<S> {
    type ConnectInfo = Identity;

    fn connect_info(&self) -> Identity {
        self.identity.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_secured(cx))?;
        match &mut this.state {
            State::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            State::Secured(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            State::Handshake(_) | State::Ended => ended(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_secured(cx))?;
        match &mut this.state {
            State::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            State::Secured(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            State::Handshake(_) | State::Ended => ended(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_secured(cx))?;
        match &mut this.state {
            State::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            State::Secured(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
            State::Handshake(_) | State::Ended => ended(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.state {
            State::Plain(stream) => stream.is_write_vectored(),
            // As tokio-rustls does, which is asked before the handshake is over, too.
            State::Handshake(_) | State::Secured(_) => true,
            State::Ended => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.state {
            State::Plain(stream) => Pin::new(stream).poll_flush(cx),
            State::Secured(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // Nothing was written.
            State::Handshake(_) => Poll::Ready(Ok(())),
            State::Ended => ended(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.state {
            State::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Secured(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            State::Handshake(_) | State::Ended => {
                this.state = State::Ended;
                Poll::Ready(Ok(()))
            }
        }
    }
}
