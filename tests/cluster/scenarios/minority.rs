//! Damage on a minority.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::raft_log::Segment;
use toka_tests::traffic::Traffic;
use toka_tests::wait;

/// Snapshots are made, and logs purged, every few commits.
const ARGUMENTS: [&str; 6] = [
    SAVE_OFTEN[0],
    SAVE_OFTEN[1],
    "--snapshot-log-entries",
    "40",
    "--keep-log-entries",
    "10",
];

/// Jepsen, NATS 2.12.1, nats-server #7549: a flipped bit, or a file cut short, on one or two of five nodes
/// lost what all of them had acknowledged, once a damaged node led.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_and_cut_file_on_two_of_five_lose_nothing() -> Result<()> {
    cluster::run(5, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        // The damage is on the one that leads and on one that could.
        let leader = cluster.leader().await?;
        let follower = *cluster.followers().await?.first().context("no follower")?;
        for id in cluster.ids() {
            cluster.kill(id)?;
        }
        let segment = Segment::newest(&cluster.node(leader).data)?;
        segment.flip(&segment.frames[segment.frames.len() / 2])?;
        let segment = Segment::newest(&cluster.node(follower).data)?;
        // The mark may not name the last frame yet, and then that is no damage but a torn write.
        let before_last = segment.frames.iter().nth_back(1).context("two frames")?;
        segment.truncate(before_last.offset)?;

        // They refuse before they can vote, while the others are still away.
        for id in [leader, follower] {
            let said = cluster.refuses_to_start(id).await?;
            ensure!(said.contains("damaged"), "node {id}: {said}");
        }
        let sound = cluster.ids().into_iter();
        let mut voters: Vec<u64> = sound
            .filter(|id| *id != leader && *id != follower)
            .collect();
        for id in &voters {
            cluster.launch(*id)?;
        }
        for id in &voters {
            cluster.wait_ready(*id).await?;
        }
        traffic.goes_on().await?;
        for id in [leader, follower] {
            voters.push(cluster.join(&["--replace", &id.to_string()]).await?);
        }
        cluster.has_members(&voters, &[]).await?;
        for id in &voters {
            cluster.wait_ready(*id).await?;
        }
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Flips a bit in every table of every snapshot in `data`, each in a copy that takes its place: the ledger has
/// the same files under names of its own, and is to keep them as they are.
fn rot(data: &Path) -> Result<()> {
    let mut count = 0;
    for snapshot in std::fs::read_dir(data.join("snapshots"))? {
        let snapshot = snapshot?.path();
        // Others are not complete.
        if snapshot.extension().is_some() {
            continue;
        }
        for file in std::fs::read_dir(snapshot.join("ledger"))? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "sst") {
                continue;
            }
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            *bytes.get_mut(middle).context("an empty table")? ^= 0x10;
            let flipped = path.with_extension("flipped");
            std::fs::write(&flipped, bytes)?;
            std::fs::rename(&flipped, &path)?;
            count += 1;
        }
    }
    ensure!(count > 0, "{} has no snapshot", data.display());
    Ok(())
}

/// Jepsen, NATS 2.12.1, nats-server #7556, before it #4410 and #6188: nodes whose snapshots were damaged took
/// everything else that they had for orphaned, deleted it, and the cluster did not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotten_snapshots_on_two_of_five_delete_nothing() -> Result<()> {
    cluster::run(5, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        wait::until("everybody has a snapshot", PATIENCE, async || {
            cluster.check_purged(1)
        })
        .await?;
        let leader = cluster.leader().await?;
        let followers = cluster.followers().await?;
        let (rotten, away) = (followers[0], followers[1]);
        for id in cluster.ids() {
            cluster.kill(id)?;
        }
        for id in [leader, rotten] {
            rot(&cluster.node(id).data)?;
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        traffic.goes_on().await?;

        // Somebody needs a snapshot of one of them.
        cluster.leader().await?;
        let last = cluster.state(away).await?.node.last_log_index;
        cluster.kill(away)?;
        let client = cluster.client().await?;
        wait::until("one of them leads", PATIENCE, async || {
            if cluster.leader_of_running().await? != rotten {
                client.transfer_leadership(Some(rotten)).await?;
            }
            Ok(())
        })
        .await?;
        wait::until("the log is purged beyond it", PATIENCE, async || {
            let purged = cluster.purged(rotten)?;
            ensure!(purged > last, "purged up to {purged}, and it has {last}");
            Ok(())
        })
        .await?;
        cluster.restart(away).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}
