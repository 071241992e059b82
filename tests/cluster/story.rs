//! The story of `cargo xtask story`, with the agents in this process: they work while the leader dies and while they die
//! themselves, each does its part once, and a replay says so.

#[path = "../../crates/toka-runtime/examples/story/agents.rs"]
mod agents;

use std::sync::Arc;
use std::time::Duration;

use agents::{DONE, OPENED, REVIEWED, Reviewer, Triage, UTTERANCE, Worker};
use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use toka_agents::{Agent, Settings, Store};
use toka_client::{Client, Consistency, EventDraft, EventHeader, Filter, List, Read};
use toka_runtime::replay::{Part, Replay, Summary};
use toka_runtime::supervise::{Policy, Supervisor};
use toka_runtime::{AgentUnit, Handlers};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::wait;

const TEXTS: [&str; 5] = [
    "wake me up at eight",
    "is it going to rain?",
    "play that song again",
    "who wrote this?",
    "turn the lights off",
];

async fn say(client: &Client, from: usize, until: usize) -> Result<()> {
    for number in from..until {
        let payload = json!({ "text": TEXTS[number % TEXTS.len()], "turn": number });
        client
            .commit(EventDraft::new(UTTERANCE).payload(&payload))
            .await?;
    }
    Ok(())
}

async fn all(client: &Client, kind: &str) -> Result<Vec<EventHeader>> {
    let list = List {
        filter: Filter {
            kind_prefixes: vec![kind.to_owned()],
            ..Filter::default()
        },
        read: Read {
            consistency: Consistency::Linearizable,
            ..Read::default()
        },
        ..List::default()
    };
    let events = client.list_all(list).map_ok(|event| event.header);
    Ok(events.try_collect().await?)
}

fn start<A: Agent>(
    supervisor: &Supervisor,
    agent: A,
    name: &str,
    store: &Arc<dyn Store>,
) -> Result<()> {
    let settings = Settings::new(name)?;
    let unit = AgentUnit::new(agent, Arc::clone(store), settings, Handlers::new(2))?;
    supervisor.start(name, Arc::new(unit), Policy::default())?;
    Ok(())
}

fn run_agents(client: &Client) -> Result<Supervisor> {
    let supervisor = Supervisor::new(3);
    let store: Arc<dyn Store> = Arc::new(client.clone());
    let knows_questions = false;
    start(&supervisor, Triage { knows_questions }, "triage", &store)?;
    start(&supervisor, Worker, "worker", &store)?;
    start(&supervisor, Reviewer, "reviewer", &store)?;
    Ok(supervisor)
}

/// Waits until so many works were looked at.
async fn reviewed(client: &Client, count: usize) -> Result<()> {
    wait::until("all is reviewed", PATIENCE, async || {
        let seen = all(client, REVIEWED).await?.len();
        ensure!(seen >= count, "{seen} of {count}");
        Ok(())
    })
    .await
}

async fn replay<A: Agent>(agent: A, name: &str, client: &Client) -> Result<Summary> {
    let store: Arc<dyn Store> = Arc::new(client.clone());
    let mut replay = Replay::open(agent, name, store, Part::default()).await?;
    Ok(replay.run(true, &mut |_| {}).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_do_their_part_once_and_would_do_it_again() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let first = run_agents(&client)?;
        say(&client, 0, 20).await?;
        reviewed(&client, 5).await?;
        // As if their process had died: nothing is finished.
        drop(first);
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        let second = run_agents(&client)?;
        say(&client, 20, 40).await?;
        cluster.restart(leader).await?;
        reviewed(&client, 40).await?;
        let stopped = second.stop(Duration::from_secs(60)).await;
        ensure!(stopped.broken_off.is_empty(), "{stopped:?}");

        for (kind, of) in [(OPENED, UTTERANCE), (DONE, OPENED), (REVIEWED, DONE)] {
            let (done, causes) = (all(&client, kind).await?, all(&client, of).await?);
            ensure!(done.len() == 40, "{kind}: {}", done.len());
            for cause in causes {
                let is_child = |event: &&EventHeader| event.parents[0].digest == cause.digest;
                let count = done.iter().filter(is_child).count();
                ensure!(count == 1, "{count} of {kind} come of {}", cause.sequence);
            }
        }
        let same = replay(Worker, "worker", &client).await?;
        ensure!((same.events, same.same) == (40, 40), "{same:?}");
        let knows_questions = true;
        let changed = replay(Triage { knows_questions }, "triage", &client).await?;
        // Two in five are questions.
        ensure!((changed.events, changed.same) == (40, 24), "{changed:?}");
        let first = changed.first.context("it differs")?;
        ensure!(first.divergence().is_some());
        Ok(())
    })
    .await
}
