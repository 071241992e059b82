//! Clients that say nothing, take nothing, or send too much: each is cut off, and nobody else notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream;
use prost::Message as _;
use serde_json::json;
use toka_proto::convert::status::{self, Detail};
use toka_proto::v1;
use toka_proto::v1::subscribe_request::Start;
use toka_proto::v1::subscribe_response::Message as Body;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use toka_tests::bystander::{self, Bystander};
use toka_tests::cluster::{self, Cluster, Node, PATIENCE};
use toka_tests::{request, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const HANDSHAKE: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(4);
const STALL: Duration = Duration::from_secs(6);
const IDLE: Duration = Duration::from_secs(3);
const REQUEST: Duration = Duration::from_secs(5);
/// What nodes are told of these times.
const BOUNDS: [&str; 14] = [
    "--handshake-timeout",
    "2s",
    "--ping-interval",
    "1s",
    "--ping-timeout",
    "4s",
    "--stall-timeout",
    "6s",
    "--commit-stream-idle-timeout",
    "3s",
    "--request-timeout",
    "5s",
    "--request-timeout-max",
    "5s",
];
/// Between two bytes of a client that drips them.
const DRIP: Duration = Duration::from_millis(200);
/// More than any of them drips before it is cut off.
const ZEROS: &[u8] = &[0; 1_000];
/// See [`ZEROS`].
const LETTERS: &[u8] = &[b'x'; 1_000];

/// What every connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Empty settings.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The head of a frame of headers, of 12 KiB, that opens a stream.
const HEADERS: &[u8] = &[0, 0x30, 0, 1, 4, 0, 0, 0, 1];

/// Sends `begin`, and then the bytes of `drip` one by one, until the node closes the connection; returns how
/// long that took.
async fn is_cut(address: SocketAddr, begin: &[u8], drip: &[u8]) -> Result<Duration> {
    let at = Instant::now();
    let connection = TcpStream::connect(address).await?;
    let (mut reading, mut writing) = connection.into_split();
    let send = async {
        // What cannot be sent any more is nobody's loss.
        let mut sent = writing.write_all(begin).await;
        for byte in drip {
            if sent.is_err() {
                break;
            }
            tokio::time::sleep(DRIP).await;
            sent = writing.write_all(&[*byte]).await;
        }
        std::future::pending::<()>().await;
    };
    let closed = async {
        let mut buffer = vec![0; 1 << 10];
        while let Ok(1..) = reading.read(&mut buffer).await {}
    };
    let cut = async {
        tokio::select! {
            () = send => {}
            () = closed => {}
        }
    };
    tokio::time::timeout(PATIENCE, cut)
        .await
        .context("the connection stays open")?;
    Ok(at.elapsed())
}

/// As [`is_cut`], not before `limit`.
async fn is_cut_after(
    limit: Duration,
    what: &str,
    address: SocketAddr,
    begin: &[u8],
    drip: &[u8],
) -> Result<()> {
    let cut = is_cut(address, begin, drip).await;
    let after = cut.with_context(|| format!("{what} at {address}"))?;
    println!("{what} at {address}: cut off after {after:?}, limit {limit:?}");
    ensure!(after >= limit, "{what} at {address}: after {after:?}");
    Ok(())
}

/// Those who never get to the point, at all ports.
async fn handshakes_are_cut(node: &Node) -> Result<()> {
    let head = b"GET /livez HTTP/1.1\r\nX-Slow: ";
    let case = |what, address, begin, drip| is_cut_after(HANDSHAKE, what, address, begin, drip);
    let (client, raft, http) = (node.client, node.raft, node.http);
    let nothing: &[u8] = b"";
    let cases = [
        case("silence", client, nothing, nothing),
        case("silence", raft, nothing, nothing),
        case("silence", http, nothing, nothing),
        case("a dripping preface", client, nothing, PREFACE),
        case("a dripping preface", raft, nothing, PREFACE),
        case("a dripping preface", http, nothing, PREFACE),
        case("a dripping head", client, head, LETTERS),
        case("a dripping head", http, head, LETTERS),
    ];
    try_join_all(cases).await?;
    Ok(())
}

/// Those who stop in the middle: of a frame, and of a request.
async fn halves_are_cut(node: &Node) -> Result<()> {
    let frame = [PREFACE, SETTINGS, HEADERS].concat();
    let silent = [PREFACE, SETTINGS].concat();
    let request = b"POST /toka.vault.v1.VaultService/Commit HTTP/1.1\r\nHost: localhost\r\n\
        Connection: close\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\n\
        Content-Length: 4000\r\n\r\n";
    // One message that fills the body.
    let request = [&request[..], &[0, 0, 0, 0x0f, 0x9b]].concat();
    let case = |limit, what, address, begin, drip| is_cut_after(limit, what, address, begin, drip);
    let cases = [
        case(PING, "a dripping frame", node.client, &frame[..], ZEROS),
        case(PING, "a dripping frame", node.http, &frame, ZEROS),
        case(PING, "an unanswered ping", node.client, &silent, b""),
        case(REQUEST, "a dripping request", node.client, &request, ZEROS),
    ];
    try_join_all(cases).await?;
    Ok(())
}

/// A stream of commits that are never sent.
async fn idle_commit_stream_ends(node: &Node) -> Result<()> {
    let at = Instant::now();
    let never = stream::pending::<v1::CommitStreamRequest>();
    let mut answers = node.vault().commit_stream(never).await?.into_inner();
    let end = tokio::time::timeout(PATIENCE, answers.message()).await;
    let end = end.with_context(|| format!("node {}: the stream stays open", node.id))?;
    let end = end.err().context("an answer to nothing")?;
    ensure!(end.code() == Code::Unavailable, "{end:?}");
    ensure!(at.elapsed() >= IDLE, "after {:?}", at.elapsed());
    wait::until("its place is free", PATIENCE, async || {
        let open = node.metric("toka_commit_streams_open").await?;
        ensure!(open == 0, "node {}: {open} commit streams", node.id);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_lorises_are_cut_off_and_nobody_else_is() -> Result<()> {
    cluster::run(3, &BOUNDS, async |cluster: &mut Cluster| {
        let leader = cluster.leader().await?;
        let mut bystanders = Vec::new();
        for id in cluster.ids() {
            bystanders.push((id, Bystander::start(cluster.node(id)).await?));
        }
        let nodes: Vec<&Node> = cluster.ids().iter().map(|id| cluster.node(*id)).collect();
        let streams = try_join_all(nodes.iter().map(|node| idle_commit_stream_ends(node)));
        let node = cluster.node(leader);
        tokio::try_join!(handshakes_are_cut(node), halves_are_cut(node), streams)?;
        // By now the bystanders' connections have been idle for longer than all others might be.
        for (id, bystander) in bystanders {
            bystander.check(cluster.node(id)).await?;
        }
        ensure!(
            cluster.leader().await? == leader,
            "the leader was not left in peace"
        );
        Ok(())
    })
    .await
}

/// Stores events of the kind `large` with a payload of so many bytes each.
async fn store(cluster: &Cluster, count: u64, bytes: usize) -> Result<()> {
    let client = cluster.client().await?;
    for number in 0..count {
        let payload = json!({"number": number, "filler": "x".repeat(bytes)});
        let event = toka_client::EventDraft::new("large").payload(&payload);
        client.commit(event).await?;
    }
    Ok(())
}

/// A subscription to what [`store`] stores, from the beginning, with payloads.
fn subscribe_to_large() -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        include: Some(v1::Include {
            payload: true,
            ..v1::Include::default()
        }),
        ..bystander::subscribe(Start::Beginning(v1::FromBeginning {}), "large")
    }
}

/// A connection that allows a stream 64 KiB on their way.
fn narrow(node: &Node) -> Result<VaultServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.client))?;
    let channel = endpoint.initial_stream_window_size(65_535).connect_lazy();
    Ok(VaultServiceClient::new(channel).max_decoding_message_size(16 << 20))
}

async fn has_subscriptions(node: &Node, count: u64) -> Result<()> {
    wait::until("that many subscriptions", PATIENCE, async || {
        let open = node.metric("toka_subscriptions_open").await?;
        ensure!(open == count, "{open} are open, not {count}");
        Ok(())
    })
    .await
}

/// Its connection lives, and answers pings: only the stream is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_that_takes_nothing_is_given_up() -> Result<()> {
    cluster::run(1, &BOUNDS, async |cluster: &mut Cluster| {
        store(cluster, 64, 16 << 10).await?;
        let node = cluster.node(1);
        let bystander = Bystander::start(node).await?;
        let at = Instant::now();
        let stalled = narrow(node)?.subscribe(subscribe_to_large()).await?;
        has_subscriptions(node, 1).await?;
        ensure!(at.elapsed() >= STALL, "after {:?}", at.elapsed());

        // When it reads on it has what was under way, and learns that there is no more.
        let mut stalled = stalled.into_inner();
        let mut events = 0;
        let end: Status = loop {
            match tokio::time::timeout(PATIENCE, stalled.message()).await? {
                Ok(message) => {
                    let body = message.context("the stream ends without a reason")?.message;
                    events += u64::from(matches!(body, Some(Body::Event(_))));
                }
                Err(end) => break end,
            }
        };
        ensure!(end.code() == Code::Unavailable, "{end:?}");
        ensure!(end.message().contains("has taken nothing"), "{end:?}");
        ensure!(events < 64, "it was sent everything");
        bystander.check(node).await
    })
    .await
}

/// Its connection is closed, where no ping finds room any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_takes_nothing_is_cut() -> Result<()> {
    cluster::run(1, &BOUNDS, async |cluster: &mut Cluster| {
        // More than the operating system takes on its way.
        store(cluster, 24, 1_000_000).await?;
        let node = cluster.node(1);
        let bystander = Bystander::start(node).await?;
        wait::until("only the bystander is connected", PATIENCE, async || {
            let open = node.metric("toka_connections_open").await?;
            ensure!(open == 1, "{open} connections");
            Ok(())
        })
        .await?;
        let message = subscribe_to_large().encode_to_vec();
        let length = u32::try_from(message.len())?.to_be_bytes();
        let head = format!(
            "POST /toka.vault.v1.VaultService/Subscribe HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
            message.len() + 5
        );
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4 << 10)?;
        let mut connection = socket.connect(node.client).await?;
        let request = [head.as_bytes(), &[0], &length, &message].concat();
        connection.write_all(&request).await?;
        has_subscriptions(node, 2).await?;
        // It is not read from, and not closed on this side.
        has_subscriptions(node, 1).await?;
        wait::until("it is cut off", PATIENCE, async || {
            let open = node.metric("toka_connections_open").await?;
            ensure!(open == 1, "{open} connections");
            Ok(())
        })
        .await?;
        drop(connection);
        bystander.check(node).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_is_closed_and_room_comes_back() -> Result<()> {
    const SILENT: usize = 16;
    let settings = ["--connections-max", "8", "--handshake-timeout", "2s"];
    cluster::run(1, &settings, async |cluster: &mut Cluster| {
        let node = cluster.node(1);
        let bystander = Bystander::start(node).await?;
        let silent = (0..SILENT).map(|_| is_cut(node.client, b"", b""));
        let times = try_join_all(silent).await?;
        let refused = times.iter().filter(|time| **time < HANDSHAKE).count();
        // The bystander has one of the eight places.
        ensure!(refused >= SILENT - 7, "{times:?}");
        ensure!(refused < SILENT, "{times:?}");
        // Others get in once those are gone.
        store(cluster, 1, 10).await?;
        bystander.check(node).await
    })
    .await
}

/// A message of more than the 16 MiB that are allowed.
fn oversized() -> v1::NewEvent {
    v1::NewEvent {
        kind: "oversized".to_owned(),
        payload: Bytes::from(vec![0; 20 << 20]),
        ..v1::NewEvent::default()
    }
}

fn check_too_long(refused: &Status) -> Result<()> {
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    ensure!(refused.message().contains("16777216"), "{refused:?}");
    let detail = status::parse(refused).detail;
    let is_limit =
        matches!(&detail, Some(Detail::LimitReached { subject }) if subject == "message");
    ensure!(is_limit, "{detail:?}");
    Ok(())
}

/// A message that claims to have 4 GiB; the node answers without waiting for them.
async fn claim_is_refused(node: &Node) -> Result<()> {
    let mut connection = TcpStream::connect(node.client).await?;
    let head = "POST /toka.vault.v1.VaultService/Commit HTTP/1.1\r\nHost: localhost\r\n\
        Connection: close\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\n\
        Content-Length: 4294967300\r\n\r\n";
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&[0, 255, 255, 255, 255]).await?;
    let mut answer = Vec::new();
    let answered = connection.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, answered)
        .await
        .context("no answer")??;
    let answer = String::from_utf8_lossy(&answer).replace(": ", ":");
    ensure!(answer.contains("grpc-status:8"), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_names_the_limit() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let node = cluster.node(1);
        let bystander = Bystander::start(node).await?;
        let mut vault = node.vault().max_encoding_message_size(64 << 20);
        let commit = request::within(PATIENCE, request::commit(vec![oversized()]));
        check_too_long(&request::refusal(vault.commit(commit).await)?)?;

        let request = v1::CommitStreamRequest {
            request_number: 1,
            events: vec![oversized()],
            ..v1::CommitStreamRequest::default()
        };
        let requests = stream::iter([request]);
        let mut answers = vault.commit_stream(requests).await?.into_inner();
        let end = tokio::time::timeout(PATIENCE, answers.message()).await?;
        check_too_long(&end.err().context("an answer to what is too long")?)?;

        claim_is_refused(node).await?;

        let mut call = Request::new(v1::GetRequest::default());
        let long = "x".repeat(32 << 10).parse::<MetadataValue<Ascii>>()?;
        call.metadata_mut().insert("x-long", long);
        let refused = request::refusal(vault.get(call).await)?;
        ensure!(refused.message().contains("431"), "{refused:?}");

        let head = [&b"GET /livez HTTP/1.1\r\nX-Long: "[..], &[b'x'; 1 << 20]].concat();
        for address in [node.client, node.http] {
            is_cut(address, &head, b"").await?;
        }
        // On the same connection as the calls above.
        bystander.check(node).await
    })
    .await
}
