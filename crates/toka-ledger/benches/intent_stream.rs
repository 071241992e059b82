//! What intents cost a stream of events, how much of it is macro-clustering, and how long the digest takes
//! that nodes compare.
//!
//! `cargo bench -p toka-ledger --no-default-features --bench intent_stream`
//!
//! The stream has 300 topics of 20 phrasings each, the n-th topic as often as 1/n; the cosine of an event
//! with its phrasing is about 0.65. It goes through `apply` in commits of 256 events, into a vault in
//! memory. Every macro-clustering is handed to a thread of this program's making, which runs it at once
//! and takes the time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::Durability;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::prepare_commit;
use toka_ledger::seam::{InlineThreads, JoinThread, Threads};
use toka_ledger::{EventDraft, Ledger, LogMark};

use self::vectors::Noise;

mod vectors;

const TOPICS: usize = 300;
const PHRASINGS: usize = 20;
const COMMIT_EVENTS: usize = 256;

fn main() {
    // `cargo test` only has to see that it runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if measured {
        &[10_000, 1_000_000]
    } else {
        &[300]
    };
    println!(
        "{:>9} {:>14} {:>8} {:>18} {:>10} {:>15} {:>15} {:>10}",
        "events",
        "micro-clusters",
        "intents",
        "macro-clusterings",
        "their s",
        "their us/event",
        "apply us/event",
        "digest ms"
    );
    for &events in sizes {
        run(events);
    }
}

fn run(events: usize) {
    let timed = Arc::new(Timed::default());
    let engine = Arc::new(MemoryEngine::new());
    let mut ledger = Ledger::open(engine, Arc::clone(&timed) as _).expect("an empty vault");
    let create = Command::Create(Create {
        cluster_id: 1,
        history_id: 1,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        // All of them on threads, to be timed.
        intents: Parameters {
            background_micro_clusters: 2,
            background_events: 1,
            ..Parameters::default()
        },
        unix_ms: 1,
    });
    let mut apply = |command: Command| {
        let begin = WallTime.start();
        let applied = ledger.apply(&[command], LogMark::default(), Durability::Volatile);
        applied.expect("applied");
        WallTime.end(begin)
    };
    apply(create);
    let mut stream = Stream::new();
    let mut time = Duration::ZERO;
    for first in (0..events).step_by(COMMIT_EVENTS) {
        let drafts = (first..events.min(first + COMMIT_EVENTS)).map(|number| {
            let draft = EventDraft::new("event").payload(&number);
            draft.embedding(&stream.next())
        });
        let commit = prepare_commit(drafts, Vec::new(), first as u64 + 1).expect("valid");
        time += apply(Command::Commit(commit));
    }
    let reader = ledger.reader();
    let begin = WallTime.start();
    reader.digest_intents();
    let digest_time = WallTime.end(begin);
    assert!(
        reader.intents_digest().is_some(),
        "nothing is being applied"
    );
    let usage = reader.intent_usage();
    let (count, macro_time) = *timed.0.lock().unwrap_or_else(PoisonError::into_inner);
    let per_event = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
    println!(
        "{events:>9} {:>14} {:>8} {count:>18} {:>10.2} {:>15.2} {:>15.2} {:>10.2}",
        usage.micro_clusters,
        usage.intents,
        macro_time.as_secs_f64(),
        per_event(macro_time),
        per_event(time),
        digest_time.as_secs_f64() * 1e3,
    );
}

struct Stream {
    noise: Noise,
    phrasings: Vec<Vec<f32>>,
    /// Up to which number between 0 and 1 a topic is meant, ascending.
    bounds: Vec<f32>,
}

impl Stream {
    fn new() -> Self {
        let mut noise = Noise(1);
        let topics: Vec<_> = (0..TOPICS).map(|_| noise.vector()).collect();
        let phrasings = topics
            .iter()
            .flat_map(|topic| [topic; PHRASINGS])
            .map(|topic| noise.near(topic, 0.45))
            .collect();
        let total: f32 = (1..=TOPICS).map(|rank| 1.0 / rank as f32).sum();
        let bounds = (1..=TOPICS).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f32 / total;
            Some(*sum)
        });
        Self {
            bounds: bounds.collect(),
            noise,
            phrasings,
        }
    }

    fn next(&mut self) -> Vec<f32> {
        let at = self.noise.uniform();
        let topic = self.bounds.partition_point(|bound| *bound < at);
        let phrasing = (self.noise.uniform() * PHRASINGS as f32) as usize;
        let phrasing = topic.min(TOPICS - 1) * PHRASINGS + phrasing;
        self.noise.near(&self.phrasings[phrasing], 0.42)
    }
}

/// Runs each body at once: how many, and how long they took.
#[derive(Debug, Default)]
struct Timed(Mutex<(u64, Duration)>);

impl Threads for Timed {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> io::Result<Box<dyn JoinThread>> {
        let begin = WallTime.start();
        let ended = InlineThreads.spawn(name, body)?;
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *told = (told.0 + 1, told.1 + WallTime.end(begin));
        Ok(ended)
    }
}
