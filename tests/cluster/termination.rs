//! SIGTERM: leadership is handed over, what is in flight is finished, exit code 0.

use std::time::Duration;

use anyhow::{Result, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::seed;

/// A machine with two cores under load; an election alone takes 0.8 s.
const GAP_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_leader_hands_over_under_load() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 32, seed).await?;
        load.acks().more(300, PATIENCE).await?;
        let leader = cluster.leader().await?;
        cluster.terminate(leader).await?;
        ensure!(
            cluster.log(leader).contains("leadership handed over"),
            "it is not in the log"
        );
        load.acks().more(300, PATIENCE).await?;
        ensure!(cluster.leader().await? != leader);
        cluster.restart(leader).await?;
        load.acks().more(100, PATIENCE).await?;
        let acks = load.stop().await?;
        let gap = acks.longest_gap();
        println!("longest time without an acknowledgement: {gap:?}");
        ensure!(gap < GAP_MAX, "nothing was acknowledged for {gap:?}");
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_follower_disturbs_nobody() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 16, seed).await?;
        load.acks().more(200, PATIENCE).await?;
        let leader = cluster.leader().await?;
        let follower = cluster.followers().await?[0];
        cluster.terminate(follower).await?;
        load.acks().more(200, PATIENCE).await?;
        cluster.restart(follower).await?;
        load.acks().more(100, PATIENCE).await?;
        ensure!(cluster.leader().await? == leader, "the leader has changed");
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// Nobody is left to hand over to once two are gone; each must end all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_cluster_is_terminated_and_comes_back() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 4, seed).await?;
        load.acks().more(50, PATIENCE).await?;
        let acks = load.stop().await?;
        for id in cluster.ids() {
            cluster.terminate(id).await?;
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
