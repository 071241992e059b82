//! What a restore does to a copy of a vault.
//!
//! A copy goes on under another log, or it ends at an earlier event. The latter is made by repeating the
//! history: events and what changed beside them are in the tables, and `apply` comes to the same bits.

mod groups;
pub(crate) mod moment;

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use crate::apply::{Ledger, LogMark, Outcome};
use crate::command::{
    Command, Commit, Create, DeleteCursor, Label, ParentName, Precondition, PreparedEvent,
    SaveCursor, SetFeatureLevel,
};
use crate::core::{CursorName, EmbeddingModel, EventHeader};
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Direction, Durability, Engine, Table};
use crate::error::Error;
use crate::read::{Filter, Query, Reader, Selector, Stored};
use crate::seam::Threads;
use crate::store::history::STATE_DIGEST_EVENTS;
use crate::store::journal::{Change, Place};
use crate::store::lookup;
pub use crate::store::meta::Recovered;
use crate::store::meta::{self, Applied, Settings};

/// Makes the vault that `engine` holds begin at an empty log: the position stays, the log's mark goes.
///
/// # Errors
/// [`Error::Engine`], [`Error::Corrupt`].
pub fn forget_log(engine: &dyn Engine) -> Result<(), Error> {
    let mut batch = Batch::new();
    if let Some(applied) = lookup::applied(engine)? {
        let applied = Applied {
            log_id: None,
            ..applied
        };
        batch.put(Table::Meta, meta::APPLIED, meta::encode_applied(&applied));
    }
    batch.delete(Table::Meta, meta::MEMBERSHIP);
    Ok(engine.write(batch, Durability::Synced)?)
}

/// Notes in the vault that `engine` holds that, and where, it was recovered.
///
/// # Errors
/// [`Error::Engine`].
pub fn note_recovered(engine: &dyn Engine, recovered: &Recovered) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.put(
        Table::Meta,
        meta::RECOVERED,
        meta::encode_recovered(recovered),
    );
    Ok(engine.write(batch, Durability::Synced)?)
}

/// Sequence of the last event at or before a time; 0 if there is none.
///
/// # Errors
/// [`Error::Engine`], [`Error::Corrupt`].
pub fn sequence_at(reader: &Reader, unix_ms: u64) -> Result<u64, Error> {
    // The vault's time never runs backwards.
    let (mut before, mut after) = (0, reader.position().sequence + 1);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        let header = reader.header(&Selector::Sequence(middle))?;
        let header = header.ok_or_else(|| lost(middle, "the header is missing"))?;
        if header.unix_ms <= unix_ms {
            before = middle;
        } else {
            after = middle;
        }
    }
    Ok(before)
}

/// Whether the vault of `base` is a beginning of that of `reader`: the same events with the same roots.
///
/// # Errors
/// [`Error::Engine`], [`Error::Corrupt`].
pub fn is_beginning(base: &Reader, reader: &Reader) -> Result<bool, Error> {
    let last = base.position().sequence;
    if last > reader.position().sequence {
        return Ok(false);
    }
    let whole = last / STATE_DIGEST_EVENTS * STATE_DIGEST_EVENTS;
    if base.state_digest_at(whole)? != reader.state_digest_at(whole)? {
        return Ok(false);
    }
    Ok(headers(base, whole, last)? == headers(reader, whole, last)?)
}

/// Brings the vault in `engine`, which is empty or a beginning of that of `source`, to right behind the event
/// at `until`. Returns how many events were repeated.
///
/// Everything is as it was there: headers, ids, times, indexes, intents and their labels, cursors, history
/// root and state digest; the last two are compared at each multiple of 256. But for the revision, which
/// counts no command that changed nothing, and one for each event. A label that was given behind the last event,
/// a rise of the feature level there, or a cursor that was saved or deleted there, is left out.
///
/// Consumer groups, of which there is no history, are as `source` has them, as far as they do not reach beyond
/// `until`: nothing is leased, and deliveries from before are none of this vault. In a vault that had not been
/// raised to their feature level by then there are none. So it is with tokens and roles: those that `source` has now are
/// the vault's, and what was revoked since stays revoked.
///
/// # Errors
/// [`Error::Erased`] for a payload that is gone; [`Error::Corrupt`] if an event does not come out as it was;
/// [`Error::OutOfRange`] if `source` ends before `until`.
pub fn repeat(
    engine: &Arc<dyn Engine>,
    source: &Reader,
    until: u64,
    threads: &Arc<dyn Threads>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    moment::repeat_as(
        engine,
        source,
        until,
        moment::Manner::Copy,
        threads,
        progress,
    )
}

/// Commands that are gathered at most before they are applied, beside those of 256 events.
const TODO_MAX: usize = 4_096;

/// A command, and the event that it is to come to, if to any.
type Todo = (Command, Option<Arc<EventHeader>>);

/// A history that is applied again.
struct Repetition<'a> {
    ledger: Ledger,
    source: &'a Reader,
    /// The last event that was.
    at: u64,
    /// Revision up to which `ledger` has what changed behind that event.
    known_revision: u64,
    /// Where cursors are that were moved.
    cursors: BTreeMap<CursorName, u64>,
}

impl<'a> Repetition<'a> {
    fn new(ledger: Ledger, source: &'a Reader) -> Self {
        let position = ledger.position();
        Self {
            ledger,
            source,
            at: position.sequence,
            known_revision: position.revision,
            cursors: BTreeMap::new(),
        }
    }

    /// Goes on up to `until`, or to the next stored state digest.
    fn stretch(&mut self, until: u64) -> Result<(), Error> {
        let end = ((self.at / STATE_DIGEST_EVENTS + 1) * STATE_DIGEST_EVENTS).min(until);
        let engine = self.source.engine();
        let mut journal = lookup::journal(&*engine, self.at, end).peekable();
        let mut todo = Vec::new();
        for header in headers(self.source, self.at, end)? {
            self.changes(&mut journal, header.sequence - 1, &mut todo)?;
            let moves = self.moves(&mut journal, header.sequence)?;
            let commit = commit(self.source, &header, moves)?;
            todo.push((commit, Some(header)));
        }
        self.carry_out(&mut todo)?;
        self.at = end;
        self.known_revision = 0;
        let repeated = self.ledger.reader().state_digest_at(end)?;
        if repeated != self.source.state_digest_at(end)? {
            let detail = format!("repeated, history root and state digest are {repeated:?}");
            return Err(lost(end, &detail));
        }
        Ok(())
    }

    /// Applies what is to be done, which is then empty.
    fn carry_out(&mut self, todo: &mut Vec<Todo>) -> Result<(), Error> {
        let (commands, expected): (Vec<_>, Vec<_>) = todo.drain(..).unzip();
        let outcomes = apply(&mut self.ledger, &commands)?;
        for (header, outcome) in expected.into_iter().zip(outcomes) {
            let is_same = match (&outcome, &header) {
                (Outcome::Committed { headers, .. }, Some(header)) => {
                    headers[..] == [Arc::clone(header)]
                }
                (
                    Outcome::Labelled { .. }
                    | Outcome::Raised { .. }
                    | Outcome::CursorSaved { .. }
                    | Outcome::CursorDeleted { .. },
                    None,
                ) => true,
                _ => false,
            };
            if !is_same {
                let sequence = header.map_or(self.at, |header| header.sequence);
                let detail = format!("repeated, it is another one: {outcome:?}");
                return Err(lost(sequence, &detail));
            }
        }
        Ok(())
    }

    /// Goes through the journal up to the event behind `sequence`: what commands of their own changed there is to be
    /// done. There may be any number of them, so that some may be done already.
    fn changes(
        &mut self,
        journal: &mut Peekable<impl Iterator<Item = Result<(Place, Change), Error>>>,
        sequence: u64,
        todo: &mut Vec<Todo>,
    ) -> Result<(), Error> {
        while let Some((place, change)) = next_of(journal, |place, _| place.sequence <= sequence)? {
            let is_new = sequence > self.at || place.revision > self.known_revision;
            if place.sequence == sequence && is_new {
                todo.extend(self.change(&change).map(|command| (command, None)));
            }
            if todo.len() >= TODO_MAX {
                self.carry_out(todo)?;
            }
        }
        Ok(())
    }

    /// The command that makes a change; none where it was part of a commit.
    fn change(&mut self, change: &Change) -> Option<Command> {
        // The vault's time does not run back.
        let unix_ms = 0;
        Some(match change {
            Change::Label { intent, label } => Command::Label(Label {
                unix_ms,
                intent: *intent,
                label: label.clone(),
            }),
            Change::FeatureLevel { level } => {
                let level = *level;
                Command::SetFeatureLevel(SetFeatureLevel { unix_ms, level })
            }
            Change::CursorSaved { name, position } => {
                self.cursors.insert(name.clone(), *position);
                Command::SaveCursor(SaveCursor {
                    unix_ms,
                    name: name.clone(),
                    from: None,
                    to: *position,
                })
            }
            Change::CursorDeleted { name } => {
                self.cursors.insert(name.clone(), 0);
                Command::DeleteCursor(DeleteCursor {
                    unix_ms,
                    name: name.clone(),
                    from: None,
                })
            }
            Change::Cursor { .. } => return None,
        })
    }

    /// The moves of cursors that belong to an event's commit, which come first of what is behind it.
    fn moves(
        &mut self,
        journal: &mut Peekable<impl Iterator<Item = Result<(Place, Change), Error>>>,
        sequence: u64,
    ) -> Result<Vec<Precondition>, Error> {
        let mut moves = Vec::new();
        let mut after = BTreeMap::new();
        let is_move = |place: &Place, change: &Change| {
            place.sequence == sequence && matches!(change, Change::Cursor { .. })
        };
        while let Some((_, change)) = next_of(journal, is_move)? {
            let Change::Cursor { name, position } = change else {
                continue;
            };
            let from = match self.cursors.get(&name) {
                Some(from) => *from,
                None => self.ledger.reader().cursor(&name)?.unwrap_or(0),
            };
            moves.push(Precondition::CursorMove {
                name: name.clone(),
                from,
                to: position,
            });
            after.insert(name, position);
        }
        // Only now: of two moves of a cursor in one commit both begin where it was before.
        self.cursors.extend(after);
        Ok(moves)
    }
}

/// The next row of the journal, if it is one of those that are wanted.
fn next_of(
    journal: &mut Peekable<impl Iterator<Item = Result<(Place, Change), Error>>>,
    is_wanted: impl Fn(&Place, &Change) -> bool,
) -> Result<Option<(Place, Change)>, Error> {
    let next = journal.next_if(|row| match row {
        Ok((place, change)) => is_wanted(place, change),
        Err(_) => true,
    });
    next.transpose()
}

fn apply(ledger: &mut Ledger, commands: &[Command]) -> Result<Vec<Outcome>, Error> {
    ledger.apply(commands, LogMark::default(), Durability::Volatile)
}

/// The commit that stores an event again.
fn commit(
    source: &Reader,
    header: &EventHeader,
    preconditions: Vec<Precondition>,
) -> Result<Command, Error> {
    let payload = match source.payload(header)? {
        Stored::Present(payload) => payload,
        Stored::Erased => return Err(Error::Erased { id: header.id }),
    };
    let embedding = match source.embedding(header)? {
        None => None,
        Some(Stored::Present(embedding)) => Some(embedding),
        Some(Stored::Erased) => return Err(Error::Erased { id: header.id }),
    };
    let parents = header.parents.iter();
    let event = PreparedEvent {
        kind: header.kind.clone(),
        payload,
        payload_digest: header.payload_digest,
        salt: header.salt.clone(),
        parents: parents
            .map(|parent| ParentName::Digest(parent.digest))
            .collect(),
        embedding,
        // Which event named the vault's model is not kept.
        model: None,
        attributes: header.attributes.clone(),
    };
    Ok(Command::Commit(Commit {
        unix_ms: header.unix_ms,
        events: vec![event],
        preconditions,
    }))
}

/// The vault's first command. The settings may have changed since: the first embedded events fix what the
/// creation left open. Which of the possible ones it was, the state digest tells.
fn creation(
    source: &Reader,
    settings: &Settings,
    threads: &Arc<dyn Threads>,
) -> Result<Command, Error> {
    let create = |dimension: Option<u16>, model: Option<EmbeddingModel>| {
        Command::Create(Create {
            cluster_id: settings.cluster_id,
            history_id: settings.history_id,
            feature_level: settings.created_level,
            dimension,
            model,
            intents: settings.intents,
            unix_ms: settings.created_unix_ms,
        })
    };
    let mut dimensions = vec![None, settings.dimension];
    let mut models = vec![None, settings.model.clone()];
    dimensions.dedup();
    models.dedup();
    if dimensions.len() * models.len() > 1 {
        for dimension in &dimensions {
            for model in &models {
                let command = create(*dimension, model.clone());
                if begins_with(source, &command, threads)? {
                    return Ok(command);
                }
            }
        }
    }
    // The first events then say what is wrong.
    Ok(create(dimensions[0], models[0].clone()))
}

/// Whether the vault of `source` was created so: its first events come to the same state digest.
fn begins_with(
    source: &Reader,
    create: &Command,
    threads: &Arc<dyn Threads>,
) -> Result<bool, Error> {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let mut ledger = Ledger::open(engine, Arc::clone(threads))?;
    apply(&mut ledger, std::slice::from_ref(create))?;
    let mut repetition = Repetition::new(ledger, source);
    let position = source.position();
    match repetition.stretch(position.sequence) {
        Ok(()) if repetition.at.is_multiple_of(STATE_DIGEST_EVENTS) => Ok(true),
        Ok(()) => {
            repetition.last_changes(position.revision)?;
            Ok(repetition.ledger.position().state_digest == position.state_digest)
        }
        Err(Error::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The model is fixed by the first event that names it, at the latest by the first embedded one: taken over
/// where there is an embedded one.
fn fix_model(engine: &dyn Engine, reader: &Reader, source: &Settings) -> Result<(), Error> {
    let Some(settings) = reader.settings()? else {
        return Ok(());
    };
    if settings.model.is_some() || source.model.is_none() {
        return Ok(());
    }
    // The dimension says nothing: it may stand since the creation.
    let mut embedded = engine.scan(Table::Embeddings, &[], None, Direction::Forward);
    if embedded.next().transpose()?.is_none() {
        return Ok(());
    }
    drop(embedded);
    let settings = Settings {
        model: source.model.clone(),
        ..settings
    };
    let mut batch = Batch::new();
    batch.put(
        Table::Meta,
        meta::SETTINGS,
        meta::encode_settings(&settings),
    );
    Ok(engine.write(batch, Durability::Volatile)?)
}

/// The headers behind `after`, up to `until`: at most a stretch.
fn headers(reader: &Reader, after: u64, until: u64) -> Result<Vec<Arc<EventHeader>>, Error> {
    let mut headers = Vec::new();
    let mut next = Some(after).filter(|after| *after < until);
    while let Some(after) = next {
        let page = reader.list(&Query {
            after,
            until,
            filter: Filter::default(),
            direction: Direction::Forward,
            limit: usize::try_from(STATE_DIGEST_EVENTS).unwrap_or(usize::MAX),
        })?;
        headers.extend(page.headers);
        next = page.next.filter(|after| *after < until);
    }
    if headers.len() as u64 == until - after {
        Ok(headers)
    } else {
        Err(lost(
            after + 1 + headers.len() as u64,
            "the header is missing",
        ))
    }
}

fn lost(sequence: u64, detail: &str) -> Error {
    Error::Corrupt {
        table: Table::Headers.name(),
        key: sequence.to_string(),
        detail: detail.to_owned(),
    }
}
