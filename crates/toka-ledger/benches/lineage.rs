//! The cost of walks through the graph of events, in vaults of 10,240, 102,400 and 1,024,000 events.
//!
//! The same questions, about equally many events near the newest one: what grows with the vault would show. The graph
//! is that of 64 agents that work side by side, each on a chain of its own, and merge with a neighbour now and then.
//! In RocksDB where it is built in (`storage`, the default), else in memory.

#[path = "../tests/lineage_support/mod.rs"]
mod lineage_support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use lineage_support::{Agents, NOW, apply, common, difference, heads, walk};
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::Engine;
use toka_ledger::intent::Parameters;
use toka_ledger::read::lineage::Relation;
use toka_ledger::seam::SystemThreads;
use toka_ledger::{Ledger, Reader};

const AGENTS: u64 = 64;
/// An agent takes over what its neighbour has after so many events of its own.
const MERGE_EVERY: u64 = 16;
/// Sizes are multiples of it: the graph then ends alike in each, and the same walk visits as many events.
const ROUND: u64 = AGENTS * MERGE_EVERY;
const BATCH: u64 = 1_000;
/// Events that a walk asks for.
const WALKED: u64 = 1_000;

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
        walk(reader, last, Relation::Ancestors, WALKED)
    });
    bench("1,000 descendants", &|reader, last| {
        walk(reader, last - 1_900, Relation::Descendants, WALKED)
    });
    bench("difference of neighbours", &|reader, last| {
        difference(reader, last - 1, last)
    });
    bench("common ancestors of neighbours", &|reader, last| {
        common(reader, last - 1, last)
    });
    bench("heads", &|reader, _| heads(reader, AGENTS as usize / 2));
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
        let agents = Agents {
            count: AGENTS,
            merges: |n| (n / AGENTS).is_multiple_of(MERGE_EVERY),
            batch: BATCH,
        };
        agents.work(&mut ledger, events);
        Self { ledger, _dir: dir }
    }
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
