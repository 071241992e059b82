//! Groups that have always something to do, and consumers that take their time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use toka_client::{
    Client, Consistency, Consume, ConsumerName, Delivery, Group, GroupName, GroupSettings,
    GroupStart, SettleOutcome, Verdict,
};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::make_group;
use toka_tests::work;

/// Longer than any test takes.
const LONG_MS: u32 = 3_600_000;
/// Events that the busy group has outstanding at most.
const ROOM: u32 = 4;
/// Events that its consumers park at first.
const PARKED: usize = 3;

fn name() -> Result<GroupName> {
    Ok(GroupName::new("busy")?)
}

/// The group as it is now.
async fn shown(client: &Client) -> Result<Group> {
    let name = name()?;
    Ok(client.group(&name, Consistency::Linearizable).await?)
}

/// Takes what the group has, at once.
async fn take(client: &Client) -> Result<Vec<Delivery>> {
    let wanted = work::pull(&name()?, 100, Duration::ZERO)?;
    Ok(client.pull(&wanted).await?)
}

/// A group that is full, and keeps being so: there are more events than it has room for, and whoever settles one takes
/// the next one at once.
struct Busy {
    client: Client,
    tasks: Vec<u64>,
    parked: Vec<u64>,
    held: Vec<Delivery>,
}

impl Busy {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let client = cluster.client().await?;
        let settings = GroupSettings {
            unacknowledged_max: ROOM,
            ..work::settings(LONG_MS)
        };
        make_group(&client, &name()?, &settings, GroupStart::Beginning).await?;
        let tasks = work::commit_tasks(&client, 0..40).await?;
        let first = client.pull(&work::pull(&name()?, 3, PATIENCE)?).await?;
        let parked = work::sequences(&first);
        ensure!(parked == tasks[..PARKED], "{first:?}");
        let park = Verdict::Park {
            reason: "broken".to_owned(),
        };
        work::settle(&client, &name()?, &first, &park).await?;
        let held = take(&client).await?;
        ensure!(held.len() == ROOM as usize, "{held:?}");
        let more = take(&client).await?;
        ensure!(more.is_empty(), "it is not full: {more:?}");
        Ok(Self {
            client,
            tasks,
            parked,
            held,
        })
    }

    /// Settles the oldest event, and takes what comes in its place.
    async fn go_on(&mut self) -> Result<Vec<u64>> {
        ensure!(!self.held.is_empty(), "nothing is held");
        let oldest = self.held.remove(0);
        let done = Verdict::Acknowledge;
        work::settle(&self.client, &name()?, &[oldest], &done).await?;
        let taken = take(&self.client).await?;
        let sequences = work::sequences(&taken);
        self.held.extend(taken);
        Ok(sequences)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_that_is_always_full_replays_its_parked_events() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let mut busy = Busy::start(cluster).await?;
        for _ in 0..3 {
            let taken = busy.go_on().await?;
            ensure!(taken.len() == 1, "{taken:?}");
        }
        let moved = busy.client.replay_parked(&name()?, &busy.parked).await?;
        ensure!(moved as usize == PARKED, "{moved} were replayed");
        let group = shown(&busy.client).await?;
        ensure!(group.parked == 0, "{group:?}");
        // They come before any event that is new, whether there is room for them or not.
        let taken = take(&busy.client).await?;
        let mut seen = work::sequences(&taken);
        busy.held.extend(taken);
        while seen.len() < PARKED {
            seen.extend(busy.go_on().await?);
        }
        ensure!(seen == busy.parked, "{seen:?}, not {:?}", busy.parked);
        // New ones wait until there is room again, and then all of them come.
        let mut last = 0;
        while !busy.held.is_empty() {
            let taken = busy.go_on().await?;
            let room = busy.held.len() <= ROOM as usize || taken.is_empty();
            ensure!(room, "{taken:?} came, and {} are held", busy.held.len());
            last = taken.into_iter().fold(last, u64::max);
        }
        ensure!(last == busy.tasks[39], "{last} came last");
        let group = shown(&busy.client).await?;
        ensure!((group.unacknowledged, group.parked) == (0, 0), "{group:?}");
        Ok(())
    })
    .await
}

/// Its handler takes less time than a consumer has, and more than its share of that for each event that it asked for at
/// once: what it holds too long must not count as a delivery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_is_slow_parks_nothing() -> Result<()> {
    const HANDLER: Duration = Duration::from_millis(400);
    const TASKS: u64 = 12;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let settings = GroupSettings {
            ack_timeout_ms: 1_000,
            deliveries_max: 2,
            ..work::settings(LONG_MS)
        };
        make_group(&client, &name()?, &settings, GroupStart::Beginning).await?;
        let tasks = work::commit_tasks(&client, 0..TASKS).await?;
        let mut consumer = client.consume(Consume {
            ahead: 8,
            ..Consume::new(name()?, ConsumerName::new("slow")?)
        });
        let mut done = BTreeSet::new();
        while done.len() < tasks.len() {
            let group = shown(&client).await?;
            ensure!(group.parked == 0, "{group:?} after {done:?}");
            let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
            let Ok(next) = next else {
                anyhow::bail!("nothing comes any more after {done:?}");
            };
            let task = next?;
            // This is what the test is about: work that takes its time.
            tokio::time::sleep(HANDLER).await;
            if consumer.ack(&task).await? == SettleOutcome::Done {
                done.insert(task.event.header.sequence);
            }
        }
        consumer.close().await?;
        ensure!(done.iter().copied().eq(tasks), "{done:?}");
        let group = shown(&client).await?;
        ensure!((group.unacknowledged, group.parked) == (0, 0), "{group:?}");
        Ok(())
    })
    .await
}
