//! A walk through lineage whose node is killed in the middle.

use anyhow::{Context as _, Result, ensure};
use toka_client::{
    Client, Consistency, EventDraft, EventHeader, Lineage, Relation, Selector, Walk,
};
use toka_ledger::read::lineage::Relative;
use toka_tests::cluster::{self, Cluster};

/// Events of the chain, and of each commit.
const EVENTS: u64 = 2_400;
const BATCH: u64 = 200;
/// All of it together is more than what is under way to a client that takes nothing (4 MiB), so that a node that is lost
/// cannot have sent the rest.
const ATTRIBUTES: usize = 16;
const VALUE_BYTES: usize = 250;
/// What has come when the node is killed.
const TAKEN: u64 = 10;

fn draft() -> EventDraft {
    (0..ATTRIBUTES).fold(EventDraft::new("step"), |draft, number| {
        draft.attribute(format!("attribute-{number}"), "x".repeat(VALUE_BYTES))
    })
}

/// A chain of events; returns the last one.
async fn chain(client: &Client) -> Result<EventHeader> {
    let mut last: Option<EventHeader> = None;
    for _ in 0..EVENTS / BATCH {
        let first = match &last {
            Some(last) => draft().parent(last),
            None => draft(),
        };
        let mut batch = vec![first];
        for before in 1..BATCH {
            let before = u16::try_from(before - 1)?;
            batch.push(draft().parent_in_batch(before));
        }
        let mut committed = client.commit_batch(batch, Vec::new()).await?;
        last = committed.headers.pop();
    }
    last.context("a chain has a last event")
}

/// Takes what is left of a chain that is walked from its end; returns how much that was.
async fn follow(walk: &mut Walk<Relative>, from: u64) -> Result<u64> {
    let mut next = from;
    while let Some(relative) = walk.next().await? {
        let found = (u64::from(relative.depth), relative.header.sequence);
        ensure!(found == (next, EVENTS - next), "{found:?} after {next}");
        next += 1;
    }
    ensure!(walk.end().is_some_and(|end| end.is_complete));
    Ok(next - from)
}

/// Walks through the chain, as it is read with this consistency, and kills the node that serves the walk.
async fn walk_and_kill(cluster: &mut Cluster, consistency: Consistency) -> Result<()> {
    let client = cluster.client().await?;
    let last = chain(&client).await?;
    ensure!(last.sequence == EVENTS, "{last:?}");
    let consistency = match consistency {
        Consistency::AtLeast(_) => Consistency::AtLeast(client.revision()),
        consistency => consistency,
    };
    let lineage = Lineage {
        events_max: u32::try_from(2 * EVENTS)?,
        consistency,
        ..Lineage::of(Selector::Id(last.id), Relation::Ancestors)
    };
    let mut walk = client.walk(&lineage).await?;
    for depth in 0..TAKEN {
        let relative = walk.next().await?.context("it has ended")?;
        ensure!(u64::from(relative.depth) == depth, "{relative:?}");
    }
    let served = walk.endpoint().to_owned();
    let lost = cluster
        .ids()
        .into_iter()
        .find(|id| cluster.node(*id).endpoint() == served);
    cluster.kill(lost.with_context(|| format!("nobody is at {served}"))?)?;
    let rest = follow(&mut walk, TAKEN).await?;
    ensure!(rest == EVENTS - TAKEN, "{rest} events came after the loss");
    ensure!(walk.endpoint() != served, "{served} is gone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walk_outlives_the_node_that_serves_it() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        walk_and_kill(cluster, Consistency::AtLeast(0)).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walk_outlives_the_leader_that_serves_it() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        walk_and_kill(cluster, Consistency::Linearizable).await
    })
    .await
}
