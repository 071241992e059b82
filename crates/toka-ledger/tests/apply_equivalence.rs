//! The same commands give the same bits: however they are gathered, on whatever engine, and with
//! crashes in between.
#![cfg(feature = "storage")]

mod apply_support;
#[path = "apply_support/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use apply_support::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use random::{CommandSpec, History};
use toka_ledger::command::{Command, FEATURE_LEVEL, decode_batch, encode};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::store::{Stored, children};
use toka_ledger::{EventHeader, Invalid, Ledger, LogMark, Outcome, Rejection, Violation, hash};

/// What happens to a replica between two entries.
#[derive(Clone, Copy, Debug)]
enum Interlude {
    Nothing,
    Flush,
    Crash,
}

/// One entry of a replica's log: how many commands, and what happens after it.
type Entry = (usize, Interlude);

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let interlude = prop_oneof![
        6 => Just(Interlude::Nothing),
        2 => Just(Interlude::Flush),
        1 => Just(Interlude::Crash),
    ];
    prop::collection::vec((1_usize..12, interlude), 12)
}

/// A store of some kind, that can crash.
trait Crashing: Engine + Sized {
    /// What a crash now would leave, opened again.
    fn crashed(&self, dir: &Path) -> Self;
}

impl Crashing for MemoryEngine {
    fn crashed(&self, _: &Path) -> Self {
        self.crash_image()
    }
}

impl Crashing for RocksEngine {
    fn crashed(&self, dir: &Path) -> Self {
        self.crash_image(dir).expect("copies");
        open_rocks(dir)
    }
}

fn open_rocks(dir: &Path) -> RocksEngine {
    let options = RocksOptions {
        wal: false,
        ..RocksOptions::default()
    };
    RocksEngine::open(dir, &options).expect("opens")
}

/// The mark of a log whose first `applied` commands were applied.
fn mark(applied: usize) -> LogMark {
    LogMark {
        log_id: Some(applied.to_string().into()),
        membership: Some("members".into()),
    }
}

fn applied(mark: &LogMark) -> usize {
    let Some(log_id) = &mark.log_id else { return 0 };
    std::str::from_utf8(log_id)
        .expect("text")
        .parse()
        .expect("a number")
}

/// Applies `history` to `engine`, gathered into `entries`, again and again, until it is through.
fn replay<E: Crashing>(engine: E, history: &History, entries: &[Entry], dir: &Path) -> Arc<E> {
    let mut engine = Arc::new(engine);
    let mut ledger = Ledger::open(
        Arc::clone(&engine) as Arc<dyn Engine>,
        Arc::new(toka_ledger::seam::SystemThreads),
    )
    .expect("opens");
    let mut done = 0;
    for (round, &(count, interlude)) in entries.iter().cycle().enumerate() {
        let end = (done + count).min(history.commands.len());
        let commands = &history.commands[done..end];
        let outcomes = ledger
            .apply(commands, mark(end), Durability::Volatile)
            .expect("applies");
        assert_eq!(outcomes, history.outcomes[done..end]);
        done = end;
        if done == history.commands.len() {
            break;
        }
        match interlude {
            Interlude::Nothing => {}
            Interlude::Flush => engine.flush().expect("flushes"),
            // Not for ever, or nothing would get done.
            Interlude::Crash if round > 40 => {}
            Interlude::Crash => {
                let flushed = ledger.flushed_log_mark().expect("readable");
                engine = Arc::new(engine.crashed(&dir.join(format!("crash-{round}"))));
                ledger = Ledger::open(
                    Arc::clone(&engine) as Arc<dyn Engine>,
                    Arc::new(toka_ledger::seam::SystemThreads),
                )
                .expect("opens");
                assert_eq!(ledger.log_mark(), flushed);
                done = applied(&flushed);
            }
        }
    }
    assert_eq!(ledger.position(), history.vault.ledger.position());
    engine
}

/// Everything that must hold of any history.
fn check_causal_order(history: &History) {
    let reader = history.vault.ledger.reader();
    let rows = contents(&*history.vault.engine);
    let mut digests = BTreeSet::new();
    for (sequence, header) in (1..).zip(&history.stored) {
        assert_eq!(header.sequence, sequence, "sequences have no gap");
        assert!(digests.insert(header.digest), "a digest names one event");
        let parents: Vec<_> = header.parents.iter().map(|parent| parent.digest).collect();
        let digest =
            hash::event_digest(&header.kind, &header.payload_digest, &header.salt, &parents);
        assert_eq!(header.digest, digest);
        let Stored::Present(payload) = reader.payload(header).expect("readable") else {
            panic!("nothing was erased")
        };
        assert_eq!(hash::payload_digest(&payload), header.payload_digest);
        for parent in &header.parents {
            let stored: &EventHeader = &history.stored[parent.id.sequence() as usize - 1];
            assert!(stored.sequence < sequence, "parents precede their children");
            assert_eq!((stored.id, stored.digest), (parent.id, parent.digest));
            let key = children::key(stored.sequence, header.kind.as_str(), sequence);
            assert!(rows.iter().any(|(_, row, _)| row[..] == key));
        }
    }
    assert!(
        history
            .stored
            .is_sorted_by_key(|header| (header.unix_ms, header.id))
    );
    assert_eq!(reader.position().sequence, history.stored.len() as u64);
}

fn check_outcomes(history: &History) {
    for (revision, outcome) in (1..).zip(&history.outcomes) {
        let found = match outcome {
            Outcome::Committed { revision, .. }
            | Outcome::Created { revision }
            | Outcome::Labelled { revision, .. }
            | Outcome::Raised { revision, .. }
            | Outcome::CursorSaved { revision, .. }
            | Outcome::CursorDeleted { revision }
            | Outcome::GroupCreated { revision, .. }
            | Outcome::GroupDeleted { revision, .. }
            | Outcome::GroupUpdated { revision, .. }
            | Outcome::Delivered { revision, .. }
            | Outcome::Settled { revision, .. }
            | Outcome::ParkedMoved { revision, .. }
            | Outcome::TokenCreated { revision, .. }
            | Outcome::TokenRevoked { revision, .. }
            | Outcome::RolePut { revision, .. }
            | Outcome::RoleDeleted { revision }
            | Outcome::Audited { revision, .. }
            | Outcome::Rejected { revision, .. } => *revision,
        };
        assert_eq!(found, revision, "every command counts");
    }
}

fn through_the_wire(commands: &[Command]) -> Vec<Command> {
    let mut batch = toka_ledger::command::Batch::default();
    for command in commands {
        batch.push(&encode(command));
    }
    decode_batch(batch.finish()).expect("decodes")
}

/// Histories of commands of every level.
fn specs() -> impl Strategy<Value = Vec<CommandSpec>> {
    prop::collection::vec(random::any_command(), 1..80)
}

/// Histories without tokens and roles.
fn specs_of_events() -> impl Strategy<Value = Vec<CommandSpec>> {
    prop::collection::vec(random::command(), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(20)))]
    #[test]
    fn replicas_agree_whatever_the_engine_the_gathering_and_the_crashes(
        specs in specs(), on_disk in entries(), in_memory in entries(),
    ) {
        let mut history = History::new(&specs);
        let dir = tempfile::tempdir().expect("a directory");
        let memory = replay(MemoryEngine::new(), &history, &in_memory, dir.path());
        let rocks = replay(open_rocks(&dir.path().join("first")), &history, &on_disk, dir.path());
        let end = mark(history.commands.len());
        history.vault.ledger.apply(&[], end, Durability::Volatile).expect("applies");
        let expected = contents(&*history.vault.engine);
        prop_assert_eq!(&contents(&*memory), &expected);
        prop_assert_eq!(&contents(&*rocks), &expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(4)))]
    #[test]
    fn causal_order_holds_in_any_history(specs in specs()) {
        let history = History::new(&specs);
        check_causal_order(&history);
        check_outcomes(&history);
    }

    #[test]
    fn one_call_does_what_a_call_for_each_command_does(specs in specs()) {
        let history = History::new(&specs);
        let mut vault = Vault::pristine();
        prop_assert_eq!(vault.apply(&history.commands), &history.outcomes[..]);
        prop_assert_eq!(contents(&*vault.engine), contents(&*history.vault.engine));
    }

    #[test]
    fn commands_survive_the_wire(specs in specs()) {
        let history = History::new(&specs);
        prop_assert_eq!(through_the_wire(&history.commands), history.commands);
    }

    #[test]
    fn apply_is_total_over_what_the_decoder_admits(
        specs in specs(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let history = History::new(&specs);
        let mut vault = Vault::new();
        for (command, (at, byte)) in history.commands.iter().zip(flips.iter().cycle()) {
            let mut bytes = encode(command).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = *byte;
            let mut batch = toka_ledger::command::Batch::default();
            batch.push(&bytes);
            let decoded = decode_batch(batch.finish()).unwrap_or_default();
            let asks_for_more = decoded.iter().any(|command| {
                matches!(command, Command::Create(create) if create.feature_level > FEATURE_LEVEL)
                    || matches!(command, Command::SetFeatureLevel(set) if set.level > FEATURE_LEVEL)
            });
            if !asks_for_more {
                prop_assert_eq!(vault.apply(&decoded).len(), decoded.len());
            }
        }
    }
}

/// What became of a command, in a word.
fn words(outcome: &Outcome) -> Vec<&'static str> {
    match outcome {
        Outcome::Created { .. } => vec!["created"],
        Outcome::Labelled { .. } => vec!["labelled"],
        Outcome::Raised { .. } => vec!["raised"],
        Outcome::CursorSaved { .. } => vec!["cursor saved"],
        Outcome::CursorDeleted { .. } => vec!["cursor deleted"],
        Outcome::GroupCreated { .. } => vec!["group created"],
        Outcome::GroupDeleted { .. } => vec!["group deleted"],
        Outcome::GroupUpdated { .. } => vec!["group updated"],
        Outcome::Delivered { .. } => vec!["delivered"],
        Outcome::Settled { .. } => vec!["settled"],
        Outcome::ParkedMoved { .. } => vec!["parked moved"],
        // Their own model is in `apply_credentials_model`.
        Outcome::TokenCreated { .. }
        | Outcome::TokenRevoked { .. }
        | Outcome::RolePut { .. }
        | Outcome::RoleDeleted { .. }
        | Outcome::Audited { .. } => panic!("unexpected: {outcome:?}"),
        Outcome::Committed { headers, .. } => headers
            .iter()
            .map(|header| {
                if header.deduplicated {
                    "deduplicated"
                } else {
                    "stored"
                }
            })
            .collect(),
        Outcome::Rejected { rejection, .. } => match rejection {
            Rejection::UnknownParent { .. } => vec!["unknown parent"],
            Rejection::UnknownPreconditionParent { .. } => vec!["unknown precondition parent"],
            Rejection::Invalid { invalid, .. } => match invalid {
                Invalid::Dimension { .. } => vec!["dimension"],
                Invalid::Model { .. } => vec!["model"],
                other => panic!("unexpected: {other:?}"),
            },
            Rejection::AlreadyCreated => vec!["already created"],
            Rejection::UnknownIntent { .. } => vec!["unknown intent"],
            Rejection::UnknownCursor { .. } => vec!["unknown cursor"],
            Rejection::UnknownGroup { .. } => vec!["unknown group"],
            Rejection::GroupExists { .. } => vec!["group exists"],
            Rejection::GroupMoved { .. } => vec!["group moved"],
            Rejection::PositionAhead { .. } => vec!["position ahead"],
            Rejection::Preconditions { violations } => violations
                .iter()
                .map(|violation| match violation {
                    Violation::HasChild { .. } => "has child",
                    Violation::KindSequence { .. } => "kind sequence",
                    Violation::TooEarly { .. } => "too early",
                    Violation::Cursor { .. } => "cursor",
                    Violation::KindPrefixSequence { .. } => "kind prefix",
                    Violation::Delivery { .. } => "delivery",
                    Violation::UnknownEvent { .. } => "unknown event",
                    other => panic!("unexpected: {other:?}"),
                })
                .collect(),
            other => panic!("unexpected: {other:?}"),
        },
    }
}

#[test]
fn random_histories_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeMap::new();
    for _ in 0..160 {
        let tree = specs_of_events().new_tree(&mut runner);
        let specs = tree.expect("a history").current();
        let history = History::new(&specs);
        for word in history.outcomes.iter().flat_map(words) {
            *reached.entry(word).or_insert(0) += 1;
        }
    }
    assert_eq!(reached.len(), 29, "{reached:?}");
    assert!(reached.values().all(|&times| times > 9), "{reached:?}");
}
