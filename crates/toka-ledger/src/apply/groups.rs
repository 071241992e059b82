//! Consumer groups: what is outstanding and parked, and its rows.

mod deliver;
mod parked;
mod settle;

pub(super) use self::deliver::deliver;
pub(super) use self::parked::move_parked;
pub(super) use self::settle::settle;
use super::overlay::View;
use super::write::Writer;
use super::{Outcome, Refused};
use crate::command::{
    COORDINATION_LEVEL, Commit, CreateGroup, DeleteGroup, Precondition, UpdateGroup,
};
use crate::core::GroupName;
use crate::core::groups::{Group, Item, ItemState, Parked};
use crate::core::limits::{GROUP_DELETE_ROWS_MAX, GROUP_PARKED_MAX, GROUPS_MAX, UNIX_MS_END};
use crate::engine::{Engine, Table};
use crate::error::{Error, Rejection};
use crate::store::{corrupt, group_items, group_parked, groups};

/// A group, if it is of that incarnation and is not being deleted.
fn current(view: View<'_>, name: &GroupName, incarnation: u64) -> Result<Option<Group>, Error> {
    let group = group(view, name)?;
    Ok(group.filter(|group| group.incarnation == incarnation && !group.is_ending))
}

fn group(view: View<'_>, name: &GroupName) -> Result<Option<Group>, Error> {
    let key = groups::key(name);
    let row = view.group_row(&key)?;
    row.map(|row| groups::decode(name, row))
        .transpose()
        .map_err(corrupt(Table::Meta, &key))
}

fn item(view: View<'_>, name: &GroupName, sequence: u64) -> Result<Option<Item>, Error> {
    let key = group_items::key(name, sequence);
    let row = view.group_row(&key)?;
    row.map(|row| group_items::decode(name, sequence, row))
        .transpose()
        .map_err(corrupt(Table::Meta, &key))
}

/// What a group, if it is of that incarnation, has outstanding of an event.
pub(super) fn current_item(
    view: View<'_>,
    name: &GroupName,
    incarnation: u64,
    sequence: u64,
) -> Result<Option<Item>, Error> {
    match current(view, name, incarnation)? {
        Some(_) => item(view, name, sequence),
        None => Ok(None),
    }
}

/// `now_unix_ms` and so many milliseconds more.
fn later(now_unix_ms: u64, ms: u32) -> u64 {
    let time = now_unix_ms.saturating_add(ms.into());
    time.min(UNIX_MS_END - 1)
}

pub(super) fn create(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    create: &CreateGroup,
) -> Result<Outcome, Refused> {
    let mut groups = Groups::begin(engine, writer, create.unix_ms)?;
    let (name, revision) = (create.name.clone(), groups.writer.state.revision);
    if let Some(group) = group(groups.view(), &name)? {
        // One that is ending must be gone before there can be another one.
        if let Some(reason) = group.refuses(&create.settings) {
            let reason = Some(reason);
            return Err(Rejection::GroupExists { name, reason }.into());
        }
        return Ok(Outcome::GroupCreated { revision, group });
    }
    if groups.writer.state.groups() >= GROUPS_MAX {
        return Err(Rejection::GroupsFull { max: GROUPS_MAX }.into());
    }
    let last = groups.writer.state.sequence();
    if create.position > last {
        let position = create.position;
        return Err(Rejection::PositionAhead { position, last }.into());
    }
    let group = Group {
        name,
        incarnation: revision,
        settings: create.settings.clone(),
        position: create.position,
        unacknowledged: 0,
        parked: 0,
        created_unix_ms: groups.now(),
        version: 0,
        is_ending: false,
    };
    groups.put_group(&group)?;
    groups.writer.state.group_sum_mut().groups += 1;
    Ok(Outcome::GroupCreated { revision, group })
}

pub(super) fn delete(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    delete: &DeleteGroup,
) -> Result<Outcome, Refused> {
    let mut groups = Groups::begin(engine, writer, delete.unix_ms)?;
    let name = &delete.name;
    let found = group(groups.view(), name)?;
    let Some(mut group) = found.filter(|group| group.incarnation == delete.incarnation) else {
        return Err(Rejection::UnknownGroup { name: name.clone() }.into());
    };
    let [items, parked] = [
        [group_items::key(name, 0), group_items::key(name, u64::MAX)],
        [
            group_parked::key(name, 0),
            group_parked::key(name, u64::MAX),
        ],
    ];
    let room = GROUP_DELETE_ROWS_MAX;
    let removed = groups.remove_rows(&items, room)?;
    group.unacknowledged = group.unacknowledged.saturating_sub(removed);
    let room = room.saturating_sub(removed as usize);
    let removed = groups.remove_rows(&parked, room)?;
    group.parked = group.parked.saturating_sub(removed);
    // Where there was room for more rows there are none left, whatever the group counts.
    let rows_left = match (removed as usize) < room {
        true => 0,
        false => u64::from(group.unacknowledged) + u64::from(group.parked),
    };
    if rows_left > 0 {
        group.is_ending = true;
        groups.put_changed(group)?;
    } else {
        groups.put(groups::key(name), None)?;
        let sum = groups.writer.state.group_sum_mut();
        sum.groups = sum.groups.saturating_sub(1);
    }
    Ok(Outcome::GroupDeleted {
        revision: groups.writer.state.revision,
        rows_left,
    })
}

pub(super) fn update(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    update: &UpdateGroup,
) -> Result<Outcome, Refused> {
    let mut groups = Groups::begin(engine, writer, update.unix_ms)?;
    let mut group = groups.of(&update.name, update.incarnation)?;
    let settings = update.changes.of(&group.settings);
    // Nothing is written where nothing changes, so that it can be repeated.
    if settings != group.settings {
        group.settings = settings;
        group = groups.put_changed(group)?;
    }
    Ok(Outcome::GroupUpdated {
        revision: groups.writer.state.revision,
        group,
    })
}

/// Acknowledges the deliveries that a commit names, as far as they are current: all of them are, but for a commit
/// whose events were all stored before.
pub(super) fn acknowledge(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    commit: &Commit,
) -> Result<(), Error> {
    let mut groups = Groups { engine, writer };
    for precondition in &commit.preconditions {
        let Precondition::Acknowledge {
            group,
            incarnation,
            sequence,
            delivery,
        } = precondition
        else {
            continue;
        };
        let Some(mut group) = current(groups.view(), group, *incarnation)? else {
            continue;
        };
        let item = item(groups.view(), &group.name, *sequence)?;
        if item.is_some_and(|item| item.is_leased_at(*delivery)) {
            groups.remove_item(&mut group, *sequence)?;
            groups.put_group(&group)?;
        }
    }
    Ok(())
}

/// Changes groups. A group's own row is written last, by whoever has changed it.
struct Groups<'a, 'w> {
    engine: &'a dyn Engine,
    writer: &'a mut Writer<'w>,
}

impl<'a, 'w> Groups<'a, 'w> {
    /// Begins a command.
    fn begin(
        engine: &'a dyn Engine,
        writer: &'a mut Writer<'w>,
        unix_ms: u64,
    ) -> Result<Self, Refused> {
        writer.state.begin_at(unix_ms, COORDINATION_LEVEL)?;
        Ok(Self { engine, writer })
    }

    /// The group that a command means.
    fn of(&self, name: &GroupName, incarnation: u64) -> Result<Group, Refused> {
        let group = current(self.view(), name, incarnation)?;
        group.ok_or_else(|| Rejection::UnknownGroup { name: name.clone() }.into())
    }

    fn view(&self) -> View<'_> {
        View {
            engine: self.engine,
            overlay: &self.writer.overlay,
        }
    }

    /// The vault's time.
    fn now(&self) -> u64 {
        self.writer.state.unix_ms
    }

    /// Sets a row, or deletes it.
    fn put(&mut self, key: Vec<u8>, row: Option<Vec<u8>>) -> Result<(), Error> {
        self.writer.put_summed(self.engine, key, row)
    }

    fn put_group(&mut self, group: &Group) -> Result<(), Error> {
        self.put(groups::key(&group.name), Some(groups::encode(group)))
    }

    /// As [`Groups::put_group`], where an outstanding event may be due earlier than before. Returns the group as it is
    /// then.
    fn put_changed(&mut self, mut group: Group) -> Result<Group, Error> {
        group.version = group.version.saturating_add(1);
        self.put_group(&group)?;
        Ok(group)
    }

    /// Removes up to `limit` rows of a range of keys; returns how many.
    fn remove_rows(&mut self, [lower, upper]: &[Vec<u8>; 2], limit: usize) -> Result<u32, Error> {
        let mut removed = 0;
        let rows = self.view().group_rows(lower, upper, limit)?;
        for (key, _) in rows {
            self.put(key.to_vec(), None)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Sets the row of an item. Whether the group has one more is the caller's.
    fn put_item(&mut self, group: &Group, item: &Item) -> Result<(), Error> {
        let key = group_items::key(&group.name, item.sequence);
        self.put(key, Some(group_items::encode(&group.name, item)))
    }

    fn remove_item(&mut self, group: &mut Group, sequence: u64) -> Result<(), Error> {
        group.unacknowledged = group.unacknowledged.saturating_sub(1);
        self.put(group_items::key(&group.name, sequence), None)
    }

    /// Puts an outstanding event aside; returns whether it was. Where no more are allowed, it waits instead for as
    /// long as a lease takes.
    fn park(&mut self, group: &mut Group, item: Item, reason: String) -> Result<bool, Error> {
        if group.parked >= GROUP_PARKED_MAX {
            let not_before = later(self.now(), group.settings.ack_timeout_ms);
            self.put_waiting(group, item, not_before, reason)?;
            return Ok(false);
        }
        let parked = Parked {
            sequence: item.sequence,
            deliveries: item.deliveries,
            parked_unix_ms: self.now(),
            reason,
        };
        self.remove_item(group, item.sequence)?;
        group.parked += 1;
        let key = group_parked::key(&group.name, parked.sequence);
        let row = group_parked::encode(&group.name, &parked);
        self.put(key, Some(row))?;
        Ok(true)
    }

    /// Has an outstanding event wait for its next delivery.
    fn put_waiting(
        &mut self,
        group: &mut Group,
        item: Item,
        not_before_unix_ms: u64,
        reason: String,
    ) -> Result<(), Error> {
        group.version = group.version.saturating_add(1);
        let state = ItemState::Waiting {
            not_before_unix_ms,
            reason,
        };
        self.put_item(group, &Item { state, ..item })
    }
}
