//! Consumer groups of an embedded vault.

use std::sync::Arc;

use super::VaultBus;
use crate::apply::Outcome;
use crate::command::{
    Command, CreateGroup, DeleteGroup, Deliver, MoveParked, ParkedAction, Precondition, Settle,
    Settlement, UpdateGroup, Verdict,
};
use crate::core::limits::PARKED_MOVES_MAX;
use crate::core::{ConsumerName, EventHeader, GroupName};
use crate::engine::Table;
use crate::error::{Error, Rejection};
use crate::group::{
    Changes, Delivery, Group, Item, Parked, Plan, Settings, SettleOutcome, plan_delivery,
};
use crate::read::Selector;
use crate::store::{encode_sequence, missing};

/// An event that a consumer of a group has got, until it settles it or its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The group.
    pub group: GroupName,
    /// Which group of that name.
    pub incarnation: u64,
    /// The event.
    pub header: EventHeader,
    /// Which of its deliveries, from 1.
    pub delivery: u32,
    /// By when it must be settled, milliseconds since the Unix epoch.
    pub deadline_unix_ms: u64,
}

impl Delivered {
    /// What [`VaultBus::settle`] takes.
    #[must_use]
    pub fn settle(&self, verdict: Verdict) -> Settlement {
        Settlement {
            sequence: self.header.sequence,
            delivery: self.delivery,
            verdict,
        }
    }

    /// That this delivery is current, for a commit that acknowledges it
    /// ([`EventCommit::acknowledge`](super::EventCommit::acknowledge)).
    #[must_use]
    pub fn precondition(&self) -> Precondition {
        Precondition::Acknowledge {
            group: self.group.clone(),
            incarnation: self.incarnation,
            sequence: self.header.sequence,
            delivery: self.delivery,
        }
    }
}

impl VaultBus {
    /// Makes a consumer group, whose events are those behind the sequence `position`, and waits until that is on
    /// stable storage. If there is one of that name with the same settings, that one is returned.
    ///
    /// ```
    /// # use toka_ledger::command::Verdict;
    /// # use toka_ledger::{ConsumerName, GroupName, VaultBus, group};
    /// # #[tokio::main]
    /// # async fn main() -> anyhow::Result<()> {
    /// # let vault = VaultBus::builder().open_in_memory()?;
    /// let (watering, robot) = (GroupName::new("watering")?, ConsumerName::new("robot-1")?);
    /// vault.create_group(&watering, group::Settings::default(), 0).await?;
    /// vault.event("task.created").payload("water the plants").commit().await?;
    ///
    /// // Each event goes to one consumer at a time.
    /// let task = vault.pull(&watering, &robot, 1).await?.remove(0);
    /// assert!(vault.pull(&watering, &robot, 1).await?.is_empty());
    ///
    /// // Its effect is in the vault exactly once: this fails if somebody else has got the task by now.
    /// let done = vault.event("task.done").parent(&task.header);
    /// done.acknowledge(&task).commit().await?;
    /// # assert_eq!(vault.groups()?[0].unacknowledged, 0);
    /// # let settled = vault.settle(&watering, task.incarnation, vec![task.settle(Verdict::Acknowledge)]);
    /// # assert_eq!(settled.await?, [group::SettleOutcome::Stale]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings outside their bounds; [`Rejection::GroupExists`],
    /// [`Rejection::GroupsFull`], [`Rejection::PositionAhead`]; [`Error::Engine`], [`Error::Closed`].
    pub async fn create_group(
        &self,
        name: &GroupName,
        settings: Settings,
        position: u64,
    ) -> Result<Group, Error> {
        settings.check()?;
        // One whose deletion was not brought to its end is in the way.
        if let Some(group) = self.reader().group(name)?
            && group.is_ending
        {
            self.delete_all(&group).await?;
        }
        let command = Command::CreateGroup(CreateGroup {
            unix_ms: self.inner.seams.clock.unix_ms(),
            name: name.clone(),
            settings,
            position,
        });
        match self.execute(command).await? {
            Outcome::GroupCreated { group, .. } => Ok(group),
            other => unreachable!("a group was to be created: {other:?}"),
        }
    }

    /// Deletes a consumer group and all that it has outstanding or parked, and waits until that is on stable
    /// storage.
    ///
    /// # Errors
    /// [`Rejection::UnknownGroup`], [`Error::Engine`], [`Error::Closed`].
    pub async fn delete_group(&self, name: &GroupName) -> Result<(), Error> {
        match self.reader().group(name)? {
            Some(group) => self.delete_all(&group).await,
            None => Err(Rejection::UnknownGroup { name: name.clone() }.into()),
        }
    }

    /// Deletes a group by as many commands as it takes.
    async fn delete_all(&self, group: &Group) -> Result<(), Error> {
        loop {
            let command = Command::DeleteGroup(DeleteGroup {
                unix_ms: self.inner.seams.clock.unix_ms(),
                name: group.name.clone(),
                incarnation: group.incarnation,
            });
            match self.execute(command).await? {
                Outcome::GroupDeleted { rows_left: 0, .. } => return Ok(()),
                Outcome::GroupDeleted { .. } => {}
                other => unreachable!("a group was to be deleted: {other:?}"),
            }
        }
    }

    /// Changes how a consumer group delivers, and leaves it where it is; waits until that is on stable storage.
    /// Returns the group as it is then.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings outside their bounds; [`Rejection::UnknownGroup`]; [`Error::Engine`],
    /// [`Error::Closed`].
    pub async fn update_group(
        &self,
        name: &GroupName,
        incarnation: u64,
        changes: Changes,
    ) -> Result<Group, Error> {
        let command = Command::UpdateGroup(UpdateGroup {
            unix_ms: self.inner.seams.clock.unix_ms(),
            name: name.clone(),
            incarnation,
            changes,
        });
        command.check()?;
        match self.execute(command).await? {
            Outcome::GroupUpdated { group, .. } => Ok(group),
            other => unreachable!("a group was to be changed: {other:?}"),
        }
    }

    /// All consumer groups, by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn groups(&self) -> Result<Vec<Group>, Error> {
        self.reader().groups()
    }

    /// Leases up to `max` events of a group (1 to 1,000) to a consumer: those that are to be delivered again, then
    /// new ones. Does not wait for any: empty where there is nothing. What is not settled in the group's time is
    /// delivered again, to whoever asks.
    ///
    /// # Errors
    /// [`Rejection::UnknownGroup`], [`Error::Corrupt`], [`Error::Engine`], [`Error::Closed`].
    pub async fn pull(
        &self,
        group: &GroupName,
        consumer: &ConsumerName,
        max: usize,
    ) -> Result<Vec<Delivered>, Error> {
        // Each round moves the group on, or finds that another consumer has.
        loop {
            let now = self.inner.seams.clock.unix_ms();
            let now = now.max(self.position().unix_ms);
            let Some(plan) = plan_delivery(self.reader(), group, now, max)? else {
                return Ok(Vec::new());
            };
            let incarnation = plan.incarnation;
            match self.execute(deliver(group, consumer, plan, now)).await {
                Ok(Outcome::Delivered { deliveries, .. }) => {
                    if !deliveries.is_empty() {
                        return self.delivered(group, incarnation, deliveries);
                    }
                }
                Ok(other) => unreachable!("events were to be delivered: {other:?}"),
                Err(Error::Rejected(Rejection::GroupMoved { .. })) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn delivered(
        &self,
        group: &GroupName,
        incarnation: u64,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<Delivered>, Error> {
        let sequence = |delivery: &Delivery| Selector::Sequence(delivery.sequence);
        let selectors: Vec<_> = deliveries.iter().map(sequence).collect();
        let headers = self.reader().headers(&selectors)?;
        let deliveries = deliveries.into_iter().zip(headers);
        deliveries
            .map(|(delivery, header)| {
                let key = encode_sequence(delivery.sequence);
                let header = header.ok_or_else(|| missing(Table::Headers, &key))?;
                Ok(Delivered {
                    group: group.clone(),
                    incarnation,
                    header: Arc::unwrap_or_clone(header),
                    delivery: delivery.delivery,
                    deadline_unix_ms: delivery.deadline_unix_ms,
                })
            })
            .collect()
    }

    /// Says what became of deliveries, up to 1,000, and waits until that is on stable storage. Returns for each
    /// whether it was still the event's current one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many, or too long a reason; [`Rejection::UnknownGroup`], also for a group that was
    /// deleted since, and made again; [`Error::Engine`], [`Error::Closed`].
    pub async fn settle(
        &self,
        group: &GroupName,
        incarnation: u64,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<SettleOutcome>, Error> {
        let command = Command::Settle(Settle {
            unix_ms: self.inner.seams.clock.unix_ms(),
            group: group.clone(),
            incarnation,
            settlements,
        });
        command.check()?;
        match self.execute(command).await? {
            Outcome::Settled { outcomes, .. } => Ok(outcomes),
            other => unreachable!("deliveries were to be settled: {other:?}"),
        }
    }

    /// Up to `limit` events that a group has put aside, those behind the sequence `after`, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn parked(
        &self,
        group: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        self.reader().group_parked(group, after, limit)
    }

    /// Up to `limit` events that a group has outstanding, those behind the sequence `after`, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn outstanding(
        &self,
        group: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Item>, Error> {
        self.reader().group_items(group, after, limit)
    }

    /// Has parked events delivered again, with all their deliveries: those at `sequences` (up to 1,000, ascending),
    /// or the first 1,000 if that is empty. As many as 10,000 may be outstanding then, whatever the settings say.
    /// Returns how many.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Rejection::UnknownGroup`], [`Error::Engine`], [`Error::Closed`].
    pub async fn replay_parked(
        &self,
        group: &GroupName,
        incarnation: u64,
        sequences: Vec<u64>,
    ) -> Result<u32, Error> {
        let action = ParkedAction::Replay;
        self.move_parked(group, incarnation, sequences, action)
            .await
    }

    /// Has done with parked events: those at `sequences` (up to 1,000, ascending), or the first 1,000 if that is
    /// empty. Returns how many.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Rejection::UnknownGroup`], [`Error::Engine`], [`Error::Closed`].
    pub async fn discard_parked(
        &self,
        group: &GroupName,
        incarnation: u64,
        sequences: Vec<u64>,
    ) -> Result<u32, Error> {
        let action = ParkedAction::Discard;
        self.move_parked(group, incarnation, sequences, action)
            .await
    }

    async fn move_parked(
        &self,
        group: &GroupName,
        incarnation: u64,
        mut sequences: Vec<u64>,
        action: ParkedAction,
    ) -> Result<u32, Error> {
        if sequences.is_empty() {
            let first = self.parked(group, 0, PARKED_MOVES_MAX)?.into_iter();
            sequences = first.map(|parked| parked.sequence).collect();
        }
        let command = Command::MoveParked(MoveParked {
            unix_ms: self.inner.seams.clock.unix_ms(),
            group: group.clone(),
            incarnation,
            sequences,
            action,
        });
        command.check()?;
        match self.execute(command).await? {
            Outcome::ParkedMoved { moved, .. } => Ok(moved),
            other => unreachable!("parked events were to be moved: {other:?}"),
        }
    }
}

fn deliver(group: &GroupName, consumer: &ConsumerName, plan: Plan, unix_ms: u64) -> Command {
    Command::Deliver(Deliver {
        unix_ms,
        group: group.clone(),
        incarnation: plan.incarnation,
        consumer: consumer.clone(),
        from: plan.from,
        to: plan.to,
        sequences: plan.sequences,
    })
}
