//! Reactions of agents are in the vault once, and their states are the same again after a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use toka_agents::{
    Agent, Context, Ended, Event, Fold, GroupSource, HandlerError, Interests, NewEvent, Reaction,
    Runner, Settings, Source, Store,
};
use toka_client::{Client, Consistency, EventDraft, List, Read};
use toka_ledger::{ConsumerName, EventHeader, GroupName};
use toka_tests::cluster::{Cluster, PATIENCE};
use toka_tests::proxy::Proxy;
use toka_tests::{history, wait};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{disturb, run};

const TASKS: u64 = 300;
const INSTANCES: u32 = 3;
const NAME: &str = "echo";

/// Answers each task, and each instance differently.
struct Echo {
    instance: u32,
}

impl Agent for Echo {
    type State = u64;

    fn interests(&self) -> Interests {
        Interests::kinds(["task"])
    }

    fn apply(state: &mut u64, _event: &Event) {
        *state += 1;
    }

    async fn handle(
        &self,
        state: &u64,
        _event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let at = context.unix_ms()?;
        let answer = json!({ "by": self.instance, "seen": state, "at": at });
        Ok(Reaction::none().emit(NewEvent::new("answer").payload(&answer)))
    }
}

fn instance(client: Client, instance: u32, source: Option<Source>) -> Result<Runner<Echo>> {
    let mut settings = Settings::new(NAME)?;
    settings.snapshot_every = 50;
    if let Some(source) = source {
        settings.source = source;
    }
    let store: Arc<dyn Store> = Arc::new(client);
    Ok(Runner::new(Echo { instance }, store, settings)?)
}

/// Commits tasks, one after the other.
async fn commit(client: Client, numbers: std::ops::Range<u64>) -> Result<()> {
    for number in numbers {
        let task = EventDraft::new("task").payload(&json!({ "number": number }));
        client.commit(task).await?;
    }
    Ok(())
}

/// Each task has one answer.
fn check(log: &[EventHeader]) -> Result<()> {
    let mut answers: BTreeMap<u64, u64> = BTreeMap::new();
    for answer in log.iter().filter(|event| event.kind == "answer") {
        *answers.entry(answer.parents[0].id.sequence()).or_default() += 1;
    }
    let tasks = log.iter().filter(|event| event.kind == "task");
    for task in tasks {
        let count = answers.remove(&task.sequence);
        ensure!(
            count == Some(1),
            "task {} has {count:?} answers",
            task.sequence
        );
    }
    ensure!(
        answers.is_empty(),
        "answers to what is no task: {answers:?}"
    );
    Ok(())
}

/// Runs instances while tasks come and leaders die, and then until everything is answered.
async fn answered(
    cluster: &mut Cluster,
    proxies: &[Proxy],
    sources: Vec<Option<Source>>,
) -> Result<Vec<EventHeader>> {
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for (number, source) in (0..INSTANCES).zip(sources.iter().cycle()) {
        let runner = instance(cluster.client().await?, number, source.clone())?;
        let stop = stop.clone();
        running.spawn(async move { runner.run(&stop).await });
    }
    let mut writers = JoinSet::new();
    writers.spawn(commit(cluster.client().await?, 0..TASKS / 2));
    writers.spawn(commit(cluster.client().await?, TASKS / 2..TASKS));
    let (_, faults) = disturb(cluster, proxies, 100, 150, &mut writers).await?;
    ensure!(faults > 0, "nothing has failed");
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        let ended = ended?.context("an instance")?;
        ensure!(ended == Ended::Stopped, "{ended:?}");
    }
    let client = cluster.client().await?;
    let last = instance(client.clone(), INSTANCES, sources[0].clone())?;
    // Deliveries whose answers were lost come again when their time is over.
    let head = wait::until("an answer to each task", PATIENCE, async || {
        let head = Store::head(&client).await?;
        last.run_until(head, &CancellationToken::new()).await?;
        let answers = answers(&client).await?;
        ensure!(answers >= TASKS, "{answers} answers");
        Ok(Store::head(&client).await?)
    })
    .await?;
    history::same_log(cluster, head).await
}

/// How many answers there are.
async fn answers(client: &Client) -> Result<u64> {
    let list = List {
        filter: Interests::kinds(["answer"]).filter(),
        page_size: 1_000,
        read: Read {
            consistency: Consistency::Linearizable,
            ..Read::default()
        },
        ..List::default()
    };
    let answers: Vec<_> = client.list_all(list).try_collect().await?;
    Ok(answers.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_one_reaction_of_instances_that_share_a_cursor() -> Result<()> {
    run(async |cluster: &mut Cluster, proxies: &[Proxy]| {
        let log = answered(cluster, proxies, vec![None]).await?;
        check(&log)?;
        let snapshots = log
            .iter()
            .filter(|event| event.kind == toka_agents::record::SNAPSHOT);
        ensure!(snapshots.count() > 0, "there is no snapshot");
        let client = cluster.client().await?;
        let filter = Interests::kinds(["task"]).filter();
        let head = Store::head(&client).await?;
        let from_snapshot = Fold::<Echo>::at(&client, NAME, &filter, head).await?;
        let mut from_beginning = Fold::<Echo>::default();
        from_beginning.advance(&client, &filter, head).await?;
        ensure!(
            (*from_snapshot.state(), *from_beginning.state()) == (TASKS, TASKS),
            "{} and {}",
            from_snapshot.state(),
            from_beginning.state()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_one_reaction_of_instances_that_share_a_group() -> Result<()> {
    run(async |cluster: &mut Cluster, proxies: &[Proxy]| {
        let group = GroupName::new("echoes")?;
        let source = |number: u32| -> Result<Option<Source>> {
            let consumer = ConsumerName::new(&format!("echo-{number}"))?;
            let mut source = GroupSource::new(group.clone(), consumer);
            // Deliveries whose answers are lost come again within the test.
            source.ack_timeout_ms = 2_000;
            source.deliveries_max = 100;
            source.ahead = 4;
            Ok(Some(Source::Group(source)))
        };
        let sources = (0..INSTANCES).map(source).collect::<Result<Vec<_>>>()?;
        let log = answered(cluster, proxies, sources).await?;
        check(&log)
    })
    .await
}
