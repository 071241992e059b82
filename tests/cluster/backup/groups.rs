//! Consumer groups and cursors in backups, as they are and as of an earlier event.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use toka_client::{
    Client, Consistency, CursorName, Delivery, EventDraft, GroupName, GroupStart, SettleOutcome,
    Verdict,
};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::consumers::make_group;
use toka_tests::work::{self, Work};

use super::{number, restore, user, value};

/// What is leased when a backup is made is due again soon after that.
const SHORT_MS: u32 = 1_000;
/// Longer than any test takes.
const LONG_MS: u32 = 3_600_000;

/// A new cluster from the backup at `at`, started.
async fn restored(cluster: &Cluster, nodes: u64, at: &str, point: &[&str]) -> Result<Cluster> {
    let mut new = cluster.prepare_beside(nodes)?;
    for id in new.ids() {
        restore(&new, id, at, point).await?;
    }
    new.launch_all()?;
    new.wait_all_ready().await?;
    Ok(new)
}

/// No token of the vault that was left counts for anything.
async fn are_void(client: &Client, group: &GroupName, held: &[Delivery]) -> Result<()> {
    for delivery in held {
        let settlement = [(delivery.token(), Verdict::Acknowledge)];
        let settled = client.settle(group, &settlement).await;
        let counts = matches!(settled.as_deref(), Ok([SettleOutcome::Done]));
        ensure!(!counts, "{delivery:?}: {settled:?}");
        let event = EventDraft::new("late").payload(&delivery.delivery);
        let committed = client.commit_batch(vec![event], vec![delivery.precondition()]);
        let committed = committed.await;
        ensure!(committed.is_err(), "{delivery:?}: {committed:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_cursors_are_restored_as_they_were() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let work = Work::start(&client, SHORT_MS).await?;
        let kept = CursorName::new("kept")?;
        let gone = CursorName::new("gone")?;
        client.save_cursor(&kept, Some(0), 5).await?;
        client.save_cursor(&gone, Some(0), 6).await?;
        client.delete_cursor(&gone, None).await?;
        let (toka, at) = user(cluster, cluster.followers().await?[0]);
        value(&toka, &["backup", "create", &at]).await?;
        value(&toka, &["backup", "verify", &at]).await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }

        for nodes in [1, 3] {
            let new = restored(cluster, nodes, &at, &[]).await?;
            let client = new.client().await?;
            work.is_kept(&client, Consistency::Linearizable).await?;
            let cursors = client.cursors(Consistency::Linearizable).await?;
            ensure!(cursors == [(kept.clone(), 5)], "{cursors:?}");
            work.finish(&client).await?;
            are_void(&client, work.name(), work.held()).await?;
        }
        let data = cluster.directory().join("embedded").display().to_string();
        let toka = Toka::new(cluster.directory());
        value(&toka, &["restore", &at, "--data", &data, "--embedded"]).await?;
        let shown = value(&toka, &["--data", &data, "group", "show", "work"]).await?;
        ensure!(number(&shown, "unacknowledged")? == 4, "{shown}");
        ensure!(number(&shown, "parked")? == 1, "{shown}");
        Ok(())
    })
    .await
}

/// A group of 20 tasks as it was when 12 of them had been delivered: the first three are acknowledged, the fourth and
/// the eleventh are parked, the others leased.
struct Taken {
    group: GroupName,
    tasks: Vec<u64>,
    held: Vec<Delivery>,
}

impl Taken {
    async fn start(client: &Client) -> Result<Self> {
        let group = GroupName::new("work")?;
        let settings = work::settings(LONG_MS);
        make_group(client, &group, &settings, GroupStart::Beginning).await?;
        let tasks = work::commit_tasks(client, 0..20).await?;
        let mut held = client.pull(&work::pull(&group, 12, PATIENCE)?).await?;
        ensure!(work::sequences(&held) == tasks[..12], "{held:?}");
        let parked = [held.remove(10), held.remove(3)];
        let park = Verdict::Park {
            reason: "by hand".to_owned(),
        };
        work::settle(client, &group, &parked, &park).await?;
        let done: Vec<Delivery> = held.drain(..3).collect();
        work::settle(client, &group, &done, &Verdict::Acknowledge).await?;
        let found = client.group(&group, Consistency::Linearizable).await?;
        ensure!(
            (tasks[11]..tasks[12]).contains(&found.position),
            "{found:?}"
        );
        Ok(Self { group, tasks, held })
    }

    /// Sequences of the tasks that are outstanding, up to `sequence`.
    fn outstanding(&self, sequence: u64) -> Vec<u64> {
        let mut outstanding = work::sequences(&self.held);
        outstanding.retain(|task| *task <= sequence);
        outstanding
    }

    /// Checks a vault that ends at `sequence`: what the group had behind that is gone, and all leases are over.
    async fn is_cut_off(&self, client: &Client, sequence: u64) -> Result<()> {
        let Self { group, tasks, .. } = self;
        let outstanding = self.outstanding(sequence);
        let mut parked = vec![tasks[3], tasks[10]];
        parked.retain(|task| *task <= sequence);
        let found = client.group(group, Consistency::Linearizable).await?;
        ensure!(found.position <= sequence, "{found:?}");
        ensure!(
            found.position >= sequence.min(tasks[11]),
            "{found:?} is before {sequence}"
        );
        let counts = (found.unacknowledged as usize, found.parked as usize);
        ensure!(counts == (outstanding.len(), parked.len()), "{found:?}");
        let rows = work::parked(client, group, Consistency::Linearizable).await?;
        let events: Vec<u64> = rows.iter().map(|row| row.event.header.sequence).collect();
        ensure!(events == parked, "{rows:?}");
        let reasons = rows.iter().all(|row| row.reason == "by hand");
        ensure!(reasons, "{rows:?}");
        are_void(client, group, &self.held).await?;

        // At once, though what was leased was so for an hour; then what the vault has and the group had not got.
        let wanted = work::pull(group, 100, Duration::ZERO)?;
        let mut again = Vec::new();
        loop {
            let got = client.pull(&wanted).await?;
            if got.is_empty() {
                break;
            }
            again.extend(got);
        }
        let mut numbers: BTreeMap<u64, u32> = BTreeMap::new();
        for each in &again {
            numbers.insert(each.event.header.sequence, each.delivery);
        }
        let new = tasks[12..].iter().filter(|task| **task <= sequence);
        let mut expected: BTreeMap<u64, u32> = new.map(|task| (*task, 1)).collect();
        expected.extend(outstanding.iter().map(|task| (*task, 2)));
        ensure!(numbers == expected, "{numbers:?}, not {expected:?}");
        work::settle(client, group, &again, &Verdict::Acknowledge).await?;

        // It goes on with what is committed from now on.
        let next = EventDraft::new("task").payload("after the restore");
        let next = client.commit(next).await?.sequence;
        let got = client.pull(&work::pull(group, 100, PATIENCE)?).await?;
        ensure!(work::sequences(&got) == [next], "{got:?}, not {next}");
        work::settle(client, group, &got, &Verdict::Acknowledge).await?;
        let count = client.replay_parked(group, &parked).await?;
        ensure!(count as usize == parked.len(), "{count} of {parked:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_cut_off_at_the_event_that_is_restored_to() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let (toka, at) = user(cluster, 1);
        let client = cluster.client().await?;
        let taken = Taken::start(&client).await?;
        value(&toka, &["backup", "create", &at, "--name", "backup"]).await?;
        let tasks = &taken.tasks;
        let last = *tasks.last().context("there are tasks")?;
        // Behind what is parked first, among what is leased, right at the group's position, and beyond it.
        for sequence in [tasks[4], tasks[7] - 1, tasks[11], tasks[15], last - 1] {
            let point = sequence.to_string();
            let new = restored(cluster, 1, &at, &["--sequence", &point]).await?;
            let cut_off = taken.is_cut_off(&new.client().await?, sequence).await;
            cut_off.with_context(|| format!("at {sequence}"))?;
        }
        Ok(())
    })
    .await
}
