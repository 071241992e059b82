//! One node with a thousand subscribers, of whom one never reads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use toka_client::{Client, EventDraft};
use toka_proto::v1;
use toka_proto::v1::subscribe_request::Start;
use toka_proto::v1::subscribe_response::Message as Body;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use toka_tests::bystander;
use toka_tests::cluster::{self, Cluster, Node, PATIENCE};
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const SUBSCRIBERS: usize = 1_000;
const SUBSCRIBERS_PER_CONNECTION: usize = 50;
/// Subscriptions that are being opened at the same time.
const OPENING: usize = 64;
const KIND: &str = "fan.out";
/// Events of one share. Two are written: one before the subscriber who never reads is there, one after.
const EVENTS: u64 = 500;
/// Payload of each: together more than what is under way to a subscriber.
const EVENT_BYTES: usize = 2 << 10;
/// Events of one commit.
const COMMIT_EVENTS: u64 = 25;
/// What a node may take more because one of its subscribers does not read: several times what it reads ahead for
/// one.
const STALLED_BYTES_MAX: u64 = 64 << 20;

fn connect(node: &Node, window: Option<u32>) -> Result<VaultServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.client))?;
    let channel = endpoint.initial_stream_window_size(window).connect_lazy();
    Ok(VaultServiceClient::new(channel))
}

async fn open(mut vault: VaultServiceClient<Channel>) -> Result<Streaming<v1::SubscribeResponse>> {
    let subscribe = v1::SubscribeRequest {
        include: Some(v1::Include {
            payload: true,
            ..v1::Include::default()
        }),
        ..bystander::subscribe(Start::Now(v1::FromNow {}), KIND)
    };
    let mut stream = vault.subscribe(subscribe).await?.into_inner();
    stream.message().await?.context("no first message")?;
    Ok(stream)
}

/// Reads until the event at `last`, and checks that none is missing.
async fn read_to(
    mut stream: Streaming<v1::SubscribeResponse>,
    first: u64,
    last: u64,
) -> Result<Streaming<v1::SubscribeResponse>> {
    let mut next = first;
    while next <= last {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await;
        let message = message.with_context(|| format!("silence before {next}"))??;
        let message = message.context("a subscription has ended")?;
        if let Some(Body::Event(event)) = message.message {
            ensure!(
                event.sequence == next,
                "{} instead of {next}",
                event.sequence
            );
            next += 1;
        }
    }
    Ok(stream)
}

async fn write(client: &Client, from: u64) -> Result<()> {
    for first in (from..from + EVENTS).step_by(usize::try_from(COMMIT_EVENTS)?) {
        let drafts = (first..first + COMMIT_EVENTS).map(|number| {
            let payload = json!({"number": number, "filler": "x".repeat(EVENT_BYTES)});
            EventDraft::new(KIND).payload(&payload)
        });
        client.commit_batch(drafts.collect(), Vec::new()).await?;
    }
    Ok(())
}

type Streams = Vec<Streaming<v1::SubscribeResponse>>;

/// Writes a share while everybody reads it; returns the streams, and how long it took until all had everything.
async fn share(cluster: &Cluster, streams: Streams, first: u64) -> Result<(Streams, Duration)> {
    let client = cluster.client().await?;
    let at = Instant::now();
    let mut readers = JoinSet::new();
    for stream in streams {
        readers.spawn(read_to(stream, first, first + EVENTS - 1));
    }
    write(&client, first).await?;
    let mut streams = Vec::with_capacity(SUBSCRIBERS);
    while let Some(stream) = readers.join_next().await {
        streams.push(stream??);
    }
    Ok((streams, at.elapsed()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_that_never_reads_costs_the_others_nothing() -> Result<()> {
    cluster::run(
        1,
        &["--subscriptions-max", "1100"],
        async |cluster: &mut Cluster| {
            let vaults = (0..SUBSCRIBERS.div_ceil(SUBSCRIBERS_PER_CONNECTION))
                .map(|_| connect(cluster.node(1), None))
                .collect::<Result<Vec<_>>>()?;
            let opened =
                (0..SUBSCRIBERS - 1).map(|number| open(vaults[number % vaults.len()].clone()));
            let opened = stream::iter(opened).buffer_unordered(OPENING);
            let streams: Streams = opened.try_collect().await?;
            let (streams, all_read) = share(cluster, streams, 1).await?;
            let before = cluster.process(1)?.memory_max()?;

            let stalled = open(connect(cluster.node(1), Some(65_535))?).await?;
            let (streams, one_never_reads) = share(cluster, streams, EVENTS + 1).await?;
            let after = cluster.process(1)?.memory_max()?;
            let (mib, more_mib) = (after >> 20, (after - before) >> 20);
            ensure!(
                after - before <= STALLED_BYTES_MAX,
                "one that never reads costs {more_mib} MiB"
            );

            let encoded = cluster
                .node(1)
                .metric("toka_subscription_events_encoded_total")
                .await?;
            // For docs/benchmarks.md; nothing is asserted of times.
            println!(
                "fan_out: figures: {EVENTS} events of {EVENT_BYTES} bytes to {} subscribers: all read {all_read:.2?}, \
                 one never reads {one_never_reads:.2?} (x{:.2}); memory {mib} MiB at most, {more_mib} MiB of them since; \
                 {encoded} events encoded",
                streams.len(),
                one_never_reads.as_secs_f64() / all_read.as_secs_f64()
            );
            ensure!(encoded == 2 * EVENTS, "{encoded} of {} events", 2 * EVENTS);
            drop((streams, stalled));
            Ok(())
        },
    )
    .await
}
