//! Consumer groups and credentials of a vault that ends at an earlier event. They are in no history: they are taken over
//! as they are. So what was revoked stays revoked.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::core::GroupName;
use crate::core::groups::{Group, Item, ItemState};
use crate::engine::{Batch, Direction, Durability, Engine, Table};
use crate::error::Error;
use crate::read::Reader;
use crate::store::audit::{self, AuditHead};
use crate::store::clusters::end_of;
use crate::store::group_sum::{self, GroupSum};
use crate::store::{
    corrupt, encode_sequence, group_items, group_parked, groups, lookup, missing, roles, tokens,
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
        until,
        batch: Batch::new(),
        groups: BTreeMap::new(),
        has_sum: false,
        sum: GroupSum::default(),
    };
    copy.clear()?;
    let source = source.engine();
    let upper = end_of(group_sum::KEY);
    // The source of a fork goes on: one scan has all groups and events as of one moment. Backward, since groups then come
    // before their events.
    let rows = source.scan(
        Table::Meta,
        group_items::PREFIX,
        Some(&upper),
        Direction::Backward,
    );
    for row in rows {
        let (key, value) = row?;
        copy.row(&key, value)?;
    }
    if copy.has_sum && has_credentials {
        copy.credentials(&*source)?;
    }
    copy.finish(revision)
}

struct Copy<'a> {
    engine: &'a dyn Engine,
    until: u64,
    batch: Batch,
    /// The groups, with what was taken over of their events.
    groups: BTreeMap<GroupName, Group>,
    /// Whether the source ever had a group.
    has_sum: bool,
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

    /// Takes over a row of the source; a group's comes before those of its events.
    fn row(&mut self, key: &[u8], value: Bytes) -> Result<(), Error> {
        let bad = |error: DecodeError| corrupt(Table::Meta, key)(error);
        let until = self.until;
        if key == group_sum::KEY {
            self.has_sum = true;
        } else if let Some(name) = groups::decode_key(key).map_err(bad)? {
            let group = groups::decode(&name, value).map_err(bad)?;
            let group = Group {
                position: group.position.min(until),
                unacknowledged: 0,
                parked: 0,
                ..group
            };
            self.groups.insert(name, group);
        } else if let Some((name, sequence)) = group_parked::decode_key(key).map_err(bad)? {
            let event = group_parked::decode(&name, sequence, value).map_err(bad)?;
            if let Some(group) = self.group_of(&name, sequence) {
                group.parked += 1;
                self.put(key.to_vec(), group_parked::encode(&name, &event))?;
            }
        } else if let Some((name, sequence)) = group_items::decode_key(key).map_err(bad)? {
            let item = group_items::decode(&name, sequence, value).map_err(bad)?;
            if let Some(group) = self.group_of(&name, sequence) {
                group.unacknowledged += 1;
                self.put(key.to_vec(), group_items::encode(&name, &waiting(item)))?;
            }
        }
        Ok(())
    }

    fn credentials(&mut self, source: &dyn Engine) -> Result<(), Error> {
        for token in lookup::tokens(source)? {
            self.put(tokens::key(token.id), tokens::encode(&token))?;
        }
        for role in lookup::roles(source)? {
            self.put(roles::key(&role.name), roles::encode(&role))?;
        }
        match audit_head(source, self.until)? {
            Some(head) => self.put(audit::KEY.to_vec(), audit::encode(&head)),
            None => Ok(()),
        }
    }

    /// The group that an event is of, unless it came later.
    fn group_of(&mut self, name: &GroupName, sequence: u64) -> Option<&mut Group> {
        let is_there = sequence <= self.until;
        self.groups.get_mut(name).filter(|_| is_there)
    }

    fn finish(mut self, revision: u64) -> Result<(), Error> {
        for group in std::mem::take(&mut self.groups).into_values() {
            let group = Group {
                incarnation: revision,
                ..group
            };
            self.put(groups::key(&group.name), groups::encode(&group))?;
            self.sum.groups += 1;
        }
        if self.has_sum {
            let row = group_sum::encode(&self.sum);
            self.batch.put(Table::Meta, group_sum::KEY, row);
        }
        self.write()
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
