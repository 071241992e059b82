//! Nodes on disks that fill up, under load: small real file systems.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, Error, EventDraft};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::Acks;
use toka_tests::request;
use toka_tests::small_disk::SmallDisk;
use toka_tests::traffic::Traffic;
use toka_tests::wait;
use tonic::{Code, Status};

const RESERVE: [&str; 2] = ["--disk-reserve", "96MiB"];
/// Free bytes that are less than the reserve, and more than half of it.
const LOW: u64 = 60 << 20;
/// Free bytes that are less than half of the reserve.
const SPENT: u64 = 30 << 20;
const FULL: &str = "disk_nearly_full";
/// No other writer has this number.
const PROBER: u64 = 1_000;
/// So long a commit may hang that no majority takes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Commits one event after the other until one is refused; that one is committed when it is taken again.
struct Probe {
    client: Client,
    acks: Acks,
    events: u64,
}

impl Probe {
    async fn new(cluster: &Cluster, traffic: &Traffic) -> Result<Self> {
        let builder = Client::builder().timeout(PROBE_TIMEOUT);
        Ok(Self {
            client: builder.connect(cluster.endpoints()).await?,
            acks: traffic.acks().clone(),
            events: 0,
        })
    }

    /// Repeated, it is the same event: it is stored once.
    async fn commit(&mut self) -> Result<(), Error> {
        let draft = EventDraft::new("probe").payload(&json!({ "probe": self.events }));
        let header = self.client.commit(draft).await?;
        self.acks.record(PROBER, &header);
        self.events += 1;
        Ok(())
    }

    /// Waits until a commit is refused for want of room, and returns why.
    async fn refused(&mut self) -> Result<String> {
        wait::until("commits are refused", PATIENCE, async || {
            match self.commit().await {
                Err(Error::LimitReached { subject, message }) if subject == "disk" => Ok(message),
                Err(other) => Err(other.into()),
                Ok(()) => anyhow::bail!("committed"),
            }
        })
        .await
    }

    /// Waits until node `id` refuses the same commit, and returns its status.
    async fn refused_by(&self, cluster: &Cluster, id: u64) -> Result<Status> {
        wait::until("the commit is refused", PATIENCE, async || {
            let event = request::event("probe", &json!({ "probe": self.events }));
            let commit = request::within(PROBE_TIMEOUT, request::commit(vec![event]));
            let answer = cluster.node(id).vault().commit(commit).await;
            let status = request::refusal(answer)?;
            ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
            Ok(status)
        })
        .await
    }

    /// Waits until the commit that was refused is taken.
    async fn taken(&mut self) -> Result<()> {
        wait::until("commits go on", PATIENCE, async || {
            self.commit().await?;
            Ok(())
        })
        .await
    }
}

/// Starts all nodes, those in `small` on a small disk each, and lets node 1 lead.
async fn start(cluster: &mut Cluster, small: &[u64]) -> Result<Vec<SmallDisk>> {
    let mount = |id: &u64| SmallDisk::mount(&cluster.node(*id).data);
    let disks = small.iter().map(mount).collect::<Result<_>>()?;
    cluster.launch_all()?;
    cluster.wait_all_ready().await?;
    if cluster.leader().await? != 1 {
        let transfer = ["cluster", "transfer", "--to", "1"];
        cluster.toka().ok(&transfer).await?;
    }
    Ok(disks)
}

/// Reads that see all that is committed.
async fn reads_go_on(cluster: &Cluster) -> Result<()> {
    let toka = cluster.toka();
    let read = toka.json(&["log", "-n", "20", "-o", "json"]).await?;
    ensure!(read.len() == 20, "{read:?}");
    Ok(())
}

async fn last_index(cluster: &Cluster, id: u64) -> Result<u64> {
    Ok(cluster.state(id).await?.node.last_log_index)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_room_refuses_commits_and_goes_on_reading() -> Result<()> {
    cluster::run_prepared(1, &RESERVE, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[1]).await?;
        let traffic = Traffic::start_patient(cluster).await?;
        let mut probe = Probe::new(cluster, &traffic).await?;
        disks[0].fill(LOW)?;
        let refused = probe.refused().await?;
        ensure!(refused.contains("nearly full"), "{refused}");
        cluster.has_alarm(FULL, 1, true).await?;
        reads_go_on(cluster).await?;
        let ran = cluster.toka().run(&["commit", "more", "1"]).await?;
        ensure!(
            ran.code == Some(5) && ran.stderr.contains("nearly full"),
            "{ran:?}"
        );
        let node = cluster.state(1).await?.node;
        ensure!(node.reason.contains("nearly full"), "{node:?}");

        disks[0].make_room()?;
        probe.taken().await?;
        cluster.has_alarm(FULL, 1, false).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// What it has in memory is not written until there is room: a write that fails would stop it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_refuses_commits_outlives_a_disk_without_a_free_byte() -> Result<()> {
    cluster::run_prepared(1, &RESERVE, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[1]).await?;
        let traffic = Traffic::start_patient(cluster).await?;
        let mut probe = Probe::new(cluster, &traffic).await?;
        disks[0].fill(SPENT)?;
        probe.refused().await?;
        cluster.has_alarm(FULL, 1, true).await?;
        disks[0].fill_up()?;
        // A flush comes due half a minute after the first event that is not flushed.
        cluster
            .logs(1, "flushes and snapshots are put off until there is room")
            .await?;
        probe.refused().await?;
        reads_go_on(cluster).await?;
        let backup = cluster.directory().join("backup").display().to_string();
        let ran = cluster.toka().run(&["backup", "create", &backup]).await?;
        ensure!(
            ran.code != Some(0) && ran.stderr.contains("no room on the disk"),
            "{ran:?}"
        );

        disks[0].make_room()?;
        probe.taken().await?;
        cluster.logs(1, "flushes and snapshots go on").await?;
        cluster.has_alarm(FULL, 1, false).await?;
        cluster.toka().ok(&["backup", "create", &backup]).await?;
        traffic.goes_on().await?;

        // It stops in good order all the same: the log has what is not flushed.
        disks[0].fill(SPENT)?;
        cluster.has_alarm(FULL, 1, true).await?;
        disks[0].fill_up()?;
        cluster.terminate(1).await?;
        comes_back(cluster, &disks[0], traffic).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_without_room_stays_alive_and_catches_up() -> Result<()> {
    cluster::run_prepared(3, &RESERVE, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[3]).await?;
        let traffic = Traffic::start(cluster).await?;
        disks[0].fill(SPENT)?;
        cluster.has_alarm(FULL, 3, true).await?;
        let node = cluster.state(3).await?.node;
        ensure!(node.reason.contains("nearly full"), "{node:?}");
        wait::until("it takes nothing from the leader", PATIENCE, async || {
            let before = last_index(cluster, 3).await?;
            traffic.goes_on().await?;
            let after = last_index(cluster, 3).await?;
            ensure!(before == after, "it has gone on from {before} to {after}");
            Ok(())
        })
        .await?;
        disks[0].fill_up()?;
        traffic.goes_on().await?;
        cluster.state(3).await.context("it has not stayed alive")?;

        disks[0].make_room()?;
        cluster.has_alarm(FULL, 3, false).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_without_room_gets_no_snapshot_until_there_is() -> Result<()> {
    let settings = [
        "--disk-reserve",
        "96MiB",
        "--snapshot-log-entries",
        "200",
        "--keep-log-entries",
        "100",
    ];
    cluster::run_prepared(3, &settings, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[3]).await?;
        let traffic = Traffic::start(cluster).await?;
        disks[0].fill(SPENT)?;
        cluster.has_alarm(FULL, 3, true).await?;
        wait::until("the log is purged beyond it", PATIENCE, async || {
            let leader = cluster.leader_of_running().await?;
            let has = last_index(cluster, 3).await?;
            let purged = cluster.purged(leader)?;
            ensure!(purged > has, "purged up to {purged}, and it has {has}");
            Ok(())
        })
        .await?;
        let before = cluster.log(3).matches("snapshot installed").count();
        cluster.logs(3, "there is no room on the disk").await?;
        traffic.goes_on().await?;
        let after = cluster.log(3).matches("snapshot installed").count();
        ensure!(after == before, "it has taken a snapshot");
        cluster.has_alarm(FULL, 3, true).await?;

        disks[0].make_room()?;
        wait::until("it takes a snapshot", PATIENCE, async || {
            let now = cluster.log(3).matches("snapshot installed").count();
            ensure!(now > before, "{now} were installed");
            Ok(())
        })
        .await?;
        cluster.has_alarm(FULL, 3, false).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_refused_while_no_majority_has_room() -> Result<()> {
    cluster::run_prepared(3, &RESERVE, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[2, 3]).await?;
        let traffic = Traffic::start_patient(cluster).await?;
        let mut probe = Probe::new(cluster, &traffic).await?;
        for disk in &disks {
            disk.fill(SPENT)?;
        }
        let refused = probe.refused().await?;
        ensure!(
            refused.contains("nodes [2, 3]") && refused.contains("nearly full"),
            "{refused}"
        );
        let status = probe.refused_by(cluster, 1).await?;
        ensure!(status.message().contains("nodes [2, 3]"), "{status:?}");
        cluster.has_alarm(FULL, 2, true).await?;
        cluster.has_alarm(FULL, 3, true).await?;
        reads_go_on(cluster).await?;

        for disk in &disks {
            disk.make_room()?;
        }
        probe.taken().await?;
        cluster.has_alarm(FULL, 2, false).await?;
        cluster.has_alarm(FULL, 3, false).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Node 1 ends with the first write that does not fit on `disk`.
async fn stops_when_full(cluster: &mut Cluster, disk: &SmallDisk) -> Result<()> {
    disk.fill_up()?;
    let status = cluster.take_process(1)?.wait(PATIENCE).await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    Ok(())
}

/// Node 1 is started again once there is room on `disk`, and nothing is missing.
async fn comes_back(cluster: &mut Cluster, disk: &SmallDisk, traffic: Traffic) -> Result<()> {
    disk.make_room()?;
    cluster.restart(1).await?;
    traffic.goes_on().await?;
    traffic.check(cluster).await.map(drop)
}

/// Without a reserve nothing is refused: as if the disk had been filled between two looks at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_write_does_not_fit_stops_and_comes_back_with_everything() -> Result<()> {
    let settings = ["--disk-reserve", "0B"];
    cluster::run_prepared(3, &settings, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[1]).await?;
        let traffic = Traffic::start(cluster).await?;
        stops_when_full(cluster, &disks[0]).await?;
        let log = cluster.log(1);
        let data = cluster.node(1).data.display().to_string();
        let said = format!("the disk is full: {data}/");
        ensure!(log.contains(&said), "it does not say {said:?}");
        traffic.goes_on().await?;

        comes_back(cluster, &disks[0], traffic).await
    })
    .await
}

/// The same of the only node, whose writers wait until it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_node_whose_write_does_not_fit_has_lost_nothing() -> Result<()> {
    let settings = ["--disk-reserve", "0B"];
    cluster::run_prepared(1, &settings, async |cluster: &mut Cluster| {
        let disks = start(cluster, &[1]).await?;
        let traffic = Traffic::start_patient(cluster).await?;
        stops_when_full(cluster, &disks[0]).await?;
        comes_back(cluster, &disks[0], traffic).await
    })
    .await
}
