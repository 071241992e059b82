//! A node that has something else stored of a consumer group, which no digest of the history covers, finds out.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use toka_client::Consistency;
use toka_ledger::GroupName;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Batch, Durability, Engine as _, Table};
use toka_ledger::store::{group_items, group_sum};
use toka_tests::cluster::{self, Cluster};
use toka_tests::work::Work;

use crate::divergence::stops;

/// Longer than any test takes.
const LONG_MS: u32 = 3_600_000;

/// What is done to one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    /// It is changed, with the sum over all rows: as if the node had computed something else.
    Wrong,
    /// It is changed and nothing else is: as if somebody had been at the files.
    Damaged,
}

/// Counts one delivery more of what node `id`, which does not run, has of an outstanding event.
fn plant(cluster: &Cluster, id: u64, group: &GroupName, sequence: u64, what: Plant) -> Result<()> {
    let data = &cluster.node(id).data;
    let current = std::fs::read_to_string(data.join("CURRENT"))?;
    let options = RocksOptions {
        wal: false,
        create: false,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(&data.join(current.trim()), &options)?;
    let key = group_items::key(group, sequence);
    let row = engine.get(Table::Meta, &key)?.context("no such row")?;
    let mut item = group_items::decode(group, sequence, row.clone())?;
    item.deliveries += 1;
    let other = group_items::encode(group, &item);
    let sum = engine.get(Table::Meta, group_sum::KEY)?;
    let mut sum = group_sum::decode(sum.context("no sum")?)?;
    if what == Plant::Wrong {
        sum.subtract(&key, &row);
        sum.add(&key, &other);
    }
    let mut batch = Batch::new();
    batch.put(Table::Meta, key, other);
    batch.put(Table::Meta, group_sum::KEY, group_sum::encode(&sum));
    engine.write(batch, Durability::Volatile)?;
    engine.flush()?;
    Ok(())
}

/// Stops a follower of a cluster that has a group, and plants a difference. Returns the follower.
async fn planted(cluster: &mut Cluster, what: Plant) -> Result<(Work, u64)> {
    let client = cluster.client().await?;
    let work = Work::start(&client, LONG_MS).await?;
    let held = work.held().first().context("nothing is leased")?;
    let sequence = held.event.header.sequence;
    cluster.converged(sequence).await?;
    let follower = *cluster.followers().await?.first().context("no follower")?;
    cluster.terminate(follower).await?;
    plant(cluster, follower, work.name(), sequence, what)?;
    Ok((work, follower))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_another_delivery_in_a_group_is_found_while_nothing_is_done() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (mut work, follower) = planted(cluster, Plant::Wrong).await?;
        cluster.launch(follower)?;
        stops(cluster, follower, Instant::now()).await?;
        ensure!(cluster.running().len() == 2);
        let client = cluster.client().await?;
        work.is_kept(&client, Consistency::Linearizable).await?;
        work.acknowledge_held(&client).await?;
        work.finish(&client).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_of_a_group_that_was_changed_on_the_disk_is_found_by_verify() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (_, follower) = planted(cluster, Plant::Damaged).await?;
        let data = cluster.node(follower).data.display().to_string();
        let found = cluster.toka().run(&["--data", &data, "verify"]).await?;
        ensure!(found.code == Some(6), "{found:?}");
        let said = format!("{}{}", found.stdout, found.stderr);
        ensure!(said.contains("group"), "{found:?}");
        Ok(())
    })
    .await
}
