//! Random histories of commands.

#[path = "random_coordination.rs"]
mod coordination;
#[path = "random_credentials.rs"]
mod credentials;

use proptest::prelude::*;
use proptest::sample::Index;
use toka_ledger::command::{
    Command, Commit, Create, Label, ParentName, Precondition, PreparedEvent,
};
use toka_ledger::intent::IntentId;
use toka_ledger::{
    CursorName, Digest, EmbeddingModel, EventHeader, EventId, IntentLabel, Outcome, Selector,
};

use self::coordination::{CoordinationSpec, acknowledge, coordination};
use self::credentials::{CredentialsSpec, credentials};
use crate::apply_support::{NOW, Vault, With, by_digest, by_id, create_with, event, hurried, kind};

const KINDS: [&str; 4] = ["task", "task.claim", "note", "ñ"];
/// Of the embeddings, but for some that are refused.
const DIMENSION: usize = 4;
const CURSORS: [&str; 2] = ["one", "two"];

/// How a parent is named, once it is known what there is.
#[derive(Clone, Debug)]
pub(crate) enum ParentSpec {
    StoredById(Index),
    StoredByDigest(Index),
    Earlier(Index),
    WrongId(Index),
    Unknown(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct EventSpec {
    kind: usize,
    payload: u8,
    salt: u8,
    parents: Vec<ParentSpec>,
    /// What its direction follows from, its dimension, the model that it names.
    embedding: Option<(u8, usize, Option<&'static str>)>,
    tags: u8,
}

#[derive(Clone, Debug)]
pub(crate) enum PreconditionSpec {
    NoChild(ParentSpec, usize),
    /// The kind's real last sequence, or one above it.
    KindSequence(usize, bool),
    TimePassed(i8),
    /// From the cursor's real place, or one above it.
    CursorMove(usize, bool, u8),
    /// The real last sequence of the kinds that start as this one, or one above it.
    KindPrefixSequence(usize, bool),
    /// A group, an outstanding event of it, and whether its delivery is the right one.
    Acknowledge(usize, usize, bool),
}

#[derive(Clone, Debug)]
pub(crate) enum CommandSpec {
    Create,
    /// Change of the proposer's clock, the events, what must hold.
    Commit(i16, Vec<EventSpec>, Vec<PreconditionSpec>),
    /// An earlier command again.
    Again(Index),
    /// An intent, and whether it gets a label or loses it.
    Label(u8, bool),
    /// Change of the proposer's clock, and what it is about.
    Coordination(i16, CoordinationSpec),
    /// The same of tokens, roles and the audit.
    Credentials(i16, CredentialsSpec),
}

fn parent() -> impl Strategy<Value = ParentSpec> {
    prop_oneof![
        8 => any::<Index>().prop_map(ParentSpec::StoredById),
        8 => any::<Index>().prop_map(ParentSpec::StoredByDigest),
        6 => any::<Index>().prop_map(ParentSpec::Earlier),
        1 => any::<Index>().prop_map(ParentSpec::WrongId),
        1 => any::<u8>().prop_map(ParentSpec::Unknown),
    ]
}

fn event_spec() -> impl Strategy<Value = EventSpec> {
    let dimension = prop_oneof![18 => Just(DIMENSION), 1 => Just(3), 1 => Just(70)];
    let model = prop_oneof![8 => Just(None), 3 => Just(Some("x")), 1 => Just(Some("y"))];
    let embedding = prop::option::weighted(0.6, (1_u8..=255, dimension, model));
    let parents = prop::collection::vec(parent(), 0..4);
    (
        0..KINDS.len(),
        0_u8..6,
        0_u8..3,
        parents,
        embedding,
        0_u8..8,
    )
        .prop_map(
            |(kind, payload, salt, parents, embedding, tags)| EventSpec {
                kind,
                payload,
                salt,
                parents,
                embedding,
                tags,
            },
        )
}

fn precondition() -> impl Strategy<Value = PreconditionSpec> {
    let holds = || prop::bool::weighted(0.8);
    prop_oneof![
        (parent(), 0..KINDS.len())
            .prop_map(|(parent, kind)| PreconditionSpec::NoChild(parent, kind)),
        (0..KINDS.len(), holds())
            .prop_map(|(kind, holds)| PreconditionSpec::KindSequence(kind, holds)),
        (-100_i8..20).prop_map(PreconditionSpec::TimePassed),
        (0..CURSORS.len(), holds(), any::<u8>())
            .prop_map(|(name, holds, to)| PreconditionSpec::CursorMove(name, holds, to)),
        (0..KINDS.len(), any::<bool>())
            .prop_map(|(kind, holds)| PreconditionSpec::KindPrefixSequence(kind, holds)),
        (0..2_usize, 0..4_usize, holds())
            .prop_map(|(group, pick, holds)| PreconditionSpec::Acknowledge(group, pick, holds)),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = CommandSpec> {
    let events = prop::collection::vec(event_spec(), 1..5);
    let preconditions = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(precondition(), 1..3),
    ];
    prop_oneof![
        1 => Just(CommandSpec::Create),
        20 => (-50_i16..200, events, preconditions)
            .prop_map(|(time, events, preconditions)| CommandSpec::Commit(time, events, preconditions)),
        3 => any::<Index>().prop_map(CommandSpec::Again),
        2 => (0_u8..12, any::<bool>()).prop_map(|(intent, set)| CommandSpec::Label(intent, set)),
        10 => (0_i16..200, coordination())
            .prop_map(|(time, spec)| CommandSpec::Coordination(time, spec)),
    ]
}

/// Commands of every level. Those of credentials add events that no outcome has, and rows that stay where history is
/// read or repeated up to some event: tests of that do without them.
#[allow(dead_code, reason = "not every test file uses it")]
pub(crate) fn any_command() -> impl Strategy<Value = CommandSpec> {
    prop_oneof![
        5 => command(),
        1 => (0_i16..200, credentials())
            .prop_map(|(time, spec)| CommandSpec::Credentials(time, spec)),
    ]
}

/// Makes commands one by one, each applied to a vault of its own before the next is made.
pub(crate) struct History {
    pub(crate) vault: Vault,
    pub(crate) commands: Vec<Command>,
    pub(crate) outcomes: Vec<Outcome>,
    /// Every event stored, in order.
    pub(crate) stored: Vec<EventHeader>,
    clock: u64,
}

impl History {
    pub(crate) fn new(specs: &[CommandSpec]) -> Self {
        let mut history = Self {
            vault: Vault::pristine(),
            commands: Vec::new(),
            outcomes: Vec::new(),
            stored: Vec::new(),
            clock: NOW,
        };
        let Command::Create(create) = create_with(hurried()) else {
            unreachable!("made by the function of that name")
        };
        history.apply(Command::Create(Create {
            // In half of the vaults it is known before there is an embedding.
            dimension: specs.len().is_multiple_of(2).then_some(DIMENSION as u16),
            ..create
        }));
        for spec in specs {
            let command = history.command(spec);
            history.apply(command);
        }
        history
    }

    fn apply(&mut self, command: Command) {
        let outcome = self.vault.apply(std::slice::from_ref(&command)).remove(0);
        if let Outcome::Committed { headers, .. } = &outcome {
            let new = headers.iter().filter(|header| !header.deduplicated);
            self.stored.extend(new.map(|header| (**header).clone()));
        } else {
            self.store_audit();
        }
        self.commands.push(command);
        self.outcomes.push(outcome);
    }

    /// Takes note of the events that a command has added by itself.
    fn store_audit(&mut self) {
        let reader = self.vault.ledger.reader();
        for sequence in self.stored.len() as u64 + 1..=reader.position().sequence {
            let header = reader.header(&Selector::Sequence(sequence));
            let header = header.expect("readable").expect("there");
            self.stored.push((*header).clone());
        }
    }

    fn command(&mut self, spec: &CommandSpec) -> Command {
        match spec {
            CommandSpec::Create => create_with(hurried()),
            CommandSpec::Label(intent, set) => Command::Label(Label {
                unix_ms: self.clock,
                intent: IntentId(u64::from(*intent)),
                label: set.then(|| IntentLabel::new("label").expect("valid")),
            }),
            CommandSpec::Coordination(time, spec) => {
                self.clock = self.clock.saturating_add_signed(i64::from(*time));
                spec.command(&self.vault.ledger.reader(), self.clock)
            }
            CommandSpec::Credentials(time, spec) => {
                self.clock = self.clock.saturating_add_signed(i64::from(*time));
                spec.command(self.clock)
            }
            CommandSpec::Again(earlier) => earlier.get(&self.commands).clone(),
            CommandSpec::Commit(time, events, preconditions) => {
                self.clock = self.clock.saturating_add_signed(i64::from(*time));
                let events = events
                    .iter()
                    .enumerate()
                    .map(|(index, spec)| self.event(index, spec));
                Command::Commit(Commit {
                    unix_ms: self.clock,
                    events: events.collect(),
                    preconditions: preconditions
                        .iter()
                        .map(|spec| self.precondition(spec))
                        .collect(),
                })
            }
        }
    }

    fn event(&self, index: usize, spec: &EventSpec) -> PreparedEvent {
        let parents: Vec<_> = spec
            .parents
            .iter()
            .filter_map(|parent| self.parent(index, parent))
            .collect();
        let mut event = event(
            KINDS[spec.kind],
            &"payload ".repeat(usize::from(spec.payload)),
        )
        .salted(&vec![spec.salt; usize::from(spec.salt)])
        .child_of(parents);
        if let Some((x, dimension, model)) = spec.embedding {
            // Directions that are near each other, and ones that are not.
            let part = |factor: u8| f32::from(x.wrapping_mul(factor)) - 127.5;
            let components = [part(1), part(7), part(31), 40.0];
            let components = components.iter().cycle().take(dimension);
            event = event.embedded(&components.copied().collect::<Vec<_>>());
            event.model = model.map(|model| EmbeddingModel::new(model).expect("valid"));
        }
        if spec.tags & 1 == 1 {
            event.attributes.source = Some(format!("agent-{}", spec.tags));
        }
        if spec.tags & 2 == 2 {
            event = event
                .tagged("session", &spec.tags.to_string())
                .tagged("empty", "");
        }
        event
    }

    /// The parent of an event at `index` of its commit, if there is anything to name.
    fn parent(&self, index: usize, spec: &ParentSpec) -> Option<ParentName> {
        let stored = |pick: &Index| (!self.stored.is_empty()).then(|| pick.get(&self.stored));
        match spec {
            ParentSpec::StoredById(pick) => stored(pick).map(by_id),
            ParentSpec::StoredByDigest(pick) => stored(pick).map(by_digest),
            ParentSpec::Earlier(pick) => (index > 0)
                .then(|| ParentName::Batch(u16::try_from(pick.index(index)).expect("small"))),
            ParentSpec::WrongId(pick) => stored(pick).map(|header| {
                let mut id = *header.id.as_bytes();
                id[3] ^= 1;
                ParentName::Id(EventId::from_bytes(id))
            }),
            ParentSpec::Unknown(byte) => Some(ParentName::Digest(Digest([*byte; 32]))),
        }
    }

    fn precondition(&self, spec: &PreconditionSpec) -> Precondition {
        match spec {
            PreconditionSpec::NoChild(parent, of_kind) => Precondition::NoChild {
                parent: self
                    .parent(0, parent)
                    .unwrap_or(ParentName::Digest(Digest::ZERO)),
                kind: kind(KINDS[*of_kind]),
            },
            PreconditionSpec::KindSequence(of_kind, holds) => {
                let kind = kind(KINDS[*of_kind]);
                let last = self.stored.iter().rfind(|header| header.kind == kind);
                let last = last.map_or(0, |header| header.sequence);
                Precondition::KindSequence {
                    kind,
                    sequence: last + u64::from(!holds),
                }
            }
            PreconditionSpec::KindPrefixSequence(of_kind, holds) => {
                let prefix = KINDS[*of_kind].to_owned();
                let is_like = |header: &&EventHeader| header.kind.as_str().starts_with(&prefix);
                let last = self.stored.iter().rfind(is_like);
                let last = last.map_or(0, |header| header.sequence);
                Precondition::KindPrefixSequence {
                    prefix,
                    sequence: last + u64::from(!holds),
                }
            }
            PreconditionSpec::Acknowledge(group, pick, holds) => {
                acknowledge(&self.vault.ledger.reader(), *group, *pick, *holds)
            }
            PreconditionSpec::TimePassed(ahead) => Precondition::TimePassed {
                unix_ms: self.clock.saturating_add_signed(i64::from(*ahead)),
            },
            PreconditionSpec::CursorMove(name, holds, to) => {
                let name = CursorName::new(CURSORS[*name]).expect("valid");
                let at = self
                    .vault
                    .ledger
                    .reader()
                    .cursor(&name)
                    .expect("readable")
                    .unwrap_or(0);
                let from = at + u64::from(!holds);
                Precondition::CursorMove {
                    name,
                    from,
                    to: u64::from(*to),
                }
            }
        }
    }
}
