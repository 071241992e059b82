//! The rows of consumer groups and credentials, over all of which there is one sum.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::report::Report;
use crate::codec::DecodeError;
use crate::core::GroupName;
use crate::core::groups::Group;
use crate::core::limits::GROUP_UNACKNOWLEDGED_MAX;
use crate::engine::Table;
use crate::store::audit::{self, AuditHead};
use crate::store::group_sum::{self, GroupSum};
use crate::store::{group_items, group_parked, groups, roles, tokens};

/// What is found of groups and credentials, row by row, all as of one moment.
#[derive(Default)]
pub(super) struct Groups {
    /// The vault's last event.
    pub(super) last: Option<u64>,
    groups: BTreeMap<GroupName, Group>,
    /// Events that are outstanding, ascending.
    items: BTreeMap<GroupName, Vec<u64>>,
    parked: BTreeMap<GroupName, Events>,
    audit: AuditHead,
    /// Recomputed.
    sum: GroupSum,
    stored_sum: Option<GroupSum>,
    /// A row cannot be read: what follows from all of them is not known.
    is_damaged: bool,
}

/// Parked events of one group.
#[derive(Clone, Copy, Default)]
struct Events {
    count: u64,
    last: u64,
    /// The first one that is outstanding too; 0: none is.
    outstanding: u64,
}

impl Groups {
    /// Whether a row of that key is one of a group, or of credentials.
    pub(super) fn has(key: &[u8]) -> bool {
        key == group_sum::KEY
            || key.starts_with(groups::PREFIX)
            || key.starts_with(group_items::PREFIX)
            || key.starts_with(group_parked::PREFIX)
            || key == audit::KEY
            || key.starts_with(tokens::PREFIX)
            || key.starts_with(roles::PREFIX)
    }

    /// Takes a row for which [`Groups::has`] holds, in the order of the keys: what is outstanding comes before what is
    /// parked.
    pub(super) fn row(&mut self, key: &[u8], value: Bytes) -> Result<(), DecodeError> {
        let read = self.read(key, value);
        self.is_damaged |= read.is_err();
        read
    }

    /// Not all rows can be read.
    pub(super) const fn lose(&mut self) {
        self.is_damaged = true;
    }

    fn read(&mut self, key: &[u8], value: Bytes) -> Result<(), DecodeError> {
        if key == group_sum::KEY {
            self.stored_sum = Some(group_sum::decode(value)?);
            return Ok(());
        }
        self.sum.add(key, &value);
        if let Some(name) = groups::decode_key(key)? {
            let group = groups::decode(&name, value)?;
            self.groups.insert(name, group);
            self.sum.groups += 1;
        } else if let Some((name, sequence)) = group_items::decode_key(key)? {
            group_items::decode(&name, sequence, value)?;
            self.items.entry(name).or_default().push(sequence);
        } else if let Some((name, sequence)) = group_parked::decode_key(key)? {
            group_parked::decode(&name, sequence, value)?;
            let items = self.items.get(&name).map_or(&[][..], |items| &items[..]);
            let is_outstanding = items.binary_search(&sequence).is_ok();
            let parked = self.parked.entry(name).or_default();
            parked.add(sequence, is_outstanding);
        } else if let Some(id) = tokens::decode_key(key)? {
            tokens::decode(id, value)?;
        } else if let Some(name) = roles::decode_key(key)? {
            roles::decode(&name, value)?;
        } else if key == audit::KEY {
            self.audit = audit::decode(value)?;
        }
        Ok(())
    }

    /// Tells what does not fit together.
    pub(super) fn finish(self, report: &mut Report) {
        if self.is_damaged {
            return;
        }
        if self.sum != self.stored_sum.unwrap_or_default() {
            let detail =
                "the rows of groups and credentials do not come to the sum that is stored of them";
            report.row(Table::Meta, detail);
        }
        if self.last.is_some_and(|last| self.audit.sequence > last) {
            let detail = "the chain of audit events ends behind the vault's last event";
            report.row(Table::Meta, detail);
        }
        let of_groups = self.items.keys().chain(self.parked.keys());
        for name in of_groups.filter(|name| !self.groups.contains_key(*name)) {
            report.row(
                Table::Meta,
                format!("events of group {name}, which is not there"),
            );
        }
        for (name, group) in &self.groups {
            let items = self.items.get(name).map_or(&[][..], |items| &items[..]);
            let outstanding = items.len() as u64;
            let parked = self.parked.get(name).copied().unwrap_or_default();
            if (outstanding, parked.count) != (group.unacknowledged.into(), group.parked.into()) {
                let detail = format!(
                    "group {name} has {outstanding} events outstanding and {} parked, and counts {} and {}",
                    parked.count, group.unacknowledged, group.parked
                );
                report.row(Table::Meta, detail);
            }
            if outstanding > u64::from(GROUP_UNACKNOWLEDGED_MAX) {
                let detail = format!(
                    "group {name} has {outstanding} events outstanding, of at most {GROUP_UNACKNOWLEDGED_MAX}"
                );
                report.row(Table::Meta, detail);
            }
            if parked.outstanding > 0 {
                let detail = format!(
                    "group {name} has event {} both outstanding and parked",
                    parked.outstanding
                );
                report.row(Table::Meta, detail);
            }
            let last = items.last().copied().unwrap_or(0).max(parked.last);
            if last > group.position {
                let detail = format!(
                    "group {name} has event {last}, which is behind its position, {}",
                    group.position
                );
                report.row(Table::Meta, detail);
            }
            if self.last.is_some_and(|last| group.position > last) {
                let detail = format!(
                    "group {name} is at {}, which is behind the vault's last event",
                    group.position
                );
                report.row(Table::Meta, detail);
            }
        }
    }
}

impl Events {
    fn add(&mut self, sequence: u64, is_outstanding: bool) {
        self.count += 1;
        self.last = self.last.max(sequence);
        if is_outstanding && self.outstanding == 0 {
            self.outstanding = sequence;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ConsumerName;
    use crate::core::groups::{Item, ItemState, Parked, Settings};

    #[test]
    fn event_that_is_outstanding_and_parked_is_found() {
        let name = GroupName::new("g").expect("valid");
        let group = Group {
            name: name.clone(),
            incarnation: 2,
            settings: Settings::default(),
            position: 7,
            unacknowledged: 1,
            parked: 1,
            created_unix_ms: 0,
            version: 0,
            is_ending: false,
        };
        let item = Item {
            sequence: 7,
            deliveries: 1,
            forgiven: 0,
            state: ItemState::Leased {
                consumer: ConsumerName::new("c").expect("valid"),
                deadline_unix_ms: 1,
            },
        };
        let found = |sequence| {
            let parked = Parked {
                sequence,
                deliveries: 1,
                parked_unix_ms: 0,
                reason: String::new(),
            };
            let rows = [
                (
                    group_items::key(&name, 7),
                    group_items::encode(&name, &item),
                ),
                (
                    group_parked::key(&name, sequence),
                    group_parked::encode(&name, &parked),
                ),
                (groups::key(&name), groups::encode(&group)),
            ];
            let mut groups = Groups::default();
            for (key, row) in rows {
                groups.row(&key, row.into()).expect("a row");
            }
            groups.stored_sum = Some(groups.sum);
            let mut report = Report::default();
            groups.finish(&mut report);
            report.problems.len()
        };
        assert_eq!(found(6), 0);
        assert_eq!(found(7), 1);
    }
}
