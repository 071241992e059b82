//! A cluster grows, shrinks and is repaired while commits and subscriptions go on.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use toka_client::EventDraft;
use toka_proto::convert::read::Consistency;
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::follow::Follower;
use toka_tests::load::SAVE_OFTEN;
use toka_tests::traffic::Traffic;
use toka_tests::{request, wait};

/// A writer of a test's own, beside those of the load.
const WRITER: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_grows_to_seven_nodes_and_back_by_one_command_each() -> Result<()> {
    cluster::run(1, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let mut traffic = Traffic::start(cluster).await?;
        let mut voters = vec![1];
        for size in 2..=7 {
            // The one command: `toka serve --join`.
            voters.push(cluster.join(&[]).await?);
            let membership = cluster.has_members(&voters, &[]).await?;
            let is_even = size % 2 == 0;
            ensure!(
                membership.advice.is_empty() != is_even,
                "{size} voters: {:?}",
                membership.advice
            );
            traffic.goes_on().await?;
        }
        cluster.wait_all_ready().await?;
        traffic = traffic.check_and_go_on(cluster).await?;
        let eighth = cluster.prepare_joining(&[])?;
        let said = cluster.refuses_to_start(eighth).await?;
        ensure!(said.contains("at most 7 are allowed"), "{said}");

        // Node 1 knows least of the others and has formed the cluster: nothing may hang on that.
        while let Some(id) = (voters.len() > 1).then(|| voters.remove(0)) {
            let id_text = id.to_string();
            cluster.toka().ok(&["cluster", "remove", &id_text]).await?;
            cluster.has_members(&voters, &[]).await?;
            cluster.has_ended_removed(id).await?;
            traffic.goes_on().await?;
            // Repeated, it is done already.
            cluster.toka().ok(&["cluster", "remove", &id_text]).await?;
        }
        let last = cluster.toka().run(&["cluster", "remove", "7"]).await?;
        ensure!(last.code == Some(5), "the last voter went: {last:?}");
        ensure!(last.stderr.contains("last voter"), "{last:?}");
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Another address of node `id` for the other nodes, and what it is started with there.
fn elsewhere(cluster: &Cluster, id: u64) -> Result<(SocketAddr, Vec<String>)> {
    let mut moved = cluster.node(id).raft;
    let port = moved.port();
    moved.set_port(port.checked_add(5_000).unwrap_or(port - 5_000));
    let mut arguments = cluster.serve_arguments(id);
    while let Some(at) = arguments.iter().position(|word| word == "--initial-member") {
        arguments.drain(at..at + 2);
    }
    let listen = arguments.iter().position(|word| word == "--raft-listen");
    arguments[listen.context("it listens")? + 1] = moved.to_string();
    Ok((moved, arguments))
}

/// Its ledger may not have the change by which it is not alone any more: the log has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_that_was_killed_when_others_had_joined_does_not_start_elsewhere() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (second, third) = (cluster.join(&[]).await?, cluster.join(&[]).await?);
        cluster.has_members(&[1, second, third], &[]).await?;
        cluster.kill(1)?;
        let (_, arguments) = elsewhere(cluster, 1)?;
        let said = cluster.refuses_to_start_as(1, &arguments).await?;
        ensure!(said.contains("where it would not be found"), "{said}");
        cluster.restart(1).await?;
        cluster.has_members(&[1, second, third], &[]).await?;
        Ok(())
    })
    .await
}

/// A copy of its data directory would do the same: somebody has to know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_voter_with_learners_that_has_moved_warns() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let learner = cluster.join(&["--learner"]).await?;
        cluster.wait_ready(learner).await?;
        cluster.terminate(1).await?;
        let (_, arguments) = elsewhere(cluster, 1)?;
        cluster.launch_as(1, &arguments)?;
        cluster.wait_ready(1).await?;
        let warns = "If its data directory was copied instead";
        ensure!(cluster.log(1).contains(warns), "nothing is said");
        Ok(())
    })
    .await
}

/// It is known at its new address before anybody joins it, and so starts there again when it is not alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_member_that_has_moved_is_joined_and_starts_again() -> Result<()> {
    cluster::run(1, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let (moved, arguments) = elsewhere(cluster, 1)?;
        cluster.terminate(1).await?;
        cluster.launch_as(1, &arguments)?;
        cluster.wait_ready(1).await?;

        let joined = cluster.join(&[]).await?;
        let membership = cluster.has_members(&[1, joined], &[]).await?;
        let known = membership.members.iter().find(|member| member.node_id == 1);
        let known = known.context("it is a member")?;
        ensure!(known.raft_endpoint == moved.to_string(), "{known:?}");
        cluster.terminate(1).await?;
        cluster.launch_as(1, &arguments)?;
        cluster.wait_ready(1).await?;
        cluster.has_members(&[1, joined], &[]).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_that_is_removed_hands_over_first() -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let leader = cluster.leader().await?;
        let id = leader.to_string();
        cluster.toka().ok(&["cluster", "remove", &id]).await?;
        cluster.has_ended_removed(leader).await?;
        ensure!(cluster.log(leader).contains("leadership is handed over"));
        let left = cluster.running();
        cluster.has_members(&left, &[]).await?;
        traffic.goes_on().await?;

        // It does not come back by itself, and says what to do.
        let said = cluster.refuses_to_start(leader).await?;
        ensure!(said.contains("--join"), "{said}");
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// The alarm has the command, and the command is all that is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_node_is_alarmed_on_and_replaced_by_one_command() -> Result<()> {
    let settings = ["--unreachable-after", "2s"];
    cluster::run(3, &settings, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let dead = cluster.followers().await?[0];
        cluster.kill(dead)?;
        let command = wait::until("an alarm", PATIENCE, async || {
            let status = status(cluster).await?;
            let alarm = status["alarms"].get(0).context("no alarm")?;
            ensure!(alarm["kind"] == "node_unreachable" && alarm["node_id"] == dead);
            ensure!(alarm["since_unix_ms"].is_u64());
            let nodes = status["nodes"].as_array().context("nodes")?;
            let node = nodes.iter().find(|node| node["node_id"] == dead);
            let node = node.context("the dead node is not shown")?;
            ensure!(node["healthy"] == false && node["unreachable_since_unix_ms"].is_u64());
            let command = alarm["command"].as_str().context("no command")?;
            Ok(command.to_owned())
        })
        .await?;
        let leader = cluster.leader_of_running().await?;
        let log = cluster.log(leader);
        let said = log.matches("a member is unreachable").count();
        ensure!(said == 1, "said {said} times");
        ensure!(
            !log.contains("failed to send a heartbeat"),
            "openraft complains at every heartbeat"
        );

        let endpoint = cluster.node(leader).endpoint();
        let addresses = "--listen IP:7311 --raft-listen IP:7312";
        let expected =
            format!("toka serve --data DIR {addresses} --join {endpoint} --replace {dead}");
        ensure!(command == expected, "{command}");
        let new = cluster.join(&["--replace", &dead.to_string()]).await?;
        let mut voters = cluster.running();
        ensure!(voters.contains(&new));
        voters.sort_unstable();
        cluster.has_members(&voters, &[]).await?;
        let status = status(cluster).await?;
        ensure!(status["alarms"] == Value::Array(vec![]), "{status}");
        traffic.goes_on().await?;

        // The dead node rises with its data, finds out, and ends; at the next start it knows.
        cluster.launch(dead)?;
        cluster.has_ended_removed(dead).await?;
        cluster.launch(dead)?;
        cluster.has_ended_removed(dead).await?;
        cluster.wait_ready(new).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Once a node is a member, its data directory says what its first command did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_is_started_again_without_saying_which_it_is() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let joined = cluster.join(&[]).await?;
        cluster.has_members(&[1, joined], &[]).await?;
        for id in [1, joined] {
            let arguments = without_identity(cluster.serve_arguments(id));
            cluster.kill(id)?;
            cluster.launch_as(id, &arguments)?;
            cluster.wait_ready(id).await?;
        }
        cluster.has_members(&[1, joined], &[]).await?;

        let new = cluster.prepare_joining(&[])?;
        let arguments = without_identity(cluster.serve_arguments(new));
        let said = cluster.refuses_to_start_as(new, &arguments).await?;
        for way in ["--node-id", "--join", "data directory"] {
            ensure!(said.contains(way), "{way}: {said}");
        }
        Ok(())
    })
    .await
}

fn without_identity(mut arguments: Vec<String>) -> Vec<String> {
    for flag in ["--node-id", "--initial-member", "--join"] {
        while let Some(at) = arguments.iter().position(|argument| argument == flag) {
            arguments.drain(at..at + 2);
        }
    }
    arguments
}

async fn status(cluster: &Cluster) -> Result<Value> {
    let status = cluster
        .toka()
        .json(&["cluster", "status", "-o", "json"])
        .await?;
    status.into_iter().next().context("no status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn learner_stays_a_read_replica_until_it_is_promoted() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let replica = cluster.join(&["--learner"]).await?;
        cluster.wait_ready(replica).await?;
        cluster.has_members(&[1], &[replica]).await?;

        // It serves reads, subscriptions and, by way of the leader, commits.
        let client = cluster.client_of(replica).await?;
        let follower = Follower::start(&client).await?;
        let mut vault = cluster.node(replica).vault();
        for consistency in [Consistency::Local, Consistency::Linearizable] {
            let get = request::get(&toka_client::Selector::Sequence(1), consistency);
            let event = vault
                .get(request::within(PATIENCE, get))
                .await?
                .into_inner();
            ensure!(event.header.is_some_and(|header| header.node_id == replica));
        }
        wait::until("events on the replica", PATIENCE, async || {
            ensure!(follower.position() > 0, "it has seen nothing");
            Ok(())
        })
        .await?;

        // It is none that leadership could be handed to.
        let id = replica.to_string();
        let refused = cluster
            .toka()
            .run(&["cluster", "transfer", "--to", &id])
            .await?;
        ensure!(refused.code == Some(5), "{refused:?}");
        let why = format!("node {id} is a learner and cannot lead; promote it first");
        ensure!(refused.stderr.contains(&why), "{refused:?}");

        // A restart with the same command changes nothing.
        cluster.kill(replica)?;
        cluster.restart(replica).await?;
        cluster.has_members(&[1], &[replica]).await?;
        traffic.goes_on().await?;

        cluster.toka().ok(&["cluster", "promote", &id]).await?;
        cluster.has_members(&[1, replica], &[]).await?;
        let again = cluster.toka().ok(&["cluster", "promote", &id]).await?;
        ensure!(again.stdout.contains("is a voter already"), "{again:?}");
        cluster
            .toka()
            .ok(&["cluster", "transfer", "--to", &id])
            .await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        drop(follower);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_node_is_replaced_by_one_command() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let new = cluster.join(&["--replace", "1"]).await?;
        cluster.has_members(&[new], &[]).await?;
        cluster.has_ended_removed(1).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Clients find nodes that they were not told of, and go on when all that they knew are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_outlives_every_node_that_it_was_told_of() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        // Its writers and its subscriber are told of node 1 alone, too.
        let traffic = Traffic::start(cluster).await?;
        let client = cluster.client().await?;
        let commit = async |kind: &str| -> Result<()> {
            let header = client.commit(EventDraft::new(kind)).await?;
            traffic.acks().record(WRITER, &header);
            Ok(())
        };
        commit("before").await?;
        let new = cluster.join(&[]).await?;
        cluster.has_members(&[1, new], &[]).await?;
        // The reply to this says that there are two.
        commit("between").await?;
        traffic.goes_on().await?;
        cluster.toka().ok(&["cluster", "remove", "1"]).await?;
        cluster.has_ended_removed(1).await?;
        commit("after").await?;
        let status = client.cluster_status().await?;
        ensure!(status.header.node_id == new);
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// What a node that was removed says until it ends: that, and nothing of a change that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_was_removed_raises_no_alarm_about_it() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let removed = cluster.followers().await?[0];
        let id = removed.to_string();
        // Asked from before the removal on: it ends by itself a moment later, and then there is nobody to ask.
        let asking = async {
            let mut asked = 0;
            while let Ok(status) = cluster.status(removed).await {
                let mut alarms = status.alarms.iter();
                let is_false = |alarm: &v1::Alarm| {
                    matches!(
                        alarm.kind(),
                        v1::AlarmKind::JointConfiguration | v1::AlarmKind::NoQuorum
                    )
                };
                ensure!(!alarms.any(is_false), "{status:?}");
                asked += 1;
            }
            ensure!(asked > 0, "it was never asked");
            Ok::<_, anyhow::Error>(())
        };
        let toka = cluster.toka();
        let command = ["cluster", "remove", &id];
        let (asked, done) = tokio::join!(asking, toka.ok(&command));
        asked?;
        done?;
        cluster.has_ended_removed(removed).await?;
        Ok(())
    })
    .await
}
