//! Range reads: the first page of 100 events with each filter, forwards and backwards, of a vault in memory.
//!
//! `cargo bench -p toka-ledger --no-default-features --bench read_range`
//!
//! Of the events one in 1,000 is of the rare kind, one in 1,000 has the rare attribute, and one in ten descends
//! from the first event. `descendants/new` makes the set of descendants, which later pages share; the others
//! have it already. `scan` matches nothing and ends after the rows that one call looks at.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Direction, Durability, Engine};
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::prepare_commit;
use toka_ledger::seam::InlineThreads;
use toka_ledger::{
    EventDraft, EventHeader, Filter, Ledger, LogMark, Outcome, Query, Reader, Selector,
};

const COMMIT_EVENTS: u64 = 500;

/// A vault whose last event is at `events`; its time goes on by a millisecond with each commit.
fn vault(events: u64) -> (Ledger, Arc<MemoryEngine>) {
    let engine = Arc::new(MemoryEngine::new());
    let opened = Ledger::open(
        Arc::clone(&engine) as Arc<dyn Engine>,
        Arc::new(InlineThreads),
    );
    let mut ledger = opened.expect("an empty vault");
    let create = Command::Create(Create {
        cluster_id: 1,
        history_id: 1,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: 1,
    });
    apply(&mut ledger, create);
    let mut parent: Option<EventHeader> = None;
    for number in 0..events / COMMIT_EVENTS {
        let first = number * COMMIT_EVENTS + 1;
        let drafts = (first..first + COMMIT_EVENTS).map(|n| draft(n, parent.as_ref()));
        let commit = prepare_commit(drafts, Vec::new(), number + 2).expect("valid");
        let headers = apply(&mut ledger, Command::Commit(commit));
        let last = headers
            .iter()
            .rev()
            .find(|header| header.sequence % 10 == 1);
        parent = last.map(|header| (**header).clone());
    }
    (ledger, engine)
}

fn draft(n: u64, parent: Option<&EventHeader>) -> EventDraft {
    let kind = if n % 1_000 == 7 {
        "rare.kind"
    } else {
        "common"
    };
    let session = if n % 1_000 == 9 { "rare" } else { "common" };
    let draft = EventDraft::new(kind)
        .salt(&n.to_be_bytes())
        .attribute("session", session);
    match parent {
        Some(parent) if n % 10 == 1 => draft.parent(parent),
        _ => draft,
    }
}

fn apply(ledger: &mut Ledger, command: Command) -> Vec<Arc<EventHeader>> {
    let applied = ledger.apply(&[command], LogMark::default(), Durability::Volatile);
    match applied.expect("applied").pop() {
        Some(Outcome::Committed { headers, .. }) => headers,
        _ => Vec::new(),
    }
}

fn filters() -> Vec<(&'static str, Filter)> {
    let all = Filter::default;
    let family = Some(Selector::Sequence(1));
    vec![
        ("all", all()),
        (
            "kind",
            Filter {
                kind_prefixes: vec!["rare.".to_owned()],
                ..all()
            },
        ),
        (
            "attribute",
            Filter {
                attributes: vec![("session".to_owned(), "rare".to_owned())],
                ..all()
            },
        ),
        (
            "descendants",
            Filter {
                descendants_of: family,
                ..all()
            },
        ),
        (
            "descendants+attribute",
            Filter {
                descendants_of: family,
                attributes: vec![("session".to_owned(), "common".to_owned())],
                ..all()
            },
        ),
        (
            "scan",
            Filter {
                attributes: vec![
                    ("session".to_owned(), "common".to_owned()),
                    ("absent".to_owned(), "x".to_owned()),
                ],
                ..all()
            },
        ),
    ]
}

fn bench_lists(criterion: &mut Criterion) {
    // `cargo test` runs each once, unoptimised.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let events = if measured { 1_000_000 } else { 2_000 };
    let (ledger, engine) = vault(events);
    let reader = ledger.reader();
    let mut benches = criterion.benchmark_group("read_range");
    benches.sample_size(20);
    for (name, filter) in filters() {
        for direction in [Direction::Forward, Direction::Backward] {
            let query = Query {
                filter: filter.clone(),
                direction,
                limit: 100,
                ..Query::default()
            };
            let id = BenchmarkId::new(name, format!("{direction:?}"));
            benches.bench_with_input(id, &query, |bencher, query| {
                bencher.iter(|| reader.list(black_box(query)).expect("readable"));
            });
        }
    }
    benches.bench_function("time", |bencher| {
        let half = events / COMMIT_EVENTS / 2;
        bencher.iter(|| reader.last_before(black_box(half)).expect("readable"));
    });
    benches.bench_function("descendants/new", |bencher| {
        let query = Query {
            filter: Filter {
                descendants_of: Some(Selector::Sequence(1)),
                ..Filter::default()
            },
            limit: 100,
            ..Query::default()
        };
        // A ledger that is opened anew has no sets yet.
        let open = || {
            let engine = Arc::clone(&engine) as Arc<dyn Engine>;
            let ledger = Ledger::open(engine, Arc::new(InlineThreads));
            ledger.expect("the vault").reader()
        };
        let list = |reader: Reader| reader.list(&query).expect("readable");
        bencher.iter_batched(open, list, BatchSize::PerIteration);
    });
    benches.finish();
}

criterion_group!(benches, bench_lists);
criterion_main!(benches);
