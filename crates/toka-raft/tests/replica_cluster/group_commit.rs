//! What is gathered while an entry is on its way.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use futures::future::join_all;
use futures::poll;
use toka_ledger::disk::Disk;
use toka_ledger::engine::{Engine, EngineError};
use toka_ledger::seam::Seams;
use toka_raft::config::Proposing;
use toka_raft::log_store::{
    Change, EngineReader, LogEngine, LogError, LogMeta, LogOptions, RaftLog, SegmentLog,
    SegmentOptions,
};
use toka_raft::type_config::EntryPayload;
use toka_raft::{MemoryStorage, Storage};

use crate::harness::{Cluster, Options, event, eventually};
use crate::support::PATIENCE;

/// Holds up the syncs of a log while it is shut.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    /// A sync waits.
    is_reached: bool,
    /// Entries with commands that were written.
    entries: usize,
}

/// A gate that is shut, until this is dropped.
struct Shut(Arc<Gate>);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn shut(self: &Arc<Self>) -> Shut {
        self.state().is_shut = true;
        Shut(Arc::clone(self))
    }

    fn pass(&self) {
        let mut state = self.state();
        while state.is_shut {
            state.is_reached = true;
            state = self.changed.wait(state).expect("nobody panics with it");
        }
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.state().is_shut = false;
        self.0.changed.notify_all();
    }
}

struct GatedLog {
    log: SegmentLog,
    gate: Arc<Gate>,
}

impl LogEngine for GatedLog {
    fn meta(&self) -> &LogMeta {
        self.log.meta()
    }

    fn reader(&self) -> Box<dyn EngineReader> {
        self.log.reader()
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), LogError> {
        for change in changes {
            if let Change::Append(entries) = change {
                let commands = entries
                    .iter()
                    .filter(|entry| matches!(entry.payload, EntryPayload::Normal(_)));
                self.gate.state().entries += commands.count();
            }
        }
        self.log.write(changes)
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.gate.pass();
        self.log.sync()
    }

    fn close(self) -> Result<(), LogError> {
        self.log.close()
    }
}

#[derive(Debug)]
struct GatedStorage {
    inner: MemoryStorage,
    gate: Arc<Gate>,
}

impl Storage for GatedStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        self.inner.disk()
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.inner.open(dir)
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.inner.open_copy(dir)
    }

    fn start_log(&self, dir: &Path, create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        let options = SegmentOptions {
            create,
            ..SegmentOptions::default()
        };
        let log = SegmentLog::open(self.disk(), Arc::clone(&seams.entropy), dir, options)?;
        let gate = Arc::clone(&self.gate);
        let engine = GatedLog { log, gate };
        let started = RaftLog::start(engine, LogOptions::default(), &*seams.threads);
        Ok(started.expect("the thread starts"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_come_while_an_entry_is_under_way_share_the_next_one() {
    let gate = Arc::<Gate>::default();
    let mut cluster = Cluster::with_ids(&[1], Options::default()).await;
    cluster.node(1).storage = Arc::new(GatedStorage {
        inner: MemoryStorage::new(),
        gate: Arc::clone(&gate),
    });
    cluster.node(1).config().proposing = Proposing {
        // The disk takes as long as it likes.
        gather_max: PATIENCE,
        timeout: PATIENCE,
        ..Proposing::default()
    };
    cluster.start_all().await;
    cluster.ready().await;
    cluster.commit("before").await;
    let replica = cluster.replica(1);
    let before = gate.state().entries;
    let shut = gate.shut();
    let first = replica.commit(event("first"));
    let later = async {
        let is_reached = || gate.state().is_reached.then_some(());
        eventually("entry at the disk", is_reached).await;
        let commits = (0..20).map(|n| replica.commit(event(&format!("later-{n}"))));
        let mut commits = pin!(join_all(commits));
        // All of them are queued by that.
        assert!(poll!(commits.as_mut()).is_pending());
        drop(shut);
        commits.await
    };
    let (first, later) = tokio::join!(first, later);
    assert!(first.is_ok() && later.iter().all(Result::is_ok));
    assert_eq!(gate.state().entries, before + 2);
}
