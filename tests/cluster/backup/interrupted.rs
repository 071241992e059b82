//! Backups and restores that are broken off.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::process::Process;
use toka_tests::wait;

use super::{
    all_files, commit_bytes, no_copy_is_left, number, place, restore, under_load, user, value,
};

/// Starts a backup with a limit of so many bytes in a second.
fn start_slowly(cluster: &Cluster, at: &str, limit: &str) -> Result<Process> {
    let endpoint = cluster.node(1).endpoint();
    let arguments = [
        "backup",
        "create",
        at,
        "--rate-limit",
        limit,
        "--endpoint",
        &endpoint,
    ];
    let log = cluster.directory().join("backup.log");
    Process::start(&arguments.map(str::to_owned), &log)
}

/// Starts a backup that takes long, and waits until the first files are there. The node has checked its copy by
/// then, at the same rate.
async fn slow_backup(cluster: &Cluster, at: &str) -> Result<Process> {
    let process = start_slowly(cluster, at, "256KiB")?;
    let objects = Path::new(at).join("objects");
    wait::until("the first files", PATIENCE, async || {
        let complete = all_files(&objects)?;
        let complete = complete.iter().filter(|path| !is_partial(path)).count();
        ensure!(complete > 0, "there are none");
        Ok(())
    })
    .await?;
    Ok(process)
}

fn is_partial(path: &Path) -> bool {
    path.to_string_lossy().contains('#')
}

fn has_manifest(place: &Path) -> Result<bool> {
    Ok(!all_files(&place.join("backups"))?.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_backup_is_none_and_the_next_one_goes_on_with_its_files() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let place = place(cluster);
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, 2 << 20).await?;
            let mut killed = slow_backup(cluster, &at).await?;
            ensure!(killed.ended()?.is_none(), "it was faster than it may be");
            killed.kill()?;
            ensure!(!has_manifest(&place)?, "a killed backup has a manifest");
            let listed = toka.ok(&["backup", "list", &at, "-o", "json"]).await?;
            ensure!(listed.stdout.is_empty(), "{listed:?}");
            let refused = toka.run(&["backup", "verify", &at]).await?;
            ensure!(refused.code == Some(4), "{refused:?}");
            // Its copy goes with the connection.
            no_copy_is_left(cluster, 1).await?;

            let kept = all_files(&place.join("objects"))?;
            let kept = kept.iter().filter(|path| !is_partial(path)).count();
            // Nothing is written to the tables of 2 MiB meanwhile, so they are the same files.
            let made = value(&toka, &["backup", "create", &at]).await?;
            ensure!(
                number(&made, "sent_files")? < number(&made, "files")?,
                "{made}: {kept}"
            );
            let left: Vec<_> = all_files(&place)?
                .into_iter()
                .filter(|path| is_partial(path))
                .collect();
            ensure!(left.is_empty(), "{left:?}");
            value(&toka, &["backup", "verify", &at]).await?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_backup_leaves_whole_files_only() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (_, at) = user(cluster, 1);
        let place = place(cluster);
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, 2 << 20).await?;
            let mut stopped = slow_backup(cluster, &at).await?;
            let status = stopped.terminate(PATIENCE).await?;
            ensure!(status.code() == Some(1), "{status}");
            let said = std::fs::read_to_string(&stopped.log)?;
            ensure!(said.contains("interrupted"), "{said}");
            ensure!(!has_manifest(&place)?, "a stopped backup has a manifest");
            let left = all_files(&place)?;
            ensure!(!left.iter().any(|path| is_partial(path)), "{left:?}");
            no_copy_is_left(cluster, 1).await
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_dies_breaks_the_backup_off_and_keeps_nothing_of_it() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let place = place(cluster);
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, 2 << 20).await?;
            let mut backup = slow_backup(cluster, &at).await?;
            cluster.kill(1)?;
            let status = backup.wait(PATIENCE).await?;
            let said = std::fs::read_to_string(&backup.log)?;
            ensure!(status.code() == Some(3), "{status}: {said}");
            ensure!(!has_manifest(&place)?, "a backup without its end");
            // A crash leaves the copy, and the next start removes it.
            cluster.restart(1).await?;
            no_copy_is_left(cluster, 1).await?;
            let made = value(&toka, &["backup", "create", &at]).await?;
            ensure!(number(&made, "node_id")? == 1, "{made}");
            value(&toka, &["backup", "verify", &at]).await?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backups_do_not_write_to_one_directory() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, 2 << 20).await?;
            // Both take minutes.
            let mut first = start_slowly(cluster, &at, "16KiB")?;
            let lock = Path::new(&at).join("LOCK");
            wait::until("the first begins", PATIENCE, async || {
                ensure!(lock.exists(), "there is no {}", lock.display());
                Ok(())
            })
            .await?;
            let refused = toka.run(&["backup", "create", &at]).await?;
            ensure!(refused.code == Some(1), "{refused:?}");
            ensure!(refused.stderr.contains("another process"), "{refused:?}");

            // And a node makes two at a time.
            let (other, third) = (
                cluster.directory().join("other").display().to_string(),
                cluster.directory().join("third").display().to_string(),
            );
            let mut second = start_slowly(cluster, &other, "16KiB")?;
            wait::until("both have begun", PATIENCE, async || {
                let begun = "making a copy for a backup";
                let begun = cluster.log(1).matches(begun).count();
                ensure!(begun == 2, "{begun} have");
                Ok(())
            })
            .await?;
            let refused = toka.run(&["backup", "create", &third]).await?;
            ensure!(refused.code == Some(5), "{refused:?}");
            ensure!(refused.stderr.contains("limit"), "{refused:?}");
            first.kill()?;
            second.kill()?;
            no_copy_is_left(cluster, 1).await
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_restore_is_no_vault_and_can_be_repeated() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let (_, made) = under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, 8 << 20).await?;
            value(&toka, &["backup", "create", &at]).await
        })
        .await?;
        let mut new = cluster.prepare_beside(1)?;
        let data = new.node(1).data.clone();
        let arguments = [
            "restore",
            &at,
            "--data",
            &data.display().to_string(),
            "--node-id",
            "1",
        ];
        let log = new.directory().join("restore.log");
        let mut killed = Process::start(&arguments.map(str::to_owned), &log)?;
        wait::until("it has begun", PATIENCE, async || {
            ensure!(data.join("RESTORING").exists(), "not yet");
            Ok(())
        })
        .await?;
        killed.kill()?;
        // It may have come to its end before.
        if !data.join("VAULT").exists() {
            let said = new.refuses_to_start(1).await?;
            ensure!(said.contains("not completed"), "{said}");
            let restored = restore(&new, 1, &at, &[]).await?;
            ensure!(restored["state_digest"] == made["state_digest"]);
        }
        new.launch(1)?;
        new.wait_ready(1).await?;
        let state = new.state(1).await.context("restored node")?;
        super::check_position(&state, &made)
    })
    .await
}
