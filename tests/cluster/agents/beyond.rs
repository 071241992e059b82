//! A reaction that a cluster does not take for what it asks of others' cursors stops no agent.

use std::sync::Arc;

use anyhow::{Result, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use toka_agents::record::PARKED;
use toka_agents::{
    Agent, Context, Event, HandlerError, Interests, NewEvent, Reaction, Runner, Settings,
};
use toka_client::{EventDraft, List};
use toka_ledger::CursorName;
use toka_ledger::command::Precondition;
use toka_tests::cluster::{self, Cluster};
use tokio_util::sync::CancellationToken;

const TASKS: u64 = 3;

/// Moves somebody else's cursor to where no event is.
struct Leaper;

impl Agent for Leaper {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds(["task"])
    }

    fn apply(_: &mut (), _: &Event) {}

    async fn handle(&self, _: &(), _: &Event, _: &mut Context) -> Result<Reaction, HandlerError> {
        let answer = NewEvent::new("answer").payload("done");
        Ok(Reaction::none()
            .emit(answer)
            .require(Precondition::CursorMove {
                name: CursorName::new("other")?,
                from: 0,
                to: 1_000_000,
            }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reaction_that_moves_a_cursor_beyond_the_end_is_parked() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        for number in 0..TASKS {
            let task = EventDraft::new("task").payload(&json!({ "number": number }));
            client.commit(task).await?;
        }
        let store = Arc::new(client.clone());
        let runner = Runner::new(Leaper, store, Settings::new("leaper")?)?;
        runner.run_until(TASKS, &CancellationToken::new()).await?;
        let list = List {
            page_size: 1_000,
            ..List::default()
        };
        let all: Vec<_> = client.list_all(list).try_collect().await?;
        let all = all.iter().map(|event| event.header.kind.as_str());
        let behind: Vec<_> = all.skip(TASKS as usize).collect();
        ensure!(behind == [PARKED; TASKS as usize], "{behind:?}");
        Ok(())
    })
    .await
}
