//! What consumers say about their deliveries.

use super::{Groups, item, later};
use crate::apply::write::Writer;
use crate::apply::{Outcome, Refused};
use crate::command::{Settle, Settlement, Verdict};
use crate::core::groups::{Group, Item, ItemState, SettleOutcome};
use crate::engine::Engine;
use crate::error::Error;

pub(in crate::apply) fn settle(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    settle: &Settle,
) -> Result<Outcome, Refused> {
    let mut groups = Groups::begin(engine, writer, settle.unix_ms)?;
    let mut group = groups.of(&settle.group, settle.incarnation)?;
    let mut outcomes = Vec::with_capacity(settle.settlements.len());
    for settlement in &settle.settlements {
        outcomes.push(groups.settle_one(&mut group, settlement)?);
    }
    groups.put_group(&group)?;
    Ok(Outcome::Settled {
        revision: groups.writer.state.revision,
        outcomes,
    })
}

impl Groups<'_, '_> {
    fn settle_one(
        &mut self,
        group: &mut Group,
        settlement: &Settlement,
    ) -> Result<SettleOutcome, Error> {
        let item = item(self.view(), &group.name, settlement.sequence)?;
        let is_current = |item: &Item| item.is_leased_at(settlement.delivery);
        let Some(item) = item.filter(is_current) else {
            return Ok(SettleOutcome::Stale);
        };
        match &settlement.verdict {
            Verdict::Acknowledge => self.remove_item(group, item.sequence)?,
            Verdict::Reject { delay_ms, reason } if !item.is_exhausted(&group.settings) => {
                let not_before = later(self.now(), *delay_ms);
                self.put_waiting(group, item, not_before, reason.clone())?;
            }
            Verdict::Reject { reason, .. } | Verdict::Park { reason } => {
                // Where it cannot be parked it waits, which settles it too.
                self.park(group, item, reason.clone())?;
            }
            Verdict::Extend => return self.extend(group, item),
            Verdict::Release => self.release(group, item)?,
        }
        Ok(SettleOutcome::Done)
    }

    /// Gives an event back to which nothing was done: this delivery does not count.
    fn release(&mut self, group: &mut Group, item: Item) -> Result<(), Error> {
        let forgiven = item.forgiven.saturating_add(1).min(item.deliveries);
        let now = self.now();
        self.put_waiting(group, Item { forgiven, ..item }, now, String::new())
    }

    fn extend(&mut self, group: &mut Group, item: Item) -> Result<SettleOutcome, Error> {
        let ItemState::Leased {
            consumer,
            deadline_unix_ms: before,
        } = item.state
        else {
            return Ok(SettleOutcome::Stale);
        };
        let deadline_unix_ms = later(self.now(), group.settings.ack_timeout_ms);
        // The timeout may have been made shorter since.
        if deadline_unix_ms < before {
            group.version = group.version.saturating_add(1);
        }
        let state = ItemState::Leased {
            consumer,
            deadline_unix_ms,
        };
        self.put_item(group, &Item { state, ..item })?;
        Ok(SettleOutcome::Done)
    }
}
