//! Making backups: full, then incremental, from any node, as fast as may be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use toka_proto::convert::status::{self, Detail};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::process::{self, Process};
use toka_tests::{request, wait};

use super::{
    all_files, commit_bytes, files, manifest, no_copy_is_left, number, object, place, text,
    under_load, user, value,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_backup_sends_the_files_that_are_new_and_no_others() -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let follower = cluster.followers().await?[0];
        let (toka, at) = user(cluster, follower);
        let place = place(cluster);
        under_load(cluster, async |_, acks| {
            let begin = acks.count();
            let full = value(&toka, &["backup", "create", &at, "--name", "full"]).await?;
            ensure!(number(&full, "node_id")? == follower, "{full}");
            // Linearizable: all that was acknowledged before is in it.
            ensure!(
                number(&full, "sequence")? >= begin,
                "{full}: {begin} before"
            );
            ensure!(full["sent_files"] == full["files"], "{full}");
            ensure!(full["sent_bytes"] == full["size_bytes"], "{full}");

            acks.more(100, PATIENCE).await?;
            let second = value(&toka, &["backup", "create", &at, "--name", "second"]).await?;
            let (old, new) = (manifest(&place, "full")?, manifest(&place, "second")?);
            let (old, new) = (files(&old)?, files(&new)?);
            let added = new.difference(&old).count() as u64;
            ensure!(number(&second, "sent_files")? == added, "{second}: {added}");
            ensure!(
                added < number(&second, "files")?,
                "nothing was spared: {second}"
            );
            ensure!(number(&second, "sequence")? > number(&full, "sequence")?);
            // What is there is what the two name, each once.
            let objects = all_files(&place.join("objects"))?;
            ensure!(objects.len() == old.union(&new).count(), "{objects:?}");

            for name in ["full", "second"] {
                let checked = value(&toka, &["backup", "verify", &at, name]).await?;
                ensure!(
                    checked["events_checked"] == checked["sequence"],
                    "{checked}"
                );
                // Named as `toka restore` names it.
                value(
                    &toka,
                    &["backup", "verify", &at, "--backup", name, "--quick"],
                )
                .await?;
            }
            let list = toka.json(&["backup", "list", &at, "-o", "json"]).await?;
            let names: Vec<_> = list.iter().map(|backup| text(backup, "name")).collect();
            ensure!(matches!(names[..], [Ok("full"), Ok("second")]), "{names:?}");
            Ok(())
        })
        .await?;
        no_copy_is_left(cluster, follower).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limit_is_kept() -> Result<()> {
    const LIMIT: u64 = 512 << 10;
    const COMMITTED: usize = 1 << 20;
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, COMMITTED).await?;
            let begin = Instant::now();
            let limit = LIMIT.to_string();
            let arguments = ["backup", "create", &at, "--rate-limit", &limit];
            let made = value(&toka, &arguments).await?;
            let sent = number(&made, "sent_bytes")?;
            // What was committed is read before anything is sent.
            let passed = sent + COMMITTED as u64;
            let fastest = Duration::from_secs_f64(passed as f64 / LIMIT as f64);
            let took = begin.elapsed();
            ensure!(sent >= COMMITTED as u64, "{made}");
            ensure!(
                took >= fastest,
                "{passed} bytes took {took:?}, not {fastest:?}"
            );
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_a_backup_does_not_grow_with_its_size() -> Result<()> {
    const BACKUP_BYTES: usize = 160 << 20;
    /// Of which the program takes some 30 MiB, and parts on their way up to 40.
    const MEMORY_BYTES: u64 = 100 << 20;
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        under_load(cluster, async |cluster, acks| {
            commit_bytes(&cluster.client().await?, acks, BACKUP_BYTES).await?;
            let endpoint = cluster.node(1).endpoint();
            let arguments = ["backup", "create", &at, "--endpoint", &endpoint];
            let log = cluster.directory().join("backup.log");
            let mut backup = Process::start(&arguments.map(str::to_owned), &log)?;
            let mut peak = 0;
            let ended = wait::until("the backup", PATIENCE, async || {
                // One that is about to end has none any more.
                peak = peak.max(backup.memory_max().unwrap_or(0));
                backup.ended()?.context("it has not ended")
            })
            .await?;
            ensure!(ended.success(), "{ended}: {}", process::tail(&log));
            println!("{} MiB at most", peak >> 20);
            ensure!(peak > 0 && peak < MEMORY_BYTES, "{peak} bytes at most");
            let list = toka.json(&["backup", "list", &at, "-o", "json"]).await?;
            let size = number(&list[0], "size_bytes")?;
            ensure!(size > BACKUP_BYTES as u64, "{list:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_with_what_is_wrong() -> Result<()> {
    let of = |change: fn(&mut v1::CreateBackupRequest)| {
        let mut request = v1::CreateBackupRequest::default();
        change(&mut request);
        request
    };
    let known = |request: &mut v1::CreateBackupRequest, bytes: &'static [u8], count| {
        request.known_files = vec![bytes::Bytes::from_static(bytes); count];
    };
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let mut node = cluster.node(1).cluster();
        let mut short = of(|_| {});
        known(&mut short, &[1; 31], 1);
        let mut many = of(|_| {});
        known(&mut many, &[1; 32], 131_073);
        for (field, request) in [
            ("vault", of(|request| request.vault = "other".to_owned())),
            ("known_files", short),
            ("known_files", many),
        ] {
            let refused = request::refusal(node.create_backup(request).await)?;
            let Some(Detail::InvalidField { field: named, .. }) = status::parse(&refused).detail
            else {
                anyhow::bail!("no field is named: {refused:?}");
            };
            ensure!(named == field, "{refused:?}");
        }
        let history = of(|request| {
            request.read = Some(v1::ReadOptions {
                history_id: vec![7; 16].into(),
                ..Default::default()
            });
        });
        let refused = request::refusal(node.create_backup(history).await)?;
        let detail = status::parse(&refused).detail;
        ensure!(
            matches!(detail, Some(Detail::HistoryChanged { expected, .. }) if expected == 0x0707_0707_0707_0707_0707_0707_0707_0707),
            "{refused:?}"
        );
        let toka = toka_tests::command::Toka::with_endpoints(
            cluster.directory(),
            &cluster.endpoints(),
        );
        let at = place(cluster).display().to_string();
        let data = cluster.node(1).data.display().to_string();
        for (arguments, code) in [
            (["backup", "create", &data].to_vec(), 2),
            (["backup", "create", &at, "--name", "a/b"].to_vec(), 2),
            // That one has made the directory.
            (["backup", "prune", &at, "--keep-last", "0"].to_vec(), 2),
            (["backup", "create", "s3:///x"].to_vec(), 2),
            (["backup", "list", "/nowhere/at/all"].to_vec(), 4),
            (["restore", &at, "--data", "x", "--node-id", "0"].to_vec(), 2),
            (["restore", &at, "--node-id", "1"].to_vec(), 2),
        ] {
            let ran = toka.run(&arguments).await?;
            ensure!(ran.code == Some(code), "{arguments:?}: {ran:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_keeps_what_the_backups_that_stay_need() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let place = place(cluster);
        under_load(cluster, async |_, acks| {
            for name in ["a", "b", "c"] {
                value(&toka, &["backup", "create", &at, "--name", name]).await?;
                acks.more(20, PATIENCE).await?;
            }
            let (b, c) = (manifest(&place, "b")?, manifest(&place, "c")?);
            let needed: std::collections::BTreeSet<_> =
                files(&b)?.union(&files(&c)?).cloned().collect();
            // Within the grace period nothing of it goes.
            let arguments = ["backup", "prune", &at, "--keep-last", "2"];
            let pruned = value(&toka, &arguments).await?;
            ensure!(number(&pruned, "backups")? == 1 && number(&pruned, "files")? == 0);
            let arguments = ["backup", "prune", &at, "--grace", "0s"];
            let pruned = value(&toka, &arguments).await?;
            ensure!(number(&pruned, "files")? > 0, "{pruned}");
            ensure!(all_files(&place.join("objects"))?.len() == needed.len());
            ensure!(needed.iter().all(|digest| object(&place, digest).exists()));
            for name in ["b", "c"] {
                value(&toka, &["backup", "verify", &at, name]).await?;
            }
            let gone = toka.run(&["backup", "verify", &at, "a"]).await?;
            ensure!(gone.code == Some(4), "{gone:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}
