//! Partitions, by proxies that let nothing through.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use toka_client::{Client, Config, EventDraft, Start, Subscribe};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::proxy::{Cut, Proxy, Quality};
use toka_tests::seed;
use toka_tests::traffic::Traffic;

/// Puts a proxy in front of every node and starts them.
async fn start_behind_proxies(cluster: &mut Cluster) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    for id in cluster.ids() {
        proxies.push(cluster.set_proxy(id).await?);
    }
    cluster.launch_all()?;
    cluster.wait_all_ready().await?;
    Ok(proxies)
}

/// The one in front of node `id`.
fn of(proxies: &[Proxy], id: u64) -> Result<&Proxy> {
    let index = usize::try_from(id)?.checked_sub(1).context("node 0")?;
    proxies.get(index).context("a proxy")
}

/// nats-server #7545: a node was cut off, it and two others of five were killed, and one of the two that
/// were left was removed; what had been acknowledged was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn membership_change_under_partition_loses_nothing() -> Result<()> {
    cluster::run_prepared(5, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let proxies = start_behind_proxies(cluster).await?;
        let traffic = Traffic::start(cluster).await?;
        let followers = cluster.followers().await?;
        let (cut_off, killed, removed) = (followers[0], &followers[..3], followers[3]);
        of(&proxies, cut_off)?.set(Quality::cut(Cut::Both));
        traffic.goes_on().await?;
        for id in killed {
            cluster.kill(*id)?;
        }
        // Two of five change nothing by themselves, however often they are asked.
        let text = removed.to_string();
        let _asked = cluster.toka().spawn(&["cluster", "remove", &text])?;
        of(&proxies, cut_off)?.set(Quality::default());
        for id in killed {
            cluster.launch(*id)?;
        }
        for id in killed {
            cluster.wait_ready(*id).await?;
        }
        // Whatever became of it, repeated it is done.
        cluster.toka().ok(&["cluster", "remove", &text]).await?;
        cluster.has_ended_removed(removed).await?;
        let voters = cluster.running();
        cluster.has_members(&voters, &[]).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// nats-server #7545 and etcd's failpoint `memberReplace`, the other way round: nodes come while one of five hears
/// nothing and another is dead. The three that are left are a majority, and need nobody else for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_replace_and_join_under_partition_lose_nothing() -> Result<()> {
    cluster::run_prepared(5, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let proxies = start_behind_proxies(cluster).await?;
        let traffic = Traffic::start(cluster).await?;
        let followers = cluster.followers().await?;
        // Not the first node that is asked for the members: it does not know who leads.
        let (dead, cut_off) = (followers[0], followers[3]);
        of(&proxies, cut_off)?.set(Quality::cut(Cut::Both));
        cluster.kill(dead)?;
        cluster.join(&["--replace", &dead.to_string()]).await?;
        cluster.join(&[]).await?;
        let voters = cluster.running();
        cluster.has_members(&voters, &[]).await?;
        traffic.goes_on().await?;
        of(&proxies, cut_off)?.set(Quality::default());
        for id in voters {
            cluster.wait_ready(id).await?;
        }
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// etcd's failpoints `blackholePeerNetwork` and `dropPeerNetwork`, also one way: nobody waits for the node
/// that hears nothing or is not heard, and what it gets late does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blackholed_nodes_one_after_the_other_lose_nothing() -> Result<()> {
    const CUTS: [Cut; 3] = [Cut::ToNode, Cut::FromNode, Cut::Both];
    const ROUNDS: usize = 6;
    let mut rng = seed::rng(seed::draw(), 0);
    cluster::run_prepared(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let proxies = start_behind_proxies(cluster).await?;
        let traffic = Traffic::start(cluster).await?;
        for round in 0..ROUNDS {
            let proxy = proxies.choose(&mut rng).context("there are proxies")?;
            let cut = CUTS[round % CUTS.len()];
            proxy.set(Quality::cut(cut));
            let more = rng.random_range(50..300);
            let goes_on = traffic.acks().more(more, PATIENCE).await;
            goes_on.with_context(|| format!("round {round}: {cut:?}"))?;
            proxy.set(Quality::default());
            traffic.goes_on().await?;
        }
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// A node that is cut off has nothing new, and sends checkpoints for ever: its subscribers go on with another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_goes_on_where_its_node_is_cut_off() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let proxy = cluster.set_proxy(3).await?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(3).await?;
        let committing = cluster.client().await?;
        let first = committing.commit(EventDraft::new("before")).await?;
        let cut_off = cluster.node(3).endpoint();
        let config = Config {
            leaderless_max: Duration::from_secs(1),
            ..Config::default()
        };
        let client = Client::builder().config(config).timeout(PATIENCE);
        let client = client.connect([cut_off.clone()]).await?;
        // Names the other members.
        client.node_status().await?;
        let subscribe = Subscribe::from(Start::Beginning);
        let mut subscription = client.subscribe(subscribe).await?;
        ensure!(subscription.next_event().await?.header.id == first.id);
        ensure!(subscription.endpoint() == Some(&*cut_off));
        proxy.set(Quality::cut(Cut::Both));
        let is_told = async {
            while subscription.leaderless().is_zero() {
                subscription.next().await?;
            }
            anyhow::Ok(())
        };
        let is_told = tokio::time::timeout(PATIENCE, is_told).await;
        is_told.context("nobody says that there is no leader")??;
        let second = committing.commit(EventDraft::new("meanwhile")).await?;
        let next = tokio::time::timeout(PATIENCE, subscription.next_event()).await;
        let next = next.context("the subscription does not go on")??;
        ensure!(next.header.id == second.id, "{next:?}");
        ensure!(subscription.endpoint() != Some(&*cut_off));
        Ok(())
    })
    .await
}
