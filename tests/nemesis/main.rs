//! Five nodes on hosts of their own, clients by way of all of them, and everything that can go wrong.
//!
//! `TOKA_SEED` draws the faults, `TOKA_NEMESIS_SECONDS` says for how long there are some at least: every kind has to have
//! had an effect, and every change of the membership to have been made during a partition. `cargo xtask soak` sets both.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use toka_client::{Consistency, Filter, GroupName, GroupSettings, GroupStart, List, Read};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::{Consumers, Witness, make_group};
use toka_tests::follow::Follower;
use toka_tests::history;
use toka_tests::linearizable::{self, Log};
use toka_tests::nemesis::{Clients, GROUP_KIND, Nemesis};
use toka_tests::{netns, seed};

const NAME: &str = "nothing_is_lost_and_nothing_diverges_whatever_happens_to_five_nodes";
const NODES: u64 = 5;
/// Subscriptions that last from the first event to the last, each begun at another node.
const FOLLOWERS: u64 = 3;
/// Consumers of one group.
const CONSUMERS: u64 = 3;
/// The faults of CI are the same each time.
const SEED: u64 = 20_261_127;
/// So long there are faults in CI, or for the six or seven rounds that it takes until each kind had an effect.
const SECONDS: u64 = 60;
/// What the setup, the last round and the checks may take besides.
const BESIDES: Duration = Duration::from_secs(600);
/// Small snapshots and logs, so that nodes which were away need a snapshot.
const ARGUMENTS: [&str; 6] = [
    "--disk-reserve",
    "96MiB",
    "--snapshot-log-entries",
    "500",
    "--keep-log-entries",
    "200",
];

#[test]
fn nothing_is_lost_and_nothing_diverges_whatever_happens_to_five_nodes() -> Result<()> {
    if !netns::is_inside(NAME)? {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let seconds = match std::env::var("TOKA_NEMESIS_SECONDS") {
        Ok(seconds) => seconds.parse().context("TOKA_NEMESIS_SECONDS")?,
        Err(_) => SECONDS,
    };
    let seed = seed::given_or(SEED);
    let time = Duration::from_secs(seconds);
    runtime.block_on(cluster::run_in_network(
        NODES,
        &ARGUMENTS,
        time + BESIDES,
        async |cluster: &mut Cluster| scenario(cluster, seed, time).await,
    ))
}

fn settings() -> GroupSettings {
    GroupSettings {
        filter: Filter {
            kind_prefixes: vec![GROUP_KIND.to_owned()],
            ..Filter::default()
        },
        ack_timeout_ms: 3_000,
        unacknowledged_max: 200,
        deliveries_max: 1_000,
    }
}

/// Consumers of a group, from the first event on.
async fn consume(cluster: &Cluster, seed: u64) -> Result<(GroupName, Consumers)> {
    let (group, settings) = (GroupName::new("nemesis")?, settings());
    let mut clients = Vec::new();
    for _ in 0..CONSUMERS {
        clients.push(cluster.client().await?);
    }
    let client = clients.first().context("there are some")?;
    make_group(client, &group, &settings, GroupStart::Beginning).await?;
    let witness = Witness::new(&settings);
    let consumers = Consumers::start(clients, &group, witness, seed)?;
    Ok((group, consumers))
}

async fn scenario(cluster: &mut Cluster, seed: u64, time: Duration) -> Result<()> {
    let mut nemesis = Nemesis::new(cluster, seed).await?;
    cluster.launch_all()?;
    cluster.wait_all_ready().await?;
    let mut followers = Vec::new();
    for id in 1..=FOLLOWERS {
        followers.push(Follower::start(&cluster.client_of(id).await?).await?);
    }
    let (group, consumers) = consume(cluster, seed).await?;
    let clients = Clients::start(cluster, seed).await?;
    clients.go_on(1, PATIENCE).await?;
    nemesis.rage(cluster, &clients, time).await?;

    let operations = clients.stop().await?;
    let witness = consumers.witness().clone();
    let client = cluster.client().await?;
    let newest = List {
        filter: settings().filter,
        descending: true,
        page_size: 1,
        read: Read {
            consistency: Consistency::Linearizable,
            ..Read::default()
        },
        ..List::default()
    };
    let last = client.list(&newest, None).await?.events;
    let last = last.first().map_or(0, |event| event.header.sequence);
    consumers.finish(&client, &group, last).await?;
    let log = history::same_log(cluster, 0).await?;
    let audited = nemesis.check_credentials(cluster, &log).await?;
    println!("{audited} audit events, one chain");
    let wanted = log.iter().filter(|event| event.kind == GROUP_KIND);
    let wanted: Vec<_> = wanted.map(|event| event.sequence).collect();
    println!("{:?} by a group", witness.check(&wanted)?);
    for follower in followers {
        follower.finish(&log).await?;
    }
    let started = Instant::now();
    let checked = linearizable::check(&operations, &Log::new(&log)?)?;
    for line in nemesis.tally().lines() {
        println!("nemesis: {line}");
    }
    println!(
        "nemesis: {} events, {} operations; {checked:?} in {:?}",
        log.len(),
        operations.len(),
        started.elapsed()
    );
    let missing = nemesis.tally().missing();
    ensure!(missing.is_empty(), "without effect: {missing:?}");
    Ok(())
}
