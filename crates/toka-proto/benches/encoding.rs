//! What a node makes of an event for each of its subscribers, and what a client makes of that: times, or counts of
//! instructions.
//!
//! `cargo bench -p toka-proto --bench encoding`, `cargo xtask instructions`
//!
//! 256 bytes of payload and an embedding of 768 dimensions, quantised as it is stored.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::Durability;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::prepare_commit;
use toka_ledger::seam::InlineThreads;
use toka_ledger::{EventDraft, Ledger, LogMark, Selector};
use toka_proto::convert::event::StoredEvent;
use toka_proto::v1;
use toka_proto::v1::subscribe_response::Message;

use self::driver::{HotPath, Named};

#[path = "../../toka-ledger/benches/driver/mod.rs"]
mod driver;

/// Events of one run.
const EVENTS: u64 = 64;
const PAYLOAD_BYTES: usize = 256;
const DIMENSION: u16 = 768;

const PATHS: &[Named] = &[
    Named {
        name: "subscriber/encode",
        items: EVENTS,
        make: || Box::new(Encode(events())),
    },
    Named {
        name: "subscriber/decode",
        items: EVENTS,
        make: || Box::new(Decode(events().iter().map(encoded).collect())),
    },
];

fn main() {
    driver::main(PATHS);
}

/// Events as a vault has them.
fn events() -> Vec<StoredEvent> {
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
    let drafts = (0..EVENTS).map(draft);
    let commit = prepare_commit(drafts, Vec::new(), 1).expect("valid");
    let commands = [create, Command::Commit(commit)];
    let applied = ledger.apply(&commands, LogMark::default(), Durability::Volatile);
    applied.expect("applied");
    let reader = ledger.reader();
    let event = |sequence| {
        let header = reader.header(&Selector::Sequence(sequence));
        let header = header.expect("readable").expect("committed before");
        StoredEvent {
            payload: Some(reader.payload(&header).expect("readable")),
            embedding: reader.embedding(&header).expect("readable"),
            header: Arc::unwrap_or_clone(header),
        }
    };
    (1..=EVENTS).map(event).collect()
}

fn draft(number: u64) -> EventDraft {
    let mut payload = vec![0x5a; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    let component = |place: u16| f32::from(place % 17) - f32::from(number as u16 % 7);
    let components: Vec<f32> = (0..DIMENSION).map(component).collect();
    EventDraft::new("bench.event")
        .payload_bytes(payload)
        .source("bench")
        .embedding(&components)
}

fn encoded(event: &StoredEvent) -> Bytes {
    let response = v1::SubscribeResponse {
        header: None,
        message: Some(Message::Event(event.into())),
    };
    response.encode_to_vec().into()
}

struct Encode(Vec<StoredEvent>);

impl HotPath for Encode {
    fn run(&mut self) {
        for event in &self.0 {
            black_box(encoded(event));
        }
    }
}

struct Decode(Vec<Bytes>);

impl HotPath for Decode {
    fn run(&mut self) {
        for bytes in &self.0 {
            let response = v1::SubscribeResponse::decode(bytes.clone()).expect("as encoded");
            let Some(Message::Event(event)) = response.message else {
                unreachable!("events were encoded");
            };
            black_box(StoredEvent::try_from(event).expect("as encoded"));
        }
    }
}
