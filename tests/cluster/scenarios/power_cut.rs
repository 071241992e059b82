//! Power cuts: what was not synced is gone.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rustix::process::Signal;
use serde_json::json;
use toka_client::EventDraft;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::power::{self, Syncs};
use toka_tests::process::Process;
use toka_tests::seed;
use toka_tests::traffic::Traffic;

/// Snapshots are made and logs purged all the time, so that a cut meets that too.
const ARGUMENTS: [&str; 6] = [
    SAVE_OFTEN[0],
    SAVE_OFTEN[1],
    "--snapshot-log-entries",
    "15",
    "--keep-log-entries",
    "3",
];
/// Acknowledgements between two cuts.
const BETWEEN: std::ops::Range<u64> = 50..300;

/// Of the harness: what a program has synced stays, and no more.
#[tokio::test]
async fn power_cut_takes_what_was_not_synced_and_nothing_else() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().canonicalize()?;
    let record = path.with_extension("syncs");
    let script = "cd \"$0\" && dd if=/dev/zero of=synced bs=10 count=1 conv=fsync && sync . && \
                  dd if=/dev/zero of=synced bs=7 count=1 oflag=append conv=notrunc && \
                  dd if=/dev/zero of=lost bs=10 count=1 && kill -9 $$";
    let text = path.to_str().context("a path in UTF-8")?;
    let arguments = ["-c", script, text].map(str::to_owned);
    let arguments = power::arguments(&record, Syncs::Honest, Path::new("sh"), &arguments)?;
    let log = path.with_extension("log");
    let mut process = Process::start_with(Path::new("strace"), &arguments, &[], &log)?;
    let status = process.wait(PATIENCE).await?;
    ensure!(
        status.code().is_none(),
        "{status}: {}",
        std::fs::read_to_string(&log)?
    );
    let lost = power::lose_unsynced(process.id(), &record, &path, &[]).await?;
    let said = std::fs::read_to_string(&record)?;
    ensure!(lost.names == 1, "{lost:?}: {said}");
    ensure!(
        std::fs::metadata(path.join("synced"))?.len() == 10,
        "{said}"
    );
    ensure!(!path.join("lost").exists(), "{said}");
    std::fs::remove_file(record)?;
    Ok(std::fs::remove_file(log)?)
}

/// Jepsen, NATS 2.12.1, nats-server #7564: all nodes lost power, and with it what had been acknowledged
/// within two minutes. etcd #17780, the failpoints around compaction and `raftBeforeSave`: a crash while
/// something is purged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_all_nodes_while_logs_are_purged_loses_nothing() -> Result<()> {
    let mut rng = seed::rng(seed::draw(), 0);
    cluster::run_prepared(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        cluster.record_syncs(Syncs::Honest);
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let traffic = Traffic::start(cluster).await?;
        let ids = cluster.ids();
        for _ in 0..3 {
            let more = rng.random_range(BETWEEN);
            traffic.acks().more(more, PATIENCE).await?;
            cluster.cut_power(&ids).await?;
            cluster.launch_all()?;
            cluster.wait_all_ready().await?;
        }
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// etcd #14370: a cluster of one acknowledged a write before it was on its disk. Its suite clears LazyFS's
/// cache after each failpoint, as the cut does here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_the_only_node_loses_nothing() -> Result<()> {
    let mut rng = seed::rng(seed::draw(), 0);
    cluster::run_prepared(1, &ARGUMENTS, async |cluster: &mut Cluster| {
        cluster.record_syncs(Syncs::Honest);
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let traffic = Traffic::start(cluster).await?;
        for _ in 0..4 {
            let more = rng.random_range(BETWEEN);
            traffic.acks().more(more, PATIENCE).await?;
            cluster.cut_power(&[1]).await?;
            cluster.restart(1).await?;
        }
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// nats-server #7567: one of five lost its power while two were paused; with those two it then made up a
/// majority that had never seen what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_one_node_between_pauses_splits_nothing() -> Result<()> {
    cluster::run_prepared(5, &ARGUMENTS, async |cluster: &mut Cluster| {
        cluster.record_syncs(Syncs::Honest);
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let traffic = Traffic::start_gently(cluster).await?;
        for _ in 0..2 {
            let leader = cluster.leader().await?;
            let followers = cluster.followers().await?;
            let (behind, ahead) = (&followers[..2], [leader, followers[3]]);
            for id in behind {
                cluster.process(*id)?.signal(Signal::STOP)?;
            }
            // What is acknowledged from here on, only the leader and two others have.
            traffic.goes_on().await?;
            cluster.cut_power(&followers[2..3]).await?;
            for id in ahead {
                cluster.process(id)?.signal(Signal::STOP)?;
            }
            for id in behind {
                cluster.process(*id)?.signal(Signal::CONT)?;
            }
            // The three can go on with what the one has that lost its power, and with nothing less.
            cluster.restart(followers[2]).await?;
            traffic.goes_on().await?;
            for id in ahead {
                cluster.process(id)?.signal(Signal::CONT)?;
            }
            traffic.goes_on().await?;
        }
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// The same as the lazy sync of nats-server #7564, here of a disk that answers before it has anything: the
/// node sees that something is missing which it had taken for durable, and serves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_on_a_disk_that_lies_about_syncs_refuses_to_serve_less() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        client
            .commit(EventDraft::new("some").payload(&json!("kept")))
            .await?;
        cluster.terminate(1).await?;
        cluster.record_syncs(Syncs::Lies);
        cluster.restart(1).await?;
        for number in 0..20 {
            let draft = EventDraft::new("some").payload(&json!({"lost": number}));
            client.commit(draft).await?;
        }
        let lost = cluster.cut_power(&[1]).await?;
        ensure!(lost.bytes > 0, "nothing is lost: {lost:?}");
        let said = cluster.refuses_to_start(1).await?;
        ensure!(said.contains("damaged"), "{said}");
        // Nor does it once it has had time to look for what it could do without.
        cluster.refuses_to_start(1).await?;
        Ok(())
    })
    .await
}
