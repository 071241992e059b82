//! Nodes on loopback, started, killed and restarted at will.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use toka_ledger::Outcome;
use toka_ledger::command::Commit;
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::SystemDisk;
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::read::Position;
use toka_ledger::seam::Seams;
use toka_raft::config::Compaction;
use toka_raft::transport::{peer_incoming, peer_server};
use toka_raft::{
    CommitError, Config, Consistency, DiskStorage, FatalError, Leader, Member, NewMember, Replica,
    StartError, Storage, TcpTransport,
};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{self, PATIENCE, POLL};
pub(crate) use crate::support::{deadline, eventually};

/// A place in a cluster, and the node that runs there, if one does.
pub(crate) struct Node {
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) storage: Arc<dyn Storage>,
    replica: Option<Replica>,
    config: Config,
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Node>,
    root: TempDir,
}

/// The dimensions in which tests differ.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) compaction: Compaction,
}

impl Options {
    /// A snapshot every few entries, and nothing kept before it.
    pub(crate) fn purging() -> Self {
        let compaction = Compaction {
            snapshot_log_entries: 10,
            keep_log_entries: 0,
            flush_interval: Duration::from_millis(200),
            ..Compaction::default()
        };
        Self { compaction }
    }
}

impl Cluster {
    /// Three nodes that do not run yet, on ports that were free.
    pub(crate) async fn new(options: Options) -> Self {
        Self::with_ids(&[1, 2, 3], options).await
    }

    pub(crate) async fn with_ids(ids: &[u64], options: Options) -> Self {
        // RUST_LOG=info,openraft=warn shows what the nodes do.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer();
        let _ = log.try_init();
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut members = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut held = Vec::new();
        for id in ids {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            let client_endpoint = format!("client-of-{id}:1");
            members.insert(*id, Member::new(address.to_string(), client_endpoint));
            addresses.insert(*id, address);
            held.push(listener);
        }
        let node = |(id, address): (&u64, &SocketAddr)| {
            let dir = root.path().join(format!("node-{id}"));
            let mut config = Config::new(*id, dir.clone(), members.clone());
            config.compaction = options.compaction;
            // The vault is raised at no moment that a test does not know.
            config.feature_level_max = toka_ledger::command::FEATURE_LEVEL_MIN;
            (
                *id,
                Node {
                    dir,
                    address: *address,
                    storage: Arc::new(DiskStorage::default()),
                    replica: None,
                    config,
                },
            )
        };
        let nodes = addresses.iter().map(node).collect();
        Self { nodes, root }
    }

    /// Three nodes that run and serve.
    pub(crate) async fn started(options: Options) -> Self {
        let mut cluster = Self::new(options).await;
        cluster.start_all().await;
        cluster.ready().await;
        cluster
    }

    /// Adds a node through the leader, and starts it.
    pub(crate) async fn join(&mut self, token: u128, learner: bool, options: Options) -> u64 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let new = new_member(token, &address.to_string(), learner);
        let leader = self.leader().await;
        let id = self.replica(leader).add_node(new).await.expect("added");
        let cluster_id = self.replica(leader).cluster_id().expect("formed");
        let dir = self.root.path().join(format!("node-{id}"));
        let mode = Mode::Joining { token };
        let mut data_dir =
            DataDir::open_or_create(Arc::new(SystemDisk), &dir, mode).expect("created");
        data_dir.set_joined(cluster_id, id).expect("written");
        drop(data_dir);
        let mut config = Config::new(id, dir.clone(), BTreeMap::new());
        config.compaction = options.compaction;
        let mut node = Node {
            dir,
            address,
            storage: Arc::new(DiskStorage::default()),
            replica: None,
            config,
        };
        node.start().await.expect("the node starts");
        self.nodes.insert(id, node);
        id
    }

    pub(crate) async fn start_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.start().await.expect("the node starts");
        }
    }

    pub(crate) async fn ready(&self) {
        for replica in self.running() {
            ready(replica).await.expect("the node becomes ready");
        }
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    pub(crate) fn replica(&self, id: u64) -> &Replica {
        self.nodes[&id].replica.as_ref().expect("the node runs")
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Replica> {
        self.nodes.values().filter_map(|node| node.replica.as_ref())
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The leader, once one is known to all running nodes.
    pub(crate) async fn leader(&self) -> u64 {
        let agreed = || {
            let mut leaders = self
                .running()
                .map(|replica| replica.leader().map(|l| l.node_id));
            let first = leaders.next().flatten()?;
            let runs = self
                .nodes
                .get(&first)
                .is_some_and(|node| node.replica.is_some());
            (runs && leaders.all(|leader| leader == Some(first))).then_some(first)
        };
        eventually("a leader that all know", agreed).await
    }

    /// The leader, once `ids` agree on one of them.
    pub(crate) async fn leader_among(&self, ids: &[u64]) -> u64 {
        support::leader_among(ids, |id| self.replica(id)).await
    }

    /// Any running node that does not lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        let mut ids = self.running().map(Replica::node_id);
        ids.find(|id| *id != leader).expect("another node runs")
    }

    /// Commits one event named `name` through whoever leads, as a client would.
    pub(crate) async fn commit(&self, name: &str) -> Outcome {
        let until = deadline();
        loop {
            let leader = self.leader().await;
            match self.replica(leader).commit(event(name)).await {
                Ok(outcome) => return outcome,
                Err(error) if error.is_retryable() && Instant::now() < until => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => panic!("{name} cannot be committed: {error}"),
            }
        }
    }

    pub(crate) async fn commit_many(&self, names: impl IntoIterator<Item = String>) -> u64 {
        let mut last = 0;
        for name in names {
            last = revision(&self.commit(&name).await);
        }
        last
    }

    /// Waits until all running nodes are at the same position, at `revision` or later.
    pub(crate) async fn converged(&self, revision: u64) -> Position {
        let same = || {
            let mut positions = self.running().map(|replica| replica.reader().position());
            let first = positions.next()?;
            let is_same = first.revision >= revision && positions.all(|other| other == first);
            is_same.then_some(first)
        };
        eventually("equal positions", same).await
    }
}

impl Node {
    /// Starts the node. A lock of one that was just killed may take a moment to go.
    pub(crate) async fn start(&mut self) -> Result<(), StartError> {
        let until = deadline();
        let replica = loop {
            let transport = Arc::new(TcpTransport);
            let (config, storage) = (self.config.clone(), Arc::clone(&self.storage));
            match Replica::start_with(config, Seams::system(), transport, storage).await {
                Ok(replica) => break replica,
                Err(error) if is_locked(&error) && Instant::now() < until => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        };
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) if Instant::now() < until => tokio::time::sleep(POLL).await,
                Err(error) => panic!("cannot bind {} again: {error}", self.address),
            }
        };
        serve(&replica, listener);
        self.replica = Some(replica);
        Ok(())
    }

    /// Ends the node as a crash would, as far as its peers can tell.
    pub(crate) async fn kill(&mut self) {
        let replica = self.replica.take().expect("the node runs");
        replica.halt().await.expect("the stores close");
        replica.end_threads().await;
    }

    /// As [`Node::kill`], of a node whose disk has failed: it has nothing in good order to say.
    pub(crate) async fn abandon(&mut self) {
        let replica = self.replica.take().expect("the node runs");
        let _ = replica.halt().await;
        replica.end_threads().await;
    }

    /// Ends the node in good order.
    pub(crate) async fn stop(&mut self) {
        let replica = self.replica.take().expect("the node runs");
        replica.shutdown(true).await.expect("the stores close");
        replica.end_threads().await;
    }

    /// Removes all that the node has on disk.
    pub(crate) fn wipe(&self) {
        assert!(self.replica.is_none(), "the node runs");
        std::fs::remove_dir_all(&self.dir).expect("removed");
    }

    pub(crate) fn config(&mut self) -> &mut Config {
        &mut self.config
    }
}

/// A store that is still open when the process ends would abort it, so nodes are stopped at the end of
/// each test, also of one that fails.
impl Drop for Cluster {
    fn drop(&mut self) {
        let replicas: Vec<_> = self
            .nodes
            .values_mut()
            .filter_map(|node| node.replica.take())
            .collect();
        let stop_all = async {
            for replica in replicas {
                let _ = replica.halt().await;
                replica.end_threads().await;
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(stop_all));
    }
}

/// A node that asks to be added; nobody has to be at the address.
pub(crate) fn new_member(token: u128, raft_endpoint: &str, learner: bool) -> NewMember {
    NewMember {
        feature_level: toka_ledger::command::FEATURE_LEVEL,
        token,
        raft_endpoint: raft_endpoint.to_owned(),
        client_endpoint: format!("client-at-{raft_endpoint}"),
        learner,
        replaces: None,
    }
}

/// Serves peers on the runtime that Raft runs on; both end together.
fn serve(replica: &Replica, listener: TcpListener) {
    let listener = listener.into_std().expect("a listener");
    let service = replica.peer_service();
    replica.runtime().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let server = peer_server().add_service(service);
        server.serve_with_incoming(peer_incoming(listener)).await
    });
}

fn is_locked(error: &StartError) -> bool {
    use toka_ledger::engine::EngineError;
    use toka_raft::log_store::LogError;
    matches!(
        error,
        StartError::Ledger(toka_ledger::Error::Engine(EngineError::Locked { .. }))
            | StartError::Log(LogError::InUse { .. })
    )
}

pub(crate) async fn ready(replica: &Replica) -> Result<(), FatalError> {
    let ready = tokio::time::timeout(PATIENCE, replica.ready());
    ready
        .await
        .expect("the node becomes ready, or fails, in time")
}

/// Waits for the node's own failure.
pub(crate) async fn failure(replica: &Replica) -> FatalError {
    let mut fatal = replica.fatal();
    let failed = tokio::time::timeout(PATIENCE, fatal.wait_for(Option::is_some));
    let failed = failed
        .await
        .expect("the node fails in time")
        .expect("the node is there");
    failed.clone().expect("a failure")
}

pub(crate) fn event(name: &str) -> Commit {
    let draft = EventDraft::new("test.event").payload_bytes(name.to_owned());
    prepare_commit(vec![draft], vec![], 0).expect("a valid commit")
}

pub(crate) fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    let prefix = prefix.to_owned();
    (0..count).map(move |n| format!("{prefix}-{n}"))
}

pub(crate) fn revision(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Committed { revision, .. } => *revision,
        other => panic!("not committed: {other:?}"),
    }
}

/// Reads at the latest acknowledged state.
pub(crate) async fn linearizable(replica: &Replica) -> Position {
    let barrier = replica.read_barrier(Consistency::Linearizable, deadline());
    barrier.await.expect("the read is served")
}

pub(crate) fn leader_of(error: &CommitError) -> Option<&Leader> {
    match error {
        CommitError::NotLeader { leader } => leader.as_ref(),
        other => panic!("not the leader, expected: {other}"),
    }
}
