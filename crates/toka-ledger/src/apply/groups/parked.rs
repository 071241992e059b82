//! Replaying and discarding what was put aside.

use super::Groups;
use crate::apply::write::Writer;
use crate::apply::{Outcome, Refused};
use crate::command::{MoveParked, ParkedAction};
use crate::core::GroupName;
use crate::core::groups::{Item, ItemState, Parked};
use crate::core::limits::GROUP_UNACKNOWLEDGED_MAX;
use crate::engine::{Engine, Table};
use crate::error::Error;
use crate::store::{corrupt, group_parked};

pub(in crate::apply) fn move_parked(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    moves: &MoveParked,
) -> Result<Outcome, Refused> {
    let mut groups = Groups::begin(engine, writer, moves.unix_ms)?;
    let mut group = groups.of(&moves.group, moves.incarnation)?;
    let mut moved = 0;
    for parked in groups.parked(&group.name, &moves.sequences)? {
        if moves.action == ParkedAction::Replay {
            // Above what the settings say: new events wait meanwhile, and a busy group would have no room for long.
            if group.unacknowledged >= GROUP_UNACKNOWLEDGED_MAX {
                break;
            }
            let item = Item {
                sequence: parked.sequence,
                deliveries: parked.deliveries,
                forgiven: parked.deliveries,
                state: ItemState::Waiting {
                    not_before_unix_ms: groups.now(),
                    reason: parked.reason,
                },
            };
            groups.put_item(&group, &item)?;
            group.unacknowledged += 1;
        }
        let key = group_parked::key(&group.name, parked.sequence);
        groups.put(key, None)?;
        group.parked = group.parked.saturating_sub(1);
        moved += 1;
    }
    groups.put_changed(group)?;
    Ok(Outcome::ParkedMoved {
        revision: groups.writer.state.revision,
        moved,
    })
}

impl Groups<'_, '_> {
    /// Those of `sequences` that are parked.
    fn parked(&self, name: &GroupName, sequences: &[u64]) -> Result<Vec<Parked>, Error> {
        let view = self.view();
        let mut parked = Vec::new();
        for &sequence in sequences {
            let key = group_parked::key(name, sequence);
            if let Some(row) = view.group_row(&key)? {
                let decoded = group_parked::decode(name, sequence, row);
                parked.push(decoded.map_err(corrupt(Table::Meta, &key))?);
            }
        }
        Ok(parked)
    }
}
