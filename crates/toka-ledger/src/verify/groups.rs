//! The rows of consumer groups.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::report::Report;
use crate::codec::DecodeError;
use crate::core::GroupName;
use crate::core::groups::Group;
use crate::engine::Table;
use crate::store::group_sum::{self, GroupSum};
use crate::store::{group_items, group_parked, groups};

/// What is found of groups, row by row, all as of one moment.
#[derive(Default)]
pub(super) struct Groups {
    /// The vault's last event.
    pub(super) last: Option<u64>,
    groups: BTreeMap<GroupName, Group>,
    items: BTreeMap<GroupName, Events>,
    parked: BTreeMap<GroupName, Events>,
    /// Recomputed.
    sum: GroupSum,
    stored_sum: Option<GroupSum>,
    /// A row cannot be read: what follows from all of them is not known.
    is_damaged: bool,
}

/// Rows of one group.
#[derive(Clone, Copy, Default)]
struct Events {
    count: u64,
    last: u64,
}

impl Groups {
    /// Whether a row of that key is one of a group.
    pub(super) fn has(key: &[u8]) -> bool {
        key == group_sum::KEY
            || key.starts_with(groups::PREFIX)
            || key.starts_with(group_items::PREFIX)
            || key.starts_with(group_parked::PREFIX)
    }

    /// Takes a row for which [`Groups::has`] holds.
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
            self.items.entry(name).or_default().add(sequence);
        } else if let Some((name, sequence)) = group_parked::decode_key(key)? {
            group_parked::decode(&name, sequence, value)?;
            self.parked.entry(name).or_default().add(sequence);
        }
        Ok(())
    }

    /// Tells what does not fit together.
    pub(super) fn finish(self, report: &mut Report) {
        if self.is_damaged {
            return;
        }
        if self.sum != self.stored_sum.unwrap_or_default() {
            let detail = "the rows of the groups do not come to the sum that is stored of them";
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
            let items = self.items.get(name).copied().unwrap_or_default();
            let parked = self.parked.get(name).copied().unwrap_or_default();
            if (items.count, parked.count) != (group.unacknowledged.into(), group.parked.into()) {
                let detail = format!(
                    "group {name} has {} events outstanding and {} parked, and counts {} and {}",
                    items.count, parked.count, group.unacknowledged, group.parked
                );
                report.row(Table::Meta, detail);
            }
            let last = items.last.max(parked.last);
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
    fn add(&mut self, sequence: u64) {
        self.count += 1;
        self.last = self.last.max(sequence);
    }
}
