//! New clusters of any size from a backup.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::Value;
use toka_client::{EventHeader, Start, Subscribe};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::load::{Load, SAVE_OFTEN};
use toka_tests::{seed, wait};

use super::{check_position, log_of, number, restore, text, under_load, user, value};

/// A backup of a cluster of three under load, and the log that it is of.
async fn backed_up(cluster: &mut Cluster) -> Result<(String, Value, Vec<EventHeader>)> {
    let follower = cluster.followers().await?[0];
    let (toka, at) = user(cluster, follower);
    let (log, made) = under_load(cluster, async |_, _| {
        value(&toka, &["backup", "create", &at, "--name", "backup"]).await
    })
    .await?;
    let last = usize::try_from(number(&made, "sequence")?)?;
    ensure!(log.len() > last, "nothing was committed meanwhile");
    Ok((at, made, log[..last].to_vec()))
}

/// Starts the restored nodes, checks that they are where the backup is, in a new cluster, and go on.
async fn check_restored(new: &mut Cluster, made: &Value, log: &[EventHeader]) -> Result<()> {
    new.launch_all()?;
    new.wait_all_ready().await?;
    let states = new.converged(log.len() as u64).await?;
    for state in &states {
        check_position(state, made)?;
        let id = state.node.node_id;
        ensure!(log_of(new, id).await? == log, "node {id}: another log");
        let status = new.status(id).await?;
        let header = &status.header;
        let (cluster_id, history_id) = (
            format!("{:032x}", header.cluster_id),
            format!("{:032x}", header.history_id),
        );
        ensure!(cluster_id != text(made, "cluster_id")?, "the same cluster");
        ensure!(history_id != text(made, "history_id")?, "the same history");
        let first = new.status(1).await?.header.history_id;
        ensure!(header.history_id == first, "node {id}: another history");
    }
    // It goes on, from the next sequence.
    let load = Load::start(new, 8, seed::draw()).await?;
    load.acks().more(100, PATIENCE).await?;
    let acks = load.stop().await?;
    let last = acks.all().iter().map(|ack| ack.sequence).max();
    new.converged(last.unwrap_or(0)).await?;
    let whole = log_of(new, 1).await?;
    ensure!(whole[..log.len()] == *log, "what was restored has changed");
    let acknowledged: BTreeSet<_> = acks.all().iter().map(|ack| ack.sequence).collect();
    for header in &whole[log.len()..] {
        let sequence = header.sequence;
        ensure!(
            acknowledged.contains(&sequence),
            "nobody was told of event {sequence}"
        );
    }
    for ack in acks.all() {
        let stored = &whole[usize::try_from(ack.sequence)? - 1];
        ensure!(stored.digest == ack.digest, "{ack:?} is not at its place");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_of_three_is_restored_to_one_node() -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let (at, made, log) = backed_up(cluster).await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        let mut new = cluster.prepare_beside(1)?;
        let restored = restore(&new, 1, &at, &[]).await?;
        ensure!(
            restored["state_digest"] == made["state_digest"],
            "{restored}"
        );
        ensure!(restored["revision"] == made["revision"], "{restored}");
        check_restored(&mut new, &made, &log).await?;
        // Its state outlives the process.
        new.kill(1)?;
        new.restart(1).await?;
        let history_id = new.status(1).await?.header.history_id;

        // And can be backed up, though not among another cluster's.
        let (toka, _) = user(&new, 1);
        let refused = toka.run(&["backup", "create", &at]).await?;
        ensure!(refused.code == Some(5), "{refused:?}");
        ensure!(refused.stderr.contains("backups of cluster"), "{refused:?}");
        let own = new.directory().join("own").display().to_string();
        let again = value(&toka, &["backup", "create", &own]).await?;
        ensure!(text(&again, "history_id")? == format!("{history_id:032x}"));
        value(&toka, &["backup", "verify", &own]).await?;

        // A node that joins has the history from before the new cluster's log too.
        let joined = new.join(&[]).await?;
        new.wait_ready(joined).await?;
        new.has_members(&[1, joined], &[]).await?;
        new.converged(log.len() as u64).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_of_three_is_restored_to_three_nodes() -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let (at, made, log) = backed_up(cluster).await?;
        let old = cluster.status(1).await?.header.history_id;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        let mut new = cluster.prepare_beside(3)?;
        for id in new.ids() {
            restore(&new, id, &at, &[]).await?;
        }
        check_restored(&mut new, &made, &log).await?;
        // A position of the old history means nothing here, and the client is told.
        let read = toka_proto::v1::ReadOptions {
            history_id: old.to_be_bytes().to_vec().into(),
            ..Default::default()
        };
        let request = toka_proto::v1::SubscribeRequest {
            read: Some(read),
            ..Default::default()
        };
        let refused = new.node(1).vault().subscribe(request).await;
        let code = refused.err().map(|status| status.code());
        ensure!(
            code == Some(toka_client::Code::FailedPrecondition),
            "{code:?}"
        );
        // A crash of all of them loses nothing of it.
        for id in new.running() {
            new.kill(id)?;
        }
        new.launch_all()?;
        new.wait_all_ready().await?;
        let mut subscription = new
            .client()
            .await?
            .subscribe(Subscribe::from(Start::Beginning))
            .await?;
        for header in &log {
            let event = subscription.next_event().await?;
            ensure!(event.header == *header, "{event:?} instead of {header:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_were_not_all_restored_do_not_form_a_cluster() -> Result<()> {
    cluster::run(1, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        under_load(cluster, async |_, _| {
            value(&toka, &["backup", "create", &at]).await.map(drop)
        })
        .await?;
        let mut new = cluster.prepare_beside(3)?;
        restore(&new, 1, &at, &[]).await?;
        restore(&new, 2, &at, &["--sequence", "100"]).await?;
        new.launch_all()?;
        // Whoever is asked may end before it has asked itself, so not each of them can find out.
        wait::until("a member finds out", PATIENCE, async || {
            let logs = new.ids().into_iter().map(|id| new.log(id));
            let logs: Vec<String> = logs.collect();
            let is_said = logs.iter().any(|log| log.contains("toka restore"));
            ensure!(is_said, "none does: {logs:?}");
            Ok(())
        })
        .await?;
        for id in new.ids() {
            let log = new.log(id);
            ensure!(!log.contains("the cluster has formed"), "{log}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_vault_is_restored_from_a_cluster_s_backup() -> Result<()> {
    cluster::run(1, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let (_, made) = under_load(cluster, async |_, _| {
            value(&toka, &["backup", "create", &at]).await
        })
        .await?;
        let data = cluster.directory().join("embedded").display().to_string();
        let toka = Toka::new(cluster.directory());
        value(&toka, &["restore", &at, "--data", &data, "--embedded"]).await?;
        let checked = value(&toka, &["verify", "--data", &data]).await?;
        ensure!(checked["state_digest"] == made["state_digest"], "{checked}");
        let committed = value(&toka, &["--data", &data, "commit", "some.kind"]).await?;
        let expected = number(&made, "sequence")? + 1;
        ensure!(number(&committed, "sequence")? == expected, "{committed}");
        // A second one would overwrite it.
        let again = ["restore", &at, "--data", &data, "--embedded"];
        let refused = toka.run(&again).await?;
        ensure!(
            refused.stderr.contains("holds a vault already"),
            "{refused:?}"
        );
        Ok(())
    })
    .await
}
