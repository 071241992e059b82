//! A consumer group with something of everything, and what must be left of it wherever it is looked at.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{
    Client, Consistency, ConsumerName, Delivery, EventDraft, EventHeader, Filter, Group, GroupName,
    GroupSettings, GroupStart, ParkedEvent, Pull, Read, SettleOutcome, Verdict,
};

use crate::cluster::PATIENCE;
use crate::consumers::make_group;
use crate::history::Acks;
use crate::wait;

/// Kind of the group's events.
const KIND: &str = "task";
/// How many there are,
const TASKS: u64 = 10;
/// and how many of them are delivered at first.
const TAKEN: u32 = 6;

/// A group of which one event is acknowledged, one is rejected, one is parked, three are leased and four were not
/// delivered.
#[derive(Debug)]
pub struct Work {
    name: GroupName,
    /// What was committed.
    committed: Vec<EventHeader>,
    /// Sequences of its events.
    tasks: Vec<u64>,
    /// Those that are leased.
    held: Vec<Delivery>,
    /// The group as it was then.
    group: Group,
    parked: Vec<ParkedEvent>,
}

/// The settings of a group of tasks, whose events are parked by hand only.
#[must_use]
pub fn settings(ack_timeout_ms: u32) -> GroupSettings {
    GroupSettings {
        filter: Filter {
            kind_prefixes: vec![KIND.to_owned()],
            ..Filter::default()
        },
        ack_timeout_ms,
        deliveries_max: 1_000,
        ..GroupSettings::default()
    }
}

/// Commits tasks, each behind an event that no group of tasks gets; their sequences.
pub async fn commit_tasks(client: &Client, numbers: Range<u64>) -> Result<Vec<u64>> {
    let committed = commit(client, numbers).await?;
    let tasks = committed.chunks_exact(2).map(|pair| pair[1].sequence);
    Ok(tasks.collect())
}

/// The same; the other event and the task, again and again.
async fn commit(client: &Client, numbers: Range<u64>) -> Result<Vec<EventHeader>> {
    let mut committed = Vec::new();
    for number in numbers {
        for (kind, salt) in [("other", 1), (KIND, 2)] {
            let payload = json!({ "number": number });
            let draft = EventDraft::new(kind).payload(&payload).salt(&[salt]);
            committed.push(client.commit(draft).await?);
        }
    }
    Ok(committed)
}

/// What somebody wants of a group, at once or within `wait`.
pub fn pull(group: &GroupName, max_events: u32, wait: Duration) -> Result<Pull> {
    Ok(Pull {
        max_events,
        wait,
        ..Pull::new(group.clone(), ConsumerName::new("robot")?)
    })
}

/// Sequences of the events of deliveries.
#[must_use]
pub fn sequences(deliveries: &[Delivery]) -> Vec<u64> {
    let sequences = deliveries.iter().map(|each| each.event.header.sequence);
    sequences.collect()
}

/// Says the same of some deliveries, each of which must be current.
pub async fn settle(
    client: &Client,
    group: &GroupName,
    deliveries: &[Delivery],
    verdict: &Verdict,
) -> Result<()> {
    let settlements = deliveries.iter();
    let settlements: Vec<_> = settlements
        .map(|each| (each.token(), verdict.clone()))
        .collect();
    let outcomes = client.settle(group, &settlements).await?;
    let is_done = |outcome: &SettleOutcome| *outcome == SettleOutcome::Done;
    ensure!(outcomes.iter().all(is_done), "{verdict:?}: {outcomes:?}");
    Ok(())
}

/// All parked events of a group.
pub async fn parked(
    client: &Client,
    group: &GroupName,
    consistency: Consistency,
) -> Result<Vec<ParkedEvent>> {
    let read = Read {
        consistency,
        ..Read::default()
    };
    Ok(client.parked(group, usize::MAX, &read).await?)
}

impl Work {
    /// Commits the events, and brings a new group to where it is to be. What is leased is so for `ack_timeout_ms`.
    pub async fn start(client: &Client, ack_timeout_ms: u32) -> Result<Self> {
        let name = GroupName::new("work")?;
        let settings = settings(ack_timeout_ms);
        make_group(client, &name, &settings, GroupStart::Beginning).await?;
        let committed = commit(client, 0..TASKS).await?;
        let tasks = committed.chunks_exact(2).map(|pair| pair[1].sequence);
        let tasks: Vec<u64> = tasks.collect();
        let mut taken = client.pull(&pull(&name, TAKEN, PATIENCE)?).await?;
        let expected = &tasks[..TAKEN as usize];
        ensure!(sequences(&taken) == expected, "{taken:?}");
        let reject = Verdict::Reject {
            delay_ms: 0,
            reason: "no water".to_owned(),
        };
        let park = Verdict::Park {
            reason: "by hand".to_owned(),
        };
        for verdict in [Verdict::Acknowledge, reject, park] {
            let first = taken.remove(0);
            settle(client, &name, &[first], &verdict).await?;
        }
        let group = client.group(&name, Consistency::Linearizable).await?;
        ensure!((group.unacknowledged, group.parked) == (4, 1), "{group:?}");
        let parked = parked(client, &name, Consistency::Linearizable).await?;
        Ok(Self {
            name,
            committed,
            tasks,
            held: taken,
            group,
            parked,
        })
    }

    /// The group's name.
    #[must_use]
    pub const fn name(&self) -> &GroupName {
        &self.name
    }

    /// Takes note of what was committed, for the check of a history.
    pub fn record(&self, acks: &Acks, writer: u64) {
        for header in &self.committed {
            acks.record(writer, header);
        }
    }

    /// Deliveries that are leased.
    #[must_use]
    pub fn held(&self) -> &[Delivery] {
        &self.held
    }

    /// Whether the group is still as it was.
    pub async fn is_kept(&self, client: &Client, consistency: Consistency) -> Result<()> {
        let found = client.group(&self.name, consistency).await?;
        // A vault that was restored has groups of its own: of another incarnation.
        let kept = |group: &Group| {
            let counts = (group.position, group.unacknowledged, group.parked);
            (counts, group.created_unix_ms, group.settings.clone())
        };
        let is_kept = kept(&found) == kept(&self.group);
        ensure!(is_kept, "{found:?} was {:?}", self.group);
        let parked = parked(client, &self.name, consistency).await?;
        let rows = |parked: &[ParkedEvent]| -> Vec<_> {
            let rows = parked.iter();
            rows.map(|each| {
                (
                    each.event.header.sequence,
                    each.deliveries,
                    each.parked_unix_ms,
                    each.reason.clone(),
                )
            })
            .collect()
        };
        ensure!(
            rows(&parked) == rows(&self.parked),
            "{parked:?} was {:?}",
            self.parked
        );
        Ok(())
    }

    /// Acknowledges what is leased, by the tokens that it came with.
    pub async fn acknowledge_held(&mut self, client: &Client) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        settle(client, &self.name, &held, &Verdict::Acknowledge).await
    }

    /// Takes and acknowledges what is left, the parked event last, and checks that it is just what is to be left: what
    /// was outstanding comes again, with further numbers, what was acknowledged does not, and everything else comes.
    pub async fn finish(&self, client: &Client) -> Result<()> {
        let rejected = self.tasks[1];
        let mut again = vec![rejected];
        again.extend(sequences(&self.held));
        let mut expected = again.clone();
        expected.extend(&self.tasks[TAKEN as usize..]);
        let seen = self.drain(client, expected.len()).await?;
        let events: Vec<u64> = seen.keys().copied().collect();
        ensure!(events == expected, "{seen:?}, not {expected:?}");
        for sequence in again {
            let number = seen.get(&sequence).copied();
            ensure!(number >= Some(2), "event {sequence}: {seen:?}");
        }
        let parked = self.tasks[2];
        let moved = client.replay_parked(&self.name, &[parked]).await?;
        ensure!(moved == 1, "{moved} were replayed");
        let seen = self.drain(client, 1).await?;
        let number = seen.get(&parked).copied();
        ensure!(seen.len() == 1 && number >= Some(2), "{seen:?}");
        let group = client.group(&self.name, Consistency::Linearizable).await?;
        ensure!((group.unacknowledged, group.parked) == (0, 0), "{group:?}");
        Ok(())
    }

    /// Takes and acknowledges until there were `count` events and nothing is outstanding; the first delivery of each.
    async fn drain(&self, client: &Client, count: usize) -> Result<BTreeMap<u64, u32>> {
        let mut seen = BTreeMap::new();
        let wanted = pull(&self.name, 100, Duration::ZERO)?;
        wait::until("the group has nothing left", PATIENCE, async || {
            let got = client.pull(&wanted).await?;
            for each in &got {
                let sequence = each.event.header.sequence;
                seen.entry(sequence).or_insert(each.delivery);
            }
            if !got.is_empty() {
                settle(client, &self.name, &got, &Verdict::Acknowledge).await?;
            }
            let group = client.group(&self.name, Consistency::Linearizable).await?;
            ensure!(group.unacknowledged == 0, "{group:?}");
            ensure!(seen.len() >= count, "{seen:?}");
            Ok(())
        })
        .await
        .context("what is left of the group")?;
        Ok(seen)
    }
}
