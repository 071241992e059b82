//! Consumer groups and credentials of a vault that ends at an earlier event. They are in no history: they are taken over
//! as they are. So what was revoked stays revoked.

use crate::core::groups::{Group, Item, ItemState};
use crate::engine::{Batch, Direction, Durability, Engine, Table};
use crate::error::Error;
use crate::read::Reader;
use crate::store::audit::{self, AuditHead};
use crate::store::clusters::end_of;
use crate::store::group_sum::{self, GroupSum};
use crate::store::{
    encode_sequence, group_items, group_parked, groups, lookup, missing, roles, tokens,
};

/// Rows that are written at once.
const BATCH_ROWS: usize = 4_096;

/// Gives the vault in `engine`, which ends at the event at `until`, the groups of `source`. What they have behind
/// that event is gone, and what was leased waits to be delivered again. All are of a new incarnation, the vault's
/// revision: deliveries from before count for nothing. Tokens and roles come too, if the vault's feature level
/// `has_credentials`, and the audit goes on behind its last event.
pub(super) fn take_over(
    engine: &dyn Engine,
    source: &Reader,
    until: u64,
    revision: u64,
    has_credentials: bool,
) -> Result<(), Error> {
    let mut copy = Copy {
        engine,
        batch: Batch::new(),
        sum: GroupSum::default(),
    };
    copy.clear()?;
    if lookup::group_sum(&*source.engine())?.is_some() {
        for group in source.groups()? {
            copy.group(source, group, until, revision)?;
        }
        if has_credentials {
            copy.credentials(&*source.engine(), until)?;
        }
        let row = group_sum::encode(&copy.sum);
        copy.batch.put(Table::Meta, group_sum::KEY, row);
    }
    copy.write()
}

struct Copy<'a> {
    engine: &'a dyn Engine,
    batch: Batch,
    sum: GroupSum,
}

impl Copy<'_> {
    /// Removes the groups and credentials that an earlier copy of the vault has brought.
    fn clear(&mut self) -> Result<(), Error> {
        let prefixes = [
            groups::PREFIX,
            group_items::PREFIX,
            group_parked::PREFIX,
            group_sum::KEY,
            tokens::PREFIX,
            roles::PREFIX,
            audit::KEY,
        ];
        let engine = self.engine;
        for prefix in prefixes {
            let upper = end_of(prefix);
            let rows = engine.scan(Table::Meta, prefix, Some(&upper), Direction::Forward);
            for row in rows {
                let (key, _) = row?;
                self.batch.delete(Table::Meta, key);
                self.write_if_full()?;
            }
        }
        Ok(())
    }

    fn group(
        &mut self,
        source: &Reader,
        group: Group,
        until: u64,
        revision: u64,
    ) -> Result<(), Error> {
        let engine = source.engine();
        let name = &group.name;
        let (mut unacknowledged, mut parked) = (0, 0);
        for item in lookup::group_items(&*engine, name, 0) {
            let item = item?;
            if item.sequence > until {
                break;
            }
            let item = waiting(item);
            let row = group_items::encode(name, &item);
            self.put(group_items::key(name, item.sequence), row)?;
            unacknowledged += 1;
        }
        for event in lookup::group_parked(&*engine, name, 0) {
            let event = event?;
            if event.sequence > until {
                break;
            }
            let row = group_parked::encode(name, &event);
            self.put(group_parked::key(name, event.sequence), row)?;
            parked += 1;
        }
        let key = groups::key(name);
        let group = Group {
            incarnation: revision,
            position: group.position.min(until),
            unacknowledged,
            parked,
            ..group.clone()
        };
        self.put(key, groups::encode(&group))?;
        self.sum.groups += 1;
        Ok(())
    }

    fn credentials(&mut self, source: &dyn Engine, until: u64) -> Result<(), Error> {
        for token in lookup::tokens(source)? {
            self.put(tokens::key(token.id), tokens::encode(&token))?;
        }
        for role in lookup::roles(source)? {
            self.put(roles::key(&role.name), roles::encode(&role))?;
        }
        match audit_head(source, until)? {
            Some(head) => self.put(audit::KEY.to_vec(), audit::encode(&head)),
            None => Ok(()),
        }
    }

    fn put(&mut self, key: Vec<u8>, row: Vec<u8>) -> Result<(), Error> {
        self.sum.add(&key, &row);
        self.batch.put(Table::Meta, key, row);
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> Result<(), Error> {
        if self.batch.len() < BATCH_ROWS {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        Ok(self.engine.write(batch, Durability::Volatile)?)
    }
}

/// Where the chain of audit events ended when the event at `until` was the last one.
fn audit_head(source: &dyn Engine, until: u64) -> Result<Option<AuditHead>, Error> {
    let mut head = lookup::audit_head(source)?.unwrap_or_default();
    while head.sequence > until {
        let header = lookup::headers(source, &[head.sequence])?.pop().flatten();
        let header =
            header.ok_or_else(|| missing(Table::Headers, &encode_sequence(head.sequence)))?;
        // Parents come before their children, so that this ends.
        let parent = header.parents.first();
        let sequence = parent.map_or(0, |parent| parent.id.sequence());
        head = AuditHead {
            sequence,
            events: head.events.saturating_sub(1).min(sequence),
        };
    }
    Ok((head.sequence > 0).then_some(head))
}

/// The item without its lease: whoever has it does not know of this vault.
fn waiting(item: Item) -> Item {
    match item.state {
        ItemState::Waiting { .. } => item,
        ItemState::Leased { .. } => Item {
            state: ItemState::Waiting {
                not_before_unix_ms: 0,
                reason: String::new(),
            },
            ..item
        },
    }
}
