//! Damage on the disk is found, never spread, and repaired from another node or refused.

mod differing;
mod files;
mod kinds;
mod lone;
mod refused;
mod replay;
mod running;
mod tables;
mod verified;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_client::{Client, EventDraft};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::load::{SAVE_OFTEN, embedding};
use toka_tests::traffic::Traffic;
use toka_tests::{process, wait};

/// Of a node whose ledger is damaged, and that is to be started again.
const START_AGAIN: i32 = 9;
/// Of a node that must not run with its data any more.
const REPLACE: i32 = 8;
const REPAIRED: &str = "the ledger is repaired";

/// A writer of the tests' own, beside those of a load.
const WRITER: u64 = 1_000;

/// Snapshots, purges and scrubs come often.
const ARGUMENTS: [&str; 10] = [
    SAVE_OFTEN[0],
    SAVE_OFTEN[1],
    "--snapshot-log-entries",
    "40",
    "--keep-log-entries",
    "10",
    "--scrub-interval",
    "500ms",
    "--scrub-rate-limit",
    "0",
];

/// Commits one event after the other, each in a log entry of its own.
async fn commit_some(client: &Client, acks: &Acks, count: u64) -> Result<()> {
    for _ in 0..count {
        let number = acks.count();
        let payload = json!({"number": number, "filler": "x".repeat(2_000)});
        let draft = EventDraft::new("some")
            .payload(&payload)
            .embedding(&embedding(WRITER, number));
        acks.record(WRITER, &client.commit(draft).await?);
    }
    Ok(())
}

/// Flips a bit in the list of files of node `id`'s ledger, and of all its snapshots: it has nothing to go on from.
fn ruin(cluster: &Cluster, id: u64) -> Result<()> {
    let mut ledgers = snapshots(cluster, id)?;
    ledgers.push(ledger(cluster, id)?);
    for ledger in ledgers {
        let manifest = kinds::one(&ledger, "MANIFEST-")?;
        let length = std::fs::metadata(&manifest)?.len();
        flip(&manifest, length / 2)?;
    }
    Ok(())
}

/// The directories of the ledgers in node `id`'s snapshots.
fn snapshots(cluster: &Cluster, id: u64) -> Result<Vec<PathBuf>> {
    let mut ledgers = Vec::new();
    for entry in std::fs::read_dir(cluster.node(id).data.join("snapshots"))? {
        let path = entry?.path();
        // Others are not complete.
        if path.extension().is_none() {
            ledgers.push(path.join("ledger"));
        }
    }
    Ok(ledgers)
}

/// The directory of the ledger that node `id` uses.
fn ledger(cluster: &Cluster, id: u64) -> Result<PathBuf> {
    let data = &cluster.node(id).data;
    let current = std::fs::read_to_string(data.join("CURRENT"))?;
    Ok(data.join(current.trim()))
}

/// Flips one bit of the file, in a copy that takes its place: other names of the same file keep theirs.
fn flip(path: &Path, at: u64) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let at = usize::try_from(at)?;
    let byte = bytes.get_mut(at);
    *byte.with_context(|| format!("{} has no byte {at}", path.display()))? ^= 0x10;
    let flipped = path.with_extension("flipped");
    std::fs::write(&flipped, bytes)?;
    std::fs::rename(&flipped, path)?;
    Ok(())
}

/// Keeps node `id` running, as a supervisor does that starts it again after [`START_AGAIN`], until it has
/// logged `text` behind the first `from` bytes of its log. Returns how often it was started again.
async fn supervise_until(cluster: &mut Cluster, id: u64, from: usize, text: &str) -> Result<u64> {
    let mut restarts = 0;
    wait::until(text, PATIENCE, async || {
        if let Some(status) = cluster.process(id)?.ended()? {
            cluster.take_process(id)?;
            ensure!(status.code() == Some(START_AGAIN), "node {id}: {status}");
            restarts += 1;
            cluster.launch(id)?;
        }
        let log = cluster.log(id);
        let said = log.get(from..).unwrap_or_default();
        ensure!(
            said.contains(text),
            "node {id} has not logged {text:?}: {}",
            process::tail(&cluster.node(id).log)
        );
        Ok(())
    })
    .await?;
    Ok(restarts)
}

/// Starts node `id`, which must refuse with `code`, and returns what it says.
async fn refuses_with(cluster: &mut Cluster, id: u64, code: i32) -> Result<String> {
    let before = cluster.log(id).len();
    cluster.launch(id)?;
    let status = cluster.take_process(id)?.wait(PATIENCE).await?;
    let said = cluster.log(id).split_off(before);
    ensure!(status.code() == Some(code), "node {id}: {status}: {said}");
    Ok(said)
}

/// The last line says what to do.
fn says_to_replace(said: &str) -> Result<()> {
    let last = said.lines().last().unwrap_or_default();
    ensure!(last.contains("under a new node id"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_another_one_says_what_is_left_to_do() -> Result<()> {
    cluster::run(1, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        // Nobody can be asked afterwards.
        traffic.check(cluster).await?;
        cluster.terminate(1).await?;
        ruin(cluster, 1)?;
        for _ in 0..2 {
            let said = refuses_with(cluster, 1, REPLACE).await?;
            ensure!(said.contains("toka restore"), "{said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_waits_for_another_one_that_has_a_copy() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let damaged = cluster.followers().await?[0];
        // With all of them away nobody can write; the subscriber waits.
        let pause = traffic.pause().await?;
        for id in cluster.ids() {
            cluster.terminate(id).await?;
        }
        ruin(cluster, damaged)?;
        let before = cluster.log(damaged).len();
        cluster.launch(damaged)?;
        let waits = "is not repaired yet";
        supervise_until(cluster, damaged, before, waits).await?;
        // Killed in the middle of it, it goes on.
        cluster.kill(damaged)?;
        let before = cluster.log(damaged).len();
        cluster.launch(damaged)?;
        supervise_until(cluster, damaged, before, waits).await?;

        // One is enough, though it leads nobody.
        let others: Vec<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != damaged)
            .collect();
        cluster.launch(others[0])?;
        supervise_until(cluster, damaged, before, REPAIRED).await?;
        cluster.launch(others[1])?;
        cluster.wait_all_ready().await?;
        let traffic = pause.go_on(cluster).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// The last scrub of node 1, as `toka cluster status` has it.
async fn last_scrub(cluster: &Cluster) -> Result<Value> {
    wait::until("a scrub that has ended", PATIENCE, async || {
        let toka = cluster.toka();
        let status = toka.json(&["cluster", "status", "-o", "json"]).await?;
        let last = status
            .first()
            .map(|status| &status["nodes"][0]["last_scrub"]);
        let last = last.filter(|last| last.is_object());
        last.cloned().context("there is none")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_scrub_is_in_the_status_also_after_a_restart() -> Result<()> {
    cluster::run(1, &ARGUMENTS, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 5).await?;
        let first = last_scrub(cluster).await?;
        ensure!(first["result"] == "no damage", "{first}");
        ensure!(first["bytes"].as_u64() > Some(0), "{first}");
        cluster.terminate(1).await?;
        // The next one is due tomorrow.
        let before = cluster.log(1).len();
        let mut arguments = cluster.serve_arguments(1);
        let flag = arguments.iter().position(|flag| flag == "--scrub-interval");
        arguments[flag.context("no interval is set")? + 1] = "24h".to_owned();
        cluster.launch_as(1, &arguments)?;
        cluster.wait_ready(1).await?;
        let again = last_scrub(cluster).await?;
        ensure!(again["end_unix_ms"].as_u64() >= first["end_unix_ms"].as_u64());
        let said = cluster.log(1).split_off(before);
        ensure!(!said.contains("scrub: no damage"), "{said}");
        let shown = cluster.toka().ok(&["cluster", "status"]).await?;
        let line = "looked for damage: node 1 at ";
        ensure!(shown.stdout.contains(line), "{shown:?}");
        history::check(cluster, &acks).await.map(drop)
    })
    .await
}
