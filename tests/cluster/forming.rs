//! A cluster forms once, and nodes that do not belong to it are kept out.

use anyhow::{Context as _, Result, ensure};
use rand::seq::SliceRandom as _;
use serde_json::json;
use toka_client::EventDraft;
use toka_tests::cluster::{self, Cluster};
use toka_tests::history::{self, Acks};
use toka_tests::{seed, wait};

/// What a member says of a node of another cluster at the address of another member.
const STRANGER: &str = "a node of another cluster is at the address of this member";

async fn commit_one(cluster: &Cluster, acks: &Acks) -> Result<()> {
    let payload = json!({"number": acks.count()});
    let header = cluster
        .client()
        .await?
        .commit(EventDraft::new("some").payload(&payload))
        .await?;
    acks.record(0, &header);
    Ok(())
}

fn times_formed(cluster: &Cluster) -> usize {
    let count = |id| cluster.log(id).matches("the cluster has formed").count();
    cluster.ids().into_iter().map(count).sum()
}

/// Waits until node `id` waits for the others: it has opened its data and cannot go on alone.
async fn waits_for_the_others(cluster: &mut Cluster, id: u64) -> Result<()> {
    wait::until("waiting", cluster::PATIENCE, async || {
        ensure!(
            cluster.process(id)?.ended()?.is_none(),
            "node {id} has ended"
        );
        ensure!(
            cluster.log(id).contains("waiting for the cluster"),
            "node {id} does not say so"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_started_in_any_order_form_one_cluster() -> Result<()> {
    let seed = seed::draw();
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let mut order = cluster.ids();
        order.shuffle(&mut seed::rng(seed, 0));
        println!("order: {order:?}");
        for (started, id) in order.iter().enumerate() {
            cluster.launch(*id)?;
            if started + 1 < order.len() {
                waits_for_the_others(cluster, *id).await?;
                ensure!(
                    times_formed(cluster) == 0,
                    "a cluster without all of its members"
                );
            }
        }
        cluster.wait_all_ready().await?;
        let acks = Acks::default();
        commit_one(cluster, &acks).await?;
        let cluster_id = cluster.converged(1).await?[0].cluster_id;
        ensure!(
            times_formed(cluster) == 1,
            "formed {} times",
            times_formed(cluster)
        );

        // And keeps what it is, whoever comes back first.
        for id in cluster.ids() {
            cluster.kill(id)?;
        }
        order.reverse();
        for id in order {
            cluster.launch(id)?;
        }
        cluster.wait_all_ready().await?;
        commit_one(cluster, &acks).await?;
        let states = cluster.converged(2).await?;
        ensure!(
            states.iter().all(|state| state.cluster_id == cluster_id),
            "another cluster id"
        );
        ensure!(times_formed(cluster) == 1, "formed again");
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// One of them dies while the cluster is not there yet, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_killed_before_the_cluster_has_formed_is_waited_for() -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        for id in [1, 2] {
            cluster.launch(id)?;
            waits_for_the_others(cluster, id).await?;
        }
        cluster.kill(1)?;
        cluster.launch(3)?;
        waits_for_the_others(cluster, 3).await?;
        ensure!(
            times_formed(cluster) == 0,
            "a cluster without all of its members"
        );
        cluster.launch(1)?;
        cluster.wait_all_ready().await?;
        let acks = Acks::default();
        commit_one(cluster, &acks).await?;
        history::check(cluster, &acks).await?;
        ensure!(
            times_formed(cluster) == 1,
            "formed {} times",
            times_formed(cluster)
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_node_cannot_come_back_under_its_old_id() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        commit_one(cluster, &acks).await?;
        let wiped = cluster.followers().await?[0];
        cluster.kill(wiped)?;
        std::fs::remove_dir_all(&cluster.node(wiped).data)?;
        let said = cluster.refuses_to_start(wiped).await?;
        ensure!(said.contains("cannot return under its old id"), "{said}");
        ensure!(
            said.contains("under a new id"),
            "what to do is not said: {said}"
        );
        commit_one(cluster, &acks).await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}

/// Node 1 comes back with its own addresses and with the data of another cluster's node 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_of_another_cluster_is_refused() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        commit_one(cluster, &acks).await?;
        let mut other = cluster.prepare_beside(3)?;
        other.launch_all()?;
        other.wait_all_ready().await?;
        let own = cluster.converged(1).await?[0].cluster_id;
        let foreign = other.state(1).await?.cluster_id;
        ensure!(own != foreign, "one cluster id for two clusters");
        for id in other.ids() {
            other.kill(id)?;
        }

        cluster.kill(1)?;
        let mut arguments = cluster.serve_arguments(1);
        replace(
            &mut arguments,
            "--data",
            &other.node(1).data.display().to_string(),
        )?;
        // At the addresses of this cluster's member, and known at its own: it would not start otherwise.
        let known = other.serve_arguments(1);
        for (advertised, listening) in [
            ("--advertise-client", "--listen"),
            ("--advertise-raft", "--raft-listen"),
        ] {
            let at = known.iter().position(|argument| argument == listening);
            let at = at.with_context(|| format!("no {listening}"))?;
            arguments.extend([advertised.to_owned(), known[at + 1].clone()]);
        }
        cluster.launch_as(1, &arguments)?;
        let reason = format!("cluster_id=\"{foreign:032x}\"");
        wait::until("a refusal", cluster::PATIENCE, async || {
            let refused = [2, 3].into_iter().any(|id| {
                let log = cluster.log(id);
                let mut lines = log.lines();
                lines.any(|line| line.contains(STRANGER) && line.contains(&reason))
            });
            ensure!(refused, "nobody has been refused");
            Ok(())
        })
        .await?;
        for _ in 0..10 {
            commit_one(cluster, &acks).await?;
        }
        cluster.kill(1)?;

        cluster.restart(1).await?;
        commit_one(cluster, &acks).await?;
        history::check(cluster, &acks).await?;
        // Nothing of the one has reached the other.
        other.launch_all()?;
        other.wait_all_ready().await?;
        let states = other.converged(0).await?;
        ensure!(
            states
                .iter()
                .all(|s| s.cluster_id == foreign && s.node.sequence == 0)
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directory_keeps_its_node_id() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        cluster.kill(1)?;
        let mut arguments = cluster.serve_arguments(1);
        replace(&mut arguments, "--node-id", "2")?;
        let members = cluster.member(1).replacen("1=", "2=", 1);
        replace(&mut arguments, "--initial-member", &members)?;
        let before = cluster.log(1).len();
        cluster.launch_as(1, &arguments)?;
        let status = cluster.take_process(1)?.wait(cluster::PATIENCE).await?;
        let said = cluster.log(1).split_off(before);
        ensure!(status.code() == Some(2), "{status}: {said}");
        ensure!(
            said.contains("belongs to node 1, not to node 2"),
            "whose data it is, is not said: {said}"
        );
        cluster.restart(1).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_different_member_lists_do_not_form_a_cluster() -> Result<()> {
    cluster::run_prepared(2, &[], async |cluster: &mut Cluster| {
        cluster.launch(1)?;
        let other = cluster.prepare_beside(3)?;
        let mut arguments = cluster.serve_arguments(2);
        arguments.extend(["--initial-member".to_owned(), other.member(3)]);
        cluster.launch_as(2, &arguments)?;
        // Whoever asks the other first finds out, says so, and ends.
        let refused = wait::until("a refusal", cluster::PATIENCE, async || {
            for id in cluster.ids() {
                if let Some(status) = cluster.process(id)?.ended()? {
                    return Ok((id, status));
                }
            }
            anyhow::bail!("both run");
        });
        let (id, status) = refused.await?;
        let said = cluster.log(id);
        ensure!(status.code().is_some_and(|code| code != 0), "{status}");
        ensure!(said.contains("different initial members"), "{said}");
        ensure!(times_formed(cluster) == 0, "it has formed");
        Ok(())
    })
    .await
}

/// Replaces the value of a flag.
fn replace(arguments: &mut [String], flag: &str, value: &str) -> Result<()> {
    let at = arguments.iter().position(|argument| argument == flag);
    let at = at.with_context(|| format!("there is no {flag}"))?;
    arguments[at + 1] = value.to_owned();
    Ok(())
}
