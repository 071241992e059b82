//! Cursors that are saved and deleted by commands of their own.

use super::overlay::View;
use super::write::Writer;
use super::{Outcome, Refused};
use crate::command::{COORDINATION_LEVEL, DeleteCursor, SaveCursor};
use crate::core::CursorName;
use crate::engine::Engine;
use crate::error::{Rejection, Violation};

pub(super) fn save(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    save: &SaveCursor,
) -> Result<Outcome, Refused> {
    writer.state.begin(save.unix_ms);
    writer.state.check_needed(COORDINATION_LEVEL)?;
    let (position, last) = (save.to, writer.state.sequence());
    if position > last {
        return Err(Rejection::PositionAhead { position, last }.into());
    }
    let view = View {
        engine,
        overlay: &writer.overlay,
    };
    let actual = view.cursor(&save.name)?;
    check_from(&save.name, save.from, actual)?;
    // Nothing is written where it is there already, so that saving again and again costs nothing.
    if actual != Some(position) {
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
    writer.state.begin(delete.unix_ms);
    writer.state.check_needed(COORDINATION_LEVEL)?;
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
    Ok(Outcome::CursorDeleted {
        revision: writer.state.revision,
    })
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
