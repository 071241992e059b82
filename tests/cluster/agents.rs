//! Agents on a cluster, whose leaders are cut off, die and hang.

mod beyond;
mod denied;
mod reactions;
mod tasks;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::proxy::{Cut, Proxy, Quality};
use toka_tests::wait;
use tokio::task::JoinSet;

/// Runs a scenario on three nodes with a proxy in front of each.
async fn run(scenario: impl AsyncFnOnce(&mut Cluster, &[Proxy]) -> Result<()>) -> Result<()> {
    cluster::run_prepared(3, &[], async |cluster: &mut Cluster| {
        let mut proxies = Vec::new();
        for id in cluster.ids() {
            proxies.push(cluster.set_proxy(id).await?);
        }
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        scenario(cluster, proxies.as_slice()).await
    })
    .await
}

/// Cuts the leader off, kills the next one, and has the one after that hang, in turn, when the vault has `next` events, and
/// whenever it has another `step`, until all of `work` has ended. Returns what that has come to, and how many faults there
/// were.
async fn disturb<T: 'static>(
    cluster: &mut Cluster,
    proxies: &[Proxy],
    mut next: u64,
    step: u64,
    work: &mut JoinSet<Result<T>>,
) -> Result<(Vec<T>, u32)> {
    let (mut ended, mut faults) = (Vec::new(), 0);
    loop {
        let leader = cluster.leader().await?;
        let reached = wait::until("progress", 2 * PATIENCE, async || {
            let sequence = cluster.state(leader).await?.node.sequence;
            ensure!(sequence >= next, "{sequence} of {next}");
            Ok(())
        });
        tokio::select! {
            reached = reached => reached?,
            one = work.join_next() => match one {
                Some(one) => { ended.push(one??); continue }
                None => return Ok((ended, faults)),
            },
        }
        next += step;
        faults += 1;
        match faults % 3 {
            1 => cut_off(cluster, proxies, leader).await?,
            2 => {
                cluster.kill(leader)?;
                cluster.restart(leader).await?;
            }
            _ => hang(cluster, leader).await?,
        }
    }
}

/// Has what the leader sends to others get lost until it does not lead any more. They still reach it.
async fn cut_off(cluster: &Cluster, proxies: &[Proxy], leader: u64) -> Result<()> {
    for (id, proxy) in (1..).zip(proxies) {
        if id != leader {
            proxy.set(Quality::cut(Cut::Both));
        }
    }
    let replaced = wait::until("another leader, or none", PATIENCE, async || {
        let known = cluster.state(leader).await?.node.leader_id;
        ensure!(known != Some(leader), "node {leader} leads");
        Ok(())
    });
    let replaced = replaced.await;
    for proxy in proxies {
        proxy.set(Quality::default());
    }
    replaced
}

/// Has the leader hang until the others have another one.
async fn hang(cluster: &mut Cluster, leader: u64) -> Result<()> {
    cluster.process(leader)?.signal(Signal::STOP)?;
    let other = cluster.running().into_iter().find(|id| *id != leader);
    let other = other.context("no other node runs")?;
    let replaced = wait::until("another leader", PATIENCE, async || {
        let now = cluster.state(other).await?.node.leader_id;
        ensure!(now.is_some_and(|now| now != leader), "{now:?}");
        Ok(())
    });
    let replaced = replaced.await;
    cluster.process(leader)?.signal(Signal::CONT)?;
    replaced
}
