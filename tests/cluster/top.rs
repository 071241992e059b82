//! `toka cluster top`.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use toka_client::{Client, EventDraft};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::wait;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::exit_codes::NOBODY;

const ONCE: [&str; 7] = [
    "cluster",
    "top",
    "--once",
    "--interval",
    "300ms",
    "-o",
    "json",
];

async fn once(toka: &Toka) -> Result<Value> {
    let mut lines = toka.json(&ONCE).await?;
    ensure!(lines.len() == 1, "{lines:?}");
    lines.pop().context("one line")
}

/// Commits, one event after the other, until it is dropped.
async fn commit_on(client: &Client) -> Result<()> {
    for number in 0_u64.. {
        client
            .commit(EventDraft::new("tick").payload(&number))
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_are_shown_of_the_nodes_that_answer() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let client = cluster.client().await?;
        let leader = cluster.leader().await?;
        let rates = wait::until("rates of all nodes", PATIENCE, async || {
            let shown = once(&toka).await?;
            let nodes = shown["nodes"].as_array().context("nodes")?;
            ensure!(nodes.len() == 3, "{shown}");
            for node in nodes {
                let rate = node["events_per_second"].as_f64();
                ensure!(rate.is_some_and(|rate| rate > 0.0), "{node}");
            }
            ensure!(shown["leader_id"] == json!(leader), "{shown}");
            ensure!(shown["interval_ms"].as_u64() >= Some(300), "{shown}");
            Ok(shown)
        });
        let shown = tokio::select! {
            shown = rates => shown?,
            ended = commit_on(&client) => anyhow::bail!("commits have ended: {ended:?}"),
        };
        ensure!(shown["events_per_second"].as_f64() > Some(0.0), "{shown}");

        let follower = cluster.followers().await?[0];
        cluster.kill(follower)?;
        wait::until("no rates of a dead node", PATIENCE, async || {
            let shown = once(&toka).await?;
            let nodes = shown["nodes"].as_array().context("nodes")?;
            for node in nodes {
                let is_dead = node["node_id"] == json!(follower);
                ensure!(node["events_per_second"].is_null() == is_dead, "{node}");
                ensure!(node["sequence"].is_null() == is_dead, "{node}");
            }
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_and_is_a_table_for_people() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let mut top = toka.spawn(&["cluster", "top", "-i", "100ms", "-o", "json"])?;
        let stdout = top.stdout.take().context("standard output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        for number in 0..3 {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
            let shown: Value = serde_json::from_str(&line.context("another line")?)?;
            // Nothing was before the first look.
            ensure!(shown["interval_ms"].is_null() == (number == 0), "{shown}");
        }
        top.kill().await?;

        let table = toka
            .ok(&["cluster", "top", "--once", "-i", "100ms"])
            .await?;
        for text in ["leader node 1", "EVENTS/S", "TO APPLY", "leader"] {
            ensure!(table.stdout.contains(text), "{table:?}");
        }
        // Only a terminal understands them.
        ensure!(!table.stdout.contains('\u{1b}'), "{table:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_it_fails_as_others_do() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-top-")?;
    let toka = Toka::with_endpoints(home.path(), &[NOBODY.to_owned()]);
    let ran = toka.run(&["cluster", "top", "--once"]).await?;
    ensure!(ran.code == Some(3), "{ran:?}");
    let ran = toka.run(&["cluster", "top", "--interval", "1ms"]).await?;
    ensure!(ran.code == Some(2), "{ran:?}");
    Ok(())
}
