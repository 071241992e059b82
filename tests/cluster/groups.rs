//! Consumer groups, one promise at a time.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{
    Client, Consistency, ConsumerName, Delivery, Error, EventDraft, Filter, GroupName,
    GroupSettings, GroupStart, Pull, Read, SettleOutcome, Verdict,
};
use toka_ledger::Rejection;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::make_group;
use toka_tests::history::local_log;
use toka_tests::wait;

/// Long enough for any test to be over.
const LONG_MS: u32 = 3_600_000;
const SHORT_MS: u32 = 300;

fn settings() -> GroupSettings {
    GroupSettings {
        filter: Filter {
            kind_prefixes: vec!["task".to_owned()],
            ..Filter::default()
        },
        ack_timeout_ms: LONG_MS,
        ..GroupSettings::default()
    }
}

fn name() -> Result<GroupName> {
    Ok(GroupName::new("workers")?)
}

fn pull(max_events: u32, wait: Duration) -> Result<Pull> {
    Ok(Pull {
        max_events,
        wait,
        ..Pull::new(name()?, ConsumerName::new("robot")?)
    })
}

/// Commits `count` tasks, each behind an event that the group does not get.
async fn commit_tasks(client: &Client, count: u64) -> Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for number in 0..count {
        let payload = json!({ "number": number });
        let other = EventDraft::new("other").payload(&payload).salt(&[1]);
        client.commit(other).await?;
        let task = EventDraft::new("task").payload(&payload).salt(&[2]);
        sequences.push(client.commit(task).await?.sequence);
    }
    Ok(sequences)
}

fn sequences(deliveries: &[Delivery]) -> Vec<u64> {
    let sequences = deliveries.iter().map(|each| each.event.header.sequence);
    sequences.collect()
}

async fn settle_all(
    client: &Client,
    deliveries: &[Delivery],
    verdict: &Verdict,
) -> Result<Vec<SettleOutcome>> {
    let settlements = deliveries.iter();
    let settlements: Vec<_> = settlements
        .map(|each| (each.token(), verdict.clone()))
        .collect();
    Ok(client.settle(&name()?, &settlements).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_the_group_wants_come_in_order_and_once_on_any_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        make_group(&client, &name()?, &settings(), GroupStart::Beginning).await?;
        let tasks = commit_tasks(&client, 12).await?;
        let mut seen = Vec::new();
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let got = client.pull(&pull(3, Duration::ZERO)?).await?;
            ensure!(got.iter().all(|each| each.delivery == 1), "{got:?}");
            ensure!(
                got.iter().all(|each| each.event.payload.is_some()),
                "{got:?}"
            );
            let outcomes = settle_all(&client, &got, &Verdict::Acknowledge).await?;
            ensure!(outcomes == [SettleOutcome::Done; 3], "{outcomes:?}");
            seen.extend(sequences(&got));
        }
        ensure!(seen == tasks[..9], "{seen:?} of {tasks:?}");
        let group = client.group(&name()?, Consistency::Linearizable).await?;
        ensure!((tasks[8]..tasks[9]).contains(&group.position), "{group:?}");
        ensure!(group.unacknowledged == 0, "{group:?}");
        let groups = client.groups(Consistency::Linearizable).await?;
        ensure!(groups == [group], "{groups:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_that_is_not_settled_in_time_is_made_again() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let settings = GroupSettings {
            ack_timeout_ms: SHORT_MS,
            ..settings()
        };
        make_group(&client, &name()?, &settings, GroupStart::Beginning).await?;
        let tasks = commit_tasks(&client, 1).await?;
        let first = client.pull(&pull(1, PATIENCE)?).await?;
        let second = client.pull(&pull(1, PATIENCE)?).await?;
        ensure!(sequences(&second) == tasks, "{second:?}");
        ensure!(second[0].delivery == 2, "{second:?}");
        // In the vault's time the first lease was over when the second began.
        let began = second[0].deadline_unix_ms - u64::from(SHORT_MS);
        ensure!(first[0].deadline_unix_ms <= began, "{first:?} {second:?}");
        let late = settle_all(&client, &first, &Verdict::Acknowledge).await?;
        ensure!(late == [SettleOutcome::Stale], "{late:?}");
        let extended = settle_all(&client, &second, &Verdict::Extend).await?;
        let acknowledged = settle_all(&client, &second, &Verdict::Acknowledge).await?;
        // On a machine that sleeps it is late too.
        let is_right = matches!(
            (&extended[..], &acknowledged[..]),
            ([SettleOutcome::Done], [SettleOutcome::Done]) | ([_], [SettleOutcome::Stale])
        );
        ensure!(is_right, "{extended:?} {acknowledged:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_keeps_failing_is_parked_and_can_be_replayed() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let settings = GroupSettings {
            deliveries_max: 2,
            ..settings()
        };
        make_group(&client, &name()?, &settings, GroupStart::Beginning).await?;
        let tasks = commit_tasks(&client, 2).await?;
        let reject = Verdict::Reject {
            delay_ms: 0,
            reason: "no water".to_owned(),
        };
        for delivery in 1..=2 {
            let got = client.pull(&pull(1, PATIENCE)?).await?;
            ensure!(sequences(&got) == tasks[..1], "{got:?}");
            ensure!(got[0].delivery == delivery, "{got:?}");
            settle_all(&client, &got, &reject).await?;
        }
        let rest = client.pull(&pull(10, Duration::ZERO)?).await?;
        ensure!(sequences(&rest) == tasks[1..], "{rest:?}");
        let read = Read {
            consistency: Consistency::Linearizable,
            ..Read::default()
        };
        let park = Verdict::Park {
            reason: "by hand".to_owned(),
        };
        settle_all(&client, &rest, &park).await?;
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let parked = client.parked(&name()?, usize::MAX, &read).await?;
            let reasons = parked
                .iter()
                .map(|each| (each.deliveries, each.reason.as_str()));
            let reasons: Vec<_> = reasons.collect();
            ensure!(reasons == [(2, "no water"), (1, "by hand")], "{parked:?}");
        }
        ensure!(client.replay_parked(&name()?, &tasks[..1]).await? == 1);
        let again = client.pull(&pull(10, Duration::ZERO)?).await?;
        ensure!(sequences(&again) == tasks[..1], "{again:?}");
        ensure!(again[0].delivery == 3, "{again:?}");
        // It has all its deliveries again.
        settle_all(&client, &again, &reject).await?;
        let again = client.pull(&pull(10, Duration::ZERO)?).await?;
        settle_all(&client, &again, &Verdict::Acknowledge).await?;
        ensure!(client.discard_parked(&name()?, &[]).await? == 1);
        let group = client.group(&name()?, Consistency::Linearizable).await?;
        ensure!((group.unacknowledged, group.parked) == (0, 0), "{group:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_bound_is_outstanding() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let settings = GroupSettings {
            unacknowledged_max: 3,
            ..settings()
        };
        make_group(&client, &name()?, &settings, GroupStart::Beginning).await?;
        let tasks = commit_tasks(&client, 6).await?;
        let first = client.pull(&pull(100, Duration::ZERO)?).await?;
        ensure!(sequences(&first) == tasks[..3], "{first:?}");
        let none = client.pull(&pull(100, Duration::ZERO)?).await?;
        ensure!(none.is_empty(), "{none:?}");
        // One that waits gets the next one as soon as there is room.
        let waiting = client.clone();
        let wanted = pull(100, PATIENCE)?;
        let waiting = tokio::spawn(async move { waiting.pull(&wanted).await });
        settle_all(&client, &first[1..2], &Verdict::Acknowledge).await?;
        let next = waiting.await??;
        ensure!(sequences(&next) == tasks[3..4], "{next:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_waits_gets_what_is_committed_and_learns_of_the_end() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        make_group(&client, &name()?, &settings(), GroupStart::Now).await?;
        let follower = cluster.followers().await?[0];
        let consumer = cluster.client_of(follower).await?;
        let wanted = pull(1, PATIENCE)?;
        let (waiting, wish) = (consumer.clone(), wanted.clone());
        let waiting = tokio::spawn(async move { waiting.pull(&wish).await });
        is_asked(cluster).await?;
        let tasks = commit_tasks(&client, 1).await?;
        let got = waiting.await??;
        ensure!(sequences(&got) == tasks, "{got:?}");

        let waiting = tokio::spawn(async move { consumer.pull(&wanted).await });
        is_asked(cluster).await?;
        client.delete_group(&name()?).await?;
        let ended = waiting.await?;
        ensure!(
            matches!(&ended, Err(Error::Rejected(Rejection::UnknownGroup { .. }))),
            "{ended:?}"
        );
        // What is made again is another group: tokens of the first one count for nothing.
        make_group(&client, &name()?, &settings(), GroupStart::Beginning).await?;
        let settled = settle_all(&client, &got, &Verdict::Acknowledge).await;
        ensure!(settled.is_err(), "{settled:?}");
        Ok(())
    })
    .await
}

/// Waits until a consumer waits at the leader.
async fn is_asked(cluster: &Cluster) -> Result<()> {
    let leader = cluster.leader().await?;
    wait::until("a consumer waits", PATIENCE, async || {
        let open = cluster.node(leader).metric("toka_pulls_open").await?;
        ensure!(open > 0, "nobody waits");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_starts_where_it_is_told_to() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let tasks = commit_tasks(&client, 4).await?;
        cluster.converged(8).await?;
        let log = local_log(&client).await?;
        let third = log.iter().find(|event| event.sequence == tasks[2]);
        let at = third.context("the third task")?.unix_ms;
        let at_or_later = log.iter().filter(|event| event.unix_ms >= at);
        let first_at = at_or_later.map(|event| event.sequence).min();
        let first_at = first_at.context("there is one")?;
        for (start, after) in [
            (GroupStart::Beginning, 0),
            (GroupStart::After(tasks[1]), tasks[1]),
            (GroupStart::At(at), first_at - 1),
            (GroupStart::At(0), 0),
            (GroupStart::At(u64::MAX), 8),
            (GroupStart::Now, 8),
        ] {
            let group = make_group(&client, &name()?, &settings(), start).await?;
            ensure!(group.position == after, "{start:?}: {group:?}");
            client.delete_group(&name()?).await?;
        }
        let beyond = GroupStart::After(9);
        let refused = client.create_group(&name()?, &settings(), beyond).await;
        ensure!(
            matches!(
                &refused,
                Err(Error::OutOfRange {
                    sequence: 9,
                    last: 8,
                    ..
                })
            ),
            "{refused:?}"
        );
        client
            .create_group(&name()?, &settings(), GroupStart::Now)
            .await?;
        let other = GroupSettings {
            deliveries_max: 9,
            ..settings()
        };
        let refused = client.create_group(&name()?, &other, GroupStart::Now).await;
        ensure!(
            matches!(
                &refused,
                Err(Error::Rejected(Rejection::GroupExists { .. }))
            ),
            "{refused:?}"
        );
        Ok(())
    })
    .await
}
