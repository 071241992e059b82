//! `apply` of any commands that validation admits: it ends in a result, and the same commands come to the same bits,
//! whoever applies them, in whatever entries, and with a restart in between.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use toka_ledger::command::{Batch, Command, FEATURE_LEVEL, decode_batch, encode};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Direction, Durability, Engine, Table};
use toka_ledger::read::{Query, Search};
use toka_ledger::seam::InlineThreads;
use toka_ledger::verify::verify;
use toka_ledger::{Error, Filter, Ledger, LogMark, Outcome};

use crate::script::Script;
use crate::{Seed, noise};

/// Entries of one input.
const ENTRIES_MAX: usize = 40;

/// A vault in memory.
pub(crate) struct Replica {
    pub(crate) engine: Arc<MemoryEngine>,
    pub(crate) ledger: Ledger,
}

impl Replica {
    pub(crate) fn new() -> Self {
        Self::open(Arc::new(MemoryEngine::new())).expect("an empty vault opens")
    }

    pub(crate) fn open(engine: Arc<MemoryEngine>) -> std::result::Result<Self, Error> {
        let store = Arc::clone(&engine) as Arc<dyn Engine>;
        let ledger = Ledger::open(store, Arc::new(InlineThreads))?;
        Ok(Self { engine, ledger })
    }

    /// What became of the commands; `None` if they ask for a feature level that this build does not know.
    pub(crate) fn apply(&mut self, commands: &[Command]) -> Option<Vec<Outcome>> {
        let applied = self
            .ledger
            .apply(commands, LogMark::default(), Durability::Volatile);
        match applied {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), commands.len(), "a result for each");
                Some(outcomes)
            }
            Err(Error::FeatureLevel { found, .. }) => {
                assert!(found > FEATURE_LEVEL && asks_for(commands, found));
                None
            }
            Err(error) => panic!("apply must be total: {error}"),
        }
    }

    /// Every row.
    pub(crate) fn rows(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let of = |table| {
            self.engine
                .scan(table, &[], None, Direction::Forward)
                .map(move |row| {
                    let (key, value) = row.expect("memory has no bad blocks");
                    (table, key.to_vec(), value.to_vec())
                })
        };
        Table::ALL.into_iter().flat_map(of).collect()
    }

    pub(crate) fn assert_intact(&self) {
        let report = verify(&self.ledger.reader(), &mut |_| ()).expect("memory can be read");
        assert!(report.is_intact(), "{:?}", report.problems);
    }

    /// Asserts that `other` holds the same, down to the last bit.
    pub(crate) fn assert_equals(&self, other: &Self) {
        assert_eq!(self.ledger.position(), other.ledger.position());
        let (ours, theirs) = (self.rows(), other.rows());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
        let intents = |replica: &Self| {
            let reader = replica.ledger.reader();
            reader.digest_intents();
            (reader.intents_digest(), reader.intents())
        };
        assert_eq!(intents(self), intents(other));
    }
}

fn asks_for(commands: &[Command], level: u32) -> bool {
    commands.iter().any(|command| match command {
        Command::Create(create) => create.feature_level == level,
        Command::SetFeatureLevel(set) => set.level == level,
        _ => false,
    })
}

/// The command as every node reads it, if validation admits it.
fn admitted(command: &Command) -> Option<Command> {
    command.check().ok()?;
    if command.level_needed() > FEATURE_LEVEL {
        return None;
    }
    let mut batch = Batch::default();
    batch.push(&encode(command));
    let mut decoded = decode_batch(batch.finish()).expect("what is admitted can be decoded");
    let again = decoded.pop().expect("there is one");
    assert_eq!(&again, command);
    Some(again)
}

/// See above.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // An input that ends early has said enough.
    let _ = play(&mut input);
}

fn play(input: &mut Unstructured<'_>) -> Result<()> {
    let mut script = Script::default();
    let restart = input.int_in_range(0..=9)?;
    let mut first = Replica::new();
    let mut entries: Vec<(Vec<Command>, Vec<Outcome>)> = Vec::new();
    while entries.len() < ENTRIES_MAX && !input.is_empty() {
        let Ok(commands) = entry(input, &mut script, entries.is_empty()) else {
            break;
        };
        let Some(outcomes) = first.apply(&commands) else {
            // Closed: nothing of the entry was written.
            first = Replica::open(first.engine).expect("as it was before");
            break;
        };
        for outcome in &outcomes {
            if let Outcome::Committed { headers, .. } = outcome {
                script.learn(headers);
            }
        }
        script.look(&first.ledger.reader());
        entries.push((commands, outcomes));
    }
    repeat_with_restart(&first, &entries, restart);
    repeat_one_by_one(&first, &entries);
    if !script.has_false_digests {
        first.assert_intact();
    }
    read(&first, &script, input);
    Ok(())
}

fn entry(
    input: &mut Unstructured<'_>,
    script: &mut Script,
    is_first: bool,
) -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    if is_first && !input.ratio(1_u8, 64_u8)? {
        commands.push(Command::Create(script.create(input)?));
    }
    for _ in 0..input.int_in_range(1_u8..=4)? {
        commands.push(script.command(input)?);
    }
    Ok(commands.iter().filter_map(admitted).collect())
}

/// The same entries, with a restart before the one at `restart`.
fn repeat_with_restart(first: &Replica, entries: &[(Vec<Command>, Vec<Outcome>)], restart: usize) {
    let mut second = Replica::new();
    for (at, (commands, outcomes)) in entries.iter().enumerate() {
        if at == restart {
            second = Replica::open(second.engine).expect("opens again");
        }
        assert_eq!(second.apply(commands).as_ref(), Some(outcomes));
    }
    first.assert_equals(&second);
    let reopened = Replica::open(second.engine).expect("opens again");
    first.assert_equals(&reopened);
}

/// The same commands, each in an entry of its own.
fn repeat_one_by_one(first: &Replica, entries: &[(Vec<Command>, Vec<Outcome>)]) {
    let mut third = Replica::new();
    for (commands, outcomes) in entries {
        if commands.is_empty() {
            third.apply(&[]);
        }
        for (command, outcome) in commands.iter().zip(outcomes) {
            let alone = third.apply(std::slice::from_ref(command));
            assert_eq!(alone.as_deref(), Some(std::slice::from_ref(outcome)));
        }
    }
    first.assert_equals(&third);
}

/// Reads end in an answer.
fn read(first: &Replica, script: &Script, input: &mut Unstructured<'_>) {
    let reader = first.ledger.reader();
    let filter = Filter {
        kind_prefixes: vec!["a".to_owned()],
        ..Filter::default()
    };
    for direction in [Direction::Forward, Direction::Backward] {
        let page = reader.list(&Query {
            after: 0,
            until: u64::MAX,
            filter: filter.clone(),
            direction,
            limit: 10,
        });
        page.expect("memory can be read");
    }
    let Ok(Some(embedding)) = script.embedding(input) else {
        return;
    };
    // Of another dimension it is refused.
    let _ = reader.classify(&embedding, 3);
    let _ = reader.search(&Search {
        embedding,
        limit: 5,
        probes: Some(2),
        filter,
    });
}

/// Noise: the bytes mean nothing but to the script.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let lengths = [60, 200, 400, 800, 1_600, 3_000];
    let seed = |(at, len): (u64, usize)| (format!("noise-{len}"), noise(at, len));
    (0..).zip(lengths).map(seed).collect()
}
