//! Nodes are killed under load: nothing acknowledged is lost, doubled or reordered.

use anyhow::{Result, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::seed;

const WRITERS: u64 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leader_loses_nothing_under_64_writers() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, WRITERS, seed).await?;
        load.acks().more(600, PATIENCE).await?;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        load.acks().more(600, PATIENCE).await?;
        ensure!(cluster.leader().await? != leader);
        cluster.restart(leader).await?;
        load.acks().more(300, PATIENCE).await?;
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_one_after_the_other_lose_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 8, seed).await?;
        for _ in 0..3 {
            load.acks().more(100, PATIENCE).await?;
            let leader = cluster.leader().await?;
            cluster.kill(leader)?;
            load.acks().more(20, PATIENCE).await?;
            cluster.restart(leader).await?;
        }
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, WRITERS, seed).await?;
        for _ in 0..2 {
            load.acks().more(400, PATIENCE).await?;
            for id in cluster.ids() {
                cluster.kill(id)?;
            }
            cluster.launch_all()?;
            cluster.wait_all_ready().await?;
        }
        load.acks().more(400, PATIENCE).await?;
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_single_node_loses_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 16, seed).await?;
        for _ in 0..3 {
            load.acks().more(200, PATIENCE).await?;
            cluster.kill(1)?;
            cluster.restart(1).await?;
        }
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
