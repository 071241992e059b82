//! Without a quorum: local reads work, everything else fails by its deadline, nothing is stale.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{EventDraft, Selector};
use toka_proto::convert::read::Consistency;
use toka_proto::convert::status::{self, Detail};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::{self, Acks};
use toka_tests::{request, wait};
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(3);
/// A call may take this much longer than its deadline.
const SLACK: Duration = Duration::from_secs(3);

fn check_unavailable(status: &Status) -> Result<()> {
    let is_right = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
    ensure!(is_right, "it fails otherwise: {status:?}");
    Ok(())
}

/// Everything that a node without a quorum must do and must not do.
async fn check_survivor(cluster: &Cluster, id: u64, sequence: u64) -> Result<()> {
    let selector = Selector::Sequence(sequence);
    let revision = cluster.state(id).await?.node.revision;
    for consistency in [Consistency::Local, Consistency::AtLeast(revision)] {
        let get = request::within(DEADLINE, request::get(&selector, consistency));
        let event = cluster.node(id).vault().get(get).await?.into_inner().event;
        ensure!(
            event.is_some_and(|event| event.sequence == sequence),
            "{consistency:?}"
        );
    }
    for consistency in [
        Consistency::Linearizable,
        Consistency::AtLeast(revision + 1),
    ] {
        let start = Instant::now();
        let get = request::within(DEADLINE, request::get(&selector, consistency));
        let status = request::refusal(cluster.node(id).vault().get(get).await)?;
        check_unavailable(&status).with_context(|| format!("{consistency:?}"))?;
        ensure!(
            start.elapsed() < DEADLINE + SLACK,
            "{consistency:?}: {:?}",
            start.elapsed()
        );
    }
    let start = Instant::now();
    let event = request::event("lost", &json!({"survivor": id}));
    let commit = request::within(DEADLINE, request::commit(vec![event]));
    let status = request::refusal(cluster.node(id).vault().commit(commit).await)?;
    check_unavailable(&status).context("commit")?;
    ensure!(
        start.elapsed() < DEADLINE + SLACK,
        "commit: {:?}",
        start.elapsed()
    );
    Ok(())
}

/// Who has led leads no more, and whoever asks it for a change is told what is missing and what the way out is.
async fn check_no_leader(cluster: &Cluster, id: u64) -> Result<()> {
    let own = wait::until("it does not lead", PATIENCE, async || {
        let status = cluster.status(id).await?;
        ensure!(status.leader_id.is_none(), "{:?} leads", status.leader_id);
        let own = status
            .nodes
            .into_iter()
            .find(|node| node.node.node_id == id);
        own.context("it does not list itself")
    })
    .await?;
    ensure!(
        own.node.role() == v1::Role::LeaderWithoutQuorum,
        "{:?}",
        own.node
    );
    let shown = cluster
        .toka()
        .run(&["cluster", "status", "-o", "table"])
        .await?;
    ensure!(shown.code == Some(3), "{shown:?}");
    ensure!(
        shown.stdout.contains("leader none (no quorum)"),
        "{shown:?}"
    );
    ensure!(shown.stdout.contains("leader without quorum"), "{shown:?}");
    let other = cluster.ids().into_iter().find(|other| *other != id);
    let other = other.context("there is one")?.to_string();
    let command = ["cluster", "remove", &other, "--force", "--timeout", "4s"];
    let ran = cluster.toka().run(&command).await?;
    ensure!(ran.code == Some(3), "{ran:?}");
    for said in ["only 1 of 3 voters answer", "toka cluster recover"] {
        ensure!(ran.stderr.contains(said), "{ran:?}");
    }
    ensure!(!ran.stderr.contains("commit"), "{ran:?}");
    Ok(())
}

async fn commit_one(cluster: &Cluster, acks: &Acks) -> Result<u64> {
    let payload = json!({"number": acks.count()});
    let header = cluster
        .client()
        .await?
        .commit(EventDraft::new("kept").payload(&payload))
        .await?;
    acks.record(0, &header);
    Ok(header.sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_without_its_followers_serves_local_reads_only() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        let sequence = commit_one(cluster, &acks).await?;
        cluster.converged(sequence).await?;
        let leader = cluster.leader().await?;
        for follower in cluster.followers().await? {
            cluster.kill(follower)?;
        }
        check_survivor(cluster, leader, sequence).await?;
        check_no_leader(cluster, leader).await?;
        for id in cluster.ids().into_iter().filter(|id| *id != leader) {
            cluster.restart(id).await?;
        }
        commit_one(cluster, &acks).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_alone_serves_local_reads_only() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let acks = Acks::default();
        let sequence = commit_one(cluster, &acks).await?;
        cluster.converged(sequence).await?;
        let survivor = cluster.followers().await?[0];
        let others: Vec<_> = cluster
            .ids()
            .into_iter()
            .filter(|id| *id != survivor)
            .collect();
        for id in &others {
            cluster.kill(*id)?;
        }
        check_survivor(cluster, survivor, sequence).await?;

        // Once there is nobody to ask it says so, with a detail that clients understand.
        let get = request::get(&Selector::Sequence(sequence), Consistency::Linearizable);
        let status = request::refusal(
            cluster
                .node(survivor)
                .vault()
                .get(request::within(DEADLINE, get))
                .await,
        )?;
        if status.code() == Code::Unavailable {
            let detail = status::parse(&status).detail;
            let is_right = matches!(detail, Some(Detail::NoLeader | Detail::NodeBehind { .. }));
            ensure!(is_right, "{status:?}");
        }
        for id in &others {
            cluster.restart(*id).await?;
        }
        commit_one(cluster, &acks).await?;
        // What failed for want of a quorum was stored nowhere: a follower has nothing to store.
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
