//! A reaction that the agent's token does not allow stops no agent.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;
use toka_agents::record::{PARKED, Parked};
use toka_agents::store::Range;
use toka_agents::{
    Agent, Context, Event, HandlerError, Interests, NewEvent, Reaction, Runner, Settings, Store,
};
use toka_client::{EventDraft, Filter};
use toka_tests::cluster::{self, Cluster};
use toka_tests::secured::{Secured, client};
use tokio_util::sync::CancellationToken;

const TASKS: usize = 3;
/// What it may: tasks, and the records of agents.
const GRANTS: [&str; 4] = [
    "read:task.",
    "write:task.",
    "read:toka.agent.",
    "write:toka.agent.",
];

/// Answers the second task with an event of a kind that it may not write.
struct Gossip;

impl Agent for Gossip {
    /// Tasks that it has seen.
    type State = u64;

    fn interests(&self) -> Interests {
        Interests::kinds(["task.new"])
    }

    fn apply(state: &mut u64, _: &Event) {
        *state += 1;
    }

    async fn handle(
        &self,
        state: &u64,
        _: &Event,
        _: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let kind = match state {
            2 => "chat.rumour",
            _ => "task.done",
        };
        Ok(Reaction::none().emit(NewEvent::new(kind).payload(state)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reaction_that_the_token_does_not_allow_is_parked() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        let token = secured.token(cluster, "gossip", &GRANTS).await?;
        let mut tasks = Vec::new();
        for number in 0..TASKS {
            let task = EventDraft::new("task.new").payload(&json!({ "number": number }));
            tasks.push(root.commit(task).await?);
        }
        let narrow = client(cluster, &cluster.ids(), &token.text).await?;
        let runner = Runner::new(Gossip, Arc::new(narrow), Settings::new("gossip")?)?;
        let last = tasks[TASKS - 1].sequence;
        runner.run_until(last, &CancellationToken::new()).await?;
        let range = |kind: &str| Range {
            filter: Filter {
                kind_prefixes: vec![kind.to_owned()],
                ..Filter::default()
            },
            ..Range::default()
        };
        let done = Store::list(&root, range("task.done")).await?.events;
        ensure!(done.len() == TASKS - 1, "{done:?}");
        let parked = Store::list(&root, range(PARKED)).await?.events;
        ensure!(parked.len() == 1, "{parked:?}");
        ensure!(parked[0].header.parents[0].id == tasks[1].id, "{parked:?}");
        let Parked { reason, .. } = parked[0].payload_as()?;
        ensure!(reason.contains("chat.rumour"), "{reason}");
        Ok(())
    })
    .await
}
