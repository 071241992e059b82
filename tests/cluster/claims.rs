//! Coordination through the vault holds while leaders die: a retried commit is applied once, and of many
//! claimants one succeeds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{Client, Error, EventDraft, EventHeader, Filter, List, Precondition};
use toka_ledger::command::ParentName;
use toka_ledger::{CursorName, Kind, Rejection, Violation};
use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history::local_log;
use toka_tests::{request, wait};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

const TASKS: u64 = 60;
const AGENTS: u64 = 8;
/// Tasks that are raced for,
const CLAIMED_TASKS: u64 = 1_000;
/// and agents that race.
const CLAIMANTS: u64 = 100;
const CLAIM: &str = "task.claimed";
/// Longest that one try of an agent without the library takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Kills the leader when `next` events have been stored, and whenever another `step` have, until all of `work` has
/// ended.
async fn kill_leaders_during<T: 'static>(
    cluster: &mut Cluster,
    mut next: u64,
    step: u64,
    work: &mut JoinSet<Result<T>>,
) -> Result<Vec<T>> {
    let mut ended = Vec::new();
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

/// How an agent reaches the vault.
#[derive(Clone)]
enum Way {
    /// With the client library, which finds the leader.
    Library(Client),
    /// By one node, whatever it is and whatever happens to it.
    Node(VaultServiceClient<Channel>),
}

/// One of many who want the same.
struct Agent {
    number: u64,
    way: Way,
}

impl Agent {
    /// Tries to claim every task; returns how many it got.
    async fn claim_all(mut self, tasks: Arc<[EventHeader]>) -> Result<u64> {
        let mut got = 0;
        // Some begin here and some there, so that each task is somebody's first.
        let first = usize::try_from(self.number)? % tasks.len();
        let (before, after) = tasks.split_at(first);
        for task in after.iter().chain(before) {
            let is_mine = match self.way.clone() {
                Way::Library(client) => self.claim(&client, task).await?,
                Way::Node(vault) => self.claim_by_node(vault, task).await?,
            };
            got += u64::from(is_mine);
        }
        Ok(got)
    }

    async fn claim(&mut self, client: &Client, task: &EventHeader) -> Result<bool> {
        let claim = EventDraft::new(CLAIM)
            .payload(&json!({"agent": self.number}))
            .parent(task);
        match client.commit_batch(vec![claim], vec![free(task)?]).await {
            Ok(_) => Ok(true),
            Err(Error::Rejected(rejection)) => is_taken(&rejection),
            Err(error) => Err(error).context("a claim"),
        }
    }

    /// Repeated it is the same claim: it has the same salt.
    async fn claim_by_node(
        &mut self,
        mut vault: VaultServiceClient<Channel>,
        task: &EventHeader,
    ) -> Result<bool> {
        let event = v1::NewEvent {
            salt: self.number.to_be_bytes().to_vec().into(),
            parents: vec![(&ParentName::Digest(task.digest)).into()],
            ..request::event(CLAIM, &json!({"agent": self.number}))
        };
        let commit = v1::CommitRequest {
            preconditions: vec![(&free(task)?).into()],
            ..request::commit(vec![event])
        };
        loop {
            let answer = vault.commit(request::within(CALL_TIMEOUT, commit.clone()));
            let status = match answer.await {
                Ok(_) => return Ok(true),
                Err(status) => status,
            };
            if let Some(Detail::Rejected(rejection)) = parse(&status).detail {
                return is_taken(&rejection);
            }
            let is_wrong = matches!(
                status.code(),
                Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition
            );
            ensure!(!is_wrong, "{status:?}");
            // The node is down, or there is no leader.
            tokio::time::sleep(wait::STEP).await;
        }
    }
}

fn free(task: &EventHeader) -> Result<Precondition> {
    Ok(Precondition::NoChild {
        parent: ParentName::Digest(task.digest),
        kind: Kind::new(CLAIM)?,
    })
}

/// A claim that was refused: somebody else has the task.
fn is_taken(rejection: &Rejection) -> Result<bool> {
    let is_right = matches!(
        rejection,
        Rejection::Preconditions { violations }
            if matches!(&violations[..], [Violation::HasChild { .. }])
    );
    ensure!(is_right, "{rejection:?}");
    Ok(false)
}

/// One hundred agents race for each of a thousand tasks, by way of three nodes, with leaders killed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_claimants_one_gets_each_task() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let mut tasks = Vec::new();
        for first in (0..CLAIMED_TASKS).step_by(100) {
            let draft = |number: u64| EventDraft::new("task").payload(&json!({"number": number}));
            let drafts = (first..first + 100).map(draft).collect();
            tasks.extend(client.commit_batch(drafts, vec![]).await?.headers);
        }
        let tasks: Arc<[EventHeader]> = tasks.into();
        // They share connections, as those of one program do.
        let mut ways = vec![Way::Library(client)];
        for id in cluster.ids() {
            ways.push(Way::Node(cluster.node(id).vault()));
        }
        let mut agents = JoinSet::new();
        for (number, way) in (0..CLAIMANTS).zip(ways.iter().cycle()) {
            let way = way.clone();
            let agent = Agent { number, way };
            agents.spawn(agent.claim_all(Arc::clone(&tasks)));
        }
        let got = kill_leaders_during(cluster, CLAIMED_TASKS + 300, 300, &mut agents).await?;
        // Who was told that it has a task has it: the answers add up.
        ensure!(got.iter().sum::<u64>() == CLAIMED_TASKS, "{got:?}");
        cluster.converged(2 * CLAIMED_TASKS).await?;
        for id in cluster.ids() {
            let log = local_log(&cluster.client_of(id).await?).await?;
            let claims = log.iter().filter(|event| event.kind == CLAIM);
            let mut claimed: Vec<_> = claims.map(|event| event.parents[0].digest).collect();
            claimed.sort_unstable();
            claimed.dedup();
            ensure!(
                claimed.len() as u64 == CLAIMED_TASKS,
                "{} tasks are claimed",
                claimed.len()
            );
            ensure!(
                log.len() as u64 == 2 * CLAIMED_TASKS,
                "{} events",
                log.len()
            );
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
        let done = kill_leaders_during(cluster, 20, 20, &mut agents).await?;
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
