//! The network between nodes: byte streams, in order, that are slow, stall, break, or lead nowhere.
//!
//! A message is lost as TCP loses it: what follows waits until it was sent again, or the connection breaks, and
//! gRPC dials anew. Every delivery goes into the trace.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use toka_raft::transport::{InvalidEndpoint, TcpTransport, Traffic, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Uri};
use tower::Service;

use crate::random::Random;
use crate::trace::Trace;

/// Bytes that may be under way on a connection, in each direction.
const BUFFER_BYTES: usize = 256 << 10;
/// Between two tries to reach somebody who does not answer.
const DIAL_AGAIN: Duration = Duration::from_millis(100);
/// What was lost is sent again after so many milliseconds.
const SENT_AGAIN_MS: (u64, u64) = (200, 1_200);

/// How one direction between two nodes is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) latency_ms: (u64, u64),
    /// Percent of the messages that have to be sent again.
    pub(crate) loss: u64,
    /// Nothing arrives.
    pub(crate) is_blocked: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency_ms: (1, 3),
            loss: 0,
            is_blocked: false,
        }
    }
}

/// Who is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The machine answers that nobody listens.
    Refuses,
    /// Nothing answers.
    Silent,
}

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

struct State {
    now_ms: u64,
    random: Random,
    trace: Trace,
    listeners: BTreeMap<String, mpsc::UnboundedSender<io::Result<End>>>,
    silent: BTreeSet<String>,
    links: BTreeMap<(String, String), Link>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    messages: u64,
}

struct Connection {
    names: [String; 2],
    /// What each end has sent.
    sent: [Pipe; 2],
    is_broken: bool,
    /// An end has vanished without a word.
    is_dead: bool,
    is_dropped: [bool; 2],
}

#[derive(Default)]
struct Pipe {
    under_way: VecDeque<(u64, Vec<u8>)>,
    last_due_ms: u64,
    arrived: VecDeque<u8>,
    bytes: usize,
    /// The sender will send no more.
    is_ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
    }
}

impl Network {
    pub(crate) fn new(random: Random, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            now_ms: 0,
            random,
            trace,
            listeners: BTreeMap::new(),
            silent: BTreeSet::new(),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            messages: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages that have arrived so far.
    pub(crate) fn messages(&self) -> u64 {
        self.lock().messages
    }

    /// The network as the machine `name` sees it.
    pub(crate) fn transport(&self, name: &str) -> MachineTransport {
        MachineTransport {
            network: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Begins to accept connections to an endpoint. What the machine had before is broken: nobody knows it any more.
    pub(crate) fn listen(&self, endpoint: &str) -> mpsc::UnboundedReceiver<io::Result<End>> {
        let name = machine(endpoint);
        self.break_where(|connection| {
            connection.is_dead && connection.names.iter().any(|end| end == name)
        });
        let mut state = self.lock();
        state.silent.remove(name);
        let (sender, accepted) = mpsc::unbounded();
        state.listeners.insert(endpoint.to_owned(), sender);
        accepted
    }

    /// The machine `name` is not there any more.
    pub(crate) fn leave(&self, name: &str, absence: Absence) {
        let of_name = |connection: &Connection| connection.names.iter().any(|end| end == name);
        if absence == Absence::Refuses {
            self.break_where(of_name);
        }
        let mut state = self.lock();
        state
            .listeners
            .retain(|endpoint, _| machine(endpoint) != name);
        if absence == Absence::Silent {
            state.silent.insert(name.to_owned());
        }
        let connections = state.connections.values_mut();
        for connection in connections.filter(|connection| of_name(connection)) {
            connection.is_dead = true;
        }
    }

    pub(crate) fn set_link(&self, from: &str, to: &str, link: Link) {
        let pair = (from.to_owned(), to.to_owned());
        self.lock().links.insert(pair, link);
    }

    pub(crate) fn link(&self, from: &str, to: &str) -> Link {
        self.lock().link(from, to)
    }

    /// All links are as at the beginning.
    pub(crate) fn heal(&self) {
        self.lock().links.clear();
    }

    /// Breaks the connections between two nodes, with what is under way on them.
    pub(crate) fn reset(&self, a: &str, b: &str) {
        self.break_where(|connection| {
            let [from, to] = &connection.names;
            (from == a && to == b) || (from == b && to == a)
        });
    }

    fn break_where(&self, is_meant: impl Fn(&Connection) -> bool) {
        let mut wakers = Vec::new();
        for connection in self.lock().connections.values_mut() {
            if is_meant(connection) {
                connection.is_broken = true;
                let [first, second] = &mut connection.sent;
                first.wake(&mut wakers);
                second.wake(&mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Lets arrive what is due.
    pub(crate) fn deliver(&self, now_ms: u64) {
        let wakers = self.lock().deliver(now_ms);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn connect(&self, from: &str, endpoint: &str) -> Option<io::Result<End>> {
        let to = machine(endpoint);
        let mut state = self.lock();
        let is_blocked = state.link(from, to).is_blocked || state.link(to, from).is_blocked;
        if is_blocked || state.silent.contains(to) {
            return None;
        }
        let refused = || Some(Err(io::ErrorKind::ConnectionRefused.into()));
        let Some(listener) = state.listeners.get(endpoint).cloned() else {
            return refused();
        };
        let id = state.next_connection;
        state.next_connection += 1;
        let end = |side| End {
            network: self.clone(),
            id,
            side,
        };
        let connection = Connection {
            names: [from.to_owned(), to.to_owned()],
            sent: Default::default(),
            is_broken: false,
            is_dead: false,
            is_dropped: [false; 2],
        };
        state.connections.insert(id, connection);
        state
            .trace
            .line(format_args!("net {id} opened {from} {endpoint}"));
        drop(state);
        let (near, far) = (end(0), end(1));
        if listener.unbounded_send(Ok(far)).is_err() {
            return refused();
        }
        Some(Ok(near))
    }
}

impl State {
    fn link(&self, from: &str, to: &str) -> Link {
        let pair = (from.to_owned(), to.to_owned());
        self.links.get(&pair).copied().unwrap_or_default()
    }

    fn deliver(&mut self, now_ms: u64) -> Vec<Waker> {
        self.now_ms = now_ms;
        let mut wakers = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.is_broken || connection.is_dead {
                continue;
            }
            for side in [0, 1] {
                let pipe = &mut connection.sent[side];
                if pipe.under_way.front().is_none_or(|(due, _)| *due > now_ms) {
                    continue;
                }
                let names = &connection.names;
                let pair = (names[side].clone(), names[1 - side].clone());
                if self.links.get(&pair).is_some_and(|link| link.is_blocked) {
                    continue;
                }
                while let Some((due, bytes)) = pipe.under_way.pop_front() {
                    if due > now_ms {
                        pipe.under_way.push_front((due, bytes));
                        break;
                    }
                    self.messages += 1;
                    self.trace.line(format_args!(
                        "net {id} {} > {} {} bytes {:08x}",
                        pair.0,
                        pair.1,
                        bytes.len(),
                        crc32c::crc32c(&bytes)
                    ));
                    pipe.arrived.extend(bytes);
                }
                wakers.extend(pipe.reader.take());
            }
        }
        wakers
    }

    fn send(&mut self, id: u64, side: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let names = &connection.names;
        let link = self.link(&names[side].clone(), &names[1 - side].clone());
        let (low, high) = link.latency_ms;
        let mut due = self.now_ms + self.random.between(low, high);
        if self.random.chance(link.loss) {
            due += self.random.between(SENT_AGAIN_MS.0, SENT_AGAIN_MS.1);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            let pipe = &mut connection.sent[side];
            pipe.last_due_ms = pipe.last_due_ms.max(due);
            pipe.bytes += bytes.len();
            pipe.under_way.push_back((pipe.last_due_ms, bytes.to_vec()));
        }
    }
}

/// One end of a connection.
pub(crate) struct End {
    network: Network,
    id: u64,
    side: usize,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End({}, {})", self.id, self.side)
    }
}

impl Connected for End {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl Drop for End {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        let mut state = self.network.lock();
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.is_dropped[self.side] = true;
            connection.sent[self.side].is_ended = true;
            if !connection.is_dead {
                connection.sent[self.side].wake(&mut wakers);
                connection.sent[1 - self.side].wake(&mut wakers);
            }
            if connection.is_dropped == [true; 2] {
                state.connections.remove(&self.id);
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.network.lock();
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if connection.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let is_dead = connection.is_dead;
        let pipe = &mut connection.sent[1 - self.side];
        if pipe.arrived.is_empty() {
            if pipe.is_ended && pipe.under_way.is_empty() && !is_dead {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.remaining().min(pipe.arrived.len());
        let bytes: Vec<u8> = pipe.arrived.drain(..count).collect();
        buffer.put_slice(&bytes);
        pipe.bytes -= count;
        let writer = pipe.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.network.lock();
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let is_gone = connection.is_dropped[1 - self.side] && !connection.is_dead;
        if connection.is_broken || is_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let pipe = &mut connection.sent[self.side];
        let room = BUFFER_BYTES.saturating_sub(pipe.bytes);
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        state.send(self.id, self.side, &bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.lock();
        let reader = state.connections.get_mut(&self.id).and_then(|connection| {
            connection.sent[self.side].is_ended = true;
            let reader = connection.sent[self.side].reader.take();
            reader.filter(|_| !connection.is_dead)
        });
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

/// The machine that an endpoint is on.
fn machine(endpoint: &str) -> &str {
    endpoint.split(':').next().unwrap_or(endpoint)
}

/// A machine's way into the network.
#[derive(Clone)]
pub(crate) struct MachineTransport {
    network: Network,
    name: String,
}

impl fmt::Debug for MachineTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineTransport({})", self.name)
    }
}

/// Clients'.
impl toka_client::Transport for MachineTransport {
    fn channel(&self, endpoint: &str) -> Result<Channel, toka_client::Error> {
        let channel = Transport::channel(self, endpoint, Traffic::Control);
        channel.map_err(|invalid| toka_client::Error::Endpoint {
            endpoint: invalid.endpoint,
            reason: invalid.reason,
        })
    }
}

impl Transport for MachineTransport {
    fn channel(&self, endpoint: &str, traffic: Traffic) -> Result<Channel, InvalidEndpoint> {
        let connector = Connector {
            transport: self.clone(),
            to: endpoint.to_owned(),
        };
        Ok(TcpTransport::endpoint(endpoint, traffic)?.connect_with_connector_lazy(connector))
    }
}

/// Dials. tonic gives up after a time.
struct Connector {
    transport: MachineTransport,
    to: String,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<End>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let MachineTransport { network, name } = self.transport.clone();
        let to = self.to.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            loop {
                if let Some(connected) = network.connect(&name, &to) {
                    return connected.map(TokioIo::new);
                }
                tokio::time::sleep(DIAL_AGAIN).await;
            }
        })
    }
}
