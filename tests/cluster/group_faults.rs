//! Consumer groups while nodes die and are cut off: each event is done with, and no two consumers have it at a time.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use toka_client::{Client, GroupName, GroupSettings, GroupStart};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::{Consumers, Witness, make_group};
use toka_tests::history::{self, Acks};
use toka_tests::load::{Load, Manner, Pace};
use toka_tests::proxy::{Cut, Quality};
use toka_tests::{seed, wait};

/// Consumers, each with a client of its own: three know one node each.
const CONSUMERS: u64 = 6;
/// Events that are done with between two faults.
pub(crate) const SOME: usize = 30;
/// Few writers, who take their time: consumers have to keep up.
const PACE: Pace = Pace {
    writers: 3,
    pause: Duration::from_millis(80),
    manner: Manner::Strict,
};

fn settings() -> GroupSettings {
    GroupSettings {
        ack_timeout_ms: 1_000,
        unacknowledged_max: 100,
        // Consumers forget and reject a good part: none must come to the parking place.
        deliveries_max: 1_000,
        ..GroupSettings::default()
    }
}

/// A group, writers and consumers at work.
pub(crate) struct Scene {
    group: GroupName,
    client: Client,
    load: Load,
    consumers: Consumers,
}

impl Scene {
    /// Begins, after `acks` of what was committed before.
    pub(crate) async fn start(cluster: &Cluster, seed: u64, acks: Acks) -> Result<Self> {
        let group = GroupName::new("workers")?;
        let client = cluster.client().await?;
        make_group(&client, &group, &settings(), GroupStart::Beginning).await?;
        let mut clients = Vec::new();
        let ids = cluster.ids();
        for number in 0..CONSUMERS {
            let id = ids.get(usize::try_from(number)?);
            clients.push(match id {
                Some(id) => cluster.client_of(*id).await?,
                None => cluster.client().await?,
            });
        }
        let witness = Witness::new(&settings());
        let consumers = Consumers::start(clients, &group, witness, seed)?;
        let load = Load::go_on(acks, 0, cluster, PACE, seed).await?;
        consumers.more(SOME, PATIENCE).await?;
        Ok(Self {
            group,
            client,
            load,
            consumers,
        })
    }

    /// Waits until so many more events are done with.
    pub(crate) async fn goes_on(&self, more: usize) -> Result<()> {
        self.consumers.more(more, PATIENCE).await
    }

    /// Ends, and checks the history and what consumers have seen of it.
    pub(crate) async fn finish(self, cluster: &Cluster) -> Result<()> {
        let acks = self.load.stop().await?;
        let last = acks.all().iter().map(|ack| ack.sequence).max();
        let last = last.context("nothing was committed")?;
        let witness = self.consumers.witness().clone();
        let finished = self.consumers.finish(&self.client, &self.group, last);
        finished.await?;
        let log = history::check(cluster, &acks).await?;
        let wanted: Vec<_> = log.iter().map(|event| event.sequence).collect();
        let witnessed = witness.check(&wanted)?;
        println!("{witnessed:?}");
        ensure!(
            witnessed.deliveries > witnessed.events,
            "nothing was delivered again: {witnessed:?}"
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_survives_each_node_and_the_leader() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let scene = Scene::start(cluster, seed, Acks::default()).await?;
        for id in cluster.ids() {
            cluster.kill(id)?;
            scene.consumers.more(SOME, PATIENCE).await?;
            cluster.restart(id).await?;
        }
        for _ in 0..2 {
            let leader = cluster.leader().await?;
            cluster.kill(leader)?;
            scene.consumers.more(SOME, PATIENCE).await?;
            cluster.restart(leader).await?;
        }
        scene.finish(cluster).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_survives_partitions() -> Result<()> {
    const CUTS: [Cut; 3] = [Cut::Both, Cut::ToNode, Cut::FromNode];
    let seed = seed::draw();
    let mut rng = seed::rng(seed, 0);
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let mut proxies = Vec::new();
        for id in cluster.ids() {
            proxies.push(cluster.set_proxy(id).await?);
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let scene = Scene::start(cluster, seed, Acks::default()).await?;
        for round in 0..5 {
            let proxy = &proxies[rng.random_range(0..proxies.len())];
            let cut = CUTS[round % CUTS.len()];
            proxy.set(Quality::cut(cut));
            let goes_on = scene.consumers.more(SOME, PATIENCE).await;
            goes_on.with_context(|| format!("round {round}: {cut:?}"))?;
            proxy.set(Quality::default());
        }
        // The leader reaches nobody, and is replaced: it must not lease what the next one does.
        let leader = cluster.leader().await?;
        for (id, proxy) in (1..).zip(&proxies) {
            if id != leader {
                proxy.set(Quality::cut(Cut::Both));
            }
        }
        wait::until("another leader, or none", PATIENCE, async || {
            let known = cluster.state(leader).await?.node.leader_id;
            ensure!(known != Some(leader), "node {leader} leads");
            Ok(())
        })
        .await?;
        for proxy in &proxies {
            proxy.set(Quality::default());
        }
        scene.consumers.more(SOME, PATIENCE).await?;
        scene.finish(cluster).await
    })
    .await
}
