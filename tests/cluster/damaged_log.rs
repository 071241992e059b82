//! Damage in the Raft log stops a node; a write that a crash has torn does not.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, EventDraft};
use toka_tests::cluster::{self, Cluster};
use toka_tests::history::{self, Acks};
use toka_tests::raft_log::Segment;

/// Commits one event after the other, so that each is in a frame of its own.
async fn commit_some(client: &Client, acks: &Acks, count: u64) -> Result<()> {
    for event in 0..count {
        let payload = json!({"before": acks.count(), "event": event});
        let header = client
            .commit(EventDraft::new("some").payload(&payload))
            .await?;
        acks.record(0, &header);
    }
    Ok(())
}

/// Stops a follower when there is something in its log.
async fn stop_a_follower(cluster: &mut Cluster, acks: &Acks) -> Result<u64> {
    let client = cluster.client().await?;
    commit_some(&client, acks, 60).await?;
    let follower = cluster.followers().await?[0];
    cluster.converged(acks.count()).await?;
    cluster.kill(follower)?;
    Ok(follower)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_a_record_damaged_in_the_middle_refuses_to_start() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        let follower = stop_a_follower(cluster, &acks).await?;
        let segment = Segment::newest(&cluster.node(follower).data)?;
        let middle = &segment.frames[segment.frames.len() / 2];
        segment.flip(middle)?;

        let said = cluster.refuses_to_start(follower).await?;
        ensure!(said.contains("damaged"), "{said}");
        ensure!(
            said.contains("under a new node id"),
            "what to do is not said: {said}"
        );
        // It refuses again: nothing was cut off meanwhile.
        cluster.refuses_to_start(follower).await?;

        let client = cluster.client().await?;
        commit_some(&client, &acks, 20).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// It was acknowledged, and only the mark beside the segments tells that it was ever there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_last_durable_record_is_cut_off_refuses_to_start() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        let follower = stop_a_follower(cluster, &acks).await?;
        let segment = Segment::newest(&cluster.node(follower).data)?;
        let last = segment.frames.last().context("there are frames")?;
        segment.truncate(last.offset)?;

        let said = cluster.refuses_to_start(follower).await?;
        ensure!(
            said.contains("damaged") && said.contains("durable"),
            "{said}"
        );
        let client = cluster.client().await?;
        commit_some(&client, &acks, 20).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_a_torn_write_starts_and_catches_up() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        let follower = stop_a_follower(cluster, &acks).await?;
        let segment = Segment::newest(&cluster.node(follower).data)?;
        segment.tear_a_write()?;
        let client = cluster.client().await?;
        commit_some(&client, &acks, 20).await?;

        cluster.restart(follower).await?;
        let log = cluster.log(follower);
        ensure!(
            log.contains("cut off a write that a crash has torn"),
            "it is not in the log"
        );
        history::check(cluster, &acks).await?;

        // The same with a file that ends where its last record ends.
        cluster.kill(follower)?;
        let segment = Segment::newest(&cluster.node(follower).data)?;
        segment.truncate(segment.end())?;
        commit_some(&client, &acks, 20).await?;
        cluster.restart(follower).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
