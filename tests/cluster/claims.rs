//! Coordination through the vault holds while leaders die: a retried commit is applied once, and of many
//! claimants one succeeds.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, Error, EventDraft, EventHeader, Filter, List, Precondition};
use toka_ledger::command::ParentName;
use toka_ledger::{CursorName, Kind, Rejection, Violation};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::local_log;
use toka_tests::wait;
use tokio::task::JoinSet;

const TASKS: u64 = 60;
const AGENTS: u64 = 8;

/// Kills the leader whenever another `step` events have been stored, until all of `work` has ended.
async fn kill_leaders_during<T: 'static>(
    cluster: &mut Cluster,
    step: u64,
    work: &mut JoinSet<Result<T>>,
) -> Result<Vec<T>> {
    let mut ended = Vec::new();
    let mut next = step;
    loop {
        let leader = cluster.leader().await?;
        let reached = wait::until("progress", PATIENCE, async || {
            let sequence = cluster.state(leader).await?.node.sequence;
            ensure!(sequence >= next, "{sequence} of {next}");
            Ok(())
        });
        tokio::select! {
            reached = reached => reached?,
            one = work.join_next() => match one {
                Some(one) => { ended.push(one??); continue }
                None => return Ok(ended),
            },
        }
        next += step;
        cluster.kill(leader)?;
        cluster.restart(leader).await?;
    }
}

/// Tries to claim every task; returns how many it got.
async fn claim_all(client: Client, agent: u64, tasks: Vec<EventHeader>) -> Result<u64> {
    let mut got = 0;
    for task in tasks {
        let kind = Kind::new("task.claimed")?;
        let parent = ParentName::Digest(task.digest);
        let claim = EventDraft::new("task.claimed")
            .payload(&json!({"agent": agent}))
            .parent(&task);
        let free = Precondition::NoChild { parent, kind };
        match client.commit_batch(vec![claim], vec![free]).await {
            Ok(_) => got += 1,
            Err(Error::Rejected(Rejection::Preconditions { violations })) => {
                let is_right = matches!(&violations[..], [Violation::HasChild { .. }]);
                ensure!(is_right, "{violations:?}");
            }
            Err(error) => return Err(error).context("a claim"),
        }
    }
    Ok(got)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_claimants_one_gets_each_task() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let mut tasks = Vec::new();
        for number in 0..TASKS {
            let task = EventDraft::new("task").payload(&json!({"number": number}));
            tasks.push(client.commit(task).await?);
        }
        let mut agents = JoinSet::new();
        for agent in 0..AGENTS {
            agents.spawn(claim_all(cluster.client().await?, agent, tasks.clone()));
        }
        let got = kill_leaders_during(cluster, 25, &mut agents).await?;
        // Who was told that it has a task has it: the answers add up.
        ensure!(got.iter().sum::<u64>() == TASKS, "{got:?}");
        cluster.converged(2 * TASKS).await?;
        for id in cluster.ids() {
            let log = local_log(&cluster.client_of(id).await?).await?;
            let claims = log.iter().filter(|event| event.kind == "task.claimed");
            let mut claimed: Vec<_> = claims.map(|event| event.parents[0].digest).collect();
            claimed.sort_unstable();
            claimed.dedup();
            ensure!(
                claimed.len() as u64 == TASKS,
                "{} tasks are claimed",
                claimed.len()
            );
            ensure!(log.len() as u64 == 2 * TASKS, "{} events", log.len());
        }
        Ok(())
    })
    .await
}

/// Moves the cursor from task to task; each step stores an event and moves the cursor, or does neither.
async fn work_off(client: Client, agent: u64) -> Result<u64> {
    let (mut done, mut at) = (0, 0);
    while at < TASKS {
        let name = CursorName::new("workers")?;
        let payload = json!({"agent": agent, "task": at + 1});
        let result = EventDraft::new("task.done").payload(&payload);
        let step = Precondition::CursorMove {
            name,
            from: at,
            to: at + 1,
        };
        match client.commit_batch(vec![result], vec![step]).await {
            Ok(_) => {
                done += 1;
                at += 1;
            }
            Err(Error::Rejected(Rejection::Preconditions { violations })) => {
                let [Violation::Cursor { actual, .. }] = &violations[..] else {
                    anyhow::bail!("{violations:?}");
                };
                ensure!(*actual > at, "the cursor went back from {at} to {actual}");
                at = *actual;
            }
            Err(error) => return Err(error).context("a step"),
        }
    }
    Ok(done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_cursor_passes_each_task_once() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut agents = JoinSet::new();
        for agent in 0..AGENTS {
            agents.spawn(work_off(cluster.client().await?, agent));
        }
        let done = kill_leaders_during(cluster, 20, &mut agents).await?;
        ensure!(done.iter().sum::<u64>() == TASKS, "{done:?}");
        let filter = Filter {
            kind_prefixes: vec!["task.done".to_owned()],
            ..Filter::default()
        };
        let page = cluster
            .client()
            .await?
            .list(
                &List {
                    filter,
                    ..List::default()
                },
                None,
            )
            .await?;
        ensure!(
            page.events.len() as u64 == TASKS,
            "{} events",
            page.events.len()
        );
        Ok(())
    })
    .await
}
