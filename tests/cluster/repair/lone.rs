//! What a node without others can go on from.

use anyhow::{Result, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::wait;

use super::{ARGUMENTS, REPAIRED, commit_some, flip, kinds, ledger};

/// Starts node 1, which must say that it is repaired, and has everything.
async fn is_repaired(cluster: &mut Cluster, acks: &Acks) -> Result<()> {
    let before = cluster.log(1).len();
    cluster.restart(1).await?;
    let said = cluster.log(1).split_off(before);
    ensure!(said.contains(REPAIRED), "{said}");
    cluster.converged(acks.count()).await?;
    history::check(cluster, acks).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lone_node_finds_its_ledger_without_the_pointer() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 20).await?;
        // A letter of the name, and the number.
        for at in [3, 7] {
            cluster.terminate(1).await?;
            flip(&cluster.node(1).data.join("CURRENT"), at)?;
            is_repaired(cluster, &acks).await?;
        }
        commit_some(&client, &acks, 20).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lone_node_goes_on_from_its_snapshot_and_its_log() -> Result<()> {
    cluster::run(1, &ARGUMENTS, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        wait::until("the log is purged", PATIENCE, async || {
            commit_some(&client, &acks, 40).await?;
            cluster.check_purged(20)
        })
        .await?;
        for _ in 0..2 {
            commit_some(&client, &acks, 15).await?;
            cluster.terminate(1).await?;
            let manifest = kinds::one(&ledger(cluster, 1)?, "MANIFEST-")?;
            let length = std::fs::metadata(&manifest)?.len();
            flip(&manifest, length / 2)?;
            is_repaired(cluster, &acks).await?;
        }
        Ok(())
    })
    .await
}
