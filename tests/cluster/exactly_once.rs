//! Effects in the vault exactly once: a result is committed together with the acknowledgement of its task, by consumers
//! that are killed all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use serde_json::json;
use toka_client::{
    Client, Consume, ConsumerName, Error, EventDraft, Filter, GroupConsumer, GroupName,
    GroupSettings, GroupStart,
};
use toka_ledger::{Rejection, Violation};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::make_group;
use toka_tests::{history, seed};
use tokio::task::JoinSet;

const TASKS: u64 = 120;
const CONSUMERS: u64 = 4;
/// A consumer lives so long at most, milliseconds.
const LIFE_MS: std::ops::RangeInclusive<u64> = 20..=400;

fn settings() -> GroupSettings {
    GroupSettings {
        filter: Filter {
            kind_prefixes: vec!["task".to_owned()],
            ..Filter::default()
        },
        // Shorter than some tasks take, so that consumers are late.
        ack_timeout_ms: 150,
        deliveries_max: 1_000,
        ..GroupSettings::default()
    }
}

/// Works until it is dropped.
async fn work(mut consumer: GroupConsumer, client: Client, name: String) -> Result<()> {
    loop {
        let task = match consumer.next().await {
            Ok(task) => task,
            Err(error) if error.is_retryable() => continue,
            Err(error) => return Err(error).context("no task"),
        };
        let header = &task.event.header;
        // Longer than the lease now and then, but not each time: that would be parked in the end.
        let slowness_ms = if task.delivery <= 3 { 20 } else { 5 };
        tokio::time::sleep(Duration::from_millis(header.sequence % 10 * slowness_ms)).await;
        // Each consumer's result is another one: only the acknowledgement keeps the second one out.
        let result = EventDraft::new("result")
            .payload(&json!({ "by": name, "delivery": task.delivery }))
            .parent(header);
        match client
            .commit_batch(vec![result], vec![task.precondition()])
            .await
        {
            Ok(_) => {}
            Err(Error::Rejected(Rejection::Preconditions { violations })) => {
                let is_right = matches!(&violations[..], [Violation::Delivery { .. }]);
                ensure!(is_right, "{violations:?}");
            }
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error).context("a result"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_has_one_result_whoever_dies() -> Result<()> {
    let mut rng = seed::rng(seed::draw(), 0);
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let group = GroupName::new("workers")?;
        make_group(&client, &group, &settings(), GroupStart::Beginning).await?;
        for number in 0..TASKS {
            let task = EventDraft::new("task").payload(&json!({ "number": number }));
            client.commit(task).await?;
        }
        let leader = cluster.leader().await?;
        let mut generation = 0_u64;
        let mut is_killed = false;
        let drained = async |client: &Client| -> Result<bool> {
            let state = client
                .group(&group, toka_client::Consistency::Linearizable)
                .await?;
            Ok(state.position >= TASKS && state.unacknowledged == 0)
        };
        let deadline = std::time::Instant::now() + 3 * PATIENCE;
        while !drained(&client).await? {
            ensure!(std::time::Instant::now() < deadline, "it does not end");
            let mut consumers = JoinSet::new();
            for number in 0..CONSUMERS {
                let client = cluster.client().await?;
                let name = format!("consumer-{generation}-{number}");
                let consumer = client.consume(Consume {
                    ahead: 4,
                    ..Consume::new(group.clone(), ConsumerName::new(&name)?)
                });
                consumers.spawn(work(consumer, client, name));
            }
            if !is_killed && generation == 2 {
                cluster.kill(leader)?;
                is_killed = true;
            }
            let life = Duration::from_millis(rng.random_range(LIFE_MS));
            tokio::select! {
                ended = consumers.join_next() => {
                    let ended = ended.context("there are consumers")?;
                    ended.context("a consumer panicked")?.context("a consumer")?;
                }
                () = tokio::time::sleep(life) => {}
            }
            // They die in the middle of whatever they do.
            consumers.abort_all();
            while consumers.join_next().await.is_some() {}
            generation += 1;
        }
        ensure!(
            is_killed,
            "the leader was not killed: {generation} generations"
        );
        cluster.restart(leader).await?;
        let log = history::same_log(cluster, TASKS).await?;
        let mut results: BTreeMap<u64, u64> = BTreeMap::new();
        for result in log.iter().filter(|event| event.kind == "result") {
            let task = result.parents[0].id.sequence();
            *results.entry(task).or_default() += 1;
        }
        let state = client
            .group(&group, toka_client::Consistency::Linearizable)
            .await?;
        let tasks = log.iter().filter(|event| event.kind == "task");
        let missing: Vec<_> = tasks
            .map(|task| task.sequence)
            .filter(|task| !results.contains_key(task))
            .collect();
        ensure!(missing.is_empty(), "no results of {missing:?}: {state:?}");
        let twice: Vec<_> = results.iter().filter(|(_, count)| **count != 1).collect();
        ensure!(twice.is_empty(), "{twice:?}");
        println!("{generation} generations of consumers");
        Ok(())
    })
    .await
}
