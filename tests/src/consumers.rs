//! Consumers of a group at work, and what must hold of what they get.

mod witness;

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

pub use self::witness::{Witness, Witnessed};
use crate::cluster::PATIENCE;
use crate::{seed, wait};

/// What a consumer rejects comes back after this.
const REJECTED_FOR: Duration = Duration::from_millis(5);
/// Of so many deliveries one is rejected, and one is forgotten until its time is over.
const FATES: u32 = 10;
/// What every other consumer asks for at once; the others hold nothing.
const AHEAD: u32 = 8;

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
        for (number, client) in (1_u64..).zip(clients) {
            let name = ConsumerName::new(&format!("consumer-{number}"))?;
            let holds_nothing = number.is_multiple_of(2);
            let worker = Worker {
                consumer: client.consume(Consume {
                    ahead: if holds_nothing { 1 } else { AHEAD },
                    ..Consume::new(group.clone(), name)
                }),
                holds_nothing,
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
    holds_nothing: bool,
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
        self.witness.got(delivery, self.holds_nothing);
        let settled = match self.rng.random_range(0..FATES) {
            0 => return Ok(()),
            1 => {
                self.witness.settles(delivery);
                let rejected = self.consumer.reject(delivery, REJECTED_FOR, "not now");
                match rejected.await {
                    Ok(SettleOutcome::Done) => {
                        self.witness.rejected(delivery, REJECTED_FOR);
                        Ok(())
                    }
                    Ok(SettleOutcome::Stale) => Ok(()),
                    Err(error) => Err(error),
                }
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
