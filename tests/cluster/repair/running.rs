//! A bit that flips while a node runs is found by the scrub, under load.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::history::{self, Acks};
use toka_tests::raft_log::Segment;
use toka_tests::traffic::Traffic;
use toka_tests::wait;

use super::{
    ARGUMENTS, REPAIRED, REPLACE, START_AGAIN, commit_some, flip, ledger, refuses_with,
    says_to_replace, snapshots, supervise_until, tables,
};

/// Flips a bit in place, as a disk does: a node that has the file open sees it.
fn flip_in_place(file: &File, at: u64) -> Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 0x04;
    file.write_all_at(&byte, at)?;
    Ok(())
}

/// Flips a bit in the largest table of the ledger in `dir`, if there is one.
pub(super) fn flip_in_a_table(dir: &Path) -> Result<PathBuf> {
    let mut largest = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            largest = largest.max(Some((length, path)));
        }
    }
    let (length, path) = largest.context("there is no table yet")?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    flip_in_place(&file, length / 4)?;
    Ok(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_whose_ledger_is_damaged_hands_over_and_is_repaired_under_load() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let leader = cluster.leader_of_running().await?;
        let before = cluster.log(leader).len();
        let mut flipped: Option<PathBuf> = None;
        let status = wait::until("damage is found", PATIENCE, async || {
            // What it has on its disk then is not what it had.
            if let Some(status) = cluster.process(leader)?.ended()? {
                return Ok(status);
            }
            // Compaction may have removed the table before anybody looked at it.
            if flipped.as_ref().is_none_or(|path| !path.exists()) {
                flipped = Some(flip_in_a_table(&ledger(cluster, leader)?)?);
            }
            bail!("it goes on")
        })
        .await?;
        cluster.take_process(leader)?;
        ensure!(status.code() == Some(START_AGAIN), "{status}");
        let said = cluster.log(leader).split_off(before);
        ensure!(said.contains("the ledger is damaged"), "{said}");
        traffic.goes_on().await?;

        cluster.launch(leader)?;
        supervise_until(cluster, leader, before, REPAIRED).await?;
        cluster.wait_ready(leader).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Lets node `id` make backups while bits of its ledger flip, until it comes upon one and ends; what it makes
/// before that is sound.
async fn back_up_damage(cluster: &mut Cluster, id: u64) -> Result<ExitStatus> {
    let toka = Toka::with_endpoints(cluster.directory(), &[cluster.node(id).endpoint()]);
    let deadline = Instant::now() + PATIENCE;
    let mut flipped: Option<PathBuf> = None;
    let mut number = 0;
    loop {
        // Under load a table may be replaced by one that is made of what memory has of it.
        if flipped.as_ref().is_none_or(|path| !path.exists()) {
            let found = wait::until("a table", PATIENCE, async || {
                flip_in_a_table(&ledger(cluster, id)?)
            });
            flipped = Some(found.await?);
        }
        number += 1;
        let place = cluster.directory().join(format!("backup-{number}"));
        let at = place.to_str().context("a path in UTF-8")?;
        let ran = toka.run(&["backup", "create", at]).await?;
        if ran.code == Some(0) {
            toka.ok(&["backup", "verify", at]).await?;
            ensure!(Instant::now() < deadline, "no backup meets {flipped:?}");
            continue;
        }
        if place.exists() {
            let listed = toka.ok(&["backup", "list", at, "-o", "json"]).await?;
            ensure!(listed.stdout.trim().is_empty(), "{listed:?}");
        }
        let ended = cluster.process(id)?.wait(PATIENCE).await;
        return ended.with_context(|| format!("{ran:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_backup_is_made_of_a_damaged_ledger() -> Result<()> {
    // Nobody looks for damage by himself, within the test.
    cluster::run(3, &ARGUMENTS[..6], async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let id = *cluster.followers().await?.first().context("no follower")?;
        let before = cluster.log(id).len();
        let status = back_up_damage(cluster, id).await?;
        cluster.take_process(id)?;
        ensure!(status.code() == Some(START_AGAIN), "{status}");
        traffic.goes_on().await?;

        cluster.launch(id)?;
        supervise_until(cluster, id, before, REPAIRED).await?;
        cluster.wait_ready(id).await?;
        let place = cluster.directory().join("backup-of-the-repaired");
        let at = place.to_str().context("a path in UTF-8")?;
        let toka = Toka::with_endpoints(cluster.directory(), &[cluster.node(id).endpoint()]);
        toka.ok(&["backup", "create", at]).await?;
        toka.ok(&["backup", "verify", at]).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_log_is_damaged_stops_and_is_replaced_under_load() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let id = *cluster.followers().await?.first().context("no follower")?;
        let segment = Segment::newest(&cluster.node(id).data)?;
        let middle = &segment.frames[segment.frames.len() / 2];
        segment.flip(middle)?;
        let status = cluster.take_process(id)?.wait(PATIENCE).await?;
        ensure!(status.code() == Some(REPLACE), "{status}");
        let said = refuses_with(cluster, id, REPLACE).await?;
        says_to_replace(&said)?;
        traffic.goes_on().await?;

        let new = cluster.join(&["--replace", &id.to_string()]).await?;
        let mut voters: Vec<u64> = (1..=3).filter(|voter| *voter != id).collect();
        voters.push(new);
        cluster.has_members(&voters, &[]).await?;
        cluster.wait_ready(new).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Flips a bit in each table of node `id`'s snapshots, and leaves its ledger alone.
fn flip_in_snapshots(cluster: &Cluster, id: u64) -> Result<()> {
    let mut count = 0;
    for ledger in snapshots(cluster, id)? {
        for path in tables::tables(&ledger)?.into_values().flatten() {
            flip(&path, 20)?;
            count += 1;
        }
    }
    ensure!(count > 0, "there is no snapshot");
    Ok(())
}

/// The pass over everything would take many minutes here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_that_a_follower_refuses_is_made_anew_at_once() -> Result<()> {
    let arguments = [&ARGUMENTS[..6], &["--scrub-rate-limit", "1KiB"]].concat();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let (client, acks) = (cluster.client().await?, Acks::default());
        commit_some(&client, &acks, 20).await?;
        let id = *cluster.followers().await?.first().context("no follower")?;
        cluster.converged(acks.count()).await?;
        cluster.terminate(id).await?;
        commit_some(&client, &acks, 200).await?;
        let leader = cluster.leader_of_running().await?;
        wait::until("no further snapshot is due", PATIENCE, async || {
            commit_some(&client, &acks, 1).await?;
            let purged = cluster.purged(leader)?;
            ensure!(
                purged > 60 && acks.count() < purged + 35,
                "purged up to {purged}"
            );
            Ok(())
        })
        .await?;
        wait::until(
            "the snapshots before the last are removed",
            PATIENCE,
            async || {
                let count = snapshots(cluster, leader)?.len();
                ensure!(count == 1, "there are {count}");
                Ok(())
            },
        )
        .await?;
        flip_in_snapshots(cluster, leader)?;
        let before = cluster.log(leader).len();
        cluster.launch(id)?;
        let refused = "the snapshot was not taken";
        wait::until(refused, PATIENCE, async || {
            let log = cluster.log(leader);
            let said = log.get(before..).unwrap_or_default();
            ensure!(said.contains(refused), "{said}");
            Ok(())
        })
        .await?;
        cluster.wait_ready(id).await?;
        cluster.converged(acks.count()).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
