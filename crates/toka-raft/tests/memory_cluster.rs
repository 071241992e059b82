//! Three nodes wholly in memory: no sockets, no files, and power cuts that lose what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toka_ledger::command::Commit;
use toka_ledger::engine::Direction;
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::read::{Filter, PAGE_EVENTS_MAX, Position, Query};
use toka_ledger::seam::{Entropy, Seams, SystemEntropy};
use toka_ledger::{Digest, Outcome};
use toka_raft::config::{Compaction, RuntimeChoice};
use toka_raft::transport::peer_server;
use toka_raft::{Config, Member, MemoryNetwork, MemoryStorage, Replica};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod support;

use support::{PATIENCE, POLL, deadline, eventually};

/// A place in a cluster, with the node that runs there, if one does.
struct Node {
    name: String,
    config: Config,
    storage: MemoryStorage,
    running: Option<(Replica, JoinHandle<()>)>,
}

struct Cluster {
    network: MemoryNetwork,
    nodes: BTreeMap<u64, Node>,
    /// Digests of all events that a client was told are committed.
    acknowledged: BTreeSet<Digest>,
    /// For what survives a power cut.
    random: u64,
}

impl Cluster {
    async fn started(runtime: RuntimeChoice) -> Self {
        let ids = [1, 2, 3];
        let name = |id: u64| format!("node-{id}:7312");
        let members = ids.map(|id| {
            let member = Member {
                raft_endpoint: name(id),
                client_endpoint: format!("node-{id}:7311"),
            };
            (id, member)
        });
        let members = BTreeMap::from(members);
        let node = |id: u64| {
            let mut config = Config::new(id, PathBuf::from("/vault"), members.clone());
            config.runtime = runtime;
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
        let started = Replica::start_with(config, Seams::system(), transport, storage).await;
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

    /// The leader, once all of `ids` agree on one of them.
    async fn leader_among(&self, ids: &[u64]) -> u64 {
        support::leader_among(ids, |id| self.replica(id)).await
    }

    /// Commits through whoever leads among `ids`, as a client would, and remembers what is
    /// acknowledged.
    async fn commit_many(&mut self, ids: &[u64], prefix: &str, count: usize) {
        for n in 0..count {
            let until = deadline();
            let commit = event(&format!("{prefix} {n}"));
            let outcome = loop {
                let leader = self.leader_among(ids).await;
                match self.replica(leader).commit(commit.clone()).await {
                    Ok(outcome) => break outcome,
                    Err(error) if error.is_retryable() && Instant::now() < until => {
                        tokio::time::sleep(POLL).await;
                    }
                    Err(error) => panic!("{prefix} {n} cannot be committed: {error}"),
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
    for id in &others {
        let purged = || cluster.replica(*id).status().purged_index;
        eventually("purge past the follower's log", || {
            purged().filter(|purged| Some(*purged) > had)
        })
        .await;
    }

    let leader = cluster.leader_among(&others).await;
    cluster.crash(leader).await;
    cluster.start(leader).await;
    cluster.commit_many(&others, "after the power cut", 5).await;

    cluster.network.rejoin(&cluster.nodes[&away].name);
    cluster.commit_many(&all, "together", 5).await;
    let position = cluster.converged().await;
    assert_eq!(position.sequence, 55, "each event once");
    let snapshot = cluster.replica(away).status().snapshot_index;
    assert!(snapshot > had, "{snapshot:?} covers more than {had:?}");
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
