//! Damage on a minority.

use anyhow::{Context as _, Result, ensure};
use toka_tests::cluster::{self, Cluster};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::raft_log::Segment;
use toka_tests::traffic::Traffic;

/// Jepsen, NATS 2.12.1, nats-server #7549: a flipped bit, or a file cut short, on one or two of five nodes
/// lost what all of them had acknowledged, once a damaged node led.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_and_cut_file_on_two_of_five_lose_nothing() -> Result<()> {
    cluster::run(5, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        // Of those that lead nobody the log grows as well, and the leader may be damaged too.
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
