//! A flipped bit in every kind of file of a data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::json;
use toka_client::EventDraft;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::Acks;
use toka_tests::raft_log::Segment;
use toka_tests::traffic::Traffic;
use toka_tests::wait;

use super::kinds::{
    FOUND_AT_START, FOUND_LATER, Kind, MAY_BE_MISSING, PLACES, UNREAD, Unread, file_of, files,
    places,
};
use super::{
    ARGUMENTS, REPAIRED, REPLACE, WRITER, commit_some, flip, refuses_with, says_to_replace,
    supervise_until,
};

/// Waits until node `id` has everything that was acknowledged up to now, whatever is committed meanwhile.
async fn catches_up(cluster: &Cluster, id: u64, acks: &Acks) -> Result<()> {
    let wanted = acks.count();
    wait::until("the node has caught up", PATIENCE, async || {
        let has = cluster.state(id).await?.node.sequence;
        ensure!(has >= wanted, "it has {has} of {wanted} events");
        Ok(())
    })
    .await
}

/// Waits until node `id`, which runs, has a file of `kind`, if that is one of a snapshot's: these come a while after what is
/// committed.
pub(super) async fn has_of_snapshot(cluster: &Cluster, id: u64, kind: Kind) -> Result<()> {
    let is_of_snapshot = matches!(
        kind,
        Kind::SnapshotNote
            | Kind::SnapshotManifest
            | Kind::SnapshotCurrent
            | Kind::SnapshotTable
            | Kind::Unread(Unread::SnapshotOptions)
    );
    if !is_of_snapshot {
        return Ok(());
    }
    let data = cluster.node(id).data.clone();
    wait::until("a snapshot", PATIENCE, async || {
        file_of(&data, kind)?.context("there is none").map(drop)
    })
    .await
}

/// How often a node is stopped until it has a file.
const STOPS_MAX: usize = 5;

/// Stops node `id` when it has a file of `kind`, which there may be none of between two snapshots.
pub(super) async fn stop_with(
    cluster: &mut Cluster,
    id: u64,
    kind: Kind,
) -> Result<Option<(PathBuf, u64)>> {
    let data = cluster.node(id).data.clone();
    for _ in 0..STOPS_MAX {
        cluster.terminate(id).await?;
        let found = file_of(&data, kind)?;
        if found.is_some() || kind == MAY_BE_MISSING {
            return Ok(found);
        }
        cluster.restart(id).await?;
    }
    bail!("there is no {kind:?}")
}

/// Flips a bit of a node that is stopped, starts it again, and checks that what is documented comes of it.
async fn suffer_at(cluster: &mut Cluster, id: u64, kind: Kind, path: &Path, at: u64) -> Result<()> {
    println!("{kind:?}: byte {at} of {}", path.display());
    flip(path, at)?;
    let before = cluster.log(id).len();
    match kind {
        Kind::Empty => bail!("{} is not empty", path.display()),
        Kind::Marker => {
            let said = refuses_with(cluster, id, REPLACE).await?;
            says_to_replace(&said)?;
            flip(path, at)?;
            cluster.restart(id).await?;
        }
        Kind::Unread(_) => {
            cluster.restart(id).await?;
            supervise_until(cluster, id, before, "scrub: no damage").await?;
            let said = cluster.log(id).split_off(before);
            ensure!(!said.contains("damaged"), "{said}");
        }
        Kind::Pointer | Kind::LedgerManifest | Kind::LedgerCurrent => {
            cluster.launch(id)?;
            let restarts = supervise_until(cluster, id, before, REPAIRED).await?;
            ensure!(restarts == 0, "it is found when the node starts");
        }
        Kind::LedgerTable => {
            cluster.launch(id)?;
            supervise_until(cluster, id, before, REPAIRED).await?;
        }
        Kind::SnapshotNote => {
            cluster.restart(id).await?;
            let said = cluster.log(id).split_off(before);
            ensure!(
                said.contains("found a snapshot that cannot be read"),
                "{said}"
            );
        }
        Kind::SnapshotManifest | Kind::SnapshotCurrent | Kind::SnapshotTable => {
            cluster.launch(id)?;
            let rebuilt = "another one takes its place";
            let restarts = supervise_until(cluster, id, before, rebuilt).await?;
            ensure!(restarts == 0, "the ledger is sound");
        }
        Kind::LogSegment => bail!("it has a test of its own"),
    }
    cluster.wait_ready(id).await
}

/// Flips bits of files of these kinds of node `id`, one after the other, while writers commit.
async fn suffers_under_load(
    cluster: &mut Cluster,
    id: u64,
    traffic: &Traffic,
    kinds: &[Kind],
) -> Result<()> {
    for kind in kinds {
        for number in 0..PLACES {
            traffic.goes_on().await?;
            catches_up(cluster, id, traffic.acks()).await?;
            let Some((path, length)) = stop_with(cluster, id, *kind).await? else {
                println!("{kind:?}: there is none");
                cluster.restart(id).await?;
                break;
            };
            let at = places(*kind, length)[number];
            let suffered = suffer_at(cluster, id, *kind, &path, at).await;
            suffered.with_context(|| format!("{kind:?}"))?;
        }
    }
    catches_up(cluster, id, traffic.acks()).await
}

/// The node that has suffered so much leads, and what it has is what the others have.
async fn leads_at_last(cluster: &Cluster, traffic: Traffic, id: u64) -> Result<()> {
    if cluster.leader().await? != id {
        let client = cluster.client().await?;
        client.transfer_leadership(Some(id)).await?;
    }
    traffic.goes_on().await?;
    traffic.check(cluster).await?;
    Ok(())
}

/// Payloads of which some 260 fill a segment of the Raft log, of 64 MiB; each small next to the pieces of 1 MiB
/// in which the segment grows, so that it ends up full. They are easy to compress: the ledger stays small.
const FILLER_BYTES: usize = 256 << 10;
/// A node that is sent a snapshot does not write what that covers.
const FILLERS_MAX: usize = 2_000;

/// Commits until node `id` has filled a segment of its log, purged it, and kept the file.
async fn recycles_a_segment(cluster: &Cluster, id: u64, acks: &Acks) -> Result<()> {
    let client = cluster.client().await?;
    let log = cluster.node(id).data.join("raft");
    for _ in 0..FILLERS_MAX {
        let payload = json!({"number": acks.count(), "filler": "x".repeat(FILLER_BYTES)});
        let draft = EventDraft::new("filler").payload(&payload);
        acks.record(WRITER, &client.commit(draft).await?);
        for entry in std::fs::read_dir(&log)? {
            if Path::new(&entry?.file_name()).extension() == Some("free".as_ref()) {
                return Ok(());
            }
        }
    }
    bail!("node {id} has no file to write again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_a_file_that_nobody_depends_on_changes_nothing() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let id = cluster.followers().await?[0];
        recycles_a_segment(cluster, id, traffic.acks()).await?;
        suffers_under_load(cluster, id, &traffic, &UNREAD).await?;
        leads_at_last(cluster, traffic, id).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_that_is_found_at_the_start_has_the_documented_outcome() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let id = cluster.followers().await?[0];
        suffers_under_load(cluster, id, &traffic, &FOUND_AT_START).await?;
        leads_at_last(cluster, traffic, id).await
    })
    .await
}

/// Of `--snapshot-log-entries` in [`ARGUMENTS`], what is left for entries that nodes make by themselves.
const ENTRIES_SINCE_SNAPSHOT_MAX: u64 = 20;

/// Commits until node `id` is a good way from its next snapshot, which would take the place of the one that is
/// damaged before anybody comes upon it.
async fn has_just_made_a_snapshot(cluster: &Cluster, id: u64, acks: &Acks) -> Result<()> {
    let client = cluster.client().await?;
    wait::until("a new snapshot", PATIENCE, async || {
        let node = cluster.state(id).await?.node;
        let since = node
            .applied_log_index
            .saturating_sub(node.snapshot_log_index);
        if since > ENTRIES_SINCE_SNAPSHOT_MAX {
            commit_some(&client, acks, 1).await?;
            bail!("{since} entries are not in it");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_that_is_found_later_has_the_documented_outcome() -> Result<()> {
    cluster::run(3, &ARGUMENTS, async |cluster: &mut Cluster| {
        let mut traffic = Traffic::start_gently(cluster).await?;
        let id = cluster.followers().await?[0];
        for kind in FOUND_LATER {
            for number in 0..PLACES {
                traffic.goes_on().await?;
                let pause = traffic.pause().await?;
                has_just_made_a_snapshot(cluster, id, pause.acks()).await?;
                cluster.converged(pause.acks().count()).await?;
                let stopped = stop_with(cluster, id, kind).await?;
                let (path, length) = stopped.with_context(|| format!("no {kind:?}"))?;
                let at = places(kind, length)[number];
                let suffered = suffer_at(cluster, id, kind, &path, at).await;
                suffered.with_context(|| format!("{kind:?}"))?;
                cluster.converged(pause.acks().count()).await?;
                traffic = pause.go_on(cluster).await?;
            }
        }
        leads_at_last(cluster, traffic, id).await
    })
    .await
}

/// The marker of a node that asks to join has what it asks with: damaged, nobody knows whether it was added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_marker_of_a_node_that_joins_is_refused() -> Result<()> {
    cluster::run(1, &ARGUMENTS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let id = cluster.prepare_joining(&[])?;
        cluster.process(1)?.signal(Signal::STOP)?;
        cluster.launch(id)?;
        cluster.logs(id, "asking to join").await?;
        cluster.kill(id)?;
        cluster.process(1)?.signal(Signal::CONT)?;

        let marker = cluster.node(id).data.join("VAULT");
        let text = std::fs::read_to_string(&marker)?;
        ensure!(text.contains("mode joining"), "{text}");
        for at in places(Kind::Marker, text.len() as u64) {
            flip(&marker, at)?;
            let said = refuses_with(cluster, id, REPLACE).await?;
            says_to_replace(&said)?;
            flip(&marker, at)?;
        }
        cluster.restart(id).await?;
        cluster.has_members(&[1, id], &[]).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Copies a directory whose node does not run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for path in files(from)? {
        let target = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().context("a file in a directory")?)?;
        std::fs::copy(&path, &target)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_log_is_refused_and_the_node_replaced() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start_gently(cluster).await?;
        let id = cluster.followers().await?[0];
        catches_up(cluster, id, traffic.acks()).await?;
        cluster.terminate(id).await?;
        let data = cluster.node(id).data.clone();
        let sound = cluster.directory().join("sound");
        copy(&data, &sound)?;

        let segment = Segment::newest(&data)?;
        let last = segment.frames.last().context("there are frames")?;
        let middle = &segment.frames[segment.frames.len() / 2];
        // Of the segment's header, of a frame's header and content, of the last frame's.
        let places = [40, middle.offset + 20, middle.offset + 50, last.offset + 50];
        for place in places {
            let (path, _) = file_of(&data, Kind::LogSegment)?.context("there is a segment")?;
            flip(&path, place)?;
            let said = refuses_with(cluster, id, REPLACE).await?;
            ensure!(said.contains("damaged"), "{said}");
            says_to_replace(&said)?;
            // For good, also if the bit flips back.
            flip(&path, place)?;
            let said = refuses_with(cluster, id, REPLACE).await?;
            says_to_replace(&said)?;
            std::fs::remove_dir_all(&data)?;
            copy(&sound, &data)?;
        }
        let (path, _) = file_of(&data, Kind::LogSegment)?.context("there is a segment")?;
        flip(&path, middle.offset + 50)?;
        refuses_with(cluster, id, REPLACE).await?;
        traffic.goes_on().await?;
        let new = cluster.join(&["--replace", &id.to_string()]).await?;
        let mut voters: Vec<u64> = (1..=3).filter(|voter| *voter != id).collect();
        voters.push(new);
        cluster.has_members(&voters, &[]).await?;
        cluster.wait_ready(new).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}
