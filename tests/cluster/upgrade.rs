//! Two builds that differ in a feature level: the upgrade goes on under load, one node after the other, and a
//! downgrade works until the level has risen, and is refused afterwards.
//!
//! What the next level brings stands for any change of what nodes write: more preconditions in a commit. Builds of
//! the level before cannot decode such a commit.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_client::EventHeader;
use toka_ledger::command::FEATURE_LEVEL;
use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::traffic::Traffic;
use toka_tests::{process, request, wait};
use tonic::Code;

/// What the next build knows; the ordinary one knows [`FEATURE_LEVEL`].
const NEXT_LEVEL: u32 = FEATURE_LEVEL + 1;
/// Exit code of a build that does not know what it finds.
const BEYOND_BUILD: i32 = 10;
/// Preconditions that only the next level allows.
const MANY: usize = 65;
/// A writer of its own, beside those of the load.
const WRITER: u64 = 1_000;

/// Snapshots are made often, so that a node that was away for a moment needs one.
const SETTINGS: [&str; 6] = [
    "--snapshot-log-entries",
    "40",
    "--keep-log-entries",
    "10",
    SAVE_OFTEN[0],
    SAVE_OFTEN[1],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_is_upgraded_node_by_node_under_load() -> Result<()> {
    let next = process::next_binary()?;
    cluster::run(3, &SETTINGS, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let leader = cluster.leader().await?;
        let others = cluster.followers().await?;
        ensure!(level(cluster).await? == FEATURE_LEVEL);

        // The first one catches up by a snapshot that the old build has made.
        restart_behind(cluster, &traffic, others[0], Some(&next)).await?;
        is_refused(cluster, leader, Refusal::Unknown).await?;
        // In the mixed state the way back is open: this is a rollback, and the upgrade again.
        change_build(cluster, others[0], None).await?;
        traffic.goes_on().await?;
        change_build(cluster, others[0], Some(&next)).await?;

        // The new build leads, and the old one catches up by its snapshot.
        lead(cluster, others[0]).await?;
        traffic.goes_on().await?;
        is_refused(cluster, others[0], Refusal::Level).await?;
        is_refused(cluster, others[1], Refusal::Level).await?;
        restart_behind(cluster, &traffic, others[1], None).await?;

        change_build(cluster, others[1], Some(&next)).await?;
        traffic.goes_on().await?;
        is_refused(cluster, others[1], Refusal::Level).await?;
        wait::until("the leader has asked both", PATIENCE, async || {
            let members = cluster.known_levels().await?;
            let of_next = members.iter().filter(|known| **known == Some(NEXT_LEVEL));
            ensure!(of_next.count() == 2, "{members:?}");
            Ok(())
        })
        .await?;
        ensure!(level(cluster).await? == FEATURE_LEVEL);

        // The last one: the level rises by itself.
        change_build(cluster, leader, Some(&next)).await?;
        rises(cluster).await?;
        for id in cluster.ids() {
            let header = commit(cluster, id, MANY).await?;
            traffic.acks().record(WRITER, &header);
        }
        traffic.goes_on().await?;

        let said = refuses(cluster, others[1]).await?;
        names_both_levels(&said)?;
        traffic.goes_on().await?;
        change_build_of_stopped(cluster, others[1], Some(&next)).await?;
        traffic.goes_on().await?;
        let acks = traffic.check(cluster).await?;
        drop(acks);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_holds_the_level_and_old_builds_stay_out_of_a_raised_vault() -> Result<()> {
    let next = process::next_binary()?;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        // All run the next build, and one of them does not say so.
        for id in cluster.ids() {
            run_next(cluster, id, &next).await?;
            traffic.goes_on().await?;
        }
        let levels = [NEXT_LEVEL, NEXT_LEVEL, FEATURE_LEVEL];
        cluster.has_known_levels(&levels).await?;
        traffic.goes_on().await?;
        let leader = cluster.leader().await?;
        is_refused(cluster, leader, Refusal::Level).await?;
        // So the build before can still be started, and go again.
        change_build(cluster, 1, None).await?;
        change_build(cluster, 1, Some(&next)).await?;

        change_build(cluster, 3, Some(&next)).await?;
        rises(cluster).await?;
        let text = cluster.toka().ok(&["cluster", "status"]).await?.stdout;
        let expected = format!("feature level {NEXT_LEVEL}");
        ensure!(text.contains(&expected), "{text}");

        // A node that is held below the vault's level, or is of the old build, cannot join any more.
        let held_at = FEATURE_LEVEL.to_string();
        let held = cluster.prepare_joining(&["--feature-level-max", &held_at])?;
        cluster.set_build(held, Some(&next));
        let said = cluster.refuses_to_start(held).await?;
        names_both_levels(&said)?;
        cluster.set_build(held, None);
        let mut arguments = cluster.serve_arguments(held);
        arguments.truncate(arguments.len() - 2);
        let said = cluster.refuses_to_start_as(held, &arguments).await?;
        names_both_levels(&said)?;

        backup_is_for_its_level(cluster, &next).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// A node that is killed before it flushes has on its disk a ledger from before the rise: the old build gets as far
/// as the log, out of which the rise, and what only the next level can decode, come to it together. Whether it has flushed
/// depends on the machine's speed, so it is given the ledger that it had at its last stop, as if it had not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_build_is_told_what_it_needs_after_a_kill_right_behind_the_rise() -> Result<()> {
    let next = process::next_binary()?;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        for id in cluster.ids() {
            run_next(cluster, id, &next).await?;
        }
        if cluster.leader().await? == 3 {
            lead(cluster, 1).await?;
        }
        commit(cluster, 3, 0).await?;
        let followers = cluster.followers().await?;
        let killed = followers.into_iter().find(|id| *id != 3);
        let killed = killed.context("nodes 1 and 2 cannot both lead")?;
        cluster.terminate(killed).await?;
        let ledger = ledger(cluster, killed)?;
        let before = cluster.directory().join("ledger-before-the-rise");
        copy(&ledger, &before)?;
        change_build_of_stopped(cluster, killed, Some(&next)).await?;
        change_build(cluster, 3, Some(&next)).await?;
        rises(cluster).await?;
        let leader = cluster.leader().await?;
        // The log has with each entry up to where those before it are committed.
        let mut last = 0;
        for preconditions in [MANY, 0, 0] {
            last = commit(cluster, leader, preconditions).await?.sequence;
        }
        cluster.converged(last).await?;
        cluster.kill(killed)?;
        std::fs::remove_dir_all(&ledger)?;
        std::fs::rename(&before, &ledger)?;

        let data = cluster.node(killed).data.clone();
        let data = data.to_str().context("a path in UTF-8")?;
        // The old build reads the ledger: it is the log that it does not know.
        cluster.toka().ok(&["--data", data, "verify"]).await?;
        let said = refuses_stopped(cluster, killed).await?;
        names_both_levels(&said)?;
        change_build_of_stopped(cluster, killed, Some(&next)).await?;
        cluster.converged(last).await?;
        Ok(())
    })
    .await
}

/// The directory of the ledger that node `id` uses.
fn ledger(cluster: &Cluster, id: u64) -> Result<PathBuf> {
    let data = &cluster.node(id).data;
    let current = std::fs::read_to_string(data.join("CURRENT"))?;
    Ok(data.join(current.trim()))
}

/// Copies the files of a directory into a new one.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        ensure!(entry.file_type()?.is_file(), "{:?}", entry.path());
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A backup of the raised vault is restored by the build that knows it, and refused by the other.
async fn backup_is_for_its_level(cluster: &Cluster, next: &Path) -> Result<()> {
    let path = |name: &str| -> Result<String> {
        let path: PathBuf = cluster.directory().join(name);
        Ok(path.to_str().context("a path in UTF-8")?.to_owned())
    };
    let (repository, old, new) = (path("backups")?, path("old")?, path("new")?);
    cluster
        .toka()
        .ok(&["backup", "create", &repository])
        .await?;
    let restore = |data| ["--data", data, "restore", &repository, "--embedded"];
    let refused = cluster.toka().run(&restore(&old)).await?;
    ensure!(refused.code == Some(BEYOND_BUILD), "{refused:?}");
    let expected = format!("feature level {NEXT_LEVEL}");
    ensure!(refused.stderr.contains(&expected), "{refused:?}");
    ensure!(!Path::new(&old).exists(), "something was written");
    let toka = cluster.toka().with_build(next);
    toka.ok(&restore(&new)).await?;
    toka.ok(&["--data", &new, "verify"]).await?;
    let refused = cluster.toka().run(&["--data", &new, "verify"]).await?;
    ensure!(refused.code == Some(BEYOND_BUILD), "{refused:?}");
    Ok(())
}

/// Restarts node `id` with another build.
async fn change_build(cluster: &mut Cluster, id: u64, build: Option<&Path>) -> Result<()> {
    cluster.terminate(id).await?;
    change_build_of_stopped(cluster, id, build).await
}

async fn change_build_of_stopped(
    cluster: &mut Cluster,
    id: u64,
    build: Option<&Path>,
) -> Result<()> {
    cluster.set_build(id, build);
    cluster.restart(id).await
}

/// Restarts node `id` with another build once the others have purged what it lacks: it needs a snapshot.
async fn restart_behind(
    cluster: &mut Cluster,
    traffic: &Traffic,
    id: u64,
    build: Option<&Path>,
) -> Result<()> {
    let last = cluster.state(id).await?.node.last_log_index;
    let installed = |cluster: &Cluster| cluster.log(id).matches("snapshot installed").count();
    let before = installed(cluster);
    cluster.terminate(id).await?;
    wait::until("logs are purged", PATIENCE, async || {
        traffic.goes_on().await?;
        cluster.check_purged(last)
    })
    .await?;
    change_build_of_stopped(cluster, id, build).await?;
    ensure!(installed(cluster) > before, "node {id} got no snapshot");
    Ok(())
}

/// Starts node `id` again with the next build; node 3 does not say that it knows the next level.
async fn run_next(cluster: &mut Cluster, id: u64, next: &Path) -> Result<()> {
    cluster.terminate(id).await?;
    cluster.set_build(id, Some(next));
    let mut arguments = cluster.serve_arguments(id);
    if id == 3 {
        arguments.extend(["--feature-level-max".to_owned(), FEATURE_LEVEL.to_string()]);
    }
    cluster.launch_as(id, &arguments)?;
    cluster.wait_ready(id).await
}

/// Hands leadership to node `id`, and waits until everybody knows.
async fn lead(cluster: &Cluster, id: u64) -> Result<()> {
    let to = id.to_string();
    cluster
        .toka()
        .ok(&["cluster", "transfer", "--to", &to])
        .await?;
    wait::until("the leader", PATIENCE, async || {
        let leader = cluster.leader().await?;
        ensure!(leader == id, "node {leader} leads");
        Ok(())
    })
    .await
}

/// How a leader refuses what only the next level allows.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// It does not know of it.
    Unknown,
    /// It does, and the vault is not there yet.
    Level,
}

/// Asks node `id`, which forwards to the leader: the leader's build answers.
async fn is_refused(cluster: &Cluster, id: u64, refusal: Refusal) -> Result<()> {
    let status = attempt(cluster, id, MANY).await.err();
    let status = status.context("it was taken")?;
    let (code, words) = match refusal {
        Refusal::Unknown => (Code::InvalidArgument, "64".to_owned()),
        Refusal::Level => (
            Code::FailedPrecondition,
            format!("feature level {NEXT_LEVEL}"),
        ),
    };
    ensure!(status.code() == code, "{status:?}");
    ensure!(status.message().contains(&words), "{status:?}");
    if matches!(refusal, Refusal::Level) {
        let detail = parse(&status).detail;
        ensure!(matches!(detail, Some(Detail::FeatureLevel)), "{detail:?}");
    }
    Ok(())
}

async fn commit(cluster: &Cluster, id: u64, preconditions: usize) -> Result<EventHeader> {
    let mut events = attempt(cluster, id, preconditions).await?.events;
    Ok(events.pop().context("no event")?.try_into()?)
}

/// Commits an event with so many preconditions, which hold, at node `id`.
async fn attempt(
    cluster: &Cluster,
    id: u64,
    preconditions: usize,
) -> Result<v1::CommitResponse, tonic::Status> {
    let condition = |number: usize| v1::Precondition {
        condition: Some(v1::precondition::Condition::KindSequence(
            v1::KindSequence {
                kind: format!("never.{number}"),
                sequence: 0,
            },
        )),
    };
    let event = request::event("many", &json!({"node": id}));
    let commit = v1::CommitRequest {
        preconditions: (0..preconditions).map(condition).collect(),
        ..request::commit(vec![event])
    };
    let answer = cluster
        .node(id)
        .vault()
        .commit(request::within(PATIENCE, commit))
        .await?;
    Ok(answer.into_inner())
}

/// The vault's level, as its leader has it.
async fn level(cluster: &Cluster) -> Result<u32> {
    let settings = cluster.seen().await?.settings.context("no settings")?;
    Ok(settings.feature_level)
}

/// Whether a build said which level it found, and which one it knows.
fn names_both_levels(said: &str) -> Result<()> {
    let (found, known) = (
        format!("level {NEXT_LEVEL}"),
        format!("up to {FEATURE_LEVEL}"),
    );
    ensure!(said.contains(&found) && said.contains(&known), "{said}");
    Ok(())
}

/// Waits until the vault is at the next level on every node.
async fn rises(cluster: &Cluster) -> Result<()> {
    wait::until("the next level", PATIENCE, async || {
        for id in cluster.running() {
            let settings = cluster.status(id).await?.settings.context("no settings")?;
            let level = settings.feature_level;
            ensure!(level == NEXT_LEVEL, "node {id} is at {level}");
        }
        Ok(())
    })
    .await?;
    let logs: Vec<String> = cluster.ids().iter().map(|id| cluster.log(*id)).collect();
    let said = logs
        .iter()
        .map(|log| log.matches("feature level is raised").count());
    ensure!(said.sum::<usize>() == 1, "it was not said once");
    let status = cluster
        .toka()
        .json(&["cluster", "status", "-o", "json"])
        .await?;
    let level: &Value = &status.first().context("no status")?["settings"]["feature_level"];
    ensure!(*level == NEXT_LEVEL, "{level}");
    Ok(())
}

/// Stops node `id` and starts it with the ordinary build, which must end with the documented exit code, and
/// leave the vault alone.
async fn refuses(cluster: &mut Cluster, id: u64) -> Result<String> {
    cluster.terminate(id).await?;
    refuses_stopped(cluster, id).await
}

/// As [`refuses`], of a node that does not run.
async fn refuses_stopped(cluster: &mut Cluster, id: u64) -> Result<String> {
    cluster.set_build(id, None);
    let before = cluster.log(id).len();
    cluster.launch(id)?;
    let status = cluster.take_process(id)?.wait(PATIENCE).await?;
    let said = cluster.log(id).split_off(before);
    ensure!(status.code() == Some(BEYOND_BUILD), "{status}: {said}");
    Ok(said)
}
