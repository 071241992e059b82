//! `toka bench`: loads on clusters that it starts and stops by itself.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::Toka;
use toka_tests::slot;
use toka_tests::tls::Certificates;

/// Runs `toka bench` on a cluster of its own below `directory`; returns the lines that it writes.
async fn bench(directory: &Path, arguments: &[&str]) -> Result<Vec<Value>> {
    let path = directory.to_str().context("a path in UTF-8")?;
    let mut all = vec!["--output", "json", "bench"];
    all.extend(arguments);
    all.extend(["--directory", path]);
    Toka::new(directory).json(&all).await
}

/// As [`bench`], of events that eight clients commit for three seconds.
async fn bench_deliveries(arguments: &[&str]) -> Result<Vec<Value>> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    let load = [
        "--local",
        "--clients",
        "8",
        "--warm-up",
        "0s",
        "--duration",
        "3s",
    ];
    bench(directory.path(), &[arguments, &load].concat()).await
}

fn number(row: &Value, field: &str) -> Result<f64> {
    let number = row[field].as_f64();
    number.with_context(|| format!("no {field}: {row}"))
}

#[tokio::test]
async fn commits_are_measured_on_a_cluster_that_is_gone_afterwards() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    let rows = bench(
        directory.path(),
        &[
            "commit",
            "--local",
            "--clients",
            "4",
            "--rate",
            "20",
            "--warm-up",
            "100ms",
            "--duration",
            "3s",
            "--dim",
            "8",
        ],
    );
    let rows = rows.await?;
    let row = rows.first().context("no row")?;
    ensure!(row["errors"] == 0, "{row}");
    for field in [
        "acknowledged",
        "commits_per_second",
        "p50_ms",
        "p99_ms",
        "max_ms",
        "ledger_bytes_per_event",
        "raft_log_bytes_per_event",
        "resident_bytes_max",
    ] {
        ensure!(number(row, field)? > 0.0, "{field}: {row}");
    }
    // The rate bounds it.
    ensure!(number(row, "acknowledged")? <= 61.0, "{row}");
    ensure!(number(row, "cpu_us_per_item")? >= 0.0, "{row}");
    ensure!(number(row, "written_bytes_per_item")? >= 0.0, "{row}");
    let source = &row["written_bytes_source"];
    ensure!(source == "device" || source == "process", "{row}");
    let left: Vec<_> = std::fs::read_dir(directory.path())?.collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[tokio::test]
async fn every_subscriber_is_sent_every_event() -> Result<()> {
    let rows = bench_deliveries(&["subscribe", "--subscribers", "3"]).await?;
    let [committed, delivered] = &rows[..] else {
        anyhow::bail!("two rows were expected: {rows:?}");
    };
    let (commits, deliveries) = (
        number(committed, "acknowledged")?,
        number(delivered, "acknowledged")?,
    );
    ensure!(commits > 0.0 && deliveries == 3.0 * commits, "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn every_group_acknowledges_every_event_once() -> Result<()> {
    let rows = bench_deliveries(&["groups", "--groups", "2", "--consumers", "3"]).await?;
    let [committed, acknowledged] = &rows[..] else {
        anyhow::bail!("two rows were expected: {rows:?}");
    };
    let (commits, done) = (
        number(committed, "acknowledged")?,
        number(acknowledged, "acknowledged")?,
    );
    ensure!(commits > 0.0 && done == 2.0 * commits, "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn reads_are_measured_on_events_that_are_committed_before() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    for further in [
        &["get"][..],
        &["get", "--batch-events", "10"],
        &["get", "--follower", "--consistency", "linearizable"],
        &["list", "--page-events", "10"],
    ] {
        let mut arguments = further.to_vec();
        arguments.extend(["--local", "--fill-events", "200", "--clients", "2"]);
        arguments.extend(["--warm-up", "0s", "--duration", "2s"]);
        let rows = bench(directory.path(), &arguments).await?;
        let row = rows.first().context("no row")?;
        ensure!(number(row, "acknowledged")? > 0.0, "{arguments:?}: {row}");
        ensure!(row["errors"] == 0, "{arguments:?}: {row}");
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_killed_leaves_a_gap() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    let rows = bench(directory.path(), &["failover", "--rounds", "1"]).await?;
    let row = rows.first().context("no row")?;
    ensure!(number(row, "median_ms")? > 0.0, "{row}");
    Ok(())
}

#[tokio::test]
async fn a_node_with_events_is_started_again() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    let arguments = [
        "restart",
        "--fill-events",
        "1000",
        "--rounds",
        "1",
        "--kill",
    ];
    let rows = bench(directory.path(), &arguments).await?;
    let row = rows.first().context("no row")?;
    let (serving, ready) = (
        number(row, "serving_median_ms")?,
        number(row, "ready_median_ms")?,
    );
    ensure!(0.0 < serving && serving <= ready, "{row}");
    Ok(())
}

#[tokio::test]
async fn an_embedded_vault_is_compared_with_bare_storage() -> Result<()> {
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    let arguments = [
        "embedded",
        "--clients",
        "4",
        "--warm-up",
        "0s",
        "--duration",
        "2s",
    ];
    let rows = bench(directory.path(), &arguments).await?;
    let [vault, bare] = &rows[..] else {
        anyhow::bail!("two rows were expected: {rows:?}");
    };
    // The same events.
    ensure!(
        vault["acknowledged"] == bare["acknowledged"],
        "{vault} {bare}"
    );
    ensure!(number(vault, "share_of_bare_percent")? > 0.0, "{vault}");
    Ok(())
}

#[tokio::test]
async fn an_import_is_measured() -> Result<()> {
    let _slot = slot::take().await;
    let directory = TempDir::with_prefix("toka-test-bench-")?;
    let arguments = ["import", "--local", "--import-events", "500", "--dim", "4"];
    let rows = bench(directory.path(), &arguments).await?;
    let row = rows.first().context("no row")?;
    ensure!(row["acknowledged"] == 500, "{row}");
    Ok(())
}

/// It is another process that imports: it has to be told how the nodes are reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_over_tls_is_measured() -> Result<()> {
    cluster::run_prepared(1, &[], async |cluster: &mut Cluster| {
        Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let mut words = vec!["--output", "json", "bench", "import"];
        words.extend(["--import-events", "50", "--dim", "4"]);
        let rows = cluster.toka().json(&words).await?;
        let row = rows.first().context("no row")?;
        ensure!(row["acknowledged"] == 50, "{row}");
        Ok(())
    })
    .await
}
