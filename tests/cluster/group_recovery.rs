//! Consumer groups when most voters are lost for good: the new cluster has them as the survivor had.

use anyhow::{Result, ensure};
use toka_client::{Client, Consistency, CursorName, SettleOutcome, Verdict};
use toka_tests::cluster::{self, Cluster};
use toka_tests::work::Work;

use crate::recovery::{recover, serve};

/// What was leased before the loss is due again soon after it.
const SHORT_MS: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovered_cluster_has_the_groups_and_cursors_of_the_survivor() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let work = Work::start(&client, SHORT_MS).await?;
        let cursor = CursorName::new("reader")?;
        client.save_cursor(&cursor, Some(0), 7).await?;
        let survivor = cluster.followers().await?[0];
        cluster.converged(7).await?;
        for id in cluster.ids() {
            cluster.kill(id)?;
        }
        let data = cluster.node(survivor).data.display().to_string();
        let new = cluster.directory().join("recovered");
        let into = new.display().to_string();
        cluster.toka().json(&recover(&data, &into)).await?;
        cluster.toka().ok(&["--data", &into, "verify"]).await?;
        let arguments = serve(cluster, survivor, &new);
        cluster.launch_as(survivor, &arguments)?;
        cluster.wait_ready(survivor).await?;

        // It is another cluster, and so another client.
        let client = Client::connect([cluster.node(survivor).endpoint()]).await?;
        work.is_kept(&client, Consistency::Linearizable).await?;
        let at = client.cursor(&cursor, Consistency::Linearizable).await?;
        ensure!(at == Some(7), "the cursor is at {at:?}");
        work.finish(&client).await?;
        // Whoever had an event before comes too late.
        for held in work.held() {
            let settlement = [(held.token(), Verdict::Acknowledge)];
            let settled = client.settle(work.name(), &settlement).await;
            let counts = matches!(settled.as_deref(), Ok([SettleOutcome::Done]));
            ensure!(!counts, "{settled:?}");
        }
        Ok(())
    })
    .await
}
