//! Many at once: subscribers who wait, writers who do not, and more than there is room for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use toka_client::{Client, EventDraft, EventHeader};
use toka_proto::convert::status::{self, Detail, Failure};
use toka_proto::v1;
use toka_proto::v1::subscribe_request::Start;
use toka_proto::v1::subscribe_response::Message as Body;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use toka_tests::bystander;
use toka_tests::cluster::{self, Cluster, Node, PATIENCE};
use toka_tests::follow::Follower;
use toka_tests::history::{self, Acks};
use toka_tests::{request, wait};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// Subscriptions that wait for one event, over all nodes.
const SUBSCRIPTIONS: usize = 10_000;
/// Subscriptions on one connection.
const SUBSCRIPTIONS_PER_CONNECTION: usize = 1_000;
/// Subscriptions that are being opened at the same time.
const OPENING: usize = 128;
/// Kind of the event that they wait for.
const AWAITED: &str = "awaited";
const WRITERS: u64 = 2_000;
/// Commits of each, one after the other.
const COMMITS: u64 = 3;
/// Clients of which each has its share of the writers.
const CLIENTS: u64 = 8;
const MIB: u64 = 1 << 20;
/// What a node may have at any time: the sum of what its bounds allow it here. Where there is no bound in bytes, a
/// generous share of each subscription, commit and connection takes its place: what grows with the number of events, or
/// is kept for subscribers who only wait, soon is more. The process's own highest mark is compared with it (`VmHWM`).
const NODE_BYTES_MAX: u64 = STORAGE_BYTES
    + QUEUE_BYTES
    + SUBSCRIPTIONS.div_ceil(NODES) as u64 * SUBSCRIPTION_BYTES
    + WRITERS * COMMIT_BYTES
    + CONNECTIONS * CONNECTION_BYTES
    + PROCESS_BYTES;
/// The block cache (`--cache-bytes`), and the write buffers (128 MiB where memory has no limit) twice: they are filled
/// again while those before them are flushed.
const STORAGE_BYTES: u64 = 64 * MIB + 2 * 128 * MIB;
/// Proposals that wait (`--proposals-bytes-max`, 64 MiB), and entries in the log's queue (`QUEUE_BYTES_MAX`, as many).
const QUEUE_BYTES: u64 = 2 * 64 * MIB;
/// A stream and its task, its filter, an answer that has not been taken. It may read 1 MiB of events ahead, and here
/// none matches before the end.
const SUBSCRIPTION_BYTES: u64 = 32 << 10;
/// Request, proposal, entry, result and answer of a commit of a few hundred bytes, and their tasks. All writers may
/// have come to one node.
const COMMIT_BYTES: u64 = 16 << 10;
/// Clients' and nodes' connections to one node, at most.
const CONNECTIONS: u64 = 24;
/// What may be under way to a node on one of them (`CONNECTION_WINDOW_BYTES`, 8 MiB) as good as never is: requests are
/// small and taken at once.
const CONNECTION_BYTES: u64 = 2 * MIB;
/// Code, stacks, the newest 4,096 headers, the allocator's reserves.
const PROCESS_BYTES: u64 = 96 * MIB;
/// Nodes of the cluster.
const NODES: usize = 3;

/// A place more than the subscriptions that a node gets, and time: three nodes and all their clients share
/// what the machine has, and a cache that does not go by its memory.
const MANY: [&str; 8] = [
    "--subscriptions-max",
    "4096",
    "--cache-bytes",
    "64MiB",
    "--election-timeout-min",
    "3s",
    "--election-timeout-max",
    "5s",
];

/// A connection of its own.
fn connect(node: &Node) -> Result<VaultServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.client))?;
    Ok(VaultServiceClient::new(endpoint.connect_lazy()))
}

/// One that waits, from now on, for an event of the kind [`AWAITED`].
async fn waiting(
    mut vault: VaultServiceClient<Channel>,
) -> Result<Streaming<v1::SubscribeResponse>> {
    let subscribe = bystander::subscribe(Start::Now(v1::FromNow {}), AWAITED);
    let mut stream = vault.subscribe(subscribe).await?.into_inner();
    let first = stream.message().await?.context("no first message")?;
    ensure!(
        matches!(first.message, Some(Body::Checkpoint(_))),
        "{first:?}"
    );
    Ok(stream)
}

/// The sequence of the first event that comes.
async fn first_event(mut stream: Streaming<v1::SubscribeResponse>) -> Result<u64> {
    loop {
        let message = stream
            .message()
            .await?
            .context("a subscription has ended")?;
        match message.message {
            Some(Body::Event(event)) => return Ok(event.sequence),
            Some(Body::Checkpoint(_) | Body::CaughtUp(_) | Body::FellBehind(_)) => {}
            other => bail!("{other:?}"),
        }
    }
}

/// Opens all subscriptions, the same number at each node; each gives the sequence of its first event.
async fn subscribe_all(cluster: &Cluster) -> Result<JoinSet<Result<u64>>> {
    let ids = cluster.ids();
    let connections = SUBSCRIPTIONS.div_ceil(SUBSCRIPTIONS_PER_CONNECTION);
    let vaults = (0..connections.next_multiple_of(ids.len()))
        .map(|number| connect(cluster.node(ids[number % ids.len()])))
        .collect::<Result<Vec<_>>>()?;
    let opened = (0..SUBSCRIPTIONS).map(|number| waiting(vaults[number % vaults.len()].clone()));
    let mut opened = stream::iter(opened).buffer_unordered(OPENING);
    let mut open = JoinSet::new();
    while let Some(stream) = opened.try_next().await? {
        // Read from at once: what is sent to it meanwhile must not pile up.
        open.spawn(first_event(stream));
    }
    Ok(open)
}

/// Waits until all nodes together have so many open subscriptions.
async fn has_subscriptions(cluster: &Cluster, count: usize) -> Result<()> {
    wait::until("that many subscriptions", PATIENCE, async || {
        let mut open = 0;
        for id in cluster.ids() {
            open += cluster.node(id).metric("toka_subscriptions_open").await?;
        }
        ensure!(open == count as u64, "{open} are open, not {count}");
        Ok(())
    })
    .await
}

/// The most memory that any node has had so far, MiB, which must be within the bound.
fn memory_mib(cluster: &mut Cluster, when: &str) -> Result<u64> {
    let mut most_mib = 0;
    for id in cluster.ids() {
        let bytes = cluster.process(id)?.memory_max()?;
        let (mib, max_mib) = (bytes / MIB, NODE_BYTES_MAX / MIB);
        println!("load: {when}: node {id} has had {mib} MiB at most; bound {max_mib} MiB");
        ensure!(
            bytes <= NODE_BYTES_MAX,
            "{when}: node {id} has had {mib} MiB, more than {max_mib}"
        );
        most_mib = most_mib.max(mib);
    }
    Ok(most_mib)
}

/// Lets all writers commit, each its share, one after the other.
async fn write_all(cluster: &Cluster) -> Result<Acks> {
    let acks = Acks::default();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        // Everything waits for the machine here; a try that takes long is not repeated.
        let config = toka_client::Config {
            timeout: 2 * PATIENCE,
            attempt_timeout: PATIENCE,
            keepalive: PATIENCE,
            ..toka_client::Config::default()
        };
        let builder = Client::builder().config(config);
        clients.push(builder.connect(cluster.endpoints()).await?);
    }
    let mut writers = JoinSet::new();
    for (writer, client) in (0..WRITERS).zip(clients.iter().cycle()) {
        let (client, acks) = (client.clone(), acks.clone());
        writers.spawn(async move {
            for number in 0..COMMITS {
                let payload = json!({"writer": writer, "number": number});
                let event = EventDraft::new("load").payload(&payload);
                let committed = client.commit(event).await;
                let header = committed.with_context(|| format!("writer {writer}"))?;
                acks.record(writer, &header);
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok(acks)
}

/// Bounded in work, not in time: what it takes depends on the machine, and is printed, in the end in one line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subscriptions_and_writers_fit_in_bounded_memory() -> Result<()> {
    cluster::run(NODES as u64, &MANY, async |cluster: &mut Cluster| {
        let mut followers = Vec::new();
        for id in cluster.ids() {
            followers.push(Follower::start(&cluster.client_of(id).await?).await?);
        }
        let at = Instant::now();
        let open = subscribe_all(cluster).await?;
        has_subscriptions(cluster, SUBSCRIPTIONS + followers.len()).await?;
        let opened_s = at.elapsed().as_secs_f64();
        let subscribed_mib = memory_mib(cluster, "subscribed")?;

        let at = Instant::now();
        let acks = write_all(cluster).await?;
        let (count, written_s) = (acks.count(), at.elapsed().as_secs_f64());
        let written_mib = memory_mib(cluster, "written")?;

        let at = Instant::now();
        let event = EventDraft::new(AWAITED).payload(&json!("at last"));
        let awaited = cluster.client().await?.commit(event).await?;
        acks.record(WRITERS, &awaited);
        let seen = tokio::time::timeout(PATIENCE, open.join_all()).await;
        let seen = seen.context("the event does not come to everybody")?;
        let delivered_s = at.elapsed().as_secs_f64();
        ensure!(seen.len() == SUBSCRIPTIONS, "{} subscriptions", seen.len());
        for sequence in seen {
            let (sequence, awaited) = (sequence?, awaited.sequence);
            ensure!(sequence == awaited, "event {sequence}, not {awaited}");
        }

        let log = history::check(cluster, &acks).await?;
        ensure!(log.len() as u64 == WRITERS * COMMITS + 1, "{}", log.len());
        for follower in followers {
            follower.finish(&log).await?;
        }
        has_subscriptions(cluster, 0).await?;
        let end_mib = memory_mib(cluster, "at the end")?;
        println!(
            "load: figures: {SUBSCRIPTIONS} subscriptions opened in {opened_s:.1} s; {count} commits of {WRITERS} \
             writers in {written_s:.1} s; one event delivered to all subscriptions in {delivered_s:.1} s; the most \
             memory of a node: {subscribed_mib} MiB subscribed, {written_mib} MiB written, {end_mib} MiB at the end, \
             {} MiB allowed",
            NODE_BYTES_MAX / MIB
        );
        Ok(())
    })
    .await
}

/// Commits that are sent at the same time.
const BURST: u64 = 256;
/// Events of each.
const BATCH: u64 = 3;
/// Bursts after which some commits must have been taken and some refused.
const BURSTS_MAX: u64 = 20;

/// What became of a burst.
#[derive(Debug, Default)]
struct Burst {
    taken: u64,
    refused: u64,
}

fn batch(writer: u64) -> Vec<v1::NewEvent> {
    let event = |number| {
        let payload = json!({"writer": writer, "number": number, "filler": "x".repeat(1_000)});
        request::event("burst", &payload)
    };
    (0..BATCH).map(event).collect()
}

/// RESOURCE_EXHAUSTED, and when to try again.
fn check_overloaded(refused: &Status) -> Result<()> {
    let Failure {
        code,
        detail,
        retry_after,
        ..
    } = status::parse(refused);
    ensure!(code == Code::ResourceExhausted, "{refused:?}");
    ensure!(detail == Some(Detail::Overloaded), "{detail:?}");
    let says_when = retry_after.is_some_and(|after| after > Duration::ZERO);
    ensure!(says_when, "no hint when to retry: {refused:?}");
    Ok(())
}

/// Takes note of a commit that was taken, which is whole.
fn record(acks: &Acks, writer: u64, committed: v1::CommitResponse) -> Result<()> {
    let events = committed.events.into_iter();
    let headers = events
        .map(EventHeader::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(headers.len() as u64 == BATCH, "{} events", headers.len());
    let is_whole = headers
        .windows(2)
        .all(|pair| pair[0].sequence + 1 == pair[1].sequence);
    ensure!(is_whole, "a batch was torn: {headers:?}");
    headers
        .iter()
        .for_each(|header| acks.record(writer, header));
    Ok(())
}

/// Sends commits to one node at the same time, without repeating what is refused.
async fn burst(node: &Node, first_writer: u64, acks: &Acks) -> Result<Burst> {
    let calls = (first_writer..first_writer + BURST).map(|writer| {
        let mut vault = node.vault();
        let commit = request::within(PATIENCE, request::commit(batch(writer)));
        async move { (writer, vault.commit(commit).await) }
    });
    let mut burst = Burst::default();
    for (writer, answer) in join_all(calls).await {
        match answer {
            Ok(committed) => {
                record(acks, writer, committed.into_inner())?;
                burst.taken += 1;
            }
            Err(refused) => {
                check_overloaded(&refused)?;
                burst.refused += 1;
            }
        }
    }
    Ok(burst)
}

/// More at once than `setting` allows: the rest is refused, through the leader and through a follower; nothing of
/// what is refused is stored, and the next commit is taken.
async fn is_refused_and_recovers(setting: [&str; 2]) -> Result<()> {
    cluster::run(3, &setting, async |cluster: &mut Cluster| {
        let acks = Acks::default();
        let mut writers = 0;
        let nodes = [cluster.leader().await?, cluster.followers().await?[0]];
        for id in nodes {
            let node = cluster.node(id);
            let mut all = Burst::default();
            for number in 0.. {
                ensure!(number < BURSTS_MAX, "{setting:?}: node {id}: {all:?}");
                let Burst { taken, refused } = burst(node, writers, &acks).await?;
                all.taken += taken;
                all.refused += refused;
                writers += BURST;
                // At once, and at the first try.
                let commit = request::within(PATIENCE, request::commit(batch(writers)));
                let committed = node.vault().commit(commit).await;
                let committed = committed.context("the burst is over")?;
                record(&acks, writers, committed.into_inner())?;
                writers += 1;
                if all.taken > 0 && all.refused > 0 {
                    break;
                }
            }
            println!("load: {setting:?}: node {id}: {all:?}");
        }
        // Also that nothing is in the log that nobody was told of.
        let log = history::check(cluster, &acks).await?;
        ensure!(log.len() as u64 == acks.count(), "{} events", log.len());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_commits_are_refused_and_recover_at_once() -> Result<()> {
    is_refused_and_recovers(["--commits-max", "4"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_proposals_are_refused_and_recover_at_once() -> Result<()> {
    is_refused_and_recovers(["--proposals-max", "4"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_bytes_of_proposals_are_refused_and_recover_at_once() -> Result<()> {
    is_refused_and_recovers(["--proposals-bytes-max", "16KiB"]).await
}
