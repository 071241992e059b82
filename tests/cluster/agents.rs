//! Agents on a cluster, whose leaders die and hang.

mod reactions;
mod tasks;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use toka_tests::cluster::{Cluster, PATIENCE};
use toka_tests::wait;
use tokio::task::JoinSet;

/// Kills the leader, and has the next one hang, in turn, when the vault has `next` events, and whenever it has another
/// `step`, until all of `work` has ended. Returns what that has come to, and how many faults there were.
async fn disturb<T: 'static>(
    cluster: &mut Cluster,
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
        if faults % 2 == 1 {
            cluster.kill(leader)?;
            cluster.restart(leader).await?;
        } else {
            hang(cluster, leader).await?;
        }
    }
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
