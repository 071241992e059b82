//! A bad network: a proxy that passes bytes on late, or slowly, or not until it is mended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 4 << 10;
/// Chunks on their way, in one direction of one connection.
const CHUNKS_MAX: usize = 64;

/// Between two looks whether a node that was not there is there again,
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// and how long one may take.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// How bad it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// How long every byte takes, in each direction.
    pub delay: Duration,
    /// Bytes in a second, in each direction of each connection; absent: as many as come.
    pub bytes_per_s: Option<u32>,
    /// Whether nothing comes through, in which direction. Connections stay, and what was sent comes late, as
    /// it does when TCP repeats what a network has swallowed.
    pub cut: Cut,
}

/// Directions in which nothing comes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// None.
    #[default]
    Nowhere,
    /// What others send to the node.
    ToNode,
    /// What the node answers.
    FromNode,
    /// Both.
    Both,
}

impl Quality {
    /// A network that swallows everything in these directions.
    #[must_use]
    pub fn cut(cut: Cut) -> Self {
        Self {
            cut,
            ..Self::default()
        }
    }
}

/// A proxy; gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    quality: watch::Sender<Quality>,
    /// Chunks that were delayed since the quality was set.
    late: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on `front` and passes everything on to `back`, as fast as it comes.
    pub(crate) async fn start(front: SocketAddr, back: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(front).await?;
        let quality = watch::Sender::new(Quality::default());
        let late = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(
            listener,
            front,
            back,
            quality.subscribe(),
            Arc::clone(&late),
        ));
        Ok(Self {
            quality,
            late,
            _tasks: tasks,
        })
    }

    /// Makes the network worse, or better again.
    pub fn set(&self, quality: Quality) {
        self.late.store(0, Ordering::Relaxed);
        self.quality.send_replace(quality);
    }

    /// How many pieces, in both directions, have been delayed since the network was last made worse.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}

/// Accepts as long as the node does. Where nobody listens behind the proxy nobody must seem to listen in front of it: a
/// refused connection tells the others that a node's process has ended.
async fn serve(
    mut listener: TcpListener,
    front: SocketAddr,
    back: SocketAddr,
    quality: watch::Receiver<Quality>,
    late: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let (quality, late) = (quality.clone(), Arc::clone(&late));
                connections.spawn(connect(stream, back, quality, late));
            }
            ended = connections.join_next(), if !connections.is_empty() => {
                if matches!(ended, Some(Ok(true))) {
                    drop(listener);
                    listener = open_again(front, back).await;
                }
            }
        }
    }
}

/// Passes on what a connection brings. Whether nobody listens behind.
async fn connect(
    front: TcpStream,
    back: SocketAddr,
    quality: watch::Receiver<Quality>,
    late: Arc<AtomicU64>,
) -> bool {
    let back = match TcpStream::connect(back).await {
        Ok(back) => back,
        Err(error) => return error.kind() == io::ErrorKind::ConnectionRefused,
    };
    // Small messages are what this is about.
    let _ = (front.set_nodelay(true), back.set_nodelay(true));
    let (front_in, front_out) = front.into_split();
    let (back_in, back_out) = back.into_split();
    tokio::select! {
        () = pass(front_in, back_out, quality.clone(), &late, Cut::ToNode) => {}
        () = pass(back_in, front_out, quality, &late, Cut::FromNode) => {}
    }
    false
}

/// Listens again, once somebody does behind.
async fn open_again(front: SocketAddr, back: SocketAddr) -> TcpListener {
    loop {
        // Nothing may come back at all, if packets are dropped there.
        let behind = timeout(LOOK_TIMEOUT, TcpStream::connect(back)).await;
        if let Ok(Ok(_)) = behind
            && let Ok(listener) = TcpListener::bind(front).await
        {
            return listener;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Passes bytes on in one direction until one end is closed.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut quality: watch::Receiver<Quality>,
    late: &AtomicU64,
    direction: Cut,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let reading = quality.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let delay = reading.borrow().delay;
            late.fetch_add(u64::from(!delay.is_zero()), Ordering::Relaxed);
            let due = Instant::now() + delay;
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            let passes = |now: &Quality| now.cut != direction && now.cut != Cut::Both;
            // The guard that this returns must not be held while bytes are written.
            if quality.wait_for(passes).await.map(drop).is_err() {
                return;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
            let rate = quality.borrow().bytes_per_s;
            if let Some(rate) = rate {
                let share = chunk.len() as f64 / f64::from(rate);
                sleep(Duration::from_secs_f64(share)).await;
            }
        }
    };
    tokio::join!(read, write);
}
