//! openraft's own storage suite, on both log engines.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageError};
use tempfile::TempDir;
use toka_ledger::disk::SystemDisk;
use toka_ledger::seam::{SystemEntropy, SystemThreads};
use toka_raft::log_store::{
    LogEngine, LogOptions, MemoryLog, RaftLog, SegmentLog, SegmentOptions, TailLimits,
};
use toka_raft::type_config::{
    Applied, EntryPayload, LogId, SnapshotMeta, StoredMembership, TypeConfig,
};

/// A state machine that keeps positions and nothing else: enough to test a log with.
#[derive(Clone, Default)]
struct Positions(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

impl Positions {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftStateMachine<TypeConfig> for Positions {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<openraft::storage::EntryResponder<TypeConfig>>>
            + Unpin
            + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            {
                let mut state = self.state();
                state.applied = Some(entry.log_id);
                if let EntryPayload::Membership(membership) = entry.payload {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(Applied::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
        let mut state = self.state();
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::type_config::alias::SnapshotOf<TypeConfig, ()>>> {
        Ok(self
            .state()
            .snapshot
            .clone()
            .map(|meta| Snapshot { meta, snapshot: () }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Positions {
    type SnapshotData = ();

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::type_config::alias::SnapshotOf<TypeConfig, ()>> {
        let mut state = self.state();
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.membership.clone(),
        };
        state.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

fn store(engine: impl LogEngine) -> io::Result<RaftLog> {
    // A tail of two entries, so that the suite reads from the engine as well.
    let options = LogOptions {
        tail: TailLimits {
            bytes_max: 1 << 20,
            entries_max: 2,
        },
    };
    RaftLog::start(engine, options, &SystemThreads)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StorageError<TypeConfig> {
    StorageError::read(TypeConfig::err_from_error(&error))
}

struct InMemory;

impl StoreBuilder<TypeConfig, RaftLog, Positions> for InMemory {
    async fn build(&self) -> Result<((), RaftLog, Positions), StorageError<TypeConfig>> {
        Ok((
            (),
            store(MemoryLog::new()).map_err(failed)?,
            Positions::default(),
        ))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, RaftLog, Positions, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, RaftLog, Positions), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().map_err(failed)?;
        let options = SegmentOptions {
            segment_bytes: 64 << 10,
            ..SegmentOptions::default()
        };
        let path: &Path = &dir.path().join("raft");
        let engine = SegmentLog::open(Arc::new(SystemDisk), Arc::new(SystemEntropy), path, options);
        let log = store(engine.map_err(failed)?).map_err(failed)?;
        Ok((dir, log, Positions::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suite_passes_in_memory() {
    Suite::test_all(InMemory).await.expect("the suite passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn suite_passes_on_disk() {
    Suite::test_all(OnDisk).await.expect("the suite passes");
}
