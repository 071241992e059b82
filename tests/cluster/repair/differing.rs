//! A copy in which every row is sound, but which holds another state than the others', is not spread.

use anyhow::{Result, ensure};
use rand::RngExt as _;
use serde_json::json;
use toka_client::{Client, EventDraft};
use toka_tests::cluster::{self, Cluster};
use toka_tests::seed;

use super::{REPAIRED, ruin, supervise_until};
use crate::divergence::move_centroid;

/// The first one that is asked for a copy.
const DIFFERING: u64 = 1;
const SOUND: u64 = 2;
const DAMAGED: u64 = 3;
const EVENTS: u64 = 600;
const SAVE_OFTEN: [&str; 2] = ["--intents-save-events", "100"];

/// Commits [`EVENTS`] events of a few topics.
async fn commit(client: &Client, random: &mut rand::rngs::StdRng) -> Result<()> {
    for _ in 0..EVENTS / 50 {
        let drafts = (0..50).map(|number: usize| {
            let vector: Vec<f32> = (0..16)
                .map(|at| {
                    f32::from(u8::from(at == number % 5)) + random.random_range(-0.1..0.1_f32)
                })
                .collect();
            EventDraft::new("some")
                .payload(&json!(vector))
                .embedding(&vector)
        });
        client.commit_batch(drafts.collect(), Vec::new()).await?;
    }
    Ok(())
}

/// While node 3 is away, node 1 comes to another state than node 2. Then the ledger of node 3 is damaged.
async fn differ(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client().await?;
    let mut random = seed::rng(seed::draw(), 0);
    commit(&client, &mut random).await?;
    cluster.converged(EVENTS).await?;
    cluster.terminate(DAMAGED).await?;
    cluster.terminate(DIFFERING).await?;
    move_centroid(cluster, DIFFERING)?;
    cluster.restart(DIFFERING).await?;
    commit(&client, &mut random).await?;
    ruin(cluster, DAMAGED)
}

/// The two that are left have the state that the sound one has had all along.
async fn is_repaired(cluster: &mut Cluster, before: usize) -> Result<()> {
    supervise_until(cluster, DAMAGED, before, REPAIRED).await?;
    for id in [SOUND, DAMAGED] {
        cluster.wait_ready(id).await?;
    }
    let states = cluster.converged(2 * EVENTS).await?;
    ensure!(states.len() == 2, "{states:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_that_another_voter_contradicts_is_not_taken() -> Result<()> {
    // Nobody finds out otherwise.
    let arguments = [&SAVE_OFTEN[..], &["--state-check-interval", "10000h"]].concat();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        differ(cluster).await?;
        let before = cluster.log(DAMAGED).len();
        cluster.launch(DAMAGED)?;
        let waits = "no majority tells who is wrong";
        supervise_until(cluster, DAMAGED, before, waits).await?;
        let said = cluster.log(DAMAGED).split_off(before);
        ensure!(!said.contains(REPAIRED), "{said}");
        cluster.terminate(DIFFERING).await?;
        is_repaired(cluster, before).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_may_be_the_wrong_one_gives_no_copy() -> Result<()> {
    let arguments = [&SAVE_OFTEN[..], &["--state-check-interval", "500ms"]].concat();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        differ(cluster).await?;
        cluster.logs(SOUND, "state_differs").await?;
        cluster.terminate(DIFFERING).await?;
        let before = cluster.log(DAMAGED).len();
        cluster.launch(DAMAGED)?;
        supervise_until(cluster, DAMAGED, before, "so it gives no copy").await?;
        // The operator has found out who is right.
        cluster.terminate(SOUND).await?;
        cluster.launch(SOUND)?;
        is_repaired(cluster, before).await
    })
    .await
}
