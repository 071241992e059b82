//! `toka verify`: of a node that runs, and of the directory of one that is stopped.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_ledger::engine::Table;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::{Ran, Toka};
use toka_tests::history::{self, Acks};
use toka_tests::raft_log::Segment;
use toka_tests::traffic::Traffic;
use toka_tests::wait;

use super::kinds::{CHECKED, Kind, Unread};
use super::{
    ARGUMENTS, REPAIRED, START_AGAIN, commit_some, files, flip, ledger, running, supervise_until,
    tables,
};

/// Of a verification that has found damage.
const DAMAGED: i32 = 6;
/// Of one that was refused.
const REFUSED: i32 = 5;

/// As the user who looks after node `id`.
fn toka_of(cluster: &Cluster, id: u64) -> Toka {
    Toka::with_endpoints(cluster.directory(), &[cluster.node(id).endpoint()])
}

/// A report without problems.
async fn is_sound(toka: &Toka, arguments: &[&str]) -> Result<Value> {
    let arguments = [arguments, &["verify", "-o", "json"]].concat();
    let report = toka.json(&arguments).await?;
    let report = report.into_iter().next().context("no report")?;
    ensure!(report["problems_total"] == json!(0), "{report}");
    ensure!(report["events"].as_u64() > Some(0), "{report}");
    Ok(report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_node_is_verified_under_load_and_once_at_a_time() -> Result<()> {
    cluster::run(3, &ARGUMENTS[..6], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        for id in cluster.ids() {
            let report = is_sound(&toka_of(cluster, id), &[]).await?;
            ensure!(report["node_id"] == json!(id), "{report}");
        }
        traffic.goes_on().await?;

        let id = cluster.leader_of_running().await?;
        let toka = toka_of(cluster, id);
        // Would take days.
        let slowly = v1::VerifyRequest {
            rate_limit_bytes_per_s: 1,
            ..v1::VerifyRequest::default()
        };
        let mut node = cluster.node(id).cluster();
        let held = node.verify(slowly).await?;
        let refused = toka.run(&["verify"]).await?;
        ensure!(refused.code == Some(REFUSED), "{refused:?}");
        ensure!(refused.stderr.contains("verifications"), "{refused:?}");
        traffic.goes_on().await?;

        // It ends with its caller.
        drop(held);
        wait::until("there is room for another one", PATIENCE, async || {
            let ran = toka.run(&["verify", "--rate-limit", "64MiB"]).await?;
            ensure!(ran.code == Some(0), "{ran:?}");
            Ok(())
        })
        .await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        wait::until("no copy is left", PATIENCE, async || {
            for entry in std::fs::read_dir(cluster.node(id).data.join("snapshots"))? {
                let path = entry?.path();
                ensure!(path.extension().is_none(), "{}", path.display());
            }
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_a_running_node_is_told_and_then_repaired() -> Result<()> {
    // Nobody looks for damage by himself, within the test.
    cluster::run(3, &ARGUMENTS[..6], async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 100).await?;
        cluster.converged(acks.count()).await?;
        let id = *cluster.followers().await?.first().context("no follower")?;
        let (toka, before) = (toka_of(cluster, id), cluster.log(id).len());
        let mut flipped: Option<PathBuf> = None;
        let told = wait::until("damage is found", PATIENCE, async || {
            // A compaction may have replaced the table before anybody looked at it.
            if flipped.as_ref().is_none_or(|path| !path.exists()) {
                flipped = Some(running::flip_in_a_table(&ledger(cluster, id)?)?);
            }
            let ran = toka.run(&["verify", "-o", "json"]).await?;
            ensure!(ran.code != Some(0), "{ran:?}");
            Ok(ran)
        })
        .await?;
        ensure!(told.code == Some(DAMAGED), "{told:?}");
        let said = format!("{}{}", told.stdout, told.stderr);
        ensure!(said.contains("damaged"), "{told:?}");
        let status = cluster.take_process(id)?.wait(PATIENCE).await?;
        ensure!(status.code() == Some(START_AGAIN), "{status}");

        cluster.launch(id)?;
        supervise_until(cluster, id, before, REPAIRED).await?;
        cluster.wait_ready(id).await?;
        commit_some(&client, &acks, 10).await?;
        cluster.converged(acks.count()).await?;
        is_sound(&toka_of(cluster, id), &[]).await?;
        history::check(cluster, &acks).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_of_a_small_file_of_a_running_node_is_named() -> Result<()> {
    cluster::run(1, &ARGUMENTS[..6], async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 10).await?;
        let (toka, data) = (toka_of(cluster, 1), cluster.node(1).data.clone());
        for name in ["VAULT", "CURRENT"] {
            let path = data.join(name);
            for at in [2, std::fs::metadata(&path)?.len() - 1] {
                flip(&path, at)?;
                let ran = toka.run(&["verify"]).await?;
                flip(&path, at)?;
                ensure!(ran.code == Some(DAMAGED), "byte {at} of {name}: {ran:?}");
                let said = format!("{}{}", ran.stdout, ran.stderr);
                ensure!(said.contains(name), "byte {at} of {name}: {ran:?}");
            }
        }
        is_sound(&toka, &[]).await.map(drop)
    })
    .await
}

/// Where bits of the file at `path` are flipped, one after the other.
fn places(kind: Kind, data: &Path, path: &Path) -> Result<Vec<u64>> {
    let length = std::fs::metadata(path)?.len();
    Ok(match kind {
        Kind::LogSegment => {
            let segment = Segment::newest(data)?;
            let middle = &segment.frames[segment.frames.len() / 2];
            // The segment's header, the frame's, its records, and the last byte behind them.
            vec![30, middle.offset + 9, middle.offset + 40, middle.end() - 1]
        }
        Kind::Unread(Unread::LogMark) => vec![12, 4_096 + 12, 100],
        _ => vec![2, length / 2, length - 2],
    })
}

/// Flips a bit, lets `toka verify` find it, and flips it back.
async fn is_found(toka: &Toka, data: &str, path: &Path, at: u64) -> Result<()> {
    flip(path, at)?;
    let ran = toka.run(&["--data", data, "verify"]).await?;
    flip(path, at)?;
    let place = format!("byte {at} of {}", path.display());
    ensure!(ran.code == Some(DAMAGED), "{place}: {ran:?}");
    ensure!(names(&ran, data, path), "{place} is not named: {ran:?}");
    Ok(())
}

/// Whether the file is named, or the directory of the store that it belongs to.
fn names(ran: &Ran, data: &str, path: &Path) -> bool {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let is_said = |path: &Path| said.contains(&path.display().to_string());
    let store = path.parent().filter(|dir| *dir != Path::new(data));
    is_said(path) || store.is_some_and(is_said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_of_every_kind_of_file_of_a_stopped_node_is_named() -> Result<()> {
    cluster::run(1, &ARGUMENTS, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 100).await?;
        let data = cluster.node(1).data.clone();
        let at = data.to_str().context("a path in UTF-8")?;
        let toka = Toka::new(cluster.directory());
        for kind in CHECKED {
            // So that there is a snapshot after each start.
            commit_some(&client, &acks, 100).await?;
            files::has_of_snapshot(cluster, 1, kind).await?;
            let (path, _) = files::stop_with(cluster, 1, kind)
                .await?
                .with_context(|| format!("there is no {kind:?}"))?;
            // A file that is still being removed would be missed.
            is_sound(&toka, &["--data", at]).await?;
            let path = match kind {
                Kind::LogSegment => newest_segment(&data)?,
                _ => path,
            };
            for place in places(kind, &data, &path)? {
                let found = is_found(&toka, at, &path, place).await;
                found.with_context(|| format!("{kind:?}"))?;
            }
            is_sound(&toka, &["--data", at]).await?;
            cluster.restart(1).await?;
        }
        // What was looked at is what it was.
        history::check(cluster, &acks).await.map(drop)
    })
    .await
}

fn newest_segment(data: &Path) -> Result<PathBuf> {
    let mut newest = None;
    for entry in std::fs::read_dir(data.join("raft"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            newest = newest.max(Some(path));
        }
    }
    newest.context("there is no segment")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_of_every_table_of_a_stopped_node_is_named() -> Result<()> {
    cluster::run(1, &ARGUMENTS, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        tables::fill(&client, &acks).await?;
        cluster.terminate(1).await?;
        let data = cluster.node(1).data.clone();
        let at = data.to_str().context("a path in UTF-8")?;
        let toka = Toka::new(cluster.directory());
        is_sound(&toka, &["--data", at]).await?;
        let mut by_table = tables::tables(&ledger(cluster, 1)?)?;
        for table in Table::ALL {
            let paths = by_table.remove(table.name());
            let path = paths.and_then(|paths| paths.into_iter().min());
            let path = path.with_context(|| format!("there is no table of {table}"))?;
            let length = std::fs::metadata(&path)?.len();
            // Rows; what leads to them, and what is known of them; the end.
            for place in [20, length / 2, length * 7 / 8, length - 20] {
                let found = is_found(&toka, at, &path, place).await;
                found.with_context(|| format!("{table}"))?;
            }
        }
        is_sound(&toka, &["--data", at]).await.map(drop)
    })
    .await
}
