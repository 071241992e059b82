//! The one way in which a vault changes.
//!
//! [`Ledger::apply`] is a pure function of the vault's contents and the commands: no clock, no
//! randomness, no environment. It is total: whatever the command decoder admits is applied or
//! rejected, and a rejection is a result like any other, the same on every replica. How commands
//! are gathered into calls makes no difference to what is stored.

mod ahead;
mod audit;
mod carried;
mod credentials;
mod cursors;
mod groups;
mod outcome;
mod overlay;
mod plan;
mod preconditions;
mod state;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLockWriteGuard;
use tokio::sync::watch;

use self::ahead::{Ahead, Foreseen};
pub use self::outcome::Outcome;
use self::overlay::{Overlay, View};
use self::state::{State, check_level};
use self::write::Writer;
use crate::command::{Command, Commit, Create, Label, SetFeatureLevel};
use crate::core::Embedding;
use crate::engine::{Batch, Durability, Engine};
use crate::error::{Error, Rejection};
use crate::intent;
use crate::read::{Position, Reader};
use crate::seam::{InlineThreads, Threads};

/// Events, and what else commands change, after which whoever reads the intents gets a turn.
const TURN_ITEMS: usize = 64;

/// Rows of an event that has no parents, attributes and embedding.
const EVENT_ROWS: usize = 5;

/// Where the log that feeds the ledger is; opaque to the ledger, stored with what it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMark {
    /// Id of the last applied log entry; `None`: unchanged.
    pub log_id: Option<Bytes>,
    /// Membership as of that entry; `None`: unchanged.
    pub membership: Option<Bytes>,
}

/// The single writer of a vault. When it is dropped, the vault is closed to its readers'
/// subscriptions.
#[derive(Debug)]
pub struct Ledger {
    engine: Arc<dyn Engine>,
    state: State,
    reader: Reader,
    threads: Arc<dyn Threads>,
    /// Empty: memory for what a call writes.
    batch: Batch,
    /// Tells the readers of a new position. Gone after a failure: the ledger is closed.
    publisher: Option<watch::Sender<Position>>,
}

impl Ledger {
    /// Opens the vault that `engine` holds, or a new one, which its first command creates. `threads`
    /// runs large macro-clusterings.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`], [`Error::FeatureLevel`].
    pub fn open(engine: Arc<dyn Engine>, threads: Arc<dyn Threads>) -> Result<Self, Error> {
        let state = State::load(&*engine)?;
        let clusterer = clusterer(&*engine, &state, &threads)?;
        let (publisher, position) = watch::channel(state.position());
        let reader = Reader::new(Arc::clone(&engine), position, clusterer);
        reader.auth().set(Arc::clone(&state.credentials));
        Ok(Self {
            engine,
            state,
            reader,
            threads,
            batch: Batch::new(),
            publisher: Some(publisher),
        })
    }

    /// A reader of the vault that `engine` holds while nobody writes to it, and the log's mark. Such a
    /// reader knows no intents: it is for what is in the tables.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn read_only(engine: Arc<dyn Engine>) -> Result<(Reader, LogMark), Error> {
        let state = State::load(&*engine)?;
        let (_, position) = watch::channel(state.position());
        let clusterer = intent::Clusterer::new(Arc::new(InlineThreads));
        let reader = Reader::new(engine, position, clusterer);
        reader.auth().set(state.credentials);
        Ok((reader, state.mark))
    }

    /// A reader of this vault, which stays valid when another engine is installed.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The engine that is written to: for flushes, checkpoints and figures.
    #[must_use]
    pub const fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Where the vault is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// The log's mark as applied in memory.
    #[must_use]
    pub fn log_mark(&self) -> LogMark {
        self.state.mark.clone()
    }

    /// The log's mark that a crash would leave: from behind it the log must be applied again.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn flushed_log_mark(&self) -> Result<LogMark, Error> {
        state::flushed_log_mark(&*self.engine)
    }

    /// Applies `commands` in order, in one atomic write that also holds `mark`, and publishes
    /// what is new. Returns what became of each command.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`], [`Error::FeatureLevel`] for a creation at a feature
    /// level, or a rise to one, that this build does not know. After an error nothing is known of the write, and
    /// every further call fails with [`Error::Closed`].
    pub fn apply(
        &mut self,
        commands: &[Command],
        mark: LogMark,
        durability: Durability,
    ) -> Result<Vec<Outcome>, Error> {
        let publisher = self.publisher.take().ok_or(Error::Closed)?;
        let embeddings = embeddings(commands);
        self.reader.clusterer().wait_for_pending(embeddings.len());
        self.reader.clusterer_mut().expect(embeddings);
        let mut outcomes = Vec::with_capacity(commands.len());
        let base = self.state.sequence();
        let (ahead, foreseen) = Ahead::look_up(&*self.engine, self.reader.ring(), base, commands)?;
        let mut foreseen = &foreseen[..];
        let mut overlay = Overlay::new(base, ahead);
        let mut batch = std::mem::take(&mut self.batch);
        make_room(&mut batch, commands);
        let mut row = Vec::new();
        let mut group_sums = Vec::new();
        for commands in turns(commands) {
            let mut clusterer = self.reader.clusterer_mut();
            let mut writer = Writer {
                state: &mut self.state,
                overlay,
                clusterer: &mut clusterer,
                batch,
                row,
            };
            for command in commands {
                let events = command.events().len().min(foreseen.len());
                let (own, rest) = foreseen.split_at(events);
                foreseen = rest;
                outcomes.push(apply_command(&*self.engine, &mut writer, command, own)?);
                group_sums.extend(writer.state.kept_group_sum());
            }
            Writer {
                overlay,
                batch,
                row,
                ..
            } = writer;
            RwLockWriteGuard::unlock_fair(clusterer);
        }
        self.state.finish(mark, &mut batch);
        self.engine.write_out(&mut batch, durability)?;
        self.batch = batch;
        // The new headers first: whoever hears of a position may ask for them.
        if self.reader.bodies().are_wanted() {
            self.reader
                .bodies()
                .push(carried::bodies(commands, &outcomes));
        }
        self.reader.ring().push(overlay.headers());
        self.reader.new_group_sums().push(group_sums);
        if let Some(credentials) = self.state.new_credentials() {
            self.reader.auth().set(credentials);
        }
        publisher.send_replace(self.state.position());
        self.publisher = Some(publisher);
        Ok(outcomes)
    }

    /// Goes on with another engine, into which a snapshot of this vault was installed. Readers and
    /// subscriptions go on too.
    ///
    /// # Errors
    /// As [`Ledger::open`], and [`Error::Closed`] after an earlier failure; the ledger then stays
    /// as it is.
    pub fn install(&mut self, engine: Arc<dyn Engine>) -> Result<(), Error> {
        let publisher = self.publisher.as_ref().ok_or(Error::Closed)?;
        let state = State::load(&*engine)?;
        let clusterer = clusterer(&*engine, &state, &self.threads)?;
        // The engine first: a reader takes the position, then the engine.
        self.reader.set_engine(Arc::clone(&engine));
        *self.reader.clusterer_mut() = clusterer;
        // What the ring has is no longer next to what comes.
        self.reader.ring().clear();
        self.reader.bodies().clear();
        self.reader.new_group_sums().clear();
        self.reader.auth().set(Arc::clone(&state.credentials));
        publisher.send_replace(state.position());
        self.engine = engine;
        self.state = state;
        Ok(())
    }
}

/// The intents of the vault that `engine` holds.
fn clusterer(
    engine: &dyn Engine,
    state: &State,
    threads: &Arc<dyn Threads>,
) -> Result<intent::Clusterer, Error> {
    let settings = state.settings.as_ref();
    intent::restore(engine, settings, state.sequence(), Arc::clone(threads))
}

/// So that `batch` need not grow, and be copied each time, for what most `commands` write.
fn make_room(batch: &mut Batch, commands: &[Command]) {
    let events: usize = commands.iter().map(|of| of.events().len()).sum();
    let bytes = commands.iter().map(Command::size_hint).sum();
    batch.reserve(EVENT_ROWS * (events + 1), bytes);
}

/// The commands in runs of about [`TURN_ITEMS`] items.
fn turns(commands: &[Command]) -> impl Iterator<Item = &[Command]> {
    let mut items = 0;
    commands.chunk_by(move |command, _| {
        items += command.items();
        let is_same = items < TURN_ITEMS;
        if !is_same {
            items = 0;
        }
        is_same
    })
}

/// The embeddings of all events, in the order in which they would be applied.
fn embeddings(commands: &[Command]) -> Vec<Embedding> {
    let events = commands.iter().flat_map(Command::events);
    events.filter_map(|event| event.embedding.clone()).collect()
}

/// Why a command writes nothing.
enum Refused {
    /// A result, the same on every replica.
    Rejected(Rejection),
    /// A failure of this node.
    Failed(Error),
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// `foreseen` is what is known of the command's events: of none, or of each.
fn apply_command(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    command: &Command,
    foreseen: &[Foreseen],
) -> Result<Outcome, Error> {
    let applied = match command {
        Command::Create(create) => apply_create(writer, create),
        Command::Commit(commit) => apply_commit(engine, writer, commit, foreseen),
        Command::Label(label) => apply_label(writer, label),
        Command::SetFeatureLevel(set) => apply_level(writer, set),
        Command::SaveCursor(save) => cursors::save(engine, writer, save),
        Command::DeleteCursor(delete) => cursors::delete(engine, writer, delete),
        Command::CreateGroup(create) => groups::create(engine, writer, create),
        Command::DeleteGroup(delete) => groups::delete(engine, writer, delete),
        Command::Deliver(deliver) => groups::deliver(engine, writer, deliver),
        Command::Settle(settle) => groups::settle(engine, writer, settle),
        Command::MoveParked(moves) => groups::move_parked(engine, writer, moves),
        Command::UpdateGroup(update) => groups::update(engine, writer, update),
        Command::CreateToken(create) => credentials::create_token(engine, writer, create),
        Command::RotateToken(rotate) => credentials::rotate_token(engine, writer, rotate),
        Command::RevokeToken(revoke) => credentials::revoke_token(engine, writer, revoke),
        Command::PutRole(put) => credentials::put_role(engine, writer, put),
        Command::DeleteRole(delete) => credentials::delete_role(engine, writer, delete),
        Command::AppendAudit(append) => audit::append(engine, writer, append),
    };
    match applied {
        Ok(outcome) => Ok(outcome),
        Err(Refused::Rejected(rejection)) => Ok(Outcome::Rejected {
            revision: writer.state.revision,
            rejection,
        }),
        Err(Refused::Failed(error)) => Err(error),
    }
}

fn apply_create(writer: &mut Writer<'_>, create: &Create) -> Result<Outcome, Refused> {
    writer.state.begin(create.unix_ms);
    if writer.state.settings.is_some() {
        return Err(Rejection::AlreadyCreated.into());
    }
    check_level(create.feature_level)?;
    writer.create(create);
    Ok(Outcome::Created {
        revision: writer.state.revision,
    })
}

fn apply_commit(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    commit: &Commit,
    foreseen: &[Foreseen],
) -> Result<Outcome, Refused> {
    writer.state.begin(commit.unix_ms);
    if writer.state.settings.is_none() {
        return Err(Rejection::NotCreated.into());
    }
    writer.state.check_needed(commit.level_needed())?;
    let view = View {
        engine,
        overlay: &writer.overlay,
    };
    if let Some(new) = plan::single(view, writer.state, commit, foreseen)? {
        let header = writer.event(new);
        return Ok(Outcome::Committed {
            revision: writer.state.revision,
            headers: vec![header],
        });
    }
    let has_embeddings = writer.clusterer.embedded() > 0;
    let plan = plan::plan(view, writer.state, has_embeddings, commit, foreseen)?;
    if !plan.new.is_empty() {
        cursors::make_room(view, writer.state, &commit.preconditions)?;
    }
    let headers = writer.commit(plan, &commit.preconditions);
    groups::acknowledge(engine, writer, commit)?;
    Ok(Outcome::Committed {
        revision: writer.state.revision,
        headers,
    })
}

/// Nothing of an entry is written if a rise in it is beyond this build: the ledger then stays at the last
/// position that this build can read.
fn apply_level(writer: &mut Writer<'_>, set: &SetFeatureLevel) -> Result<Outcome, Refused> {
    writer.state.begin(set.unix_ms);
    let level = writer.state.level().ok_or(Rejection::NotCreated)?;
    check_level(set.level)?;
    if set.level > level {
        writer.raise(set.level);
    }
    Ok(Outcome::Raised {
        revision: writer.state.revision,
        level: level.max(set.level),
    })
}

fn apply_label(writer: &mut Writer<'_>, label: &Label) -> Result<Outcome, Refused> {
    writer.state.begin(label.unix_ms);
    if writer.state.settings.is_none() {
        return Err(Rejection::NotCreated.into());
    }
    let unknown = Rejection::UnknownIntent {
        intent: label.intent,
    };
    let intent = writer.label(label).ok_or(unknown)?;
    Ok(Outcome::Labelled {
        revision: writer.state.revision,
        intent,
    })
}
