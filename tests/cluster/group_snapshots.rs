//! Consumer groups come with a snapshot: a node that has no other knowledge of them shows them, and leads.

use anyhow::{Result, ensure};
use serde_json::json;
use toka_client::{Client, Consistency, EventDraft};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::has_groups;
use toka_tests::wait;
use toka_tests::work::Work;

/// Longer than any test takes.
const LONG_MS: u32 = 3_600_000;
const SETTINGS: [&str; 4] = ["--snapshot-log-entries", "40", "--keep-log-entries", "10"];

/// Commits until every running node has purged its log beyond `index`; the last sequence.
async fn purge_beyond(cluster: &Cluster, client: &Client, index: u64) -> Result<u64> {
    let (mut number, mut last) = (0_u64, 0);
    wait::until("logs are purged", PATIENCE, async || {
        for _ in 0..40 {
            number += 1;
            let filler = EventDraft::new("filler").payload(&json!({ "number": number }));
            last = client.commit(filler).await?.sequence;
        }
        cluster.check_purged(index)
    })
    .await?;
    Ok(last)
}

/// Node `id` has the group by itself, and then leads: what was leased before it is settled there, and what is left comes.
async fn has_and_leads(cluster: &Cluster, id: u64, work: &mut Work) -> Result<()> {
    let own = cluster.client_of(id).await?;
    work.is_kept(&own, Consistency::Local).await?;
    own.transfer_leadership(Some(id)).await?;
    wait::until("the leader", PATIENCE, async || {
        let leader = cluster.leader().await?;
        ensure!(leader == id, "node {leader} leads");
        Ok(())
    })
    .await?;
    work.is_kept(&own, Consistency::Linearizable).await?;
    work.acknowledge_held(&own).await?;
    work.finish(&own).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_gets_a_snapshot_has_the_groups_and_can_lead() -> Result<()> {
    cluster::run(3, &SETTINGS, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        // Every member has to have said that it knows them.
        has_groups(&client).await?;
        let follower = cluster.followers().await?[0];
        let last = cluster.state(follower).await?.node.last_log_index;
        // It does not see any of it.
        cluster.terminate(follower).await?;
        let mut work = Work::start(&client, LONG_MS).await?;
        let sequence = purge_beyond(cluster, &client, last).await?;
        cluster.restart(follower).await?;
        cluster.converged(sequence).await?;
        cluster.logs(follower, "snapshot installed").await?;
        has_and_leads(cluster, follower, &mut work).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_joins_by_a_snapshot_has_the_groups_and_can_lead() -> Result<()> {
    cluster::run(1, &SETTINGS, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let mut work = Work::start(&client, LONG_MS).await?;
        let last = cluster.state(1).await?.node.last_log_index;
        let sequence = purge_beyond(cluster, &client, last).await?;
        let joined = cluster.join(&[]).await?;
        cluster.wait_ready(joined).await?;
        cluster.has_members(&[1, joined], &[]).await?;
        cluster.converged(sequence).await?;
        cluster.logs(joined, "snapshot installed").await?;
        has_and_leads(cluster, joined, &mut work).await
    })
    .await
}
