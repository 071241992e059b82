//! SIGTERM: leadership is handed over, what is in flight is finished, exit code 0.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rustix::process::Signal;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::{seed, wait};

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

/// Whoever looks after the cluster looks at its warnings: stopping a node on purpose must not make any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_in_good_order_logs_no_warnings() -> Result<()> {
    let seed = seed::draw();
    // That those which were stopped before are gone is worth a warning, and is not what this looks for.
    let settings = ["--unreachable-after", "60s"];
    cluster::run(3, &settings, async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 4, seed).await?;
        load.acks().more(50, PATIENCE).await?;
        load.stop().await?;
        // A leader while two others are there, one that has just lost one of them, and one that is alone.
        while !cluster.running().is_empty() {
            let id = match cluster.running()[..] {
                [last] => last,
                _ => cluster.leader_of_running().await?,
            };
            cluster.terminate(id).await?;
            has_stopped_quietly(cluster, id)?;
        }

        // Everybody at once: those that could lead are going themselves.
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        for id in cluster.ids() {
            cluster.process(id)?.signal(Signal::TERM)?;
        }
        for id in cluster.ids() {
            let status = cluster.take_process(id)?.wait(PATIENCE).await?;
            ensure!(status.success(), "node {id} ended with {status}");
            has_stopped_quietly(cluster, id)?;
        }
        Ok(())
    })
    .await
}

/// Checks what node `id` has logged since it was told to stop.
fn has_stopped_quietly(cluster: &Cluster, id: u64) -> Result<()> {
    let log = cluster.log(id);
    let at = log.rfind("stopping node_id=");
    let said = &log[at.with_context(|| format!("node {id} does not say that it stops"))?..];
    // Alarms are about the machine, whenever they come.
    let mut lines = said.lines().filter(|line| !line.contains("alarm="));
    let loud = lines.find(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    ensure!(loud.is_none(), "node {id}: {loud:?}");
    ensure!(said.contains("stopped node_id="), "node {id}: {said}");
    Ok(())
}

/// It is told to stop before it serves, at a moment of its own choice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_is_stopped_while_it_starts_exits_cleanly() -> Result<()> {
    const ROUNDS: u64 = 20;
    let seed = seed::draw();
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        let mut rng = seed::rng(seed, 0);
        // What it has written once it looks after signals.
        const FIRST: &str = "waiting for the cluster";
        for round in 0..ROUNDS {
            std::fs::remove_dir_all(&cluster.node(1).data).or_else(absent)?;
            let before = cluster.log(1).len();
            cluster.launch(1)?;
            wait::until("a start", PATIENCE, async || {
                ensure!(cluster.log(1)[before..].contains(FIRST), "nothing is said");
                Ok(())
            })
            .await?;
            // Not to wait for something: any moment will do.
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
            cluster
                .terminate(1)
                .await
                .with_context(|| format!("round {round}"))?;
        }
        Ok(())
    })
    .await
}

/// There is nothing to remove.
fn absent(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}
