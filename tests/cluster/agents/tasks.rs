//! One hundred agents work off one thousand tasks; each is completed once, by a holder of the newest fencing number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use toka_agents::claims::{Action, Claim, ClaimError, Claims, Keep, Keeper};
use toka_agents::store::Class;
use toka_agents::{Event, Projection, Store};
use toka_client::{Client, EventDraft, EventHeader, Filter, Include, List, Read};
use toka_ledger::{EventId, Kind};
use toka_tests::cluster::Cluster;
use toka_tests::proxy::Proxy;
use toka_tests::{history, seed, wait};
use tokio::task::JoinSet;

use super::{disturb, run};

const TASKS: u64 = 1_000;
const AGENTS: u64 = 100;
/// Agents that share a client and a board.
const SHARED_BY: u64 = 20;
const CLAIM: &str = "task.claim";
const RESULT: &str = "result";
/// Short enough for holders that are gone to be followed by others within the test.
const LEASE: Duration = Duration::from_secs(2);

/// Who has which task, as far as the events have come.
#[derive(Debug, Default)]
struct Board {
    /// Until when, milliseconds since the Unix epoch; `None`: it is done.
    until: BTreeMap<EventId, Option<u64>>,
    done: u64,
}

impl Board {
    fn apply(&mut self, event: &Event) {
        let Ok(claim) = Claim::of(event) else {
            return;
        };
        let until = match claim.is_completed() {
            true => None,
            false => Some(claim.expires_unix_ms()),
        };
        self.done += u64::from(claim.is_completed());
        self.until.insert(claim.task(), until);
    }

    /// Whether it may be worth a try. The clock of this machine is only a hint: the vault's own decides.
    fn is_free(&self, task: EventId, now: u64) -> bool {
        match self.until.get(&task) {
            None => true,
            Some(None) => false,
            Some(Some(until)) => *until <= now,
        }
    }
}

/// What agents have seen.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    completed: u64,
    forgotten: u64,
    fenced: u64,
}

struct Agent {
    claims: Claims,
    board: Arc<Projection<Board>>,
    tasks: Arc<[EventHeader]>,
    rng: StdRng,
    tally: Tally,
}

impl Agent {
    /// Works until nothing is left to do.
    async fn run(mut self) -> Result<Tally> {
        let first = self.rng.random_range(0..self.tasks.len());
        let mut next = first;
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let now = u64::try_from(now.as_millis())?;
            let tasks = Arc::clone(&self.tasks);
            let (before, after) = tasks.split_at(next);
            let mut in_order = after.iter().chain(before);
            let (free, done) = self.board.read(|board| {
                let free = in_order.find(|task| board.is_free(task.id, now));
                (free.cloned(), board.done)
            });
            let Some(task) = free else {
                if done == TASKS {
                    return Ok(self.tally);
                }
                // What is left is held by others, who may be gone.
                tokio::time::sleep(wait::STEP).await;
                continue;
            };
            next = (next + 1) % tasks.len();
            match self.work(&task).await {
                Ok(()) => {}
                Err(
                    ClaimError::Held { .. } | ClaimError::Completed { .. } | ClaimError::Contended,
                ) => self.tally.fenced += 1,
                // The cluster was away for longer than the client waits.
                Err(ClaimError::Store(error)) if error.class() == Class::Transient => {}
                Err(error) => return Err(error).context("a claim"),
            }
        }
    }

    /// Claims a task, and is done with it; or forgets it, or is too slow.
    async fn work(&mut self, task: &EventHeader) -> Result<(), ClaimError> {
        let claim = self.claims.acquire(task).await?;
        let result = |claim: &Claim| {
            let payload = json!({ "by": claim.holder().session, "number": claim.number() });
            vec![EventDraft::new(RESULT).payload(&payload).parent(task)]
        };
        match self.rng.random_range(0..20) {
            0 => {
                self.tally.forgotten += 1;
                return Ok(());
            }
            1 => {
                // Others may have it by then.
                tokio::time::sleep(LEASE * 2).await;
                self.claims.complete(&claim, result(&claim)).await?;
            }
            2 => {
                let keeper = Keeper::start(self.claims.clone(), claim, Keep::default());
                tokio::select! {
                    () = keeper.lost() => {}
                    () = tokio::time::sleep(LEASE) => {}
                }
                let Some(claim) = keeper.claim() else {
                    self.tally.fenced += 1;
                    return Ok(());
                };
                keeper.complete(result(&claim)).await?;
            }
            _ => {
                self.claims.complete(&claim, result(&claim)).await?;
            }
        }
        self.tally.completed += 1;
        Ok(())
    }
}

async fn commit_tasks(client: &Client) -> Result<Arc<[EventHeader]>> {
    let mut tasks = Vec::new();
    for first in (0..TASKS).step_by(100) {
        let draft = |number: u64| EventDraft::new("task").payload(&json!({ "number": number }));
        let drafts = (first..first + 100).map(draft).collect();
        tasks.extend(client.commit_batch(drafts, vec![]).await?.headers);
    }
    Ok(tasks.into())
}

fn board(store: &Arc<dyn Store>) -> Arc<Projection<Board>> {
    let filter = Filter {
        kind_prefixes: vec![CLAIM.to_owned()],
        ..Filter::default()
    };
    let store = Arc::clone(store);
    Arc::new(Projection::follow(
        store,
        filter,
        0,
        Board::default(),
        Board::apply,
    ))
}

/// All events of a kind, with their payloads.
async fn events(client: &Client, kind: &str) -> Result<Vec<Event>> {
    let list = List {
        filter: Filter {
            kind_prefixes: vec![kind.to_owned()],
            ..Filter::default()
        },
        page_size: 1_000,
        read: Read {
            include: Include {
                payload: true,
                embedding: false,
            },
            ..Read::default()
        },
        ..List::default()
    };
    let events: Vec<_> = client.list_all(list).try_collect().await?;
    Ok(events.into_iter().map(Event::from).collect())
}

/// Follows each task's chain from link to link, and returns the sequence of each completion and of the task that it is of.
fn completions(links: &[Event], tasks: &[EventHeader]) -> Result<BTreeMap<u64, u64>> {
    let mut next = BTreeMap::new();
    for link in links {
        let [parent] = &link.header.parents[..] else {
            anyhow::bail!("a link with the parents {:?}", link.header.parents);
        };
        let before = next.insert(parent.digest, link);
        ensure!(before.is_none(), "a chain forks after {}", parent.id);
    }
    let mut completions = BTreeMap::new();
    let mut linked = 0;
    for task in tasks {
        let first = next
            .get(&task.digest)
            .context("a task that nobody has claimed")?;
        let (mut header, mut claim) = (&first.header, Claim::of(first)?);
        linked += 1;
        ensure!(claim.action() == Action::Claim, "{claim:?}");
        while let Some(link) = next.get(&header.digest) {
            let later = Claim::of(link)?;
            linked += 1;
            ensure!(later.number() > claim.number(), "{later:?} after {claim:?}");
            let is_same = later.holder() == claim.holder();
            match later.action() {
                Action::TakeOver => ensure!(
                    link.header.unix_ms >= claim.expires_unix_ms(),
                    "{later:?} before the end of {claim:?}"
                ),
                _ => ensure!(is_same, "{later:?} is not of the holder of {claim:?}"),
            }
            ensure!(!claim.is_completed(), "{later:?} after the end");
            (header, claim) = (&link.header, later);
        }
        ensure!(claim.is_completed(), "{claim:?} is the end");
        completions.insert(claim.number(), task.sequence);
    }
    ensure!(linked == links.len(), "{linked} of {} links", links.len());
    Ok(completions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_is_completed_once_by_the_newest_holder() -> Result<()> {
    let seed = seed::draw();
    run(async |cluster: &mut Cluster, proxies: &[Proxy]| {
        let client = cluster.client().await?;
        let tasks = commit_tasks(&client).await?;
        let mut agents = JoinSet::new();
        let mut shared = None;
        for number in 0..AGENTS {
            if number % SHARED_BY == 0 {
                let store: Arc<dyn Store> = Arc::new(cluster.client().await?);
                shared = Some((board(&store), store));
            }
            let (board, store) = shared.clone().context("the first agent has made it")?;
            let name = format!("agent-{number}");
            let agent = Agent {
                claims: Claims::new(store, Kind::new(CLAIM)?, &name, LEASE),
                board,
                tasks: Arc::clone(&tasks),
                rng: seed::rng(seed, number),
                tally: Tally::default(),
            };
            agents.spawn(agent.run());
        }
        let (tallies, faults) = disturb(cluster, proxies, TASKS + 400, 600, &mut agents).await?;
        ensure!(faults > 0, "nothing has failed");
        let log = history::same_log(cluster, TASKS).await?;
        let links = events(&client, CLAIM).await?;
        let completions = completions(&links, &tasks)?;
        let results: Vec<_> = log.iter().filter(|event| event.kind == RESULT).collect();
        ensure!(results.len() as u64 == TASKS, "{} results", results.len());
        for result in results {
            let parents = result.parents.iter().map(|parent| parent.id.sequence());
            let of = |parent: u64| completions.get(&parent).copied();
            let done: Vec<_> = parents.filter_map(of).collect();
            ensure!(done.len() == 1, "{result:?} is of {done:?}");
            let is_of_task = |parent: &toka_ledger::Parent| parent.id.sequence() == done[0];
            ensure!(result.parents.iter().any(is_of_task), "{result:?} is of another task");
        }
        let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
        let (completed, forgotten) = (sum(|one| one.completed), sum(|one| one.forgotten));
        println!(
            "{} links, {completed} completed, {forgotten} forgotten, {} fenced off, {faults} faults",
            links.len(),
            sum(|one| one.fenced)
        );
        // A completion whose answer was lost is not counted by who has made it.
        ensure!(completed <= TASKS, "{completed} were told that they have completed a task");
        Ok(())
    })
    .await
}
