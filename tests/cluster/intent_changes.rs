//! Intents that change while somebody follows them, with macro-clusterings beside commits, and snapshots
//! that are taken meanwhile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use toka_client::{
    Client, Consistency, EventDraft, Filter, IntentId, Message, Read, Start, Subscribe,
    Subscription,
};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::{seed, wait};

const DIMENSION: usize = 23;
const TOPICS: usize = 40;
/// Intents that one filter names at most.
const FOLLOWED_MAX: usize = 64;

/// Few events do all that many do: macro-clusterings beside commits, folding at the cap, saves,
/// snapshots.
const SETTINGS: [&str; 16] = [
    "--intents-tau",
    "0.72",
    "--intents-count-cap",
    "16",
    "--intents-micro-clusters-max",
    "64",
    "--intents-background-micro-clusters",
    "32",
    "--intents-background-events",
    "10",
    "--intents-save-events",
    "100",
    "--snapshot-log-entries",
    "40",
    "--keep-log-entries",
    "10",
];

/// Vectors around topics.
struct Vectors {
    random: StdRng,
    centres: Vec<Vec<f32>>,
}

impl Vectors {
    fn new(seed: u64) -> Self {
        let mut random = seed::rng(seed, 0);
        let centres = (0..TOPICS).map(|_| vector(&mut random, 1.0)).collect();
        Self { random, centres }
    }

    fn next(&mut self) -> Vec<f32> {
        let centre = &self.centres[self.random.random_range(0..TOPICS)];
        let noise = vector(&mut self.random, 0.9);
        centre.iter().zip(noise).map(|(a, b)| a + b).collect()
    }
}

fn vector(random: &mut StdRng, spread: f32) -> Vec<f32> {
    let component = |_| random.random_range(-1.0..1.0_f32) * spread;
    (0..DIMENSION).map(component).collect()
}

/// Commits `count` events, ten to a log entry. Returns the sequence of the last one.
async fn commit(client: &Client, vectors: &mut Vectors, count: usize) -> Result<u64> {
    let mut last = 0;
    for _ in 0..count / 10 {
        let drafts = (0..10).map(|_| {
            let vector = vectors.next();
            EventDraft::new("some")
                .payload(&json!(vector))
                .embedding(&vector)
        });
        let committed = client.commit_batch(drafts.collect(), Vec::new()).await?;
        last = committed.headers.last().context("no event")?.sequence;
    }
    Ok(last)
}

fn current() -> Read {
    Read {
        consistency: Consistency::Linearizable,
        ..Read::default()
    }
}

/// Whoever follows intents, and what it was told.
struct Follower {
    subscription: Subscription,
    position: u64,
    events: u64,
    continued: BTreeMap<IntentId, IntentId>,
}

impl Follower {
    async fn follow(&mut self, sequence: u64) -> Result<()> {
        while self.position < sequence {
            let next = tokio::time::timeout(PATIENCE, self.subscription.next()).await;
            match next.with_context(|| format!("silence after {}", self.position))?? {
                Message::Event(event) => {
                    let sequence = event.header.sequence;
                    ensure!(
                        sequence > self.position,
                        "{sequence} after {}",
                        self.position
                    );
                    self.position = sequence;
                    self.events += 1;
                }
                Message::Checkpoint { sequence, .. } | Message::CaughtUp { sequence, .. } => {
                    ensure!(
                        sequence >= self.position,
                        "{sequence} after {}",
                        self.position
                    );
                    self.position = sequence;
                }
                Message::IntentContinued { intent, successor } => {
                    let before = self.continued.insert(intent, successor);
                    ensure!(before.is_none(), "{intent} was retired twice");
                }
                Message::FellBehind { .. } => {}
                other => bail!("{other:?} is not expected"),
            }
        }
        Ok(())
    }
}

/// Every node has the same state digest, history and intents.
async fn check_equal(cluster: &Cluster, sequence: u64) -> Result<()> {
    let states = cluster.converged(sequence).await?;
    let mut told = Vec::new();
    for (id, state) in cluster.running().into_iter().zip(&states) {
        let intents = cluster.client_of(id).await?;
        let intents = intents.intents(0, false, usize::MAX, &current()).await?;
        told.push((state.state_digest, state.history_root, intents));
    }
    ensure!(told.windows(2).all(|two| two[0] == two[1]), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_intents_goes_on_with_their_successors_on_any_node() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &SETTINGS, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let mut vectors = Vectors::new(seed);
        let start = commit(&client, &mut vectors, 200).await?;
        let intents = client.intents(0, false, FOLLOWED_MAX, &current()).await?;
        let followed: Vec<_> = intents.iter().map(|intent| intent.summary.intent).collect();
        let subscribe = Subscribe {
            filter: Filter {
                intents: followed.clone(),
                ..Filter::default()
            },
            ..Subscribe::from(Start::After(start))
        };
        let mut follower = Follower {
            subscription: client.subscribe(subscribe).await?,
            position: start,
            events: 0,
            continued: BTreeMap::new(),
        };

        let last = commit(&client, &mut vectors, 300).await?;
        follower.follow(last).await?;
        // Whoever serves the subscription dies, and comes back behind a snapshot.
        let endpoint = follower.subscription.endpoint().context("nobody serves")?;
        let serves = |id: &u64| cluster.node(*id).endpoint() == endpoint;
        let died = cluster
            .ids()
            .into_iter()
            .find(serves)
            .context("no such node")?;
        let had = cluster.state(died).await?.node.last_log_index;
        cluster.kill(died)?;
        wait::until("logs are purged", PATIENCE, async || {
            let last = commit(&client, &mut vectors, 400).await?;
            follower.follow(last).await?;
            cluster.check_purged(had)
        })
        .await?;
        cluster.restart(died).await?;
        let last = commit(&client, &mut vectors, 300).await?;
        follower.follow(last).await?;

        check_equal(cluster, last).await?;
        ensure!(
            cluster.log(died).contains("snapshot installed"),
            "it is not in the log of node {died}"
        );
        ensure!(follower.events > 0, "no event came");
        ensure!(!follower.continued.is_empty(), "no intent was retired");
        for (intent, successor) in &follower.continued {
            let (_, successors) = client.intent(*intent, 0, &current()).await?;
            ensure!(
                successors.contains(successor),
                "{intent} goes on as {successors:?}, not {successor}"
            );
        }
        for intent in &followed {
            let (now, _) = client.intent(*intent, 0, &current()).await?;
            let is_kept = now.summary.intent == *intent;
            ensure!(
                is_kept != follower.continued.contains_key(intent),
                "{intent} is {now:?}, but {:?}",
                follower.continued
            );
        }

        // The same bits after a restart of everything.
        for id in cluster.ids() {
            cluster.terminate(id).await?;
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let last = commit(&client, &mut vectors, 100).await?;
        check_equal(cluster, last).await
    })
    .await
}
