//! Leasing events to consumers.

use super::{Groups, item, later};
use crate::apply::write::Writer;
use crate::apply::{Outcome, Refused};
use crate::command::Deliver;
use crate::core::ConsumerName;
use crate::core::groups::{Delivery, Group, Item, ItemState};
use crate::engine::Engine;
use crate::error::{Error, Rejection};

/// Why an event is parked that was never given back.
const LATE: &str = "not settled in time";

pub(in crate::apply) fn deliver(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    deliver: &Deliver,
) -> Result<Outcome, Refused> {
    let mut groups = Groups::begin(engine, writer, deliver.unix_ms)?;
    let mut group = groups.of(&deliver.group, deliver.incarnation)?;
    if group.position != deliver.from {
        return Err(Rejection::GroupMoved {
            name: group.name,
            expected: deliver.from,
            actual: group.position,
        }
        .into());
    }
    let last = groups.writer.state.sequence();
    if deliver.to > last {
        let position = deliver.to;
        return Err(Rejection::PositionAhead { position, last }.into());
    }
    let (mut deliveries, mut parked) = (Vec::new(), 0);
    let mut to = deliver.to;
    for &sequence in &deliver.sequences {
        if sequence <= deliver.from {
            match groups.again(&mut group, &deliver.consumer, sequence)? {
                Again::Delivered(delivery) => deliveries.push(delivery),
                Again::Parked => parked += 1,
                Again::No => {}
            }
            continue;
        }
        if group.unacknowledged >= group.settings.unacknowledged_max {
            // It is the first one of the next delivery.
            to = sequence - 1;
            break;
        }
        let item = Item {
            sequence,
            deliveries: 0,
            forgiven: 0,
            // Replaced by the lease.
            state: ItemState::Waiting {
                not_before_unix_ms: 0,
                reason: String::new(),
            },
        };
        deliveries.push(groups.lease(&group, &deliver.consumer, item)?);
        group.unacknowledged += 1;
    }
    group.position = to;
    groups.put_group(&group)?;
    Ok(Outcome::Delivered {
        revision: groups.writer.state.revision,
        deliveries,
        parked,
    })
}

/// What became of an event that was to be delivered again.
enum Again {
    Delivered(Delivery),
    /// It had had all its deliveries.
    Parked,
    /// It is not outstanding, or not due, or there is no room for it where it belongs.
    No,
}

impl Groups<'_, '_> {
    fn again(
        &mut self,
        group: &mut Group,
        consumer: &ConsumerName,
        sequence: u64,
    ) -> Result<Again, Error> {
        let item = item(self.view(), &group.name, sequence)?;
        let Some(item) = item.filter(|item| item.is_due(self.now())) else {
            return Ok(Again::No);
        };
        if !item.is_exhausted(&group.settings) {
            let delivery = self.lease(group, consumer, item)?;
            return Ok(Again::Delivered(delivery));
        }
        let reason = match &item.state {
            ItemState::Leased { .. } => LATE.to_owned(),
            ItemState::Waiting { reason, .. } => reason.clone(),
        };
        Ok(match self.park(group, item, reason)? {
            true => Again::Parked,
            false => Again::No,
        })
    }

    /// Leases an event to a consumer.
    fn lease(
        &mut self,
        group: &Group,
        consumer: &ConsumerName,
        item: Item,
    ) -> Result<Delivery, Error> {
        let deadline_unix_ms = later(self.now(), group.settings.ack_timeout_ms);
        let delivery = item.deliveries.saturating_add(1);
        let item = Item {
            deliveries: delivery,
            state: ItemState::Leased {
                consumer: consumer.clone(),
                deadline_unix_ms,
            },
            ..item
        };
        self.put_item(group, &item)?;
        Ok(Delivery {
            sequence: item.sequence,
            delivery,
            deadline_unix_ms,
        })
    }
}
