//! What ends a connection, and what does not.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

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

/// So long that what is there at once comes in time.
const PROOF_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that has to show that it is a peer's, and its other end.
async fn unproven() -> (Gathering<Connection<DuplexStream>>, DuplexStream) {
    accepted(Some(PROOF_TIMEOUT)).await
}

/// A connection, and its other end.
async fn accepted(proof: Option<Duration>) -> (Gathering<Connection<DuplexStream>>, DuplexStream) {
    let (near, far) = tokio::io::duplex(2 * PROOF_BYTES);
    let root = CancellationToken::new();
    (accept(near, proof, &root).await, far)
}

/// The connection of `near`, which ends at once when `root` is cancelled.
async fn accept<S>(
    near: S,
    proof: Option<Duration>,
    root: &CancellationToken,
) -> Gathering<Connection<S>> {
    let stop = Stop::new(root.clone(), root);
    let bounds = Connections {
        max: 1,
        handshake_timeout: Duration::from_secs(3_600),
        ping_interval: PROOF_TIMEOUT,
        ping_timeout: PROOF_TIMEOUT,
        stall_timeout: PROOF_TIMEOUT,
        commit_stream_idle_timeout: PROOF_TIMEOUT,
        peer_proof_timeout: PROOF_TIMEOUT,
    };
    let accepted = futures::stream::iter([Ok(near)]);
    let mut connections = Box::pin(incoming(accepted, &stop, 1, bounds, proof));
    let connection = connections.next().await.expect("one is accepted");
    connection.expect("it is sound")
}

#[tokio::test]
async fn connection_that_shows_no_peer_ends_although_it_is_open() {
    let (mut connection, mut far) = unproven().await;
    far.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    let mut preface = [0; PREFACE_BYTES];
    let read = connection.read_exact(&mut preface).await;
    read.expect("there is time");
    let end = connection.read(&mut preface).await;
    assert_eq!(end.expect_err("it is cut").kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn tasks_that_can_run_have_a_turn_before_a_client_is_written_to() {
    let (mut connection, mut far) = accepted(None).await;
    for _ in 0..2 {
        let answering = tokio::spawn(async {});
        connection.write_all(b"x").await.expect("there is room");
        // As HTTP does, whenever its task is woken.
        let flushing = poll_fn(|cx| {
            let flushed = Pin::new(&mut connection).poll_flush(cx);
            assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
            Poll::<()>::Pending
        });
        let mut byte = [0];
        tokio::select! {
            read = far.read_exact(&mut byte) => read.map(drop).expect("it has come"),
            () = flushing => {}
        }
        assert!(answering.is_finished());
    }
}

#[tokio::test]
async fn client_gets_what_was_gathered_before_the_end() {
    let (mut connection, mut far) = accepted(None).await;
    connection.write_all(b"bye").await.expect("there is room");
    connection.shutdown().await.expect("it goes out");
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).await.expect("it ends");
    assert_eq!(bytes, b"bye");
}

#[tokio::test]
async fn client_that_takes_nothing_of_what_was_gathered_is_given_up() {
    let (mut connection, _far) = accepted(None).await;
    // More than the connection holds, and what is gathered.
    let bytes = vec![0; 4 * PROOF_BYTES];
    let mut left = &bytes[..];
    let end = loop {
        let part = &left[..left.len().min(8 << 10)];
        match connection.write(part).await {
            Ok(written) => left = &left[written..],
            Err(end) => break end,
        }
    };
    assert_eq!(end.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn connection_that_is_only_flushed_is_cut() {
    let root = CancellationToken::new();
    let (near, _far) = tokio::io::duplex(1);
    let mut connection = accept(near, None, &root).await;
    connection.flush().await.expect("it goes on");
    root.cancel();
    let end = connection.flush().await;
    let end = end.expect_err("it is cut");
    assert_eq!(end.kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn connection_that_is_not_read_from_while_something_is_gathered_is_cut() {
    let root = CancellationToken::new();
    let (near, mut far) = tokio::io::duplex(1);
    let mut connection = accept(near, None, &root).await;
    far.write_all(b"x").await.expect("sent");
    let mut byte = [0];
    let read = connection.read_exact(&mut byte).await;
    read.expect("it goes on");
    connection.write_all(b"y").await.expect("there is room");
    connection.flush().await.expect("others may run first");
    root.cancel();
    tokio::task::yield_now().await;
    let end = connection.flush().await;
    let end = end.expect_err("it is cut");
    assert_eq!(end.kind(), io::ErrorKind::ConnectionAborted);
}

/// Has no room for what it has to write before it ends.
struct Unending;

impl AsyncWrite for Unending {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn client_that_does_not_take_the_end_is_given_up() {
    let mut connection = accept(Unending, None, &CancellationToken::new()).await;
    connection.write_all(b"bye").await.expect("there is room");
    let end = connection.shutdown().await;
    let end = end.expect_err("it is given up");
    assert_eq!(end.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn connection_of_a_peer_may_be_silent() {
    let (mut connection, mut far) = unproven().await;
    connection.connect_info().proven.set();
    // Its time is over then, whatever else has happened.
    sleep(2 * PROOF_TIMEOUT).await;
    far.write_all(b"x").await.expect("sent");
    let mut byte = [0];
    let read = connection.read_exact(&mut byte).await;
    read.expect("it goes on");
}

#[tokio::test]
async fn first_request_over_a_slow_link_is_waited_for() {
    let (mut connection, mut far) = unproven().await;
    let mut part = vec![0; PROOF_BYTES];
    for _ in 0..5 {
        far.write_all(&part).await.expect("sent");
        let read = connection.read_exact(&mut part).await;
        read.expect("it goes on");
        sleep(PROOF_TIMEOUT).await;
    }
    let end = connection.read(&mut part).await;
    assert_eq!(
        end.expect_err("no more came").kind(),
        io::ErrorKind::TimedOut
    );
}

#[tokio::test]
async fn connection_that_sends_much_and_shows_no_peer_ends_too() {
    let time = Duration::from_millis(2);
    let mut proof = Proof::new(Proven::default(), time);
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    let mut times = 0;
    let end = loop {
        proof.bytes = PROOF_BYTES;
        match proof.is_given(&mut cx) {
            Ok(is_given) => assert!(!is_given, "nobody has shown anything"),
            Err(end) => break end,
        }
        times += 1;
        assert!(times <= 100, "it goes on for ever");
        sleep(10 * time).await;
    };
    assert_eq!(end.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn what_is_known_of_a_caller_is_where_it_is_looked_for() {
    let proven = Proven::default();
    let caller = Caller {
        proven: proven.clone(),
        wire: 7_u8,
    };
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(caller);
    let announced = announce::<u8>(request);
    proven.set();
    let kept = announced.extensions().get::<Proven>();
    assert!(kept.is_some_and(Proven::is_set));
    assert_eq!(announced.extensions().get::<u8>(), Some(&7));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn operating_system_holds_little_that_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let mut accepted = Box::pin(sockets(listener));
    let _client = TcpStream::connect(address).await.expect("connected");
    let accepted = accepted.next().await.expect("one is accepted");
    let accepted = accepted.expect("it is sound");
    let held = socket2::SockRef::from(&accepted).tcp_notsent_lowat();
    assert_eq!(held.expect("readable"), UNSENT_BYTES);
}
