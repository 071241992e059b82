//! The rows of `meta`.

use std::collections::BTreeMap;

use super::groups::Groups;
use super::report::Report;
use super::rows::{Row, get};
use crate::codec::DecodeError;
use crate::core::CursorName;
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;
use crate::read::Position;
use crate::store::Settings;
use crate::store::journal::Change;
use crate::store::meta::{
    APPLIED, Applied, MEMBERSHIP, RECOVERED, SETTINGS, decode_applied, decode_cursor,
    decode_cursor_key, decode_membership, decode_recovered, decode_settings,
};
use crate::store::{journal, lookup};

/// What `meta` says about the rest.
pub(super) struct Meta {
    pub(super) settings: Option<Settings>,
}

/// Checks that every row can be read.
pub(super) fn check(
    engine: &dyn Engine,
    position: &Position,
    report: &mut Report,
) -> Result<Meta, Error> {
    let mut meta = Meta { settings: None };
    // Where cursors are, and where the journal says that they went last.
    let (mut cursors, mut moved) = (BTreeMap::new(), BTreeMap::new());
    let mut has_position = false;
    let mut raised = None;
    let mut groups = Groups::default();
    for row in engine.scan(Table::Meta, &[], None, Direction::Forward) {
        let (key, value) = match row {
            Ok(row) => row,
            Err(error) => {
                report.damage(error)?;
                groups.lose();
                break;
            }
        };
        let checked = match &key[..] {
            APPLIED => {
                has_position = true;
                decode_applied(value).map(|applied| {
                    groups.last = Some(applied.sequence);
                    check_position(&applied, position, report);
                })
            }
            SETTINGS => decode_settings(value).map(|settings| meta.settings = Some(settings)),
            MEMBERSHIP => decode_membership(value).map(drop),
            RECOVERED => decode_recovered(value).map(drop),
            key if key.starts_with(journal::PREFIX) => {
                lookup::decode_journal(key, value).map(|(_, change)| match change {
                    Change::Cursor { name, position } | Change::CursorSaved { name, position } => {
                        moved.insert(name, position);
                    }
                    Change::CursorDeleted { name } => {
                        moved.remove(&name);
                    }
                    Change::FeatureLevel { level } => raised = Some(level),
                    Change::Label { .. } => {}
                })
            }
            key if Groups::has(key) => groups.row(key, value),
            _ => match decode_cursor_key(&key) {
                Ok(Some(name)) => decode_cursor(&name, value).map(|at| {
                    cursors.insert(name, at);
                }),
                Ok(None) => Err(DecodeError::Invalid { field: "key" }),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = checked {
            report.unreadable_row(
                Table::Meta,
                format!("{:?}: {error}", String::from_utf8_lossy(&key)),
            );
        }
    }
    groups.finish(report);
    check_cursors(&cursors, &moved, report);
    if let Some(settings) = &meta.settings {
        let (level, expected) = (
            settings.feature_level,
            raised.unwrap_or(settings.created_level),
        );
        if level != expected {
            let detail = format!("the feature level is {level}, and was last raised to {expected}");
            report.row(Table::Meta, detail);
        }
    }
    let is_created = position.revision > 0;
    if is_created && !has_position {
        report.row(Table::Meta, "the position is missing");
    }
    if position.sequence > 0 && meta.settings.is_none() {
        report.row(Table::Meta, "the settings are missing");
    }
    Ok(meta)
}

/// Rows and journal are of one moment, also while commits go on.
fn check_cursors(
    cursors: &BTreeMap<CursorName, u64>,
    moved: &BTreeMap<CursorName, u64>,
    report: &mut Report,
) {
    for (name, at) in cursors {
        if moved.get(name) != Some(at) {
            let detail =
                format!("cursor {name} is at {at}, and its last move was to another place");
            report.row(Table::Meta, detail);
        }
    }
    for name in moved.keys().filter(|name| !cursors.contains_key(*name)) {
        report.row(
            Table::Meta,
            format!("cursor {name} was moved and is missing"),
        );
    }
}

/// The stored position may be ahead, since commits go on; if it is not, it must be equal.
fn check_position(applied: &Applied, position: &Position, report: &mut Report) {
    let is_wrong = applied.revision < position.revision
        || applied.revision == position.revision
            && (applied.sequence, applied.unix_ms, applied.state_digest)
                != (position.sequence, position.unix_ms, position.state_digest);
    if is_wrong {
        report.row(Table::Meta, "the stored position is not the vault's");
    }
}

/// Sequence of the last event that has been stored.
pub(super) fn stored_sequence(engine: &dyn Engine) -> Result<u64, Error> {
    Ok(match get(engine, Table::Meta, APPLIED)? {
        Row::Present(row) => decode_applied(row).map_or(0, |applied| applied.sequence),
        // Told by `check`.
        Row::Missing | Row::Damaged(_) => 0,
    })
}
