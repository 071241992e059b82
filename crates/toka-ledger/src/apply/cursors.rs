//! Cursors that are saved and deleted by commands of their own.

use std::collections::BTreeSet;

use super::overlay::View;
use super::state::State;
use super::write::Writer;
use super::{Outcome, Refused};
use crate::command::{COORDINATION_LEVEL, DeleteCursor, Precondition, SaveCursor};
use crate::core::CursorName;
use crate::engine::Engine;
use crate::error::{Rejection, Violation};

pub(super) fn save(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    save: &SaveCursor,
) -> Result<Outcome, Refused> {
    writer.state.begin_at(save.unix_ms, COORDINATION_LEVEL)?;
    let (position, last) = (save.to, writer.state.sequence());
    if position > last {
        return Err(Rejection::PositionAhead { position, last }.into());
    }
    let view = View {
        engine,
        overlay: &writer.overlay,
    };
    let actual = view.cursor(&save.name)?;
    // Nothing is written where it is there already, so that saving again and again costs nothing; and wherever it was
    // to come from, a repeat after a lost answer finds it there.
    if actual != Some(position) {
        check_from(&save.name, save.from, actual)?;
        writer.state.add_cursors(view, actual.is_none().into())?;
        writer.save_cursor(&save.name, position);
    }
    Ok(Outcome::CursorSaved {
        revision: writer.state.revision,
        position,
    })
}

pub(super) fn delete(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    delete: &DeleteCursor,
) -> Result<Outcome, Refused> {
    writer.state.begin_at(delete.unix_ms, COORDINATION_LEVEL)?;
    let name = &delete.name;
    let view = View {
        engine,
        overlay: &writer.overlay,
    };
    let actual = view.cursor(name)?;
    if actual.is_none() {
        return Err(Rejection::UnknownCursor { name: name.clone() }.into());
    }
    check_from(name, delete.from, actual)?;
    writer.delete_cursor(name);
    writer.state.remove_cursor();
    Ok(Outcome::CursorDeleted {
        revision: writer.state.revision,
    })
}

/// Makes room for the cursors that a commit makes by moving them. In a vault of level 1 there is no bound.
pub(super) fn make_room(
    view: View<'_>,
    state: &mut State,
    preconditions: &[Precondition],
) -> Result<(), Refused> {
    if state.level() < Some(COORDINATION_LEVEL) {
        return Ok(());
    }
    let mut new = BTreeSet::new();
    for precondition in preconditions {
        if let Precondition::CursorMove { name, .. } = precondition
            && view.cursor(name)?.is_none()
        {
            new.insert(name);
        }
    }
    match new.is_empty() {
        true => Ok(()),
        false => state.add_cursors(view, new.len() as u64),
    }
}

fn check_from(name: &CursorName, from: Option<u64>, actual: Option<u64>) -> Result<(), Rejection> {
    let actual = actual.unwrap_or(0);
    match from {
        Some(expected) if expected != actual => Err(Rejection::Preconditions {
            violations: vec![Violation::Cursor {
                name: name.clone(),
                expected,
                actual,
            }],
        }),
        _ => Ok(()),
    }
}
