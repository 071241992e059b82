//! Cursors and consumer groups.

use pyo3::prelude::*;
use toka_agents::store::Delivery as LeasedEvent;
use toka_client::{Client, Consistency, GroupSettings, GroupStart, SettleOutcome, Verdict};
use toka_ledger::group::Group;
use toka_ledger::{ConsumerName, CursorName, GroupName, VaultBus};

use crate::call::{Call, off_reactor};
use crate::draft::Condition;
use crate::error::Failure;
use crate::event::Event;
use crate::names::{self, EventFilter, seconds};
use crate::vault::{Target, Vault};

/// Cursors that are listed at most.
const CURSORS_MAX: usize = 100_000;

/// Where a cursor is; `None` if there is none of that name.
#[pyfunction]
pub(crate) fn cursor(vault: &Bound<'_, Vault>, name: &str) -> Result<Call, Failure> {
    let (store, name) = (vault.get().target()?.store(), CursorName::new(name)?);
    Ok(Call::new(async move { Ok(store.cursor(&name).await?) }))
}

/// All cursors and where they are, by name.
#[pyfunction]
pub(crate) fn cursors(vault: &Bound<'_, Vault>) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    Ok(Call::new(async move {
        let cursors = match target {
            Target::Cluster(client) => client.cursors(Consistency::Linearizable).await?,
            Target::Embedded(bus) => {
                off_reactor(move || Ok(bus.cursors(None, CURSORS_MAX)?)).await?
            }
        };
        let cursors = cursors.into_iter();
        let cursors = cursors.map(|(name, sequence)| (name.to_string(), sequence));
        Ok(cursors.collect::<Vec<_>>())
    }))
}

/// Puts a cursor at a sequence; with `from_sequence` only if it is there, where 0 stands for one that there is not.
#[pyfunction]
#[pyo3(signature = (vault, name, sequence, *, from_sequence=None))]
pub(crate) fn save_cursor(
    vault: &Bound<'_, Vault>,
    name: &str,
    sequence: u64,
    from_sequence: Option<u64>,
) -> Result<Call, Failure> {
    let (target, name) = (vault.get().target()?, CursorName::new(name)?);
    Ok(Call::new(async move {
        match target {
            Target::Cluster(client) => {
                client.save_cursor(&name, from_sequence, sequence).await?;
            }
            Target::Embedded(bus) => bus.save_cursor(&name, from_sequence, sequence).await?,
        }
        Ok(())
    }))
}

/// Deletes a cursor; with `from_sequence` only if it is there.
#[pyfunction]
#[pyo3(signature = (vault, name, *, from_sequence=None))]
pub(crate) fn delete_cursor(
    vault: &Bound<'_, Vault>,
    name: &str,
    from_sequence: Option<u64>,
) -> Result<Call, Failure> {
    let (target, name) = (vault.get().target()?, CursorName::new(name)?);
    Ok(Call::new(async move {
        match target {
            Target::Cluster(client) => {
                client.delete_cursor(&name, from_sequence).await?;
            }
            Target::Embedded(bus) => bus.delete_cursor(&name, from_sequence).await?,
        }
        Ok(())
    }))
}

/// A consumer group as it was when it was asked for.
#[pyclass(frozen, get_all, name = "Group", module = "toka_vault._native")]
pub(crate) struct GroupInfo {
    /// Its name.
    name: String,
    /// The event up to which it has delivered everything; 0: none.
    position: u64,
    /// Events that are delivered and not settled.
    unacknowledged: u32,
    /// Events that are put aside.
    parked: u32,
    /// Kinds of its events, as prefixes; empty: every kind.
    kinds: Vec<String>,
    /// Time in which a consumer must settle, milliseconds.
    ack_timeout_ms: u32,
    /// Events that may be delivered and not settled.
    unacknowledged_max: u32,
    /// Deliveries of an event after which it is parked.
    deliveries_max: u32,
}

impl From<Group> for GroupInfo {
    fn from(group: Group) -> Self {
        Self {
            name: group.name.to_string(),
            position: group.position,
            unacknowledged: group.unacknowledged,
            parked: group.parked,
            kinds: group.settings.filter.kind_prefixes,
            ack_timeout_ms: group.settings.ack_timeout_ms,
            unacknowledged_max: group.settings.unacknowledged_max,
            deliveries_max: group.settings.deliveries_max,
        }
    }
}

/// Makes a consumer group of events that come after the sequence `after`, or after all that there are now.
#[pyfunction]
#[pyo3(signature = (
    vault, name, filter=None, *, after=0, ack_timeout_ms=None, unacknowledged_max=None, deliveries_max=None
))]
pub(crate) fn create_group(
    vault: &Bound<'_, Vault>,
    name: &str,
    filter: Option<Bound<'_, EventFilter>>,
    after: Option<u64>,
    ack_timeout_ms: Option<u32>,
    unacknowledged_max: Option<u32>,
    deliveries_max: Option<u32>,
) -> Result<Call, Failure> {
    let (target, name) = (vault.get().target()?, GroupName::new(name)?);
    let defaults = GroupSettings::default();
    let settings = GroupSettings {
        filter: names::filter(filter.as_ref()),
        ack_timeout_ms: ack_timeout_ms.unwrap_or(defaults.ack_timeout_ms),
        unacknowledged_max: unacknowledged_max.unwrap_or(defaults.unacknowledged_max),
        deliveries_max: deliveries_max.unwrap_or(defaults.deliveries_max),
    };
    Ok(Call::new(async move {
        let group = match target {
            Target::Cluster(client) => {
                let start = after.map_or(GroupStart::Now, GroupStart::After);
                client.create_group(&name, &settings, start).await?
            }
            Target::Embedded(bus) => {
                let after = after.unwrap_or(bus.position().sequence);
                bus.create_group(&name, settings, after).await?
            }
        };
        Ok(GroupInfo::from(group))
    }))
}

/// All consumer groups, by name.
#[pyfunction]
pub(crate) fn groups(vault: &Bound<'_, Vault>) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    Ok(Call::new(async move {
        let groups = match target {
            Target::Cluster(client) => client.groups(Consistency::Linearizable).await?,
            Target::Embedded(bus) => off_reactor(move || Ok(bus.groups()?)).await?,
        };
        let groups = groups.into_iter().map(GroupInfo::from);
        Ok(groups.collect::<Vec<_>>())
    }))
}

/// Deletes a consumer group and all that it has outstanding or parked.
#[pyfunction]
pub(crate) fn delete_group(vault: &Bound<'_, Vault>, name: &str) -> Result<Call, Failure> {
    let (target, name) = (vault.get().target()?, GroupName::new(name)?);
    Ok(Call::new(async move {
        match target {
            Target::Cluster(client) => {
                client.delete_group(&name).await?;
            }
            Target::Embedded(bus) => bus.delete_group(&name).await?,
        }
        Ok(())
    }))
}

/// Has all parked events of a group delivered again, or is done with them. Returns how many; up to 1,000 at a time.
#[pyfunction]
pub(crate) fn move_parked(
    vault: &Bound<'_, Vault>,
    name: &str,
    replay: bool,
) -> Result<Call, Failure> {
    let (target, name) = (vault.get().target()?, GroupName::new(name)?);
    Ok(Call::new(async move {
        match target {
            Target::Cluster(client) => move_parked_of_cluster(&client, &name, replay).await,
            Target::Embedded(bus) => move_parked_embedded(&bus, &name, replay).await,
        }
    }))
}

async fn move_parked_of_cluster(
    client: &Client,
    name: &GroupName,
    replay: bool,
) -> Result<u32, Failure> {
    Ok(match replay {
        true => client.replay_parked(name, &[]).await?,
        false => client.discard_parked(name, &[]).await?,
    })
}

async fn move_parked_embedded(
    bus: &VaultBus,
    name: &GroupName,
    replay: bool,
) -> Result<u32, Failure> {
    let unknown = || toka_ledger::Rejection::UnknownGroup { name: name.clone() };
    let mut groups = bus.groups()?.into_iter();
    let group = groups.find(|group| group.name == *name);
    let incarnation = group.ok_or_else(unknown)?.incarnation;
    let all = Vec::new();
    Ok(match replay {
        true => bus.replay_parked(name, incarnation, all).await?,
        false => bus.discard_parked(name, incarnation, all).await?,
    })
}

/// An event in the hands of a consumer, until it settles it or its time is over.
#[pyclass(frozen, module = "toka_vault._native")]
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    target: Target,
    leased: LeasedEvent,
}

#[pymethods]
impl Delivery {
    /// The event.
    #[getter]
    fn event(&self) -> Event {
        Event::from(self.leased.event.clone())
    }

    /// The group.
    #[getter]
    fn group(&self) -> &str {
        self.leased.group.as_str()
    }

    /// Which of the event's deliveries to this group, from 1.
    #[getter]
    fn delivery(&self) -> u32 {
        self.leased.delivery
    }

    /// That this delivery is current, for a commit that acknowledges it: of all consumers of the event exactly one
    /// commits.
    fn acknowledged(&self) -> Condition {
        Condition(self.leased.precondition())
    }

    /// Done with it. Returns whether the delivery was still current.
    fn ack(&self) -> Call {
        self.settle(Verdict::Acknowledge)
    }

    /// It is to be delivered again, not before so many seconds have passed.
    #[pyo3(signature = (*, delay=0.0, reason=String::new()))]
    fn reject(&self, delay: f64, reason: String) -> Result<Call, Failure> {
        let delay = seconds("delay", delay)?.as_millis();
        let delay_ms = u32::try_from(delay).unwrap_or(u32::MAX);
        Ok(self.settle(Verdict::Reject { delay_ms, reason }))
    }

    /// From now on as much time as there was at first.
    fn extend(&self) -> Call {
        self.settle(Verdict::Extend)
    }

    /// It is to be put aside.
    #[pyo3(signature = (reason=String::new()))]
    fn park(&self, reason: String) -> Call {
        self.settle(Verdict::Park { reason })
    }

    /// Nothing was done to it: others get it, and this delivery does not count.
    fn release(&self) -> Call {
        self.settle(Verdict::Release)
    }

    fn __repr__(&self) -> String {
        let (group, delivery) = (self.leased.group.as_str(), self.leased.delivery);
        format!(
            "<Delivery {} {group:?} {delivery}>",
            self.leased.event.sequence()
        )
    }
}

impl Delivery {
    fn settle(&self, verdict: Verdict) -> Call {
        let (store, leased) = (self.target.store(), self.leased.clone());
        Call::new(async move {
            let outcome = store.settle(&leased, verdict).await?;
            Ok(outcome == SettleOutcome::Done)
        })
    }
}

/// Leases up to `limit` events of a group to a consumer; empty if there were none within `wait` seconds.
#[pyfunction]
#[pyo3(signature = (vault, group, consumer, *, limit=1, wait=0.0))]
pub(crate) fn pull(
    vault: &Bound<'_, Vault>,
    group: &str,
    consumer: &str,
    limit: u32,
    wait: f64,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let (group, consumer) = (GroupName::new(group)?, ConsumerName::new(consumer)?);
    let wait = seconds("wait", wait)?;
    Ok(Call::new(async move {
        let store = target.store();
        let leased = store.pull(&group, &consumer, limit, wait).await?;
        let deliveries = leased.into_iter().map(|leased| Delivery {
            target: target.clone(),
            leased,
        });
        Ok(deliveries.collect::<Vec<_>>())
    }))
}
