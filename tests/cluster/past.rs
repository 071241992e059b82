//! The past of a cluster's vault, and forks over it: made by a client, from the history alone.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, Consistency, EventDraft, Precondition, Read};
use toka_ledger::error::ParentName;
use toka_ledger::fork::Limits;
use toka_ledger::{Kind, Selector, VaultBus};
use toka_runtime::base::{BaseError, ClusterBase, MirrorLimits, RemoteFork};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;

const TOPICS: u32 = 6;

/// Commits `count` events, from number `first` on, each of the next topic.
async fn commit(client: &Client, first: u32, count: u32) -> Result<u64> {
    let drafts = (first..first + count).map(|n| {
        let mut vector = [0.1; 8];
        vector[(n % TOPICS) as usize] = 1.0 + (n % 13) as f32 / 40.0;
        EventDraft::new("message")
            .payload(&json!({ "topic": n % TOPICS, "n": n }))
            .embedding(&vector)
            .model("test")
    });
    let committed = client.commit_batch(drafts.collect(), Vec::new()).await?;
    Ok(committed.headers.last().context("no event")?.sequence)
}

async fn fork(cluster: &Cluster, sequence: u64) -> Result<Arc<RemoteFork>> {
    let endpoints = cluster.endpoints();
    let fork = tokio::task::spawn_blocking(move || {
        let base = Arc::new(ClusterBase::connect(
            Client::builder().timeout(PATIENCE),
            endpoints,
        )?);
        let limits = (MirrorLimits::default(), Limits::default());
        RemoteFork::at(base, sequence, limits, &mut |_| {})
    });
    Ok(Arc::new(fork.await??))
}

fn payloads_are_equal(fork: &VaultBus, sequence: u64, payload: &[u8]) -> Result<()> {
    let header = fork.get_by_sequence(sequence)?;
    ensure!(fork.payload_bytes(&header)?[..] == *payload);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_at_an_earlier_event_are_those_of_then() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let last = commit(&client, 0, 300).await?;
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let list = ["intents", "-o", "json"];
        let then = toka.json(&list).await?;
        commit(&client, 300, 300).await?;
        ensure!(toka.json(&list).await? != then);
        let at = last.to_string();
        let past = toka.json(&["intents", "-o", "json", "--at", &at]).await?;
        ensure!(past == then, "{past:?}\n{then:?}");
        let beyond = toka.run(&["intents", "--at", "601"]).await?;
        ensure!(beyond.code == Some(4), "{beyond:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_fork_reaches_the_cluster_before_it_is_committed_to_it() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let last = commit(&client, 0, 100).await?;
        let fork = fork(cluster, last).await?;
        let read = Read {
            consistency: Consistency::Linearizable,
            include: toka_client::Include::all(),
        };
        let real = client.get(&Selector::Sequence(40), &read).await?;
        let Some(toka_client::Stored::Present(payload)) = real.payload else {
            anyhow::bail!("no payload")
        };
        payloads_are_equal(fork.fork().vault(), 40, &payload)?;

        let own = EventDraft::new("what.if").payload("x").parent(&real.header);
        let own = fork.fork().commit_batch_if([own], Vec::new()).await?;
        ensure!(own[0].sequence == last + 1, "{own:?}");
        let real = EventDraft::new("real").payload("y").parent(&real.header);
        let real = client.commit(real).await?;
        ensure!(real.sequence == last + 1, "{real:?}");

        let compared = Arc::clone(&fork);
        let difference = tokio::task::spawn_blocking(move || compared.difference()).await??;
        ensure!(difference.fork_only.len() == 1, "{difference:?}");
        ensure!(*difference.base_only[0] == real, "{difference:?}");

        let taken = fork.commit_to(&client).await?;
        ensure!(taken[0].digest == own[0].digest && taken[0].sequence == last + 2);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_in_a_fork_is_refused_where_the_cluster_has_another_one() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let task = client.commit(EventDraft::new("task").payload("t")).await?;
        let fork = fork(cluster, task.sequence).await?;
        let claim = || EventDraft::new("claim").parent(&task);
        let unclaimed = || -> Result<_> {
            Ok(vec![Precondition::NoChild {
                parent: ParentName::Digest(task.digest),
                kind: Kind::new("claim")?,
            }])
        };
        fork.fork().commit_batch_if([claim()], unclaimed()?).await?;
        client.commit_batch(vec![claim()], unclaimed()?).await?;
        let refused = fork.commit_to(&client).await;
        let Err(BaseError::Client(error)) = refused else {
            anyhow::bail!("{refused:?}")
        };
        ensure!(
            matches!(*error, toka_client::Error::Rejected(_)),
            "{error:?}"
        );
        Ok(())
    })
    .await
}
