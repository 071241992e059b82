//! Cursors and consumer groups, of a cluster or an embedded vault.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use toka_client::{Consistency, Read, Token};
use toka_ledger::command::{ParkedAction, Settlement, Verdict};
use toka_ledger::core::limits::DELIVER_EVENTS_MAX;
use toka_ledger::group::{Changes, Group, ItemState, Settings, SettleOutcome};
use toka_ledger::{ConsumerName, CursorName, GroupName, Reader, Selector};

use super::embedded::{Local, failure as local_failure, record as local_record};
use super::{Include, Record, Target, cluster, failure};
use crate::cli::GroupStart;
use crate::failure::Failure;

/// An event in the hands of a consumer.
pub(crate) struct Delivery {
    pub(crate) record: Record,
    pub(crate) delivery: u32,
    pub(crate) deadline_unix_ms: u64,
    pub(crate) token: Token,
}

/// An event that was delivered, and is not done with.
pub(crate) struct OutstandingEvent {
    pub(crate) record: Record,
    pub(crate) deliveries: u32,
    pub(crate) forgiven: u32,
    pub(crate) state: ItemState,
}

/// An event that was put aside.
pub(crate) struct ParkedEvent {
    pub(crate) record: Record,
    pub(crate) deliveries: u32,
    pub(crate) parked_unix_ms: u64,
    pub(crate) reason: String,
}

const WITH_PAYLOAD: Include = Include {
    payload: true,
    embedding: false,
};

impl Target {
    /// All cursors and where they are.
    pub(crate) async fn cursors(&self) -> Result<Vec<(CursorName, u64)>> {
        match self {
            Self::Cluster(remote) => {
                let cursors = remote.client().cursors(Consistency::Linearizable).await;
                cursors.map_err(failure)
            }
            Self::Embedded(local) => {
                let cursors = local.vault().cursors(None, usize::MAX);
                cursors.map_err(local_failure)
            }
        }
    }

    /// Where a cursor is.
    pub(crate) async fn cursor(&self, name: &CursorName) -> Result<u64> {
        let cursor = match self {
            Self::Cluster(remote) => {
                let cursor = remote.client().cursor(name, Consistency::Linearizable);
                cursor.await.map_err(failure)?
            }
            Self::Embedded(local) => local.vault().cursor(name).map_err(local_failure)?,
        };
        cursor.ok_or_else(|| Failure::NotFound(format!("cursor {name}")).into())
    }

    /// Puts a cursor somewhere.
    pub(crate) async fn save_cursor(
        &self,
        name: &CursorName,
        from: Option<u64>,
        to: u64,
    ) -> Result<()> {
        match self {
            Self::Cluster(remote) => {
                let saved = remote.client().save_cursor(name, from, to).await;
                saved.map(drop).map_err(failure)
            }
            Self::Embedded(local) => {
                let saved = local.vault().save_cursor(name, from, to).await;
                saved.map_err(local_failure)
            }
        }
    }

    /// Deletes a cursor.
    pub(crate) async fn delete_cursor(&self, name: &CursorName, from: Option<u64>) -> Result<()> {
        match self {
            Self::Cluster(remote) => {
                let deleted = remote.client().delete_cursor(name, from).await;
                deleted.map(drop).map_err(failure)
            }
            Self::Embedded(local) => {
                let deleted = local.vault().delete_cursor(name, from).await;
                deleted.map_err(local_failure)
            }
        }
    }

    /// Makes a group.
    pub(crate) async fn create_group(
        &self,
        name: &GroupName,
        settings: Settings,
        start: GroupStart,
    ) -> Result<Group> {
        match self {
            Self::Cluster(remote) => {
                let start = match start {
                    GroupStart::Beginning => toka_client::GroupStart::Beginning,
                    GroupStart::Now => toka_client::GroupStart::Now,
                    GroupStart::After(sequence) => toka_client::GroupStart::After(sequence),
                    GroupStart::At(unix_ms) => toka_client::GroupStart::At(unix_ms),
                };
                let created = remote.client().create_group(name, &settings, start).await;
                created.map_err(failure)
            }
            Self::Embedded(local) => {
                let position = position(local.reader(), start)?;
                let created = local.vault().create_group(name, settings, position).await;
                created.map_err(local_failure)
            }
        }
    }

    /// All groups.
    pub(crate) async fn groups(&self) -> Result<Vec<Group>> {
        match self {
            Self::Cluster(remote) => {
                let groups = remote.client().groups(Consistency::Linearizable).await;
                groups.map_err(failure)
            }
            Self::Embedded(local) => local.vault().groups().map_err(local_failure),
        }
    }

    /// One group.
    pub(crate) async fn group(&self, name: &GroupName) -> Result<Group> {
        match self {
            Self::Cluster(remote) => {
                let group = remote.client().group(name, Consistency::Linearizable).await;
                group.map_err(failure)
            }
            Self::Embedded(local) => local.group(name),
        }
    }

    /// Changes how a group delivers.
    pub(crate) async fn update_group(&self, name: &GroupName, changes: Changes) -> Result<Group> {
        match self {
            Self::Cluster(remote) => {
                let updated = remote.client().update_group(name, changes).await;
                updated.map_err(failure)
            }
            Self::Embedded(local) => {
                let incarnation = local.group(name)?.incarnation;
                let updated = local.vault().update_group(name, incarnation, changes).await;
                updated.map_err(local_failure)
            }
        }
    }

    /// Deletes a group.
    pub(crate) async fn delete_group(&self, name: &GroupName) -> Result<()> {
        match self {
            Self::Cluster(remote) => {
                let deleted = remote.client().delete_group(name).await;
                deleted.map(drop).map_err(failure)
            }
            Self::Embedded(local) => {
                let deleted = local.vault().delete_group(name).await;
                deleted.map_err(local_failure)
            }
        }
    }

    /// Takes events of a group. An embedded vault is not waited for: nobody else commits to it.
    pub(crate) async fn pull(
        &self,
        group: &GroupName,
        consumer: &ConsumerName,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Delivery>> {
        match self {
            Self::Cluster(remote) => {
                let pull = toka_client::Pull {
                    max_events: limit,
                    wait,
                    include: WITH_PAYLOAD.into(),
                    ..toka_client::Pull::new(group.clone(), consumer.clone())
                };
                let pulled = remote.client().pull(&pull).await.map_err(failure)?;
                Ok(pulled.into_iter().map(remote_delivery).collect())
            }
            Self::Embedded(local) => {
                let limit = (limit as usize).min(DELIVER_EVENTS_MAX);
                let pulled = local.vault().pull(group, consumer, limit).await;
                let pulled = pulled.map_err(local_failure)?.into_iter();
                pulled
                    .map(|pulled| {
                        Ok(Delivery {
                            record: local_record(local.reader(), &pulled.header, WITH_PAYLOAD)?,
                            delivery: pulled.delivery,
                            deadline_unix_ms: pulled.deadline_unix_ms,
                            token: Token {
                                incarnation: pulled.incarnation,
                                sequence: pulled.header.sequence,
                                delivery: pulled.delivery,
                            },
                        })
                    })
                    .collect()
            }
        }
    }

    /// Says of deliveries what became of them: the same of all.
    pub(crate) async fn settle(
        &self,
        group: &GroupName,
        tokens: &[Token],
        verdict: &Verdict,
    ) -> Result<Vec<SettleOutcome>> {
        match self {
            Self::Cluster(remote) => {
                let settlements = tokens.iter().map(|token| (*token, verdict.clone()));
                let settlements: Vec<_> = settlements.collect();
                let settled = remote.client().settle(group, &settlements).await;
                settled.map_err(failure)
            }
            Self::Embedded(local) => {
                let Some(incarnation) = tokens.first().map(|token| token.incarnation) else {
                    return Ok(Vec::new());
                };
                if tokens.iter().any(|token| token.incarnation != incarnation) {
                    bail!(Failure::Usage(
                        "the tokens are of several groups".to_owned()
                    ));
                }
                let settlements = tokens.iter().map(|token| Settlement {
                    sequence: token.sequence,
                    delivery: token.delivery,
                    verdict: verdict.clone(),
                });
                let settlements = settlements.collect();
                let settled = local.vault().settle(group, incarnation, settlements).await;
                settled.map_err(local_failure)
            }
        }
    }

    /// Events that a group has outstanding.
    pub(crate) async fn outstanding(
        &self,
        group: &GroupName,
        limit: usize,
    ) -> Result<Vec<OutstandingEvent>> {
        match self {
            Self::Cluster(remote) => {
                let read = Read {
                    consistency: Consistency::Linearizable,
                    include: WITH_PAYLOAD.into(),
                };
                let outstanding = remote.client().outstanding(group, limit, &read).await;
                let outstanding = outstanding.map_err(failure)?.into_iter();
                let outstanding = outstanding.map(|outstanding| OutstandingEvent {
                    record: cluster::record(outstanding.event),
                    deliveries: outstanding.deliveries,
                    forgiven: outstanding.forgiven,
                    state: outstanding.state,
                });
                Ok(outstanding.collect())
            }
            Self::Embedded(local) => {
                local.group(group)?;
                let items = local.vault().outstanding(group, 0, limit);
                let items = items.map_err(local_failure)?.into_iter();
                items
                    .map(|item| {
                        let reader = local.reader();
                        let header = reader.header(&Selector::Sequence(item.sequence))?;
                        let header = header.context("an outstanding event is missing")?;
                        Ok(OutstandingEvent {
                            record: local_record(reader, &header, WITH_PAYLOAD)?,
                            deliveries: item.deliveries,
                            forgiven: item.forgiven,
                            state: item.state,
                        })
                    })
                    .collect()
            }
        }
    }

    /// Events that a group has put aside.
    pub(crate) async fn parked(&self, group: &GroupName, limit: usize) -> Result<Vec<ParkedEvent>> {
        match self {
            Self::Cluster(remote) => {
                let read = Read {
                    consistency: Consistency::Linearizable,
                    include: WITH_PAYLOAD.into(),
                };
                let parked = remote.client().parked(group, limit, &read).await;
                let parked = parked.map_err(failure)?.into_iter();
                Ok(parked.map(remote_parked).collect())
            }
            Self::Embedded(local) => {
                local.group(group)?;
                let parked = local.vault().parked(group, 0, limit);
                let parked = parked.map_err(local_failure)?.into_iter();
                parked
                    .map(|parked| {
                        let reader = local.reader();
                        let header = reader.header(&Selector::Sequence(parked.sequence))?;
                        let header = header.context("a parked event is missing")?;
                        Ok(ParkedEvent {
                            record: local_record(reader, &header, WITH_PAYLOAD)?,
                            deliveries: parked.deliveries,
                            parked_unix_ms: parked.parked_unix_ms,
                            reason: parked.reason,
                        })
                    })
                    .collect()
            }
        }
    }

    /// Moves parked events; returns how many.
    pub(crate) async fn move_parked(
        &self,
        group: &GroupName,
        sequences: Vec<u64>,
        action: ParkedAction,
    ) -> Result<u32> {
        match self {
            Self::Cluster(remote) => {
                let client = remote.client();
                let moved = match action {
                    ParkedAction::Replay => client.replay_parked(group, &sequences).await,
                    ParkedAction::Discard => client.discard_parked(group, &sequences).await,
                };
                moved.map_err(failure)
            }
            Self::Embedded(local) => {
                let incarnation = local.group(group)?.incarnation;
                let vault = local.vault();
                let moved = match action {
                    ParkedAction::Replay => {
                        vault.replay_parked(group, incarnation, sequences).await
                    }
                    ParkedAction::Discard => {
                        vault.discard_parked(group, incarnation, sequences).await
                    }
                };
                moved.map_err(local_failure)
            }
        }
    }
}

impl Local {
    fn group(&self, name: &GroupName) -> Result<Group> {
        let group = self.reader().group(name)?;
        group.ok_or_else(|| Failure::NotFound(format!("group {name}")).into())
    }
}

/// The sequence after which a group's events come.
fn position(reader: &Reader, start: GroupStart) -> Result<u64> {
    Ok(match start {
        GroupStart::Beginning => 0,
        GroupStart::Now => reader.position().sequence,
        GroupStart::After(sequence) => sequence,
        GroupStart::At(unix_ms) => reader.last_before(unix_ms)?,
    })
}

fn remote_delivery(delivery: toka_client::Delivery) -> Delivery {
    Delivery {
        token: delivery.token(),
        delivery: delivery.delivery,
        deadline_unix_ms: delivery.deadline_unix_ms,
        record: cluster::record(delivery.event),
    }
}

fn remote_parked(parked: toka_client::ParkedEvent) -> ParkedEvent {
    ParkedEvent {
        record: cluster::record(parked.event),
        deliveries: parked.deliveries,
        parked_unix_ms: parked.parked_unix_ms,
        reason: parked.reason,
    }
}
