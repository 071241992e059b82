//! Consumers of a group at work, and what must hold of what they get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use toka_client::{
    Client, Code, Consistency, Consume, ConsumerName, Delivery, Error, Group, GroupConsumer,
    GroupName, GroupSettings, GroupStart, SettleOutcome,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::PATIENCE;
use crate::{seed, wait};

/// What a consumer rejects comes back after this.
const REJECTED_FOR: Duration = Duration::from_millis(5);
/// Of so many deliveries one is rejected, and one is forgotten until its time is over.
const FATES: u32 = 10;

/// Makes a group, as soon as the vault is at the feature level that groups need: every member must have said that it
/// knows it.
pub async fn make_group(
    client: &Client,
    name: &GroupName,
    settings: &GroupSettings,
    start: GroupStart,
) -> Result<Group> {
    wait::until("the group", PATIENCE, async || {
        Ok(client.create_group(name, settings, start).await?)
    })
    .await
}

/// Waits until the vault is at the feature level that cursors' commands and groups need.
pub async fn has_groups(client: &Client) -> Result<()> {
    let nobody = GroupName::new("nobody")?;
    wait::until("the feature level", PATIENCE, async || {
        match client.delete_group(&nobody).await {
            Err(Error::Refused {
                code: Code::FailedPrecondition,
                message,
                ..
            }) => anyhow::bail!(message),
            Err(Error::Rejected(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// What consumers have seen of a group's deliveries. Clones share it.
#[derive(Clone, Debug)]
pub struct Witness(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    ack_timeout_ms: u64,
    /// By event and number of the delivery: from when to when it was leased, in the vault's time.
    leases: BTreeMap<(u64, u32), Lease>,
    acknowledged: BTreeSet<u64>,
    /// The first thing that was wrong.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    from_unix_ms: u64,
    until_unix_ms: u64,
    /// Its consumer may have ended it before.
    may_be_settled: bool,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// Events.
    pub events: usize,
    /// Deliveries of them.
    pub deliveries: usize,
}

impl Witness {
    /// Of a group in which a consumer has so long.
    #[must_use]
    pub fn new(settings: &GroupSettings) -> Self {
        Self(Arc::new(Mutex::new(State {
            ack_timeout_ms: settings.ack_timeout_ms.into(),
            leases: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            trouble: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A consumer has got an event.
    pub fn got(&self, delivery: &Delivery) {
        let mut state = self.lock();
        let until_unix_ms = delivery.deadline_unix_ms;
        let lease = Lease {
            from_unix_ms: until_unix_ms.saturating_sub(state.ack_timeout_ms),
            until_unix_ms,
            may_be_settled: false,
        };
        let key = (delivery.event.header.sequence, delivery.delivery);
        if state.leases.insert(key, lease).is_some() {
            let trouble = format!("delivery {} of event {} was made twice", key.1, key.0);
            state.trouble.get_or_insert(trouble);
        }
    }

    /// A consumer is about to end its lease.
    pub fn settles(&self, delivery: &Delivery) {
        let key = (delivery.event.header.sequence, delivery.delivery);
        if let Some(lease) = self.lock().leases.get_mut(&key) {
            lease.may_be_settled = true;
        }
    }

    /// An event is done with.
    pub fn acknowledged(&self, delivery: &Delivery) {
        let sequence = delivery.event.header.sequence;
        self.lock().acknowledged.insert(sequence);
    }

    /// How many events are done with, as far as consumers were told.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().acknowledged.len()
    }

    /// Checks all of it: each of the `wanted` events (ascending) was delivered and no other one, none to two consumers
    /// at a time, and first deliveries came in order.
    pub fn check(&self, wanted: &[u64]) -> Result<Witnessed> {
        let state = self.lock();
        if let Some(trouble) = &state.trouble {
            anyhow::bail!("{trouble}");
        }
        let seen: BTreeSet<u64> = state.leases.keys().map(|(sequence, _)| *sequence).collect();
        let wanted: BTreeSet<u64> = wanted.iter().copied().collect();
        let missing: Vec<_> = wanted.difference(&seen).collect();
        // An answer that was lost may have had an event that the vault has settled since; not without a consumer
        // that says so.
        ensure!(missing.is_empty(), "never delivered: {missing:?}");
        let others: Vec<_> = seen.difference(&wanted).collect();
        ensure!(others.is_empty(), "delivered and not wanted: {others:?}");
        for (((sequence, first), earlier), ((other, second), later)) in
            state.leases.iter().zip(state.leases.iter().skip(1))
        {
            let is_overlap = sequence == other
                && !earlier.may_be_settled
                && later.from_unix_ms < earlier.until_unix_ms;
            ensure!(
                !is_overlap,
                "event {sequence}: delivery {first} is {earlier:?}, delivery {second} {later:?}"
            );
        }
        let firsts = state
            .leases
            .iter()
            .filter(|((_, delivery), _)| *delivery == 1);
        let mut last = 0;
        for ((sequence, _), lease) in firsts {
            ensure!(
                lease.from_unix_ms >= last,
                "event {sequence} was delivered before one that stands before it"
            );
            last = lease.from_unix_ms;
        }
        Ok(Witnessed {
            events: seen.len(),
            deliveries: state.leases.len(),
        })
    }
}

/// Consumers at work.
#[derive(Debug)]
pub struct Consumers {
    witness: Witness,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<()>>,
}

impl Consumers {
    /// Starts one for each client. Each acknowledges most of what it gets, gives some back, and forgets some.
    pub fn start(
        clients: Vec<Client>,
        group: &GroupName,
        witness: Witness,
        seed: u64,
    ) -> Result<Self> {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for (number, client) in (1..).zip(clients) {
            let name = ConsumerName::new(&format!("consumer-{number}"))?;
            let worker = Worker {
                consumer: client.consume(Consume {
                    ahead: 8,
                    ..Consume::new(group.clone(), name)
                }),
                witness: witness.clone(),
                rng: seed::rng(seed, 1_000 + number),
            };
            tasks.spawn(worker.work(stop.subscribe()));
        }
        Ok(Self {
            witness,
            stop,
            tasks,
        })
    }

    /// What they have seen.
    #[must_use]
    pub const fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Waits until they were told that so many more events are done with.
    pub async fn more(&self, more: usize, within: Duration) -> Result<()> {
        let wanted = self.witness.count() + more;
        wait::until("more events are done with", within, async || {
            let count = self.witness.count();
            ensure!(count >= wanted, "{count} of {wanted}");
            Ok(())
        })
        .await
    }

    /// Waits until the group has delivered the last event that it gets, at `sequence`, and nothing is outstanding; then
    /// ends them.
    ///
    /// # Errors
    /// One of them has seen an error that no fault excuses, or the group does not get there.
    pub async fn finish(mut self, client: &Client, group: &GroupName, sequence: u64) -> Result<()> {
        let drained = wait::until("the group has nothing left", 2 * PATIENCE, async || {
            let group = client.group(group, Consistency::Linearizable).await?;
            ensure!(group.position >= sequence, "{group:?}");
            ensure!(group.unacknowledged == 0, "{group:?}");
            ensure!(group.parked == 0, "{group:?}");
            Ok(())
        });
        let drained = tokio::select! {
            drained = drained => drained,
            ended = self.tasks.join_next() => {
                let ended = ended.context("there are no consumers")?;
                ended.context("a consumer panicked")?.context("a consumer")?;
                anyhow::bail!("a consumer has ended by itself")
            }
        };
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended
                .context("a consumer panicked")?
                .context("a consumer")?;
        }
        drained
    }
}

struct Worker {
    consumer: GroupConsumer,
    witness: Witness,
    rng: StdRng,
}

impl Worker {
    async fn work(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        loop {
            let delivery = tokio::select! {
                delivery = self.consumer.next() => delivery,
                // The guard that this returns is of no use.
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match delivery {
                Ok(delivery) => self.take(&delivery).await?,
                Err(error) => excused(error)?,
            }
        }
        match self.consumer.close().await {
            Ok(()) => Ok(()),
            Err(error) => excused(error),
        }
    }

    async fn take(&mut self, delivery: &Delivery) -> Result<()> {
        self.witness.got(delivery);
        let settled = match self.rng.random_range(0..FATES) {
            0 => return Ok(()),
            1 => {
                self.witness.settles(delivery);
                let rejected = self.consumer.reject(delivery, REJECTED_FOR, "not now");
                rejected.await.map(drop)
            }
            _ => {
                self.witness.settles(delivery);
                match self.consumer.ack(delivery).await {
                    Ok(SettleOutcome::Done) => {
                        self.witness.acknowledged(delivery);
                        Ok(())
                    }
                    // By an earlier try, or it was late.
                    Ok(SettleOutcome::Stale) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        };
        settled.or_else(excused)
    }
}

/// What a consumer may be told while there are faults.
fn excused(error: Error) -> Result<()> {
    let passes = error.is_retryable() || matches!(error, Error::LimitReached { .. });
    if passes {
        return Ok(());
    }
    Err(error.into())
}
