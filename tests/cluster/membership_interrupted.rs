//! Changes of the membership that are interrupted by a crash of the leader, of the node, or of the caller:
//! each can be repeated, and completes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use toka_proto::v1::AlarmKind;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::load::SAVE_OFTEN;
use toka_tests::process::{self, Process};
use toka_tests::traffic::Traffic;
use toka_tests::wait;

/// What a leader says at the steps of adding a node, in their order.
const STEPS: [&str; 3] = ["a node joins", "membership changed", "can vote from now on"];

/// Kills the leader as soon as it says that it has come to a step, and starts it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_killed_at_any_step_of_a_join() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let mut voters = vec![1, 2, 3];
        for step in STEPS {
            let leader = cluster.leader().await?;
            let before = cluster.log(leader).matches(step).count();
            let id = cluster.prepare_joining(&[])?;
            cluster.launch(id)?;
            says_again(cluster, leader, step, before).await?;
            cluster.kill(leader)?;
            voters.push(id);
            cluster.has_members(&voters, &[]).await?;
            traffic.goes_on().await?;
            cluster.restart(leader).await?;
        }
        cluster.wait_all_ready().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

async fn says_again(cluster: &Cluster, id: u64, text: &str, before: usize) -> Result<()> {
    wait::until(text, PATIENCE, async || {
        let said = cluster.log(id).matches(text).count();
        ensure!(said > before, "node {id} has not said {text:?} again");
        Ok(())
    })
    .await
}

/// Kills the node that joins as soon as it has come to a step; started again it goes on, as the same node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_node_killed_at_any_step() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let id = cluster.prepare_joining(&[])?;
        // It dies with its request on the way, so that it cannot know whether it was added.
        cluster.process(1)?.signal(Signal::STOP)?;
        cluster.launch(id)?;
        says_again(cluster, id, "asking to join", 0).await?;
        cluster.kill(id)?;
        cluster.process(1)?.signal(Signal::CONT)?;
        for step in ["this node has joined", "node started", "leader leader=1"] {
            let before = cluster.log(id).matches(step).count();
            cluster.launch(id)?;
            says_again(cluster, id, step, before).await?;
            cluster.kill(id)?;
        }
        cluster.restart(id).await?;
        cluster.has_members(&[1, id], &[]).await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// Whoever dies in the middle of a change.
#[derive(Clone, Copy, Debug)]
enum Dies {
    Leader,
    Caller,
}

/// Runs a command of `toka`, and kills the leader, or the command itself, as soon as the leader has come to
/// `step`. A command whose leader dies ends well with the next one, and one that is repeated does too. A leader
/// that was killed is started again.
async fn interrupt(cluster: &mut Cluster, command: &[&str], step: &str, dies: Dies) -> Result<()> {
    cluster.leader().await?;
    let said = |cluster: &Cluster, id| cluster.log(id).matches(step).count();
    let before: BTreeMap<u64, usize> = cluster
        .running()
        .into_iter()
        .map(|id| (id, said(cluster, id)))
        .collect();
    let endpoints = cluster.endpoints_of_running().join(",");
    let arguments = [&["--endpoint", &endpoints][..], command].concat();
    let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
    let log = cluster.directory().join("caller.log");
    let mut caller = Process::start(&arguments, &log)?;
    let leader = wait::until(step, PATIENCE, async || {
        let mut ids = before.iter();
        let leader = ids.find(|(id, before)| said(cluster, **id) > **before);
        let (id, _) = leader.with_context(|| format!("nobody has said {step:?} again"))?;
        Ok(*id)
    })
    .await?;
    match dies {
        Dies::Caller => {
            caller.kill()?;
            cluster.toka().ok(command).await?;
        }
        Dies::Leader => {
            cluster.kill(leader)?;
            let ended = caller.wait(PATIENCE).await?;
            ensure!(
                ended.success(),
                "{command:?}, at {step:?}: {ended}: {}",
                process::tail(&log)
            );
            cluster.toka().ok(command).await?;
            cluster.restart(leader).await?;
        }
    }
    Ok(())
}

/// A voter of the cluster that does not lead, and is none of `but`.
async fn follower_but(cluster: &Cluster, but: &[u64]) -> Result<u64> {
    let followers = cluster.followers().await?;
    let follower = followers.into_iter().find(|id| !but.contains(id));
    follower.context("there is no follower")
}

/// What a leader says at the steps of a removal.
const REMOVAL: [&str; 2] = ["a node is removed", "membership changed"];

async fn removal_interrupted(size: u64, dies: Dies) -> Result<()> {
    cluster::run(size, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        for step in REMOVAL {
            let id = follower_but(cluster, &[]).await?;
            let command = ["cluster", "remove", &id.to_string()];
            interrupt(cluster, &command, step, dies).await?;
            cluster.has_ended_removed(id).await?;
            let left = cluster.running();
            cluster.has_members(&left, &[]).await?;
            traffic.goes_on().await?;
        }
        cluster.leader().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_killed_at_any_step_of_a_removal() -> Result<()> {
    removal_interrupted(5, Dies::Leader).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_killed_at_any_step_of_a_removal() -> Result<()> {
    removal_interrupted(3, Dies::Caller).await
}

/// A new read replica.
async fn learner(cluster: &mut Cluster) -> Result<u64> {
    let id = cluster.join(&["--learner"]).await?;
    cluster.wait_ready(id).await?;
    Ok(id)
}

/// What a leader says at the steps of a promotion: what was asked for stands in the membership, the learner has
/// caught up.
const PROMOTION: [&str; 2] = ["membership changed", "can vote from now on"];

async fn promotion_interrupted(dies: Dies) -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let mut voters = vec![1, 2, 3];
        for step in PROMOTION {
            let id = learner(cluster).await?;
            cluster.has_members(&voters, &[id]).await?;
            let command = ["cluster", "promote", &id.to_string()];
            interrupt(cluster, &command, step, dies).await?;
            voters.push(id);
            cluster.has_members(&voters, &[]).await?;
            traffic.goes_on().await?;
        }
        cluster.leader().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_killed_at_any_step_of_a_promotion() -> Result<()> {
    promotion_interrupted(Dies::Leader).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_killed_at_any_step_of_a_promotion() -> Result<()> {
    promotion_interrupted(Dies::Caller).await
}

/// What a leader says at the steps of a replacement: what was asked for stands in the membership, the swap
/// begins.
const REPLACEMENT: [&str; 2] = ["membership changed", "takes the place of"];

async fn replacement_interrupted(dies: Dies) -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let mut voters = vec![1, 2, 3];
        for step in REPLACEMENT {
            let by = learner(cluster).await?;
            cluster.has_members(&voters, &[by]).await?;
            let old = follower_but(cluster, &[by]).await?;
            let (old_text, by_text) = (old.to_string(), by.to_string());
            let command = ["cluster", "replace", &old_text, "--with", &by_text];
            interrupt(cluster, &command, step, dies).await?;
            voters.retain(|voter| *voter != old);
            voters.push(by);
            cluster.has_members(&voters, &[]).await?;
            cluster.has_ended_removed(old).await?;
            // Asked again, it is done.
            let again = [&command[..], &["-o", "json"]].concat();
            let ran = cluster.toka().json(&again).await?;
            let done = json!({"replaced_node_id": old, "with_node_id": by, "state": "done"});
            ensure!(ran[0] == done, "{ran:?}");
            traffic.goes_on().await?;
        }
        cluster.leader().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_killed_at_any_step_of_a_replacement() -> Result<()> {
    replacement_interrupted(Dies::Leader).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_killed_at_any_step_of_a_replacement() -> Result<()> {
    replacement_interrupted(Dies::Caller).await
}

/// Changes that are asked for at once wait for each other, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_are_asked_for_at_once_are_all_made() -> Result<()> {
    cluster::run(3, &SAVE_OFTEN, async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let mut learners = Vec::new();
        for _ in 0..3 {
            learners.push(learner(cluster).await?);
        }
        let [promoted, too, removed] = learners[..] else {
            anyhow::bail!("{learners:?}");
        };
        let endpoints = cluster.endpoints_of_running().join(",");
        let changes = [("promote", promoted), ("remove", removed), ("promote", too)];
        let mut started = Vec::new();
        for (verb, id) in changes {
            let id = id.to_string();
            let arguments = ["--endpoint", &endpoints, "cluster", verb, &id];
            let log = cluster.directory().join(format!("{verb}-{id}.log"));
            let process = Process::start(&arguments.map(str::to_owned), &log)?;
            started.push((process, log));
        }
        for (mut process, log) in started {
            let ended = process.wait(PATIENCE).await?;
            ensure!(ended.success(), "{ended}: {}", process::tail(&log));
        }
        cluster.has_ended_removed(removed).await?;
        cluster.has_members(&[1, 2, 3, promoted, too], &[]).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}

/// A change is forced that cannot be finished: the status says so, and how to get out of it; then the node
/// that is missing comes back, and everything goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_joint_configuration_is_shown_with_its_way_out() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let traffic = Traffic::start(cluster).await?;
        let followers = cluster.followers().await?;
        let (dead, removed) = (followers[0], followers[1]);
        cluster.kill(dead)?;
        let id = removed.to_string();
        let refused = wait::until("a refusal", PATIENCE, async || {
            let refused = cluster.toka().run(&["cluster", "remove", &id]).await?;
            ensure!(refused.code == Some(5), "{refused:?}");
            Ok(refused)
        })
        .await?;
        ensure!(refused.stderr.contains("no majority"), "{refused:?}");
        let forced = ["cluster", "remove", &id, "--force", "--timeout", "3s"];
        let forced = cluster.toka().run(&forced).await?;
        ensure!(forced.code == Some(3), "{forced:?}");

        let alarm = wait::until("an alarm", PATIENCE, async || {
            let status = cluster.seen().await?;
            let sets = status.membership.voter_sets.len();
            ensure!(sets == 2, "{sets} sets of voters");
            let mut alarms = status.alarms.into_iter();
            let joint = alarms.find(|alarm| alarm.kind() == AlarmKind::JointConfiguration);
            joint.context("no alarm")
        })
        .await?;
        let way_out = format!("1 of nodes {dead} must come back");
        ensure!(alarm.message.contains(&way_out), "{}", alarm.message);
        let shown = cluster
            .toka()
            .run(&["cluster", "status", "-o", "table"])
            .await?;
        ensure!(shown.stdout.contains("joint configuration"), "{shown:?}");
        ensure!(shown.stdout.contains(&way_out), "{shown:?}");
        let text = &shown.stdout;
        ensure!(text.contains(", being removed"), "{shown:?}");
        ensure!(!text.contains("to be promoted"), "{shown:?}");

        cluster.launch(dead)?;
        cluster.has_ended_removed(removed).await?;
        let left = cluster.running();
        cluster.has_members(&left, &[]).await?;
        cluster.wait_ready(dead).await?;
        traffic.goes_on().await?;
        traffic.check(cluster).await?;
        Ok(())
    })
    .await
}
