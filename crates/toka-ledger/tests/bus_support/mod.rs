//! Engines that count, fail and wait.

#![allow(dead_code, reason = "each test file uses its part")]

mod hooked;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use toka_ledger::engine::{Direction, Engine, EngineError, Table};
use toka_ledger::{Error, EventHeader, VaultBus};

use self::hooked::{Hooked, Hooks};

/// A memory engine whose writes can be counted, made to fail, and held back.
pub(crate) type TestEngine = Hooked<Writes>;

#[derive(Debug, Default)]
pub(crate) struct Writes {
    begun: AtomicUsize,
    fails: AtomicBool,
    gate: Mutex<Option<Gate>>,
}

#[derive(Debug)]
struct Gate {
    entered: SyncSender<()>,
    open: Receiver<()>,
}

/// The test's side of a gate before the next write.
#[derive(Debug)]
pub(crate) struct Hold {
    entered: Receiver<()>,
    open: SyncSender<()>,
}

impl Hold {
    /// Waits until the write has begun.
    pub(crate) fn wait(&self) {
        self.entered.recv().expect("the engine lives");
    }

    /// Lets it go on.
    pub(crate) fn open(self) {
        self.open.send(()).expect("the write waits");
    }
}

impl TestEngine {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn writes(&self) -> usize {
        self.hooks.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self) {
        self.hooks.fails.store(true, Ordering::SeqCst);
    }

    /// Holds the next write back.
    pub(crate) fn hold_next_write(&self) -> Hold {
        let (entered, has_entered) = sync_channel(1);
        let (open, opened) = sync_channel(1);
        *self.hooks.gate.lock().expect("sound") = Some(Gate {
            entered,
            open: opened,
        });
        Hold {
            entered: has_entered,
            open,
        }
    }
}

impl Hooks for Writes {
    fn writing(&self) -> Result<(), EngineError> {
        let gate = self.gate.lock().expect("sound").take();
        if let Some(gate) = gate {
            gate.entered.send(()).expect("the test waits");
            gate.open.recv().expect("the test opens");
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(EngineError::Io {
                action: "write to",
                path: "test".into(),
                source: io::Error::from(io::ErrorKind::StorageFull),
            });
        }
        Ok(())
    }
}

/// A vault over an engine of its own.
pub(crate) fn opened() -> (Arc<TestEngine>, VaultBus) {
    let engine = TestEngine::new();
    let vault = VaultBus::builder().open_engine(engine.clone());
    (engine, vault.expect("opened"))
}

/// Commits that were handed over, and wait.
pub(crate) type Commits<'a> = Vec<LocalBoxFuture<'a, Result<EventHeader, Error>>>;

/// So many commits to `vault`, which is over `engine`: the first one is being written, and held back, while the others have
/// come in.
pub(crate) async fn held<'a>(
    engine: &TestEngine,
    vault: &'a VaultBus,
    count: u32,
) -> (Hold, Commits<'a>) {
    let hold = engine.hold_next_write();
    let mut commits: Commits<'a> = Vec::new();
    for n in 0..count {
        commits.push(Box::pin(vault.event("n").payload(&n).commit()));
        let newest = commits.last_mut().expect("there is one");
        assert!(futures::poll!(newest).is_pending());
        if n == 0 {
            hold.wait();
        }
    }
    (hold, commits)
}

/// All rows of all tables.
pub(crate) fn rows(engine: &dyn Engine) -> Vec<(Table, Bytes, Bytes)> {
    Table::ALL
        .into_iter()
        .flat_map(|table| {
            engine
                .scan(table, &[], None, Direction::Forward)
                .map(move |row| {
                    let (key, value) = row.expect("readable");
                    (table, key, value)
                })
        })
        .collect()
}
