//! A node whose state differs from that of the others finds out, stops, and stays away.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use toka_client::{Client, EventDraft};
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Batch, Direction, Durability, Engine as _, Table};
use toka_ledger::store::clusters;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::load::DIMENSION;
use toka_tests::seed;
use toka_tests::traffic::Traffic;

/// A writer of its own, beside those of the load.
const WRITER: u64 = 1_000;
const TOPICS: usize = 5;
/// The vault saves its centroids after the first 16,384 embedded events.
const EVENTS: usize = 17_000;
/// So many embedded events have one among them after which the state digest covers all centroids, and another
/// one whose state is kept.
const EVENTS_TO_COVER: usize = 4_096 + 400;

async fn commit(client: &Client, acks: &Acks, random: &mut StdRng, count: usize) -> Result<()> {
    for batch in (0..count).collect::<Vec<_>>().chunks(500) {
        let drafts = batch.iter().map(|_| {
            let topic = random.random_range(0..TOPICS);
            let vector: Vec<f32> = (0..DIMENSION)
                .map(|at| f32::from(u8::from(at == topic)) + random.random_range(-0.1..0.1_f32))
                .collect();
            EventDraft::new("some")
                .payload(&json!(vector))
                .embedding(&vector)
        });
        let committed = client.commit_batch(drafts.collect(), Vec::new()).await?;
        for header in &committed.headers {
            acks.record(WRITER, header);
        }
    }
    Ok(())
}

/// Moves one component of one centroid that node `id`, which does not run, has saved.
pub(crate) fn move_centroid(cluster: &Cluster, id: u64) -> Result<()> {
    let data = &cluster.node(id).data;
    let current = std::fs::read_to_string(data.join("CURRENT"))?;
    let ledger = data.join(current.trim());
    let options = RocksOptions {
        wal: false,
        create: false,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(&ledger, &options)?;
    let end = clusters::end_of(clusters::MICRO);
    let mut rows = engine.scan(
        Table::Clusters,
        clusters::MICRO,
        Some(&end),
        Direction::Forward,
    );
    let (key, value) = rows.next().context("no centroid is saved")??;
    drop(rows);
    let micro = clusters::decode_micro_key(clusters::MICRO, &key)?;
    let mut saved = clusters::decode_micro(micro, value)?;
    // Not by the least that there is: each event that comes to a centroid which is as heavy as it gets takes a
    // little off what was before.
    let largest = saved.sums.iter().copied().max().unwrap_or(0);
    saved.sums[3] += largest / 16;
    let mut batch = Batch::new();
    batch.put(Table::Clusters, key, clusters::encode_micro(micro, &saved));
    engine.write(batch, Durability::Volatile)?;
    engine.flush()?;
    Ok(())
}

/// Commits, and starts a follower again with a centroid that differs from the others'. Returns the follower.
async fn plant(cluster: &mut Cluster, acks: &Acks, random: &mut StdRng) -> Result<u64> {
    let client = cluster.client().await?;
    commit(&client, acks, random, EVENTS).await?;
    let follower = *cluster.followers().await?.first().context("no follower")?;
    cluster.terminate(follower).await?;
    move_centroid(cluster, follower)?;
    cluster.launch(follower)?;
    Ok(follower)
}

/// The node finds out, stops, and does not start again. That it does so within what docs/operations.md promises
/// follows from the constants of `toka_raft::replica::divergence`, and is a unit test there: a machine that is busy
/// with other tests takes as long as it likes.
pub(crate) async fn stops(cluster: &mut Cluster, id: u64, begin: Instant) -> Result<()> {
    let mut process = cluster.take_process(id)?;
    let status = process.wait(PATIENCE).await.context("it goes on")?;
    println!("found after {:.1} s", begin.elapsed().as_secs_f64());
    ensure!(status.code() == Some(6), "{status}");
    let said = cluster.log(id);
    ensure!(
        said.contains("differs from that of a majority of the voters"),
        "it is not in the log"
    );
    let refused = cluster.refuses_to_start(id).await?;
    ensure!(refused.contains(&format!("--replace {id}")), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_another_centroid_is_found_while_nothing_is_committed() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (acks, mut random) = (Acks::default(), seed::rng(seed, 0));
        let follower = plant(cluster, &acks, &mut random).await?;
        stops(cluster, follower, Instant::now()).await?;
        ensure!(cluster.running().len() == 2);
        history::check(cluster, &acks).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_another_centroid_stops_under_load_and_does_not_come_back() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let mut random = seed::rng(seed, WRITER);
        let follower = plant(cluster, traffic.acks(), &mut random).await?;
        let client = cluster.client().await?;
        commit(&client, traffic.acks(), &mut random, EVENTS_TO_COVER).await?;
        stops(cluster, follower, Instant::now()).await?;
        traffic.goes_on().await?;
        // Nothing that was acknowledged meanwhile is missing on the others.
        ensure!(cluster.running().len() == 2);
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}
