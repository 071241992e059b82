//! What a consumer holds ahead: it loses nothing by being slow, or by going away.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use toka_client::{
    Client, Consistency, Consume, ConsumerName, EventDraft, GroupName, GroupSettings, GroupStart,
    ItemState, Pull, Read, SettleOutcome,
};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::make_group;

const TASKS: usize = 16;
/// So long one task takes.
const WORK: Duration = Duration::from_millis(150);

/// A group whose events have one delivery that counts, and tasks.
async fn prepare(client: &Client, ack_timeout_ms: u32) -> Result<GroupName> {
    let group = GroupName::new("workers")?;
    let settings = GroupSettings {
        ack_timeout_ms,
        deliveries_max: 1,
        ..GroupSettings::default()
    };
    make_group(client, &group, &settings, GroupStart::Beginning).await?;
    for number in 0..TASKS {
        let task = EventDraft::new("task").payload(&json!({ "number": number }));
        client.commit(task).await?;
    }
    Ok(group)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_consumer_keeps_what_it_holds() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        // All of them together take several times as long.
        let group = prepare(&client, 600).await?;
        let robot = ConsumerName::new("robot")?;
        let mut consumer = client.consume(Consume::new(group.clone(), robot));
        for _ in 0..TASKS {
            let task = consumer.next().await?;
            ensure!(task.delivery == 1, "{task:?}");
            tokio::time::sleep(WORK).await;
            let outcome = consumer.ack(&task).await?;
            ensure!(outcome == SettleOutcome::Done, "{task:?}");
        }
        let group = client.group(&group, Consistency::Linearizable).await?;
        ensure!(
            (group.unacknowledged, group.parked) == (0, 0),
            "nobody has seen them: {group:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_closes_gives_back_what_it_holds_and_that_does_not_count() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let group = prepare(&client, 3_600_000).await?;
        let first = ConsumerName::new("first")?;
        let mut consumer = client.consume(Consume::new(group.clone(), first.clone()));
        let task = consumer.next().await?;
        consumer.ack(&task).await?;
        let read = Read {
            consistency: Consistency::Linearizable,
            ..Read::default()
        };
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let held = client.outstanding(&group, usize::MAX, &read).await?;
            ensure!(held.len() == TASKS - 1, "{held:?}");
            let has = |state: &ItemState| {
                matches!(state, ItemState::Leased { consumer, .. } if *consumer == first)
            };
            ensure!(held.iter().all(|held| has(&held.state)), "{held:?}");
        }
        consumer.close().await?;
        let second = Pull {
            wait: PATIENCE,
            ..Pull::new(group.clone(), ConsumerName::new("second")?)
        };
        let rest = client.pull(&second).await?;
        ensure!(rest.len() == TASKS - 1, "{rest:?}");
        ensure!(rest.iter().all(|task| task.delivery == 2), "{rest:?}");
        let group = client.group(&group, Consistency::Linearizable).await?;
        ensure!(group.parked == 0, "{group:?}");
        Ok(())
    })
    .await
}
