//! The intents are a function of the history, and of nothing else.

#[path = "../apply_support/mod.rs"]
mod apply_support;
mod damage;
#[path = "../intent_support/mod.rs"]
mod intent_support;
mod labels;
mod late;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};

use apply_support::*;
use intent_support::*;
use toka_ledger::command::{Command, FEATURE_LEVEL_MIN, Label};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, Table};
use toka_ledger::feed::{Message, Subscription};
use toka_ledger::intent::{IntentId, Parameters};
use toka_ledger::read::{Query, Search};
use toka_ledger::seam::{InlineThreads, JoinThread, SystemThreads, Threads};
use toka_ledger::store::clusters;
use toka_ledger::verify::verify;
use toka_ledger::{
    Digest, Embedding, EventHeader, Filter, IntentLabel, Ledger, LogMark, Outcome, Rejection, Start,
};

/// No multiple of any vector width.
const DIMENSION: usize = 23;
const EVENTS: usize = 1_500;

/// Few events do all that many do.
fn small() -> Parameters {
    Parameters {
        micro_clusters_max: 64,
        background_micro_clusters: 32,
        background_events: 10,
        save_events: 100,
        count_cap: 16,
        ..Parameters::default()
    }
    .tau(0.72)
    .expect("in range")
}

fn stream() -> Vec<Command> {
    let first = create_at(FEATURE_LEVEL_MIN);
    let mut commands = vec![with_intents(first, small())];
    commands.extend(intent_support::commands(&vectors(7, EVENTS, DIMENSION, 40)));
    commands
}

struct Replica {
    engine: Arc<MemoryEngine>,
    ledger: Ledger,
}

impl Replica {
    fn open(engine: Arc<MemoryEngine>, threads: Arc<dyn Threads>) -> Self {
        let ledger = Ledger::open(Arc::clone(&engine) as Arc<dyn Engine>, threads);
        Self {
            engine,
            ledger: ledger.expect("opens"),
        }
    }

    fn new() -> Self {
        Self::open(Arc::new(MemoryEngine::new()), Arc::new(SystemThreads))
    }

    fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        self.ledger
            .apply(commands, LogMark::default(), Durability::Volatile)
            .expect("applies")
    }

    /// Applies everything, `size` commands at a time.
    fn apply_in(mut self, commands: &[Command], size: usize) -> Self {
        for entry in commands.chunks(size) {
            self.apply(entry);
        }
        self
    }

    /// Digest of what decides where the next events go, made now.
    fn intents_digest(&self) -> (u64, Digest) {
        let reader = self.ledger.reader();
        reader.digest_intents();
        reader.intents_digest().expect("nothing is being applied")
    }

    fn headers(&self) -> Vec<Arc<EventHeader>> {
        let reader = self.ledger.reader();
        let mut headers = Vec::new();
        let mut next = Some(0);
        while let Some(after) = next {
            let page = reader.list(&all_after(after)).expect("readable");
            headers.extend(page.headers);
            next = page.next;
        }
        headers
    }
}

fn all_after(after: u64) -> Query {
    Query {
        after,
        until: u64::MAX,
        filter: Filter::default(),
        direction: Direction::Forward,
        limit: 1_000,
    }
}

#[test]
fn state_digest_of_a_fixed_stream_is_pinned() {
    let replica = Replica::new().apply_in(&stream(), 1);
    let digest = replica.ledger.position().state_digest.to_string();
    assert_eq!(digest, PINNED_SMALL);

    let mut commands = vec![create_at(FEATURE_LEVEL_MIN)];
    commands.extend(intent_support::commands(&vectors(11, 400, 384, 25)));
    let replica = Replica::new().apply_in(&commands, 1);
    let digest = replica.ledger.position().state_digest.to_string();
    assert_eq!(digest, PINNED_DEFAULT);
}

const PINNED_SMALL: &str = "48d967cd844b36df409b4a3a47f7948424d8e127c96d2c06be8576fe81670f0f";
const PINNED_DEFAULT: &str = "9f075c49cdcab5820861b7b3e62552ee1bd8975dfae2eea047353962747888ea";

#[test]
fn stream_does_everything_that_there_is_to_do() {
    let replica = Replica::new().apply_in(&stream(), 5);
    let rows = contents(&*replica.engine);
    let count = |prefix: &[u8]| {
        let rows = rows
            .iter()
            .filter(|(table, key, _)| *table == Table::Clusters && key.starts_with(prefix));
        rows.count()
    };
    let counts = [
        clusters::RECORD,
        clusters::ALIAS,
        clusters::SUCCESSOR,
        clusters::MICRO,
    ]
    .map(count);
    // Macro-clusterings, folded micro-clusters, retired intents, saved micro-clusters.
    for (count, least) in counts.into_iter().zip([20, 100, 10, 40]) {
        assert!(count >= least, "{counts:?}");
    }
}

#[test]
fn batches_make_no_difference() {
    let commands = stream();
    let expected = contents(&*Replica::new().apply_in(&commands, 1).engine);
    for size in [2, 7, 64, commands.len()] {
        let replica = Replica::new().apply_in(&commands, size);
        assert!(contents(&*replica.engine) == expected, "batches of {size}");
    }
}

#[test]
fn threads_make_no_difference() {
    let commands = stream();
    let inline = Replica::open(Arc::new(MemoryEngine::new()), Arc::new(InlineThreads));
    let inline = inline.apply_in(&commands, 9);
    let replica = Replica::new().apply_in(&commands, 9);
    assert!(contents(&*inline.engine) == contents(&*replica.engine));
}

#[test]
fn restarts_make_no_difference() {
    let commands = stream();
    let expected = contents(&*Replica::new().apply_in(&commands, 1).engine);
    let mut random = Lcg::new(3);
    let mut replica = Replica::new();
    let mut done = 0;
    while done < commands.len() {
        let end = commands.len().min(done + 1 + random.below(60) as usize);
        replica.apply(&commands[done..end]);
        done = end;
        replica.engine.flush().expect("flushes");
        let engine = Arc::new(replica.engine.crash_image());
        replica = Replica::open(engine, Arc::new(SystemThreads));
    }
    assert!(contents(&*replica.engine) == expected);
    let report = verify(&replica.ledger.reader(), &mut |_| {}).expect("readable");
    assert_eq!(report.problems, []);
}

#[test]
fn installed_snapshot_goes_on_to_the_same_bits() {
    let commands = stream();
    let expected = contents(&*Replica::new().apply_in(&commands, 1).engine);
    for share in [3, 4, 5] {
        let cut = commands.len() * share / 7;
        let leader = Replica::new().apply_in(&commands[..cut], 8);
        leader.engine.flush().expect("flushes");
        let mut follower = Replica::new().apply_in(&commands[..cut / 3], 3);
        let snapshot = Arc::new(leader.engine.crash_image());
        let installed = follower
            .ledger
            .install(Arc::clone(&snapshot) as Arc<dyn Engine>);
        installed.expect("installs");
        follower.engine = snapshot;
        let follower = follower.apply_in(&commands[cut..], 16);
        assert!(contents(&*follower.engine) == expected, "cut at {cut}");
    }
}

#[test]
fn every_embedded_event_is_of_exactly_one_intent() {
    let replica = Replica::new().apply_in(&stream(), 50);
    let reader = replica.ledger.reader();
    let headers = replica.headers();
    let mut sizes: BTreeMap<IntentId, u64> = BTreeMap::new();
    for header in headers.iter() {
        let Some(micro) = header.micro_cluster else {
            assert!(header.embedding.is_none() && header.intent.is_none());
            continue;
        };
        let now = reader.intent_of(micro).expect("each has one");
        *sizes.entry(now).or_default() += 1;
        // A retired id leads to one that is in use.
        let committed = header.intent.expect("each has one");
        let resolved = reader.resolve_intent(committed).expect("known");
        assert_eq!(reader.resolve_intent(resolved), Some(resolved));
        let chain = reader.intent_successors(committed).expect("known");
        assert_eq!(chain.last().unwrap_or(&committed), &resolved);
        assert_eq!(chain.iter().collect::<BTreeSet<_>>().len(), chain.len());
    }
    let listed: BTreeMap<_, _> = reader
        .intents()
        .into_iter()
        .map(|summary| (summary.intent, summary.events))
        .collect();
    assert_eq!(listed, sizes);
    assert!(reader.intent_usage().micro_clusters <= 64);
    assert_eq!(reader.intent(IntentId(u64::MAX)), None);

    // Lists by intent have just these events, in order.
    for intent in listed.keys().copied() {
        let filter = Filter {
            intents: vec![intent],
            ..Filter::default()
        };
        let query = Query {
            filter,
            ..all_after(0)
        };
        let page = reader.list(&query).expect("readable");
        let expected: Vec<_> = headers
            .iter()
            .filter(|header| {
                header.micro_cluster.and_then(|id| reader.intent_of(id)) == Some(intent)
            })
            .map(|header| header.sequence)
            .collect();
        let found: Vec<_> = page.headers.iter().map(|header| header.sequence).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn digest_of_the_intents_is_the_same_after_a_restart_anywhere() {
    let commands = stream();
    let mut steady = Replica::new();
    let mut restarted = Replica::new();
    assert_eq!(steady.intents_digest(), (0, Digest::ZERO));
    let mut digests = BTreeSet::new();
    for entry in commands.chunks(37) {
        steady.apply(entry);
        let Replica { engine, ledger } = restarted;
        drop(ledger);
        restarted = Replica::open(engine, Arc::new(SystemThreads));
        for command in entry {
            restarted.apply(std::slice::from_ref(command));
        }
        assert_eq!(steady.intents_digest(), restarted.intents_digest());
        let Replica { engine, ledger } = restarted;
        drop(ledger);
        restarted = Replica::open(engine, Arc::new(SystemThreads));
        assert_eq!(steady.intents_digest(), restarted.intents_digest());
        digests.insert(steady.intents_digest().1);
    }
    assert!(digests.len() > 10, "every embedded event changes it");
}
