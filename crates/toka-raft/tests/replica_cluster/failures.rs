//! Errors that must stop a node, loudly, and messages that must not get in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use toka_ledger::command::ParentName;
use toka_ledger::disk::Disk;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};
use toka_ledger::seam::Seams;
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;
use toka_raft::config::{Proposing, Scrub};
use toka_raft::error::Damage;
use toka_raft::log_store::{LogError, RaftLog};
use toka_raft::{CommitError, DiskStorage, FatalError, MemoryStorage, Storage};
use tonic::Code;

use crate::harness::{Cluster, Options, event, eventually, failure, names};

/// A storage whose ledger fails when it is told to.
#[derive(Clone, Debug)]
struct FailingStorage {
    inner: Arc<dyn Storage>,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Writes fail.
    writes: AtomicBool,
    /// What is read of the table of events is not what was written.
    events: AtomicBool,
    /// Copies cannot be opened.
    copies: AtomicBool,
    /// Copies that could not be.
    refused: AtomicUsize,
}

#[derive(Debug)]
struct FailingEngine {
    engine: Arc<dyn Engine>,
    faults: Arc<Faults>,
}

impl FailingStorage {
    fn over(inner: impl Storage) -> Self {
        Self {
            inner: Arc::new(inner),
            faults: Arc::default(),
        }
    }
}

impl FailingEngine {
    fn check(&self, table: Table) -> Result<(), EngineError> {
        if table == Table::Events && self.faults.events.load(Ordering::Relaxed) {
            return Err(EngineError::Corruption {
                path: "the test's disk".into(),
                table: Some(table),
                detail: "a block's checksum".to_owned(),
                source: None,
            });
        }
        Ok(())
    }
}

impl Storage for FailingStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        self.inner.disk()
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        let engine = self.inner.open(dir)?;
        Ok(Arc::new(FailingEngine {
            engine,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        if self.faults.copies.load(Ordering::Relaxed) {
            self.faults.refused.fetch_add(1, Ordering::Relaxed);
            return Err(EngineError::Io {
                action: "open",
                path: dir.to_owned(),
                source: std::io::Error::other("too many open files"),
            });
        }
        self.inner.open_copy(dir)
    }

    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        self.inner.start_log(dir, may_create, seams)
    }
}

impl Engine for FailingEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.check(table)?;
        self.engine.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.check(table)?;
        self.engine.multi_get(table, keys)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Scan<'_> {
        self.engine.scan(table, from, to, direction)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        if self.faults.writes.load(Ordering::Relaxed) {
            return Err(EngineError::Io {
                action: "write to",
                path: "the test's disk".into(),
                source: std::io::Error::from(std::io::ErrorKind::StorageFull),
            });
        }
        self.engine.write(batch, durability)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.engine.flush()
    }

    fn get_flushed(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get_flushed(table, key)
    }

    fn verify_checksums(&self) -> Result<(), EngineError> {
        self.engine.verify_checksums()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.engine.checkpoint(dir)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.engine.disk_bytes()
    }

    fn unflushed_bytes(&self) -> Result<u64, EngineError> {
        self.engine.unflushed_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_whose_ledger_fails_stops_and_the_others_go_on() {
    let mut cluster = Cluster::new(Options::default()).await;
    let storage = FailingStorage::over(DiskStorage::default());
    cluster.node(2).storage = Arc::new(storage.clone());
    cluster.start_all().await;
    cluster.ready().await;
    cluster.commit("before").await;
    storage.faults.writes.store(true, Ordering::Relaxed);
    let before = cluster.leader().await;
    let during = cluster.replica(before).commit(event("during")).await;
    if before == 2 {
        // It was committed, but this node will never know what came of it.
        assert_eq!(during, Err(CommitError::Unknown));
    }
    let error = failure(cluster.replica(2)).await;
    assert!(matches!(error, FatalError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("the test's disk"), "{error}");
    cluster.node(2).abandon().await;
    storage.faults.writes.store(false, Ordering::Relaxed);
    let last = cluster.commit_many(names("after", 5)).await;
    cluster.node(2).start().await.expect("started");
    assert_eq!(cluster.converged(last).await.sequence, 7);
}

/// Whether the marker on `disk` says so of the data of the node in `dir`.
fn is_noted(disk: &dyn Disk, dir: &Path, state: &str) -> bool {
    let marker = disk.read(&dir.join("VAULT")).expect("readable");
    String::from_utf8_lossy(&marker).contains(&format!("state {state}\n"))
}

/// The only node of its cluster, with events that, while it runs, nothing but the Raft log has kept.
async fn only_node(storage: Arc<dyn Storage>) -> Cluster {
    let mut cluster = Cluster::with_ids(&[1], Options::default()).await;
    cluster.node(1).storage = storage;
    cluster.node(1).config().compaction.flush_interval = Duration::from_secs(3_600);
    cluster.start_all().await;
    cluster.ready().await;
    cluster.commit_many(names("before", 10)).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_the_start_of_raft_comes_upon_is_noted() {
    let memory = MemoryStorage::new();
    let mut cluster = only_node(Arc::new(memory.clone())).await;
    let after = memory.crash(|| true);
    cluster.node(1).abandon().await;
    let storage = FailingStorage::over(after.clone());
    storage.faults.events.store(true, Ordering::Relaxed);
    cluster.node(1).storage = Arc::new(storage);
    let error = cluster.node(1).start().await.expect_err("it is damaged");
    assert_eq!(error.damage(), Some(Damage::Ledger), "{error}");
    assert!(error.to_string().contains("the test's disk"), "{error}");
    assert!(is_noted(
        &after.disk,
        &cluster.node(1).dir,
        "ledger-damaged"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_noted_while_the_node_still_runs() {
    let memory = MemoryStorage::new();
    let storage = FailingStorage::over(memory.clone());
    let mut cluster = only_node(Arc::new(storage.clone())).await;
    storage.faults.events.store(true, Ordering::Relaxed);
    let outcome = cluster.replica(1).commit(event("after")).await;
    assert!(outcome.is_err(), "{outcome:?}");
    let error = failure(cluster.replica(1)).await;
    assert_eq!(error.damage(), Some(Damage::Ledger), "{error}");
    let dir = cluster.node(1).dir.clone();
    let noted = || is_noted(&memory.disk, &dir, "ledger-damaged").then_some(());
    eventually("a note of the damage", noted).await;
    // With the power lost now it is known all the same.
    assert!(is_noted(
        &memory.disk.crash(|| false),
        &dir,
        "ledger-damaged"
    ));
}

/// A node that looks for damage all the time, in ledger and log that are not empty, and reads so many bytes
/// in a second.
async fn scrubbing(storage: Arc<dyn Storage>, rate_bytes: u64) -> Cluster {
    let mut cluster = only_node(storage).await;
    cluster.node(1).stop().await;
    cluster.node(1).config().scrub = Scrub {
        interval: Some(Duration::from_millis(50)),
        rate_bytes,
    };
    cluster.start_all().await;
    cluster.ready().await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn scrub_that_is_not_possible_is_tried_again_and_stops_nobody() {
    let storage = FailingStorage::over(MemoryStorage::new());
    let cluster = scrubbing(Arc::new(storage.clone()), 0).await;
    let faults = &storage.faults;
    faults.copies.store(true, Ordering::Relaxed);
    let refused = || (faults.refused.load(Ordering::Relaxed) > 2).then_some(());
    eventually("a third try", refused).await;
    cluster.commit("meanwhile").await;
    assert!(cluster.replica(1).fatal().borrow().is_none());
    faults.copies.store(false, Ordering::Relaxed);
    let before = cluster.replica(1).scrub().passes;
    let passed = || (cluster.replica(1).scrub().passes > before).then_some(());
    eventually("a pass", passed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scrub_is_broken_off_while_the_disk_is_nearly_full() {
    let memory = MemoryStorage::new();
    // One pass would take hours.
    let cluster = scrubbing(Arc::new(memory.clone()), 1).await;
    let is = |running: bool| (cluster.replica(1).scrub().is_running == running).then_some(());
    eventually("a pass that has begun", || is(true)).await;
    memory.disk.set_free(1);
    eventually("a pass that has ended", || is(false)).await;
    assert_eq!(cluster.replica(1).scrub().passes, 0, "not to its end");
    memory.disk.set_free(1 << 39);
    eventually("another pass", || is(true)).await;
    assert!(cluster.replica(1).fatal().borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_another_cluster_are_refused_with_both_names() {
    let cluster = Cluster::started(Options::default()).await;
    let endpoint = format!("http://{}", cluster.nodes[&1].address);
    let mut client = RaftServiceClient::connect(endpoint)
        .await
        .expect("connected");
    let ours = cluster.replica(1).cluster_id().expect("formed");
    let ask = |cluster_id: u128, to: u64| pb::ReadIndexRequest {
        peer: Some(pb::Peer {
            cluster_id: Bytes::copy_from_slice(&cluster_id.to_be_bytes()),
            from: 2,
            to,
            protocol: 1,
        }),
    };
    let other = client.read_index(ask(77, 1)).await.expect_err("refused");
    assert_eq!(other.code(), Code::FailedPrecondition);
    for name in [format!("{ours:032x}"), format!("{:032x}", 77)] {
        assert!(other.message().contains(&name), "{other}");
    }
    let misdirected = client.read_index(ask(ours, 3)).await.expect_err("refused");
    assert_eq!(misdirected.code(), Code::FailedPrecondition);
    assert!(
        misdirected.message().contains("for node 3, this is node 1"),
        "{misdirected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queue_is_an_error_with_a_hint() {
    let mut cluster = Cluster::with_ids(&[1], Options::default()).await;
    cluster.node(1).config().proposing = Proposing {
        queue_bytes: 4_096,
        ..Proposing::default()
    };
    cluster.start_all().await;
    cluster.ready().await;
    let replica = cluster.replica(1);
    let commits = (0..200).map(|n| replica.commit(event(&format!("many-{n}-{}", "x".repeat(100)))));
    let outcomes = futures::future::join_all(commits).await;
    let (done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(
        !done.is_empty() && !refused.is_empty(),
        "{} done, {} refused",
        done.len(),
        refused.len()
    );
    for refusal in refused {
        let refusal = refusal.expect_err("refused");
        assert!(
            matches!(refusal, CommitError::Overloaded { retry_after_ms } if retry_after_ms > 0),
            "{refusal}"
        );
    }
    assert_eq!(
        replica.reader().position().sequence,
        done.len() as u64,
        "the refused left nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_that_no_node_could_decode_is_refused_and_stops_nobody() {
    let cluster = Cluster::started(Options::default()).await;
    let leader = cluster.leader().await;
    let replica = cluster.replica(leader);
    let good = event("good");
    let mut itself = good.clone();
    itself.events[0].parents = vec![ParentName::Batch(0)];
    let mut nothing = good.clone();
    nothing.events.clear();
    let mut too_much = good.clone();
    too_much.events[0].payload = vec![0; (1 << 20) + 1].into();
    for bad in [itself, nothing, too_much] {
        let refusal = replica.commit(bad).await.expect_err("refused");
        assert!(matches!(refusal, CommitError::Invalid(_)), "{refusal}");
    }
    let last = cluster.commit_many(["good".to_owned()]).await;
    assert_eq!(cluster.converged(last).await.sequence, 1);
}
