//! A network in memory: no sockets, and cables that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::Stream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Uri};
use tower::Service;

use super::{InvalidEndpoint, TcpTransport, Traffic, Transport};

/// Bytes that may be under way on a connection, in each direction.
const BUFFER_BYTES: usize = 256 << 10;
/// Connections that wait to be accepted. Further ones are refused.
const BACKLOG: usize = 128;

/// A network of named nodes in one process, for tests and simulation. Clones share it.
///
/// A node's name is its endpoint (`host:port`, as in [`Member`](crate::Member)). A cut breaks the
/// connections that are there, with what is under way on them, and refuses new ones until it is undone.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, mpsc::Sender<MemoryStream>>,
    /// Pairs, the smaller name first.
    cut_pairs: BTreeSet<(String, String)>,
    cut_off: BTreeSet<String>,
    connections: Vec<Weak<Connection>>,
}

/// Lives as long as one of its ends.
struct Connection {
    pair: (String, String),
    broken: CancellationToken,
}

fn pair(a: &str, b: &str) -> (String, String) {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    (first.to_owned(), second.to_owned())
}

impl MemoryNetwork {
    /// A network without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network as the node `name` sees it.
    #[must_use]
    pub fn transport(&self, name: &str) -> MemoryTransport {
        MemoryTransport {
            network: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Accepts connections to `name`, until the returned value is dropped: for
    /// `serve_with_incoming`.
    ///
    /// # Errors
    /// `AddrInUse` if somebody does already.
    pub fn listen(&self, name: &str) -> io::Result<MemoryListener> {
        let mut state = self.state();
        let taken = state.listeners.get(name);
        if taken.is_some_and(|listener| !listener.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, accepted) = mpsc::channel(BACKLOG);
        state.listeners.insert(name.to_owned(), sender);
        Ok(MemoryListener(accepted))
    }

    /// Cuts the connection between two nodes.
    pub fn cut(&self, a: &str, b: &str) {
        let mut state = self.state();
        state.cut_pairs.insert(pair(a, b));
        state.break_cut();
    }

    /// Undoes [`MemoryNetwork::cut`].
    pub fn mend(&self, a: &str, b: &str) {
        self.state().cut_pairs.remove(&pair(a, b));
    }

    /// Cuts a node off from all others.
    pub fn cut_off(&self, name: &str) {
        let mut state = self.state();
        state.cut_off.insert(name.to_owned());
        state.break_cut();
    }

    /// Undoes [`MemoryNetwork::cut_off`].
    pub fn rejoin(&self, name: &str) {
        self.state().cut_off.remove(name);
    }

    /// A connection between two nodes.
    fn connect(&self, from: &str, to: &str) -> io::Result<MemoryStream> {
        let mut state = self.state();
        let pair = pair(from, to);
        if state.is_cut(&pair) {
            return Err(io::ErrorKind::HostUnreachable.into());
        }
        let listener = state.listeners.get(to);
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let connection = Arc::new(Connection {
            pair,
            broken: CancellationToken::new(),
        });
        let (near, far) = duplex(BUFFER_BYTES);
        let far = MemoryStream::new(far, Arc::clone(&connection));
        let accepted = listener.try_send(far);
        accepted.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        state.connections.retain(|other| other.strong_count() > 0);
        state.connections.push(Arc::downgrade(&connection));
        Ok(MemoryStream::new(near, connection))
    }
}

impl State {
    fn is_cut(&self, pair: &(String, String)) -> bool {
        self.cut_pairs.contains(pair)
            || self.cut_off.contains(&pair.0)
            || self.cut_off.contains(&pair.1)
    }

    fn break_cut(&mut self) {
        let connections = self.connections.iter().filter_map(Weak::upgrade);
        for connection in connections.filter(|connection| self.is_cut(&connection.pair)) {
            connection.broken.cancel();
        }
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryNetwork")
            .field("listeners", &state.listeners.keys())
            .field("cut_pairs", &state.cut_pairs)
            .field("cut_off", &state.cut_off)
            .finish_non_exhaustive()
    }
}

/// A node's way into a [`MemoryNetwork`].
#[derive(Clone, Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    name: String,
}

impl Transport for MemoryTransport {
    fn channel(&self, endpoint: &str, traffic: Traffic) -> Result<Channel, InvalidEndpoint> {
        let connector = Connector {
            transport: self.clone(),
            to: endpoint.to_owned(),
        };
        Ok(TcpTransport::endpoint(endpoint, traffic)?.connect_with_connector_lazy(connector))
    }
}

struct Connector {
    transport: MemoryTransport,
    to: String,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<MemoryStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let MemoryTransport { network, name } = &self.transport;
        ready(network.connect(name, &self.to).map(TokioIo::new))
    }
}

/// Connections to a node. See [`MemoryNetwork::listen`].
#[derive(Debug)]
pub struct MemoryListener(mpsc::Receiver<MemoryStream>);

impl Stream for MemoryListener {
    type Item = io::Result<MemoryStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

/// One end of a connection.
pub struct MemoryStream {
    stream: DuplexStream,
    connection: Arc<Connection>,
    /// Each wakes the task that waits for its half.
    read_broken: Pin<Box<WaitForCancellationFutureOwned>>,
    write_broken: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl MemoryStream {
    fn new(stream: DuplexStream, connection: Arc<Connection>) -> Self {
        let broken = || Box::pin(connection.broken.clone().cancelled_owned());
        Self {
            stream,
            read_broken: broken(),
            write_broken: broken(),
            connection,
        }
    }

    fn poll_unbroken(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.write_broken.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::BrokenPipe.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStream")
            .field("pair", &self.connection.pair)
            .finish_non_exhaustive()
    }
}

impl Connected for MemoryStream {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_unbroken(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unbroken(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const A: &str = "a:1";
    const B: &str = "b:1";

    async fn connected(network: &MemoryNetwork) -> (MemoryStream, MemoryStream, MemoryListener) {
        let mut listener = network.listen(B).expect("free");
        let near = network.connect(A, B).expect("connected");
        let far = listener.next().await.expect("accepted").expect("accepted");
        (near, far, listener)
    }

    fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
        result.map(drop).expect_err("it must fail").kind()
    }

    #[tokio::test]
    async fn bytes_pass_both_ways() {
        let (mut near, mut far, _listener) = connected(&MemoryNetwork::new()).await;
        near.write_all(b"ask").await.expect("sent");
        let mut bytes = [0; 3];
        far.read_exact(&mut bytes).await.expect("received");
        assert_eq!(&bytes, b"ask");
        far.write_all(b"yes").await.expect("sent");
        drop(far);
        near.read_exact(&mut bytes).await.expect("received");
        assert_eq!(&bytes, b"yes");
        assert_eq!(near.read(&mut bytes).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn nobody_listening_refuses() {
        let network = MemoryNetwork::new();
        assert_eq!(
            kind(network.connect(A, B)),
            io::ErrorKind::ConnectionRefused
        );
        let listener = network.listen(B).expect("free");
        assert_eq!(kind(network.listen(B)), io::ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(
            kind(network.connect(A, B)),
            io::ErrorKind::ConnectionRefused
        );
        let _listener = network.listen(B).expect("free again");
        network.connect(A, B).expect("connected");
    }

    #[tokio::test]
    async fn connections_that_are_not_accepted_are_bounded() {
        let network = MemoryNetwork::new();
        let _listener = network.listen(B).expect("free");
        let waiting: Vec<_> = (0..BACKLOG).map(|_| network.connect(A, B)).collect();
        assert!(waiting.iter().all(Result::is_ok));
        assert_eq!(
            kind(network.connect(A, B)),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[tokio::test]
    async fn cut_wakes_a_waiting_reader_and_a_waiting_writer() {
        let network = MemoryNetwork::new();
        let (near, mut far, _listener) = connected(&network).await;
        let (mut read, mut write) = tokio::io::split(near);
        let reading = tokio::spawn(async move { read.read_u8().await });
        let writing =
            tokio::spawn(async move { write.write_all(&vec![0; 2 * BUFFER_BYTES]).await });
        tokio::task::yield_now().await;
        network.cut(B, A);
        let reading = reading.await.expect("no panic");
        assert_eq!(kind(reading), io::ErrorKind::ConnectionReset);
        let writing = writing.await.expect("no panic");
        assert_eq!(kind(writing), io::ErrorKind::BrokenPipe);
        // What was under way is gone.
        assert_eq!(kind(far.read_u8().await), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn cut_lasts_until_it_is_undone() {
        let network = MemoryNetwork::new();
        let (_near, _far, _listener) = connected(&network).await;
        network.cut(A, B);
        network.cut_off(A);
        assert_eq!(kind(network.connect(A, B)), io::ErrorKind::HostUnreachable);
        network.mend(A, B);
        assert_eq!(kind(network.connect(A, B)), io::ErrorKind::HostUnreachable);
        network.connect("c:1", B).expect("others are connected");
        network.rejoin(A);
        network.connect(A, B).expect("connected");
    }
}
