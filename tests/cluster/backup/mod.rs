//! Backups of clusters under load, and what is restored from them.

mod create;
mod groups;
mod interrupted;
mod point_in_time;
mod refused;
mod restore;
mod s3;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use serde_json::Value;
use toka_client::{Client, EventDraft, EventHeader, Start, Subscribe};
use toka_ledger::Digest;
use toka_tests::cluster::{Cluster, NodeState, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::history::{self, Acks};
use toka_tests::load::Load;
use toka_tests::traffic::has_intents;
use toka_tests::{seed, wait};
use tokio::task::JoinHandle;

/// A user of a node's, and a place for backups in the cluster's directory.
fn user(cluster: &Cluster, node: u64) -> (Toka, String) {
    let endpoints = [cluster.node(node).endpoint()];
    let toka = Toka::with_endpoints(cluster.directory(), &endpoints);
    (toka, place(cluster).display().to_string())
}

fn place(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("backups")
}

/// Runs a command that must succeed, and reads the one JSON value that it writes.
async fn value(toka: &Toka, arguments: &[&str]) -> Result<Value> {
    let mut values = toka.json(&[arguments, &["-o", "json"]].concat()).await?;
    ensure!(values.len() == 1, "{arguments:?} wrote {values:?}");
    Ok(values.remove(0))
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value[key]
        .as_u64()
        .with_context(|| format!("{key} in {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .with_context(|| format!("{key} in {value}"))
}

/// The manifest of a backup, as docs/format-backup.md has it.
fn manifest(place: &Path, name: &str) -> Result<Value> {
    let file = std::fs::read_to_string(place.join("backups").join(name))?;
    let json = file.lines().nth(1).context("the manifest has one line")?;
    Ok(serde_json::from_str(json)?)
}

/// Digests of the files that a manifest names.
fn files(manifest: &Value) -> Result<BTreeSet<String>> {
    let files = manifest["files"].as_array().context("no files")?.iter();
    files
        .map(|file| Ok(text(file, "blake3")?.to_owned()))
        .collect()
}

/// Where an object of a directory is.
fn object(place: &Path, digest: &str) -> PathBuf {
    place.join("objects").join(&digest[..2]).join(digest)
}

/// All files below `dir`.
fn all_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        if !dir.exists() {
            continue;
        }
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Commits events whose payloads do not compress, `bytes` together.
async fn commit_bytes(client: &Client, acks: &Acks, bytes: usize) -> Result<()> {
    const PAYLOAD_BYTES: usize = 64 << 10;
    const WRITERS: u64 = 8;
    let seed = seed::draw();
    let each = bytes.div_ceil(PAYLOAD_BYTES).div_ceil(8);
    // Other writers than the load has.
    let writers = (1_000..1_000 + WRITERS).map(|writer| async move {
        let mut rng = seed::rng(seed, writer);
        for _ in 0..each {
            let mut payload = vec![0_u8; PAYLOAD_BYTES];
            rng.fill(&mut payload[..]);
            let draft = EventDraft::new("some.bytes").payload_bytes(payload);
            acks.record(writer, &client.commit(draft).await?);
        }
        Ok(())
    });
    futures::future::try_join_all(writers).await.map(drop)
}

/// A subscription that must deliver every event once and in order.
struct Follower(JoinHandle<Result<()>>);

impl Follower {
    /// Follows from the beginning until the sequence that `last` names, once it does.
    async fn start(
        cluster: &Cluster,
        last: tokio::sync::watch::Receiver<Option<u64>>,
    ) -> Result<Self> {
        let client = cluster.client().await?;
        let subscribed = client.subscribe(Subscribe::from(Start::Beginning)).await;
        let mut subscription = subscribed?;
        let mut last = last;
        Ok(Self(tokio::spawn(async move {
            let mut position = 0;
            loop {
                if last
                    .borrow_and_update()
                    .is_some_and(|last| position >= last)
                {
                    return Ok(());
                }
                tokio::select! {
                    event = subscription.next_event() => {
                        let sequence = event?.header.sequence;
                        ensure!(sequence == position + 1, "event {sequence} after {position}");
                        position = sequence;
                    }
                    changed = last.changed() => changed?,
                }
            }
        })))
    }

    async fn finish(self) -> Result<()> {
        let ended = tokio::time::timeout(PATIENCE, self.0).await;
        ended.context("the subscription does not come to the end")??
    }
}

/// Runs `scenario` while writers commit and a subscription follows; then checks that nothing was lost,
/// doubled or reordered, and that the nodes agree. Returns the log.
async fn under_load<T>(
    cluster: &mut Cluster,
    scenario: impl AsyncFnOnce(&mut Cluster, &Acks) -> Result<T>,
) -> Result<(Vec<EventHeader>, T)> {
    let load = Load::start(cluster, 8, seed::draw()).await?;
    let (last, told) = tokio::sync::watch::channel(None);
    let follower = Follower::start(cluster, told).await?;
    load.acks().more(200, PATIENCE).await?;
    let acks = load.acks().clone();
    let result = scenario(cluster, &acks).await?;
    // They went on all the time, and still do.
    load.acks().more(50, PATIENCE).await?;
    let acks = load.stop().await?;
    let log = history::check(cluster, &acks).await?;
    has_intents(&log)?;
    last.send_replace(log.last().map(|header| header.sequence));
    follower.finish().await?;
    Ok((log, result))
}

/// Restores into the directory of node `id`, which has not been started.
async fn restore(cluster: &Cluster, id: u64, place: &str, more: &[&str]) -> Result<Value> {
    let toka = Toka::new(cluster.directory());
    let data = cluster.node(id).data.display().to_string();
    let id = id.to_string();
    let arguments = ["restore", place, "--data", &data, "--node-id", &id];
    value(&toka, &[&arguments[..], more].concat()).await
}

/// Checks that a node's own position is that of a backup, or of a restore.
fn check_position(state: &NodeState, expected: &Value) -> Result<()> {
    let digest = |key| -> Result<Digest> { Ok(text(expected, key)?.parse()?) };
    ensure!(
        state.node.sequence == number(expected, "sequence")?,
        "the node is at {}: {expected}",
        state.node.sequence
    );
    ensure!(
        state.history_root == digest("history_root")?,
        "the node has another history root: {expected}"
    );
    ensure!(
        state.state_digest == digest("state_digest")?,
        "the node has another state digest: {expected}"
    );
    Ok(())
}

/// The log of a cluster's node.
async fn log_of(cluster: &Cluster, id: u64) -> Result<Vec<EventHeader>> {
    history::local_log(&cluster.client_of(id).await?).await
}

/// Waits until node `id` keeps no copy for a backup any more.
async fn no_copy_is_left(cluster: &Cluster, id: u64) -> Result<()> {
    let snapshots = cluster.node(id).data.join("snapshots");
    wait::until("copies are removed", PATIENCE, async || {
        for entry in std::fs::read_dir(&snapshots)? {
            let name = entry?.file_name();
            ensure!(!name.to_string_lossy().ends_with(".tmp"), "{name:?}");
        }
        Ok(())
    })
    .await
}
