//! Errors that must stop a node, loudly, and messages that must not get in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use toka_ledger::command::ParentName;
use toka_ledger::disk::Disk;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, EngineError, Scan, Table};
use toka_ledger::seam::Seams;
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::raft_service_client::RaftServiceClient;
use toka_raft::config::Proposing;
use toka_raft::log_store::{LogError, RaftLog};
use toka_raft::{CommitError, DiskStorage, FatalError, Storage};
use tonic::Code;

use crate::harness::{Cluster, Options, event, failure, names};

/// A disk whose ledger fails when it is told to.
#[derive(Clone, Debug, Default)]
struct FailingStorage {
    disk: DiskStorage,
    fails: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FailingEngine {
    engine: Arc<dyn Engine>,
    fails: Arc<AtomicBool>,
}

impl Storage for FailingStorage {
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.disk()
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        let engine = self.disk.open(dir)?;
        Ok(Arc::new(FailingEngine {
            engine,
            fails: Arc::clone(&self.fails),
        }))
    }

    fn open_copy(&self, dir: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.disk.open_copy(dir)
    }

    fn start_log(&self, dir: &Path, may_create: bool, seams: &Seams) -> Result<RaftLog, LogError> {
        self.disk.start_log(dir, may_create, seams)
    }
}

impl Engine for FailingEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, EngineError> {
        self.engine.multi_get(table, keys)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Scan<'_> {
        self.engine.scan(table, from, to, direction)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        if self.fails.load(Ordering::Relaxed) {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn node_whose_ledger_fails_stops_and_the_others_go_on() {
    let mut cluster = Cluster::new(Options::default()).await;
    let storage = FailingStorage::default();
    cluster.node(2).storage = Arc::new(storage.clone());
    cluster.start_all().await;
    cluster.ready().await;
    cluster.commit("before").await;
    storage.fails.store(true, Ordering::Relaxed);
    let before = cluster.leader().await;
    let during = cluster.replica(before).commit(event("during")).await;
    if before == 2 {
        // It was committed, but this node will never know what came of it.
        assert_eq!(during, Err(CommitError::Unknown));
    }
    let error = failure(cluster.replica(2)).await;
    assert!(matches!(error, FatalError::Ledger(_)), "{error}");
    assert!(error.to_string().contains("the test's disk"), "{error}");
    cluster.node(2).kill().await;
    storage.fails.store(false, Ordering::Relaxed);
    let last = cluster.commit_many(names("after", 5)).await;
    cluster.node(2).start().await.expect("started");
    assert_eq!(cluster.converged(last).await.sequence, 7);
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
