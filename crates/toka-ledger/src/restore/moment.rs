//! Repeating a history up to a moment, and how the vault that it is repeated in is understood.

use std::sync::Arc;

use super::{Repetition, apply, creation, fix_model, groups, lost};
use crate::apply::Ledger;
use crate::command::{COORDINATION_LEVEL, CREDENTIALS_LEVEL};
use crate::engine::Engine;
use crate::error::Error;
use crate::read::{Position, Reader};
use crate::seam::Threads;
use crate::store::journal::{Change, Place};
use crate::store::lookup;

/// What is in the vault that a history is repeated in, and where the repetition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A copy of the source at an earlier time, or nothing. Ends right behind the event.
    Copy,
    /// What an earlier repetition has left, or nothing: its revisions are not those of the source. Ends right behind
    /// the event.
    Repeated,
    /// As [`Manner::Repeated`]; ends with what changed behind the event and before the next one.
    RepeatedWithChanges,
}

/// See [`super::repeat`].
pub(crate) fn repeat_as(
    engine: &Arc<dyn Engine>,
    source: &Reader,
    until: u64,
    manner: Manner,
    threads: &Arc<dyn Threads>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    // The source may go on meanwhile.
    let Position {
        sequence: last,
        revision: now,
        ..
    } = source.position();
    if until > last {
        return Err(Error::OutOfRange {
            sequence: until,
            last,
        });
    }
    let settings = source
        .settings()?
        .ok_or_else(|| lost(0, "the settings are missing"))?;
    let mut ledger = Ledger::open(Arc::clone(engine), Arc::clone(threads))?;
    if ledger.position().revision == 0 {
        let create = creation(source, &settings, threads)?;
        apply(&mut ledger, &[create])?;
    }
    let mut repetition = Repetition::new(ledger, source);
    if manner != Manner::Copy {
        // What changed behind the last event is still to be done, all of it.
        repetition.known_revision = 0;
    }
    let begin = repetition.at;
    while repetition.at < until {
        repetition.stretch(until)?;
        progress(repetition.at - begin);
    }
    if manner == Manner::RepeatedWithChanges {
        repetition.last_changes(now)?;
    }
    let restored = repetition.ledger.reader();
    fix_model(&**engine, &restored, &settings)?;
    let level = restored.settings()?.map_or(0, |now| now.feature_level);
    if level >= COORDINATION_LEVEL {
        let revision = restored.position().revision;
        let has_credentials = level >= CREDENTIALS_LEVEL;
        groups::take_over(&**engine, source, until, revision, has_credentials)?;
    }
    drop(repetition);
    engine.flush()?;
    Ok(until.saturating_sub(begin))
}

impl Repetition<'_> {
    /// Applies what changed behind the last event, up to a revision of the source.
    pub(super) fn last_changes(&mut self, until_revision: u64) -> Result<(), Error> {
        let (engine, at) = (self.source.engine(), self.at);
        let journal = lookup::journal(&*engine, at, at);
        let is_later = |row: &Result<(Place, Change), Error>| matches!(row, Ok((place, _)) if place.revision > until_revision);
        let mut journal = journal.take_while(|row| !is_later(row)).peekable();
        let mut todo = Vec::new();
        self.changes(&mut journal, at, &mut todo)?;
        self.carry_out(&mut todo)
    }
}
