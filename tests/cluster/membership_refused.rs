//! Nodes that must not come in, and changes that must not be made.

use anyhow::{Result, ensure};
use toka_tests::cluster::{self, Cluster};
use toka_tests::traffic::Traffic;

/// The same command on an empty volume is refused with the command that is right; that one brings the
/// machine back under a new id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_with_a_wiped_volume_is_told_what_to_do() -> Result<()> {
    cluster::run(2, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let wiped = cluster.join(&[]).await?;
        cluster.has_members(&[1, 2, wiped], &[]).await?;
        cluster.kill(wiped)?;
        std::fs::remove_dir_all(&cluster.node(wiped).data)?;
        let said = cluster.refuses_to_start(wiped).await?;
        ensure!(said.contains("cannot come back under its old id"), "{said}");
        ensure!(said.contains(&format!("--replace {wiped}")), "{said}");
        traffic.goes_on().await?;

        // On the same machine: with the addresses of the wiped one.
        let new = cluster.prepare_joining(&["--replace", &wiped.to_string()])?;
        let mut arguments = cluster.serve_arguments(new);
        for (flag, address) in [
            ("--listen", cluster.node(wiped).client),
            ("--raft-listen", cluster.node(wiped).raft),
        ] {
            let at = arguments.iter().position(|argument| argument == flag);
            arguments[at.expect("given") + 1] = address.to_string();
        }
        cluster.launch_as(new, &arguments)?;
        cluster.has_members(&[1, 2, new], &[]).await?;
        cluster.wait_ready(new).await?;
        traffic.goes_on().await?;
        cluster.terminate(new).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Neither a node of another cluster that is told to join this one, nor one that has another's data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_of_another_cluster_cannot_join() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let mut other = cluster.prepare_beside(1)?;
        other.launch_all()?;
        other.wait_all_ready().await?;
        let foreign = other.state(1).await?.cluster_id;
        other.terminate(1).await?;
        let id = cluster.prepare_joining(&[])?;
        let mut arguments = cluster.serve_arguments(id);
        let at = arguments.iter().position(|argument| argument == "--data");
        arguments[at.expect("given") + 1] = other.node(1).data.display().to_string();
        let said = cluster.refuses_to_start_as(id, &arguments).await?;
        ensure!(said.contains(&format!("{foreign:032x}")), "{said}");
        ensure!(said.contains("cannot change its cluster"), "{said}");
        cluster.has_members(&[1], &[]).await?;

        // With an empty directory it is a node like any other.
        cluster.launch(id)?;
        cluster.has_members(&[1, id], &[]).await?;
        cluster.wait_ready(id).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_not_used_again() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        for expected in 2..=4 {
            let id = cluster.join(&["--learner"]).await?;
            ensure!(id == expected);
            cluster.wait_ready(id).await?;
            // All nodes forget their memory: what was used is known from the disk.
            let id_text = id.to_string();
            cluster.toka().ok(&["cluster", "remove", &id_text]).await?;
            cluster.has_ended_removed(id).await?;
            cluster.kill(1)?;
            cluster.restart(1).await?;
        }
        let mut said = Vec::new();
        for unknown in [
            ["cluster", "remove", "9"].to_vec(),
            ["cluster", "transfer", "--to", "9"].to_vec(),
            ["cluster", "promote", "9"].to_vec(),
        ] {
            let ran = cluster.toka().run(&unknown).await?;
            ensure!(ran.code == Some(4), "{unknown:?}: {ran:?}");
            said.push(ran.stderr);
        }
        said.dedup();
        ensure!(said.len() == 1, "the same is said in other words: {said:?}");
        let removed = cluster.toka().run(&["cluster", "promote", "3"]).await?;
        ensure!(removed.code == Some(4), "{removed:?}");
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Whoever asks for a learner to vote is told at once that it is not there, instead of waiting for it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_learner_is_neither_promoted_nor_takes_a_place() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let learner = cluster.join(&["--learner"]).await?;
        cluster.wait_ready(learner).await?;
        cluster.kill(learner)?;
        let id = learner.to_string();
        let why = format!("node {learner} does not answer");
        for command in [
            ["cluster", "promote", &id].as_slice(),
            &["cluster", "replace", "1", "--with", &id],
        ] {
            let ran = cluster.toka().run(command).await?;
            ensure!(ran.code == Some(5), "{command:?}: {ran:?}");
            ensure!(ran.stderr.contains(&why), "{command:?}: {ran:?}");
        }
        let table = ["cluster", "status", "-o", "table"];
        let shown = cluster.toka().ok(&table).await?.stdout;
        let row = shown
            .lines()
            .find(|line| line.trim_start().starts_with(&id));
        let cells: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
        let unknown = cells.iter().filter(|cell| **cell == "-").count();
        ensure!(
            unknown >= 5,
            "numbers of a node that does not answer: {shown}"
        );
        let json = &cluster
            .toka()
            .json(&["cluster", "status", "-o", "json"])
            .await?[0];
        let mut nodes = json["nodes"].as_array().into_iter().flatten();
        let dead = nodes.find(|node| node["node_id"] == learner);
        ensure!(
            dead.is_some_and(|node| node["term"].is_null() && node["disk_bytes"].is_null()),
            "{json}"
        );

        cluster.restart(learner).await?;
        cluster.toka().ok(&["cluster", "promote", &id]).await?;
        cluster.has_members(&[1, 2, 3, learner], &[]).await?;
        Ok(())
    })
    .await
}
