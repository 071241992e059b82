//! What the ledger does for every event, and for every read: times, or counts of instructions.
//!
//! `cargo bench -p toka-ledger --no-default-features --bench hot_paths`, `cargo xtask instructions`
//!
//! A vault in memory, so that storage is left out. An event has 256 bytes of payload, and an embedding of 768
//! dimensions where it is called embedded: one of 200 directions, and about as much again of its own.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use toka_ledger::command::{self, Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Direction, Durability};
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::prepare_commit;
use toka_ledger::seam::InlineThreads;
use toka_ledger::store::headers;
use toka_ledger::{EventDraft, EventHeader, Filter, Ledger, LogMark, Query, Reader, Selector};

use self::driver::{HotPath, Named};

mod driver;

/// Events of one run.
const EVENTS: usize = 64;
const ITEMS: u64 = EVENTS as u64;
/// Events of the page that is listed.
const PAGE_EVENTS: usize = 100;
/// Events that a vault has before anything is applied to it: of most topics. Callgrind takes its time for each.
const STOCK_EVENTS: usize = 256;
const PAYLOAD_BYTES: usize = 256;
const DIMENSION: usize = 768;
const TOPICS: u64 = 200;

const PATHS: &[Named] = &[
    Named {
        name: "prepare/small",
        items: ITEMS,
        make: || Box::new(Prepare::new(Shape::Small)),
    },
    Named {
        name: "prepare/embedded",
        items: ITEMS,
        make: || Box::new(Prepare::new(Shape::Embedded)),
    },
    Named {
        name: "commit/encode",
        items: ITEMS,
        make: || Box::new(EncodeCommits(commands(Shape::Embedded, 0))),
    },
    Named {
        name: "commit/decode",
        items: ITEMS,
        make: || Box::new(DecodeCommits(entry(&commands(Shape::Embedded, 0)))),
    },
    Named {
        name: "apply/small",
        items: ITEMS,
        make: || Box::new(Apply::new(Shape::Small)),
    },
    Named {
        name: "apply/embedded",
        items: ITEMS,
        make: || Box::new(Apply::new(Shape::Embedded)),
    },
    Named {
        name: "header/encode",
        items: ITEMS,
        make: || Box::new(EncodeHeaders(stored_headers())),
    },
    Named {
        name: "header/decode",
        items: ITEMS,
        make: || Box::new(DecodeHeaders::new()),
    },
    Named {
        name: "get/by id, payload and embedding",
        items: ITEMS,
        make: || Box::new(Get::new()),
    },
    Named {
        name: "list/page of headers",
        items: PAGE_EVENTS as u64,
        make: || Box::new(List(stocked(Shape::Embedded, PAGE_EVENTS).reader())),
    },
];

fn main() {
    driver::main(PATHS);
}

#[derive(Clone, Copy)]
enum Shape {
    Small,
    Embedded,
}

/// A multiplicative generator.
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        self.0 ^ (self.0 >> 32)
    }

    fn vector(&mut self) -> Vec<f32> {
        let component = |_| f32::from((self.next() >> 48) as u16) - 32_767.5;
        (0..DIMENSION).map(component).collect()
    }
}

fn draft(shape: Shape, number: u64) -> EventDraft {
    let mut noise = Noise::new(number);
    let mut payload = number.to_be_bytes().to_vec();
    while payload.len() < PAYLOAD_BYTES {
        payload.extend(noise.next().to_le_bytes());
    }
    let draft = EventDraft::new("bench.event")
        .payload_bytes(payload)
        .source("bench");
    match shape {
        Shape::Small => draft,
        Shape::Embedded => {
            let topic = Noise::new(u64::MAX - number % TOPICS).vector();
            let own = noise.vector();
            let pairs = topic.iter().zip(own);
            let components: Vec<f32> = pairs.map(|(topic, own)| topic + 0.8 * own).collect();
            draft.embedding(&components)
        }
    }
}

/// Commits of one event each, numbered from `first` on.
fn commands(shape: Shape, first: u64) -> Vec<Command> {
    (first..first + ITEMS)
        .map(|number| prepare_commit([draft(shape, number)], Vec::new(), 1 + number))
        .map(|commit| Command::Commit(commit.expect("valid")))
        .collect()
}

/// What the Raft log holds of them.
fn entry(commands: &[Command]) -> Bytes {
    let mut batch = command::Batch::default();
    for command in commands {
        batch.push(&command::encode(command));
    }
    batch.finish()
}

fn empty() -> Ledger {
    let engine = Arc::new(MemoryEngine::new());
    let mut ledger = Ledger::open(engine, Arc::new(InlineThreads)).expect("an empty vault");
    let create = Command::Create(Create {
        cluster_id: 1,
        history_id: 1,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: 1,
    });
    apply(&mut ledger, &[create]);
    ledger
}

fn apply(ledger: &mut Ledger, commands: &[Command]) {
    let outcomes = ledger.apply(commands, LogMark::default(), Durability::Volatile);
    black_box(outcomes.expect("applied"));
}

/// A vault with so many events, or a few more.
fn stocked(shape: Shape, events: usize) -> Ledger {
    let mut ledger = empty();
    for first in (0..events).step_by(EVENTS) {
        apply(&mut ledger, &commands(shape, first as u64));
    }
    ledger
}

fn stored_headers() -> Vec<Arc<EventHeader>> {
    page(&stocked(Shape::Embedded, EVENTS).reader(), EVENTS)
}

fn page(reader: &Reader, limit: usize) -> Vec<Arc<EventHeader>> {
    let query = Query {
        after: 0,
        until: u64::MAX,
        filter: Filter::default(),
        direction: Direction::Forward,
        limit,
    };
    reader.list(&query).expect("readable").headers
}

struct Prepare {
    shape: Shape,
    drafts: Vec<EventDraft>,
}

impl Prepare {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            drafts: Vec::new(),
        }
    }
}

impl HotPath for Prepare {
    fn prepare(&mut self) {
        self.drafts = (0..ITEMS).map(|number| draft(self.shape, number)).collect();
    }

    fn run(&mut self) {
        for draft in self.drafts.drain(..) {
            black_box(prepare_commit([draft], Vec::new(), 1).expect("valid"));
        }
    }
}

struct EncodeCommits(Vec<Command>);

impl HotPath for EncodeCommits {
    fn run(&mut self) {
        for command in &self.0 {
            black_box(command::encode(command));
        }
    }
}

struct DecodeCommits(Bytes);

impl HotPath for DecodeCommits {
    fn run(&mut self) {
        black_box(command::decode_batch(self.0.clone()).expect("as encoded"));
    }
}

struct Apply {
    ledger: Ledger,
    shape: Shape,
    next: u64,
    commands: Vec<Command>,
}

impl Apply {
    fn new(shape: Shape) -> Self {
        Self {
            ledger: stocked(shape, STOCK_EVENTS),
            shape,
            next: STOCK_EVENTS as u64,
            commands: Vec::new(),
        }
    }
}

impl HotPath for Apply {
    fn prepare(&mut self) {
        self.commands = commands(self.shape, self.next);
        self.next += ITEMS;
    }

    fn run(&mut self) {
        apply(&mut self.ledger, &self.commands);
    }
}

struct EncodeHeaders(Vec<Arc<EventHeader>>);

impl HotPath for EncodeHeaders {
    fn run(&mut self) {
        for header in &self.0 {
            black_box(headers::encode(header));
        }
    }
}

struct DecodeHeaders(Vec<(u64, Bytes)>);

impl DecodeHeaders {
    fn new() -> Self {
        let rows = stored_headers()
            .into_iter()
            .map(|header| (header.sequence, headers::encode(&header).into()));
        Self(rows.collect())
    }
}

impl HotPath for DecodeHeaders {
    fn run(&mut self) {
        for (sequence, row) in &self.0 {
            black_box(headers::decode(*sequence, row.clone()).expect("as encoded"));
        }
    }
}

struct Get {
    reader: Reader,
    selectors: Vec<Selector>,
}

impl Get {
    fn new() -> Self {
        let reader = stocked(Shape::Embedded, EVENTS).reader();
        let headers = page(&reader, EVENTS);
        let selectors = headers.iter().map(|header| Selector::Id(header.id));
        Self {
            selectors: selectors.collect(),
            reader,
        }
    }
}

impl HotPath for Get {
    fn run(&mut self) {
        for selector in &self.selectors {
            let header = self.reader.header(selector).expect("readable");
            let header = header.expect("committed before");
            black_box(self.reader.payload(&header).expect("readable"));
            black_box(self.reader.embedding(&header).expect("readable"));
        }
    }
}

struct List(Reader);

impl HotPath for List {
    fn run(&mut self) {
        black_box(page(&self.0, PAGE_EVENTS));
    }
}
