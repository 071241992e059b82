//! Three nodes wholly in memory: no sockets, no files, and power cuts that lose what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toka_ledger::command::{Command, Commit, Create, FEATURE_LEVEL_MIN};
use toka_ledger::disk::Disk as _;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Direction, Durability};
use toka_ledger::intent::Parameters;
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::read::{Filter, PAGE_EVENTS_MAX, Position, Query};
use toka_ledger::seam::{Clock, Entropy, InlineThreads, Seams, SystemEntropy};
use toka_ledger::{Digest, Ledger, LogMark, Outcome};
use toka_raft::config::{Compaction, Creation, RuntimeChoice};
use toka_raft::snapshot::SnapshotError;
use toka_raft::transport::peer_server;
use toka_raft::{Config, Member, MemoryNetwork, MemoryStorage, Replica};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod support;

use support::{PATIENCE, POLL, deadline, eventually};

/// Every node's data directory, on its own disk.
const DATA: &str = "/vault";

/// A place in a cluster, with the node that runs there, if one does.
struct Node {
    name: String,
    config: Config,
    storage: MemoryStorage,
    running: Option<(Replica, JoinHandle<()>)>,
}

struct Cluster {
    network: MemoryNetwork,
    seams: Seams,
    nodes: BTreeMap<u64, Node>,
    /// Digests of all events that a client was told are committed.
    acknowledged: BTreeSet<Digest>,
    /// For what survives a power cut.
    random: u64,
}

impl Cluster {
    async fn started(runtime: RuntimeChoice) -> Self {
        Self::started_with(runtime, Creation::default(), Seams::system()).await
    }

    async fn started_with(runtime: RuntimeChoice, creation: Creation, seams: Seams) -> Self {
        let ids = [1, 2, 3];
        let name = |id: u64| format!("node-{id}:7312");
        let members = ids.map(|id| (id, Member::new(name(id), format!("node-{id}:7311"))));
        let members = BTreeMap::from(members);
        let node = |id: u64| {
            let mut config = Config::new(id, PathBuf::from(DATA), members.clone());
            config.runtime = runtime;
            config.creation = creation.clone();
            // The vault is at this level from the start, and no rise comes in between.
            config.feature_level_max = FEATURE_LEVEL_MIN;
            // A snapshot every few entries, and nothing kept before it.
            config.compaction = Compaction {
                snapshot_log_entries: 10,
                keep_log_entries: 0,
                flush_interval: Duration::from_millis(200),
                ..Compaction::default()
            };
            let node = Node {
                name: name(id),
                config,
                storage: MemoryStorage::new(),
                running: None,
            };
            (id, node)
        };
        let mut seed = [0; 8];
        SystemEntropy.fill(&mut seed);
        let random = u64::from_ne_bytes(seed) | 1;
        eprintln!("seed {random:#x}");
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            seams,
            nodes: BTreeMap::from(ids.map(node)),
            acknowledged: BTreeSet::new(),
            random,
        };
        for id in ids {
            cluster.start(id).await;
        }
        for replica in cluster.running() {
            let ready = tokio::time::timeout(PATIENCE, replica.ready()).await;
            ready.expect("in time").expect("the node becomes ready");
        }
        cluster
    }

    async fn start(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let transport = Arc::new(self.network.transport(&node.name));
        let storage = Arc::new(node.storage.clone());
        let config = node.config.clone();
        let started = Replica::start_with(config, self.seams.clone(), transport, storage).await;
        let replica = started.expect("the node starts");
        let listener = self.network.listen(&node.name).expect("nobody listens");
        let service = replica.peer_service();
        let serving = replica.runtime().spawn(async move {
            let server = peer_server().add_service(service);
            let served = server.serve_with_incoming(listener).await;
            served.expect("connections in memory are accepted");
        });
        node.running = Some((replica, serving));
    }

    /// Cuts the power of a node: its storage is what was synced, and some of what was not.
    async fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let random = &mut self.random;
        let coin = || {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            *random & 1 == 0
        };
        node.storage = node.storage.crash(coin);
        self.network.cut_off(&node.name);
        let (replica, serving) = node.running.take().expect("the node runs");
        // Its disk has failed, so it has nothing in good order to say.
        let _ = replica.halt().await;
        replica.end_threads().await;
        end(serving).await;
        self.network.rejoin(&node.name);
    }

    fn running(&self) -> impl Iterator<Item = &Replica> {
        let running = self.nodes.values().filter_map(|node| node.running.as_ref());
        running.map(|(replica, _)| replica)
    }

    fn replica(&self, id: u64) -> &Replica {
        let (replica, _) = self.nodes[&id].running.as_ref().expect("the node runs");
        replica
    }

    /// Name of the ledger that a node uses. A node that is not restarted gets another one with each snapshot
    /// that it installs, and never else.
    fn ledger(&self, id: u64) -> String {
        let pointer = self.nodes[&id]
            .storage
            .disk
            .read(&Path::new(DATA).join("CURRENT"));
        String::from_utf8(pointer.expect("a pointer")).expect("text")
    }

    /// Waits until all `ids` have purged what a node with a log up to `had` lacks: only a snapshot helps it.
    async fn purged_beyond(&self, ids: &[u64], had: Option<u64>) {
        for id in ids {
            let purged = || self.replica(*id).status().purged_index;
            eventually("purge past the follower's log", || {
                purged().filter(|purged| Some(*purged) > had)
            })
            .await;
        }
    }

    /// Waits until a node has installed a snapshot since it used the ledger `before`.
    async fn installed(&self, id: u64, before: &str) {
        let has_another = || (self.ledger(id) != before).then_some(());
        eventually("installed snapshot", has_another).await;
    }

    /// The leader, once all of `ids` agree on one of them.
    async fn leader_among(&self, ids: &[u64]) -> u64 {
        support::leader_among(ids, |id| self.replica(id)).await
    }

    /// Commits through whoever leads among `ids`, as a client would, and remembers what is
    /// acknowledged.
    async fn commit_many(&mut self, ids: &[u64], prefix: &str, count: usize) {
        let commits = (0..count).map(|n| event(&format!("{prefix} {n}")));
        self.commit_all(ids, commits).await;
    }

    async fn commit_all(&mut self, ids: &[u64], commits: impl IntoIterator<Item = Commit>) {
        for commit in commits {
            let until = deadline();
            let outcome = loop {
                let leader = self.leader_among(ids).await;
                match self.replica(leader).commit(commit.clone()).await {
                    Ok(outcome) => break outcome,
                    Err(error) if error.is_retryable() && Instant::now() < until => {
                        tokio::time::sleep(POLL).await;
                    }
                    Err(error) => panic!("{commit:?} cannot be committed: {error}"),
                }
            };
            let Outcome::Committed { headers, .. } = outcome else {
                panic!("not committed: {outcome:?}");
            };
            self.acknowledged
                .extend(headers.iter().map(|header| header.digest));
        }
    }

    /// Waits until all nodes are equal and have everything that was acknowledged.
    async fn converged(&self) -> Position {
        let revisions = self.running().map(|replica| {
            let position = replica.reader().position();
            position.revision
        });
        let newest = revisions.max().expect("nodes run");
        let same = || {
            let mut positions = self.running().map(|replica| replica.reader().position());
            let first = positions.next()?;
            let is_same = first.revision >= newest && positions.all(|other| other == first);
            is_same.then_some(first)
        };
        let position = eventually("equal positions, with equal state digests", same).await;
        for replica in self.running() {
            let digests = digests(replica);
            let id = replica.node_id();
            assert_eq!(digests.len() as u64, position.sequence, "node {id}");
            assert!(
                self.acknowledged.is_subset(&digests),
                "node {id} has lost some"
            );
        }
        position
    }

    /// Ends all nodes; one that is dropped with its threads running would outlive the test.
    async fn stop(mut self) {
        for node in self.nodes.values_mut() {
            if let Some((replica, serving)) = node.running.take() {
                replica.halt().await.expect("the stores close");
                replica.end_threads().await;
                end(serving).await;
            }
        }
    }
}

/// Stops listening.
async fn end(serving: JoinHandle<()>) {
    serving.abort();
    let ended = serving.await;
    assert!(ended.is_err_and(|error| error.is_cancelled()));
}

fn digests(replica: &Replica) -> BTreeSet<Digest> {
    let query = Query {
        after: 0,
        until: u64::MAX,
        filter: Filter::default(),
        direction: Direction::Forward,
        limit: PAGE_EVENTS_MAX,
    };
    let page = replica.reader().list(&query).expect("readable");
    assert_eq!(page.next, None, "the test has less than a page of events");
    page.headers.iter().map(|header| header.digest).collect()
}

fn event(name: &str) -> Commit {
    let draft = EventDraft::new("test.event").payload_bytes(name.to_owned());
    prepare_commit(vec![draft], vec![], 0).expect("a valid commit")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_power_cut_and_a_late_follower_gets_a_snapshot() {
    let all = [1, 2, 3];
    let mut cluster = Cluster::started(RuntimeChoice::Own { threads: 2 }).await;
    cluster.commit_many(&all, "before", 5).await;
    let leader = cluster.leader_among(&all).await;
    let away = all
        .into_iter()
        .find(|id| *id != leader)
        .expect("a follower");
    let had = cluster.replica(away).status().last_log_index;
    cluster.network.cut_off(&cluster.nodes[&away].name);

    let others = all.map(|id| (id != away).then_some(id));
    let others: Vec<u64> = others.into_iter().flatten().collect();
    cluster.commit_many(&others, "while one is away", 40).await;
    cluster.purged_beyond(&others, had).await;
    let ledger = cluster.ledger(away);

    let leader = cluster.leader_among(&others).await;
    cluster.crash(leader).await;
    cluster.start(leader).await;
    cluster.commit_many(&others, "after the power cut", 5).await;
    // That the log was purged may not have been synced.
    cluster.purged_beyond(&others, had).await;

    cluster.network.rejoin(&cluster.nodes[&away].name);
    cluster.commit_many(&all, "together", 5).await;
    let position = cluster.converged().await;
    assert_eq!(position.sequence, 55, "each event once");
    assert_ne!(cluster.ledger(away), ledger, "a snapshot was installed");
    cluster.stop().await;
}

/// All nodes on the one thread of the test.
#[tokio::test]
async fn nodes_that_lose_power_one_after_the_other_and_all_at_once_lose_nothing() {
    let all = [1, 2, 3];
    let mut cluster = Cluster::started(RuntimeChoice::Current).await;
    for round in 0..4 {
        cluster
            .commit_many(&all, &format!("round {round}"), 7)
            .await;
        let id = cluster.leader_among(&all).await;
        cluster.crash(id).await;
        cluster.start(id).await;
    }
    cluster.commit_many(&all, "then", 7).await;
    for id in all {
        cluster.crash(id).await;
    }
    for id in all {
        cluster.start(id).await;
    }
    cluster.commit_many(&all, "last", 3).await;
    assert_eq!(cluster.converged().await.sequence, 38, "each event once");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_for_a_backup_is_broken_off_when_the_disk_fills_up() {
    let all = [1, 2, 3];
    let mut cluster = Cluster::started(RuntimeChoice::Own { threads: 2 }).await;
    cluster.commit_many(&all, "before", 3).await;
    cluster.converged().await;
    let disk = cluster.nodes[&1].storage.disk.clone();
    let in_progress = || {
        let dir = Path::new(DATA).join("snapshots");
        let names = disk.list(&dir).expect("listed").into_iter();
        names
            .map(|name| dir.join(name))
            .filter(|path| path.extension().is_some_and(|extension| extension == "tmp"))
            .filter(|path| disk.exists(&path.join("ledger")))
            .count()
    };
    eventually("quiet", || (in_progress() == 0).then_some(())).await;
    let replica = cluster.replica(1).clone();
    // A byte a second: it would not end in this test.
    let copying = tokio::spawn(async move { replica.copy_ledger(1).await.map(drop) });
    eventually("copy in progress", || (in_progress() == 1).then_some(())).await;
    assert!(!copying.is_finished());
    disk.set_free(0);
    let copied = tokio::time::timeout(PATIENCE, copying).await;
    let refused = copied.expect("in time").expect("no panic");
    assert!(
        matches!(refused, Err(SnapshotError::NoRoom { free_bytes: 0, .. })),
        "{refused:?}"
    );
    eventually("removed copy", || (in_progress() == 0).then_some(())).await;
    cluster.stop().await;
}

/// Time of everything in the test with a pinned digest.
const NOW: u64 = 1_700_000_000_000;
/// The byte that its identities consist of.
const IDENTITY: u8 = 7;

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn unix_ms(&self) -> u64 {
        NOW
    }
}

/// Identities are fixed, and nothing else: what tells files of a log apart must differ.
#[derive(Debug)]
struct FixedIdentities;

impl Entropy for FixedIdentities {
    fn fill(&self, bytes: &mut [u8]) {
        match bytes.len() {
            16 => bytes.fill(IDENTITY),
            _ => SystemEntropy.fill(bytes),
        }
    }
}

/// Events about 40 topics, the same on every run.
fn embedded_events(count: u64) -> Vec<Commit> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut vector = || -> Vec<f32> { (0..23).map(|_| unit()).collect() };
    let topics: Vec<_> = (0..40).map(|_| vector()).collect();
    let event = |n: u64| {
        let topic = topics[(n * n % 37) as usize].iter();
        let noise = vector().into_iter().map(|x| x * 0.9);
        let components: Vec<f32> = topic.zip(noise).map(|(a, b)| a + b).collect();
        let draft = EventDraft::new("test.event")
            .payload_bytes(n.to_string())
            .embedding(&components);
        prepare_commit(vec![draft], vec![], NOW).expect("a valid commit")
    };
    (0..count).map(event).collect()
}

/// What one ledger, without a cluster, makes of `commits`.
fn alone(intents: Parameters, commits: &[Commit]) -> Position {
    let engine = Arc::new(MemoryEngine::new());
    let mut ledger = Ledger::open(engine, Arc::new(InlineThreads)).expect("opens");
    let identity = u128::from_be_bytes([IDENTITY; 16]);
    let create = Command::Create(Create {
        cluster_id: identity,
        history_id: identity,
        feature_level: FEATURE_LEVEL_MIN,
        dimension: None,
        model: None,
        intents,
        unix_ms: NOW,
    });
    let commits = commits.iter().cloned().map(Command::Commit);
    let commands: Vec<_> = std::iter::once(create).chain(commits).collect();
    let applied = ledger.apply(&commands, LogMark::default(), Durability::Volatile);
    applied.expect("applied");
    ledger.position()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_calculate_the_pinned_digest_through_power_cuts_and_snapshots() {
    // Few events do all that many do: macro-clusterings beside `apply`, folding, saves.
    let intents = Parameters {
        micro_clusters_max: 64,
        background_micro_clusters: 32,
        background_events: 10,
        save_events: 100,
        count_cap: 16,
        ..Parameters::default()
    };
    let creation = Creation {
        intents: intents.tau(0.72).expect("in range"),
        ..Creation::default()
    };
    let seams = Seams {
        clock: Arc::new(StandingClock),
        entropy: Arc::new(FixedIdentities),
        ..Seams::system()
    };
    let all = [1, 2, 3];
    let commits = embedded_events(600);
    let expected = alone(creation.intents, &commits);
    let runtime = RuntimeChoice::Own { threads: 2 };
    let mut cluster = Cluster::started_with(runtime, creation, seams).await;
    let mut installs = 0;
    for (round, commits) in commits.chunks(150).enumerate() {
        let leader = cluster.leader_among(&all).await;
        let others = all.into_iter().filter(|&id| id != leader);
        let others: Vec<u64> = others.collect();
        // Behind a snapshot when it comes back.
        let away = others[0];
        cluster.network.cut_off(&cluster.nodes[&away].name);
        let (had, ledger) = (
            cluster.replica(away).status().last_log_index,
            cluster.ledger(away),
        );
        let (first, rest) = commits.split_at(75);
        let both = [leader, others[1]];
        cluster.commit_all(&both, first.to_vec()).await;
        cluster.purged_beyond(&both, had).await;
        cluster.network.rejoin(&cluster.nodes[&away].name);
        // Half of the times the power is cut while the snapshot is sent, or before.
        if round.is_multiple_of(2) {
            cluster.installed(away, &ledger).await;
        }
        cluster.crash(leader).await;
        cluster.start(leader).await;
        cluster.commit_all(&all, rest.to_vec()).await;
        cluster.converged().await;
        installs += usize::from(cluster.ledger(away) != ledger);
    }
    assert!(installs >= 2, "{installs} snapshots were installed");
    let position = cluster.converged().await;
    assert_eq!(
        (position.state_digest, position.history_root),
        (expected.state_digest, expected.history_root)
    );
    assert_eq!(position.state_digest.to_string(), PINNED);
    cluster.stop().await;
}

const PINNED: &str = "f22a82ebc7b6ff3981fff6ca9aae3c4e89042cddf2069d04fa2ed5a9d4edfcb9";
