//! The cost of walks through the graph of events, in vaults of 10,240, 102,400 and 1,024,000 events.
//!
//! The same questions, about equally many events near the newest one: what grows with the vault would show. The graph
//! is that of 64 agents that work side by side, each on a chain of its own, and merge with a neighbour now and then.
//! In RocksDB where it is built in (`storage`, the default), else in memory.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use toka_ledger::command::{Command, Commit, Create, FEATURE_LEVEL, ParentName, PreparedEvent};
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::intent::Parameters;
use toka_ledger::read::lineage::{DifferenceQuery, Heads, Query, Relation};
use toka_ledger::seam::SystemThreads;
use toka_ledger::{
    Attributes, Digest, Kind, Ledger, LogMark, Outcome, Reader, Salt, Selector, hash,
};

const AGENTS: u64 = 64;
/// An agent takes over what its neighbour has after so many events of its own.
const MERGE_EVERY: u64 = 16;
/// Sizes are multiples of it: the graph then ends alike in each, and the same walk visits as many events.
const ROUND: u64 = AGENTS * MERGE_EVERY;
const BATCH: u64 = 1_000;
const NOW: u64 = 1_700_000_000_000;

fn main() {
    let testing = std::env::args().any(|argument| argument == "--test");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    // A test only has to see that it runs.
    let sizes: &[u64] = if testing {
        &[2 * ROUND]
    } else {
        &[10 * ROUND, 100 * ROUND, 1_000 * ROUND]
    };
    for &events in sizes {
        let vault = Vault::new(events);
        measure(&mut criterion, &vault, events);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, vault: &Vault, events: u64) {
    let reader = vault.ledger.reader();
    let mut bench = |name: &str, run: &dyn Fn(&Reader, u64) -> u64| {
        let mut group = criterion.benchmark_group(name);
        group.bench_function(BenchmarkId::from_parameter(events), |bencher| {
            bencher.iter(|| black_box(run(&reader, black_box(events))));
        });
        group.finish();
    };
    bench("1,000 ancestors", &|reader, last| {
        walk(reader, last, Relation::Ancestors)
    });
    bench("1,000 descendants", &|reader, last| {
        walk(reader, last - 1_900, Relation::Descendants)
    });
    bench("difference of neighbours", &|reader, last| {
        difference(reader, last - 1, last)
    });
    bench("common ancestors of neighbours", &|reader, last| {
        common(reader, last - 1, last)
    });
    bench("heads", &|reader, _| heads(reader));
}

fn walk(reader: &Reader, from: u64, relation: Relation) -> u64 {
    let query = Query {
        events_max: 1_000,
        ..Query::new(Selector::Sequence(from), relation)
    };
    let mut walk = reader.walk(&query).expect("the event is there");
    let mut count = 0;
    while let Some(relatives) = walk.step().expect("readable") {
        count += relatives.len() as u64;
    }
    count
}

fn difference(reader: &Reader, without: u64, of: u64) -> u64 {
    let query = DifferenceQuery {
        without: Selector::Sequence(without),
        of: Selector::Sequence(of),
        until: u64::MAX,
        events_max: u64::MAX,
        kind_prefixes: Vec::new(),
    };
    let mut difference = reader.difference(&query).expect("both are there");
    let mut count = 0;
    while let Some(headers) = difference.step().expect("readable") {
        count += headers.len() as u64;
    }
    count
}

fn common(reader: &Reader, first: u64, second: u64) -> u64 {
    let (first, second) = (Selector::Sequence(first), Selector::Sequence(second));
    let search = reader.common_ancestors(&first, &second, u64::MAX);
    let mut search = search.expect("both are there");
    let mut count = 0;
    while let Some(headers) = search.step().expect("readable") {
        count += headers.len() as u64;
    }
    count
}

/// The newest heads, of which each agent has about one.
fn heads(reader: &Reader) -> u64 {
    let heads = Heads {
        as_of: u64::MAX,
        from: u64::MAX,
        kind_prefixes: vec!["work".to_owned()],
        limit: AGENTS as usize / 2,
    };
    let page = reader.heads(&heads).expect("readable");
    page.headers.len() as u64
}

struct Vault {
    ledger: Ledger,
    /// Removed at the end.
    _dir: Option<tempfile::TempDir>,
}

impl Vault {
    fn new(events: u64) -> Self {
        let (engine, dir) = engine();
        let mut ledger = Ledger::open(engine, Arc::new(SystemThreads)).expect("opens");
        let create = Command::Create(Create {
            cluster_id: 1,
            history_id: 1,
            feature_level: FEATURE_LEVEL,
            dimension: None,
            model: None,
            intents: Parameters::default(),
            unix_ms: NOW,
        });
        apply(&mut ledger, create);
        // Digests of the agents' newest events.
        let mut newest: Vec<Option<Digest>> = vec![None; AGENTS as usize];
        for first in (1..=events).step_by(BATCH as usize) {
            let last = events.min(first + BATCH - 1);
            let batch = (first..=last).map(|n| next(n, first, &newest)).collect();
            let commit = Commit {
                unix_ms: NOW,
                events: batch,
                preconditions: Vec::new(),
            };
            let Outcome::Committed { headers, .. } = apply(&mut ledger, Command::Commit(commit))
            else {
                panic!("refused");
            };
            for header in headers {
                newest[agent(header.sequence)] = Some(header.digest);
            }
        }
        Self { ledger, _dir: dir }
    }
}

const fn agent(sequence: u64) -> usize {
    (sequence % AGENTS) as usize
}

/// The event that gets the sequence `n`, in a batch that begins at `first`. Agents take turns.
fn next(n: u64, first: u64, newest: &[Option<Digest>]) -> PreparedEvent {
    let newest_before = |back: u64| {
        let sequence = n.checked_sub(back).filter(|sequence| *sequence > 0)?;
        if sequence >= first {
            let index = u16::try_from(sequence - first).expect("a batch is small");
            return Some(ParentName::Batch(index));
        }
        newest[agent(sequence)].map(ParentName::Digest)
    };
    let mut parents: Vec<_> = newest_before(AGENTS).into_iter().collect();
    if (n / AGENTS).is_multiple_of(MERGE_EVERY) {
        parents.extend(newest_before(1));
    }
    let payload = n.to_string();
    PreparedEvent {
        kind: Kind::new("work.done").expect("valid"),
        payload_digest: hash::payload_digest(payload.as_bytes()),
        payload: payload.into(),
        salt: Salt::default(),
        parents,
        embedding: None,
        model: None,
        attributes: Attributes::default(),
    }
}

fn apply(ledger: &mut Ledger, command: Command) -> Outcome {
    let outcomes = ledger.apply(&[command], LogMark::default(), Durability::Volatile);
    let mut outcomes = outcomes.expect("applies");
    outcomes.pop().expect("one for each command")
}

#[cfg(feature = "storage")]
fn engine() -> (Arc<dyn Engine>, Option<tempfile::TempDir>) {
    use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions {
        wal: false,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(&dir.path().join("vault"), &options);
    (Arc::new(engine.expect("opens")), Some(dir))
}

#[cfg(not(feature = "storage"))]
fn engine() -> (Arc<dyn Engine>, Option<tempfile::TempDir>) {
    let engine = toka_ledger::engine::memory::MemoryEngine::new();
    (Arc::new(engine), None)
}
