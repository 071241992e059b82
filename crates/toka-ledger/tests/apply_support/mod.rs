//! What the tests of `apply` share.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;

use bytes::Bytes;
use toka_ledger::command::{
    Command, Commit, Create, FEATURE_LEVEL, ParentName, Precondition, PreparedEvent,
};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Direction, Durability, Engine, Table};
use toka_ledger::intent::Parameters;
use toka_ledger::{
    Attributes, Embedding, EmbeddingModel, EventHeader, Kind, Ledger, LogMark, Outcome, Rejection,
    Salt, hash,
};

/// Time of every command unless a test says otherwise.
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) fn kind(kind: &str) -> Kind {
    Kind::new(kind).expect("a valid kind")
}

pub(crate) fn create() -> Command {
    create_at(FEATURE_LEVEL)
}

/// The creation of a vault at a feature level.
pub(crate) fn create_at(feature_level: u32) -> Command {
    Command::Create(Create {
        cluster_id: 0xc1,
        history_id: 0x41,
        feature_level,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: NOW,
    })
}

/// Parameters with which a few events do all that many do: macro-clusterings in `apply` and beside it,
/// folding at the cap, saves.
pub(crate) fn hurried() -> Parameters {
    Parameters {
        micro_clusters_max: 24,
        background_micro_clusters: 18,
        background_events: 3,
        save_events: 5,
        count_cap: 4,
        ..Parameters::default()
    }
    .tau(0.9)
    .expect("in range")
}

/// The creation of a vault with `intents`.
pub(crate) fn create_with(intents: Parameters) -> Command {
    with_intents(create(), intents)
}

/// A creation with other `intents`.
pub(crate) fn with_intents(creation: Command, intents: Parameters) -> Command {
    let Command::Create(create) = creation else {
        panic!("not a creation: {creation:?}")
    };
    Command::Create(Create { intents, ..create })
}

/// An event without anything but a kind and a payload.
pub(crate) fn event(kind: &str, payload: &str) -> PreparedEvent {
    PreparedEvent {
        kind: self::kind(kind),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        payload_digest: hash::payload_digest(payload.as_bytes()),
        salt: Salt::default(),
        parents: Vec::new(),
        embedding: None,
        model: None,
        attributes: Attributes::default(),
    }
}

/// Changes of an event, one after another.
pub(crate) trait With: Sized {
    fn salted(self, salt: &[u8]) -> Self;
    fn child_of(self, parents: impl IntoIterator<Item = ParentName>) -> Self;
    fn embedded(self, components: &[f32]) -> Self;
    fn of_model(self, model: &str) -> Self;
    fn tagged(self, name: &str, value: &str) -> Self;
}

impl With for PreparedEvent {
    fn salted(mut self, salt: &[u8]) -> Self {
        self.salt = Salt::new(salt).expect("a valid salt");
        self
    }

    fn child_of(mut self, parents: impl IntoIterator<Item = ParentName>) -> Self {
        self.parents.extend(parents);
        self
    }

    fn embedded(mut self, components: &[f32]) -> Self {
        self.embedding = Some(Embedding::from_f32(components).expect("a valid embedding"));
        self
    }

    fn of_model(mut self, model: &str) -> Self {
        self.model = Some(EmbeddingModel::new(model).expect("a valid name"));
        self
    }

    fn tagged(mut self, name: &str, value: &str) -> Self {
        self.attributes
            .pairs
            .insert(name.to_owned(), value.to_owned());
        self
    }
}

pub(crate) fn commit(events: impl IntoIterator<Item = PreparedEvent>) -> Commit {
    let events = events.into_iter().collect();
    Commit {
        unix_ms: NOW,
        events,
        preconditions: Vec::new(),
    }
}

pub(crate) fn commit_if(
    preconditions: impl IntoIterator<Item = Precondition>,
    events: impl IntoIterator<Item = PreparedEvent>,
) -> Commit {
    Commit {
        preconditions: preconditions.into_iter().collect(),
        ..commit(events)
    }
}

pub(crate) fn by_id(header: &EventHeader) -> ParentName {
    ParentName::Id(header.id)
}

pub(crate) fn by_digest(header: &EventHeader) -> ParentName {
    ParentName::Digest(header.digest)
}

/// A ledger over a store in memory.
pub(crate) struct Vault {
    pub(crate) ledger: Ledger,
    pub(crate) engine: Arc<MemoryEngine>,
}

impl Vault {
    /// A vault that has been created.
    pub(crate) fn new() -> Self {
        let mut vault = Self::pristine();
        assert_eq!(vault.apply(&[create()]), [Outcome::Created { revision: 1 }]);
        vault
    }

    /// A vault that has been created at a feature level.
    pub(crate) fn of_level(feature_level: u32) -> Self {
        let mut vault = Self::pristine();
        let created = vault.apply(&[create_at(feature_level)]);
        assert_eq!(created, [Outcome::Created { revision: 1 }]);
        vault
    }

    /// A vault without its first command.
    pub(crate) fn pristine() -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let ledger = Ledger::open(
            Arc::clone(&engine) as Arc<dyn Engine>,
            Arc::new(toka_ledger::seam::SystemThreads),
        )
        .expect("opens");
        Self { ledger, engine }
    }

    /// Applies commands as one entry.
    pub(crate) fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        self.ledger
            .apply(commands, LogMark::default(), Durability::Volatile)
            .expect("applies")
    }

    /// Applies commits as one entry.
    pub(crate) fn commits(&mut self, commits: impl IntoIterator<Item = Commit>) -> Vec<Outcome> {
        let commands: Vec<_> = commits.into_iter().map(Command::Commit).collect();
        self.apply(&commands)
    }

    /// Applies a commit that must be accepted.
    pub(crate) fn accept(&mut self, commit: Commit) -> Vec<Arc<EventHeader>> {
        let outcome = self.commits([commit]).pop().expect("one for each command");
        accepted(outcome)
    }

    /// Applies an event that must be accepted.
    pub(crate) fn accept_event(&mut self, event: PreparedEvent) -> Arc<EventHeader> {
        self.accept(commit([event]))
            .pop()
            .expect("one for each event")
    }

    /// Applies a commit that must be refused.
    pub(crate) fn refuse(&mut self, commit: Commit) -> Rejection {
        let outcome = self.commits([commit]).pop().expect("one for each command");
        refused(outcome)
    }
}

pub(crate) fn accepted(outcome: Outcome) -> Vec<Arc<EventHeader>> {
    match outcome {
        Outcome::Committed { headers, .. } => headers,
        other => panic!("not committed: {other:?}"),
    }
}

pub(crate) fn refused(outcome: Outcome) -> Rejection {
    match outcome {
        Outcome::Rejected { rejection, .. } => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

/// Every row of a store.
pub(crate) fn contents(engine: &dyn Engine) -> Vec<(Table, Bytes, Bytes)> {
    let mut rows = Vec::new();
    for table in Table::ALL {
        for row in engine.scan(table, &[], None, Direction::Forward) {
            let (key, value) = row.expect("readable");
            rows.push((table, key, value));
        }
    }
    rows
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
