//! A connection that was made.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::reason;
use crate::refusals::Note;

/// The first bytes of an alert of TLS, with which a listener for TLS answers what is none: no frame of HTTP/2 begins so.
const ALERT: &[u8] = &[0x15, 0x03];

/// A connection that was made, in plain text or over TLS; its errors say what the other end had against it.
#[derive(Debug)]
pub struct Dialed {
    kind: Kind,
    note: Note,
}

#[derive(Debug)]
enum Kind {
    Plain { stream: TcpStream, has_read: bool },
    Secured(Box<TlsStream<TcpStream>>),
}

impl Dialed {
    pub(crate) fn plain(stream: TcpStream, note: Note) -> Self {
        let kind = Kind::Plain {
            stream,
            has_read: false,
        };
        Self { kind, note }
    }

    pub(crate) fn secured(stream: TlsStream<TcpStream>, note: Note) -> Self {
        let kind = Kind::Secured(Box::new(stream));
        Self { kind, note }
    }

    /// A write that fails may do so because the other end has refused the connection, and said why: that is read rather.
    fn explained<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let error = match written {
            Poll::Ready(Err(error)) => error,
            other => return other,
        };
        let mut bytes = [0; ALERT.len()];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(self).poll_read(cx, &mut buffer) {
            Poll::Ready(Err(reason)) => Poll::Ready(Err(reason)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Err(error)),
        }
    }
}

fn speaks_tls() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the node speaks TLS, and this end was to speak plain text: give it https:// endpoints, or the CA (--ca, \
         TOKA_CA)",
    )
}

impl AsyncRead for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { kind, note } = self.get_mut();
        let before = buffer.filled().len();
        let (polled, refusal) = match kind {
            Kind::Plain { stream, has_read } => {
                let polled = Pin::new(stream).poll_read(cx, buffer);
                let is_first = !*has_read && matches!(polled, Poll::Ready(Ok(())));
                *has_read |= is_first;
                let is_alert = is_first && buffer.filled()[before..].starts_with(ALERT);
                (polled, is_alert.then(speaks_tls))
            }
            Kind::Secured(stream) => {
                let polled = Pin::new(&mut **stream).poll_read(cx, buffer);
                let refusal = match &polled {
                    Poll::Ready(Err(error)) => reason::of_refusal(error),
                    _ => None,
                };
                (polled, refusal)
            }
        };
        if let Some(refusal) = refusal {
            note.refused(&refusal);
            return Poll::Ready(Err(refusal));
        }
        if buffer.filled().len() > before {
            note.taken();
        }
        polled
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.kind {
            Kind::Plain { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Kind::Secured(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        };
        self.explained(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.kind {
            Kind::Plain { stream, .. } => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Secured(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        };
        self.explained(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Plain { stream, .. } => stream.is_write_vectored(),
            Kind::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.kind {
            Kind::Plain { stream, .. } => Pin::new(stream).poll_flush(cx),
            Kind::Secured(stream) => Pin::new(&mut **stream).poll_flush(cx),
        };
        self.explained(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Kind::Secured(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
