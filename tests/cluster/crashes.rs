//! Nodes die, stall and come back under load: nothing acknowledged is lost, doubled or reordered, and no
//! writer sees an error.

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;
use serde_json::json;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::seed;

const WRITERS: u64 = 64;

/// Ends the load and checks every node, while it runs and after it has stopped.
async fn check(cluster: &mut Cluster, load: Load) -> Result<()> {
    let acks = load.stop().await?;
    let log = history::check(cluster, &acks).await?;
    let gap = acks.longest_gap();
    let events = log.len();
    println!("{events} events; longest time without an acknowledgement: {gap:?}");
    let toka = Toka::new(cluster.directory());
    for id in cluster.ids() {
        cluster.terminate(id).await?;
        let data = cluster.node(id).data.display().to_string();
        let report = toka
            .json(&["--data", &data, "verify", "-o", "json"])
            .await?;
        let report = report.first().context("a report")?;
        ensure!(report["problems_total"] == json!(0), "node {id}: {report}");
        ensure!(report["events"] == json!(events), "node {id}: {report}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leader_loses_nothing_under_64_writers() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut rng = seed::rng(seed, WRITERS);
        let load = Load::start(cluster, WRITERS, seed).await?;
        for _ in 0..2 {
            load.acks()
                .more(rng.random_range(500..1_500), PATIENCE)
                .await?;
            let leader = cluster.leader().await?;
            cluster.kill(leader)?;
            load.acks().more(500, PATIENCE).await?;
            ensure!(cluster.leader().await? != leader);
            cluster.restart(leader).await?;
        }
        load.acks().more(500, PATIENCE).await?;
        check(cluster, load).await
    })
    .await
}

/// Few writers: each entry of the log is one commit, and each kill hits another point of its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_one_after_the_other_lose_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut rng = seed::rng(seed, WRITERS);
        let load = Load::start(cluster, 8, seed).await?;
        for _ in 0..5 {
            load.acks().more(rng.random_range(1..300), PATIENCE).await?;
            let leader = cluster.leader().await?;
            cluster.kill(leader)?;
            load.acks().more(rng.random_range(1..100), PATIENCE).await?;
            cluster.restart(leader).await?;
        }
        check(cluster, load).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut rng = seed::rng(seed, WRITERS);
        let load = Load::start(cluster, WRITERS, seed).await?;
        for _ in 0..3 {
            load.acks()
                .more(rng.random_range(200..1_000), PATIENCE)
                .await?;
            for id in cluster.ids() {
                cluster.kill(id)?;
            }
            cluster.launch_all()?;
            cluster.wait_all_ready().await?;
        }
        load.acks().more(400, PATIENCE).await?;
        check(cluster, load).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_single_node_loses_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 16, seed).await?;
        for _ in 0..4 {
            load.acks().more(200, PATIENCE).await?;
            cluster.kill(1)?;
            cluster.restart(1).await?;
        }
        check(cluster, load).await
    })
    .await
}

/// To the others it looks like a broken network: it does not know that it has been deposed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_leader_loses_nothing() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 16, seed).await?;
        for _ in 0..3 {
            load.acks().more(200, PATIENCE).await?;
            let leader = cluster.leader().await?;
            cluster.process(leader)?.signal(Signal::STOP)?;
            load.acks().more(200, PATIENCE).await?;
            cluster.process(leader)?.signal(Signal::CONT)?;
            load.acks().more(200, PATIENCE).await?;
        }
        check(cluster, load).await
    })
    .await
}

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Terminate,
    Stall,
    TransferTo,
}

const FAULTS: [Fault; 4] = [
    Fault::Kill,
    Fault::Terminate,
    Fault::Stall,
    Fault::TransferTo,
];

async fn inject(cluster: &mut Cluster, load: &Load, rng: &mut StdRng) -> Result<()> {
    let id = *cluster.ids().choose(rng).context("there are nodes")?;
    let fault = *FAULTS.choose(rng).context("there are faults")?;
    let (during, after) = (rng.random_range(1..1_200), rng.random_range(1..300));
    println!("{fault:?} node {id} for {during} events");
    match fault {
        Fault::Kill => cluster.kill(id)?,
        Fault::Terminate => cluster.terminate(id).await?,
        Fault::Stall => cluster.process(id)?.signal(Signal::STOP)?,
        Fault::TransferTo => {
            // It may have fallen behind, or lead already.
            let transferred = cluster.client().await?.transfer_leadership(Some(id)).await;
            println!("{transferred:?}");
        }
    }
    load.acks().more(during, PATIENCE).await?;
    match fault {
        Fault::Kill | Fault::Terminate => cluster.restart(id).await?,
        Fault::Stall => cluster.process(id)?.signal(Signal::CONT)?,
        Fault::TransferTo => {}
    }
    load.acks().more(after, PATIENCE).await
}

/// Logs are purged all the time, so that whoever was away needs a snapshot as often as not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_at_random_while_logs_are_purged_lose_nothing() -> Result<()> {
    const ROUNDS: u64 = 12;
    let seed = seed::draw();
    let arguments = ["--snapshot-log-entries", "15", "--keep-log-entries", "3"];
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let mut rng = seed::rng(seed, WRITERS);
        let load = Load::start(cluster, 24, seed).await?;
        load.acks().more(200, PATIENCE).await?;
        for round in 1..=ROUNDS {
            inject(cluster, &load, &mut rng)
                .await
                .with_context(|| format!("round {round}"))?;
        }
        let installed = |id| cluster.log(id).matches("snapshot installed").count();
        let snapshots: usize = cluster.ids().into_iter().map(installed).sum();
        println!("{snapshots} snapshots installed");
        check(cluster, load).await
    })
    .await
}
