//! Slow disks, slow networks, slow followers: commits go on, and somebody is told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::EventDraft;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::Acks;
use toka_tests::load::SAVE_OFTEN;
use toka_tests::proxy::Quality;
use toka_tests::slow_disk::SlowDisk;
use toka_tests::traffic::Traffic;
use toka_tests::wait;

/// How far behind the slow node is: whoever waits for it waits at least so long.
const BEHIND: Duration = Duration::from_secs(10);
/// Longest time without an acknowledgement. A busy machine may need some of it, and half of [`BEHIND`] is
/// left between them.
const GAP_MAX: Duration = Duration::from_secs(5);
/// A tenth of what writers make, or less.
const SLOW_BYTES_PER_S: u32 = 16 << 10;
/// A follower that moves gets a snapshot only when it lacks 32 MiB: that takes many small events.
const LARGE_BYTES: usize = 512 << 10;
/// A writer of the tests' own, beside those of a load.
const WRITER: u64 = 1_000;

/// Nobody has waited for a node that is [`BEHIND`].
fn nobody_waited(acks: &Acks) -> Result<()> {
    let gap = acks.longest_gap();
    ensure!(
        gap < GAP_MAX,
        "writers waited for {gap:?}, as for the slow node"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_that_is_slow_holds_up_nobody_else_and_is_alarmed_on() -> Result<()> {
    // Its answers to heartbeats wait for its disk too, and it is not to count as unreachable.
    let settings = ["--unreachable-after", "40s"];
    cluster::run(3, &settings, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let slow = cluster.followers().await?[0];
        let pid = cluster.process(slow)?.id();
        let disk = SlowDisk::of(pid, BEHIND).await?;
        cluster.has_alarm("slow_disk", slow, true).await?;
        // Far more than fits between two syncs of that node if anybody waited for them.
        for _ in 0..10 {
            traffic.goes_on().await?;
        }
        drop(disk);
        cluster.has_alarm("slow_disk", slow, false).await?;
        let acks = traffic.check(cluster).await?;
        nobody_waited(&acks)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_that_is_slow_is_alarmed_on() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let proxy = cluster.set_proxy(3).await?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(3).await?;
        let traffic = Traffic::start(cluster).await?;
        proxy.set(Quality {
            delay: Duration::from_millis(150),
            ..Quality::default()
        });
        cluster.has_alarm("slow_network", 3, true).await?;
        traffic.goes_on().await?;
        proxy.set(Quality::default());
        cluster.has_alarm("slow_network", 3, false).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Waits until node `id` lacks what was acknowledged [`BEHIND`] ago: whoever had waited for it would have waited
/// for so long.
async fn is_behind(cluster: &Cluster, id: u64, acks: &Acks) -> Result<()> {
    let mut seen: VecDeque<(Instant, u64)> = VecDeque::new();
    wait::until("it is far behind", PATIENCE, async || {
        let has = cluster.state(id).await?.node.sequence;
        seen.push_back((Instant::now(), acks.count()));
        // What it has by now says nothing any more.
        while seen.front().is_some_and(|(_, count)| *count <= has) {
            seen.pop_front();
        }
        let lacks = seen.front().context("it has everything")?;
        let (since, count) = (lacks.0.elapsed(), lacks.1);
        ensure!(
            since >= BEHIND,
            "it has {has}, and lacks event {count} for {since:?}"
        );
        Ok(())
    })
    .await
}

/// The log is not kept for it without end: when there is too much, it is sent a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_lags_holds_up_nobody_and_is_moved_to_a_snapshot() -> Result<()> {
    let settings = [
        SAVE_OFTEN[0],
        SAVE_OFTEN[1],
        "--unreachable-after",
        "2s",
        "--snapshot-log-entries",
        "200",
        "--keep-log-entries",
        "100",
    ];
    cluster::run_prepared(3, &settings, async |cluster: &mut Cluster| {
        let proxy = cluster.set_proxy(3).await?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(3).await?;
        let traffic = Traffic::start(cluster).await?;
        proxy.set(Quality {
            bytes_per_s: Some(SLOW_BYTES_PER_S),
            ..Quality::default()
        });
        cluster.has_alarm("lagging", 3, true).await?;
        let leader = cluster.leader_of_running().await?;
        let client = cluster.client().await?;
        let mut number = 0;
        wait::until("the log is purged beyond it", PATIENCE, async || {
            number += 1;
            let payload = json!({"number": number, "filler": "x".repeat(LARGE_BYTES)});
            let draft = EventDraft::new("large").payload(&payload);
            traffic.acks().record(WRITER, &client.commit(draft).await?);
            let has = cluster.state(3).await?.node.last_log_index;
            let purged = cluster.purged(leader)?;
            ensure!(purged > has, "purged up to {purged}, and it has {has}");
            Ok(())
        })
        .await?;
        is_behind(cluster, 3, traffic.acks()).await?;
        traffic.goes_on().await?;
        proxy.set(Quality::default());
        cluster.has_alarm("lagging", 3, false).await?;
        cluster.logs(leader, "snapshot sent").await?;
        let acks = traffic.check(cluster).await?;
        nobody_waited(&acks)
    })
    .await
}
