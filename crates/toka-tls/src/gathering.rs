//! A connection to which many tasks write at the same moment.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::gathered::Gathered;

/// A connection to which what many tasks have for it at the same moment goes out in one write.
///
/// Calls are made and answered by tasks of their own, each of which wakes that of the connection, which the runtime then
/// runs next: where many can go on at the same moment, as those whose commits are of one log entry, each would have a
/// write of its own, which is a system call and a turn of TCP. HTTP gathers only what is small: of answers with a payload or
/// an embedding it writes each by itself. What tasks have all handed over goes out in one. With nothing else to run it costs
/// no time.
///
/// It is for connections of HTTP, in a task of tokio's, which flushes each time that its task is woken: a flush before the
/// tasks that can run have run is one of the stream underneath alone, and has the task woken. What that stream says of a
/// write, that it fails or has no room, is said when that goes out.
#[derive(Debug)]
pub struct Gathering<S> {
    stream: S,
    /// Absent: each write goes out as it is.
    gathered: Option<Gathered>,
}

impl<S> Gathering<S> {
    /// Over `stream`. Unless it `gathers`, each write goes out as it is.
    #[must_use]
    pub fn new(stream: S, gathers: bool) -> Self {
        Self {
            stream,
            gathered: gathers.then(Gathered::default),
        }
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Writes all that was gathered.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(gathered) = &mut self.gathered
            && !gathered.is_empty()
        {
            ready!(gathered.poll_some(&mut self.stream, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// How much of this was gathered; `None`: it is to be written as it is, and nothing is before it.
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<Option<usize>>> {
        while let Some(gathered) = &mut self.gathered {
            if let Some(taken) = gathered.take(slices) {
                return Poll::Ready(Ok(Some(taken)));
            }
            if gathered.is_empty() {
                break;
            }
            ready!(self.poll_out(cx))?;
        }
        Poll::Ready(Ok(None))
    }
}

impl<S: Connected> Connected for Gathering<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(taken) = ready!(self.poll_gather(cx, &[IoSlice::new(bytes)]))? {
            return Poll::Ready(Ok(taken));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(taken) = ready!(self.poll_gather(cx, slices))? {
            return Poll::Ready(Ok(taken));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let may_grow = match &mut self.gathered {
            Some(gathered) => !gathered.is_empty() && !gathered.is_due(cx),
            None => false,
        };
        if !may_grow {
            ready!(self.poll_out(cx))?;
        }
        // Also of what was written before; and the stream sees at each flush whether it may go on.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Fails every write.
    struct Refused;

    impl AsyncWrite for Refused {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::Error::other("the node speaks TLS")))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_the_stream_has_against_a_gathered_write_is_said_when_that_goes_out() {
        let mut gathering = Gathering::new(Refused, true);
        gathering.write_all(b"call").await.expect("it is gathered");
        let error = gathering.shutdown().await.expect_err("it goes out");
        assert_eq!(error.to_string(), "the node speaks TLS");
    }

    #[tokio::test]
    async fn where_nothing_is_gathered_a_write_goes_out_as_it_is() {
        let mut gathering = Gathering::new(Refused, false);
        let error = gathering.write(b"call").await.expect_err("it goes out");
        assert_eq!(error.to_string(), "the node speaks TLS");
    }
}
