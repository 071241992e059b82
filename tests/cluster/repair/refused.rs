//! What ends a repair for good.

use anyhow::{Context as _, Result, ensure};
use toka_ledger::command::FEATURE_LEVEL;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::{process, wait};

use super::{ARGUMENTS, REPAIRED, commit_some, flip, refuses_with, ruin, supervise_until};

/// Of a node that was removed.
const REMOVED: i32 = 7;
/// What the next build knows; the ordinary one knows [`FEATURE_LEVEL`].
const NEXT_LEVEL: u32 = FEATURE_LEVEL + 1;
/// Of a node that is not to have a vault of such a level.
const BEYOND_BUILD: i32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_node_that_was_removed_meanwhile_says_so() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 20).await?;
        cluster.terminate(3).await?;
        cluster.toka().ok(&["cluster", "remove", "3"]).await?;
        cluster.has_members(&[1, 2], &[]).await?;
        ruin(cluster, 3)?;
        for _ in 0..2 {
            let said = refuses_with(cluster, 3, REMOVED).await?;
            ensure!(said.contains("was removed from its cluster"), "{said}");
        }
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// Starts node 3, which must refuse, held below the vault's level.
async fn refuses_held(cluster: &mut Cluster) -> Result<()> {
    let mut arguments = cluster.serve_arguments(3);
    arguments.extend(["--feature-level-max".to_owned(), FEATURE_LEVEL.to_string()]);
    let before = cluster.log(3).len();
    cluster.launch_as(3, &arguments)?;
    let status = cluster.take_process(3)?.wait(PATIENCE).await?;
    let said = cluster.log(3).split_off(before);
    ensure!(status.code() == Some(BEYOND_BUILD), "{status}: {said}");
    let expected = format!("feature level {NEXT_LEVEL}");
    ensure!(said.contains(&expected), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_node_takes_no_vault_of_a_level_that_it_may_not_have() -> Result<()> {
    let next = process::next_binary()?;
    cluster::run_prepared(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        for id in cluster.ids() {
            cluster.set_build(id, Some(&next));
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let (client, acks) = (cluster.client().await?, Acks::default());
        wait::until("the next level", PATIENCE, async || {
            let settings = cluster.status(3).await?.settings.context("no settings")?;
            ensure!(settings.feature_level == NEXT_LEVEL, "{settings:?}");
            Ok(())
        })
        .await?;
        commit_some(&client, &acks, 60).await?;
        cluster.converged(acks.count()).await?;
        cluster.terminate(3).await?;
        // What it finds itself.
        flip(&cluster.node(3).data.join("CURRENT"), 3)?;
        refuses_held(cluster).await?;
        // What others give.
        ruin(cluster, 3)?;
        refuses_held(cluster).await?;
        refuses_held(cluster).await?;
        let before = cluster.log(3).len();
        cluster.launch(3)?;
        supervise_until(cluster, 3, before, REPAIRED).await?;
        cluster.wait_ready(3).await?;
        cluster.converged(acks.count()).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
