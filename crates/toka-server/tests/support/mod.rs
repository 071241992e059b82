//! Clusters in one process, on ports that the system chooses.

use std::time::Duration;

use futures::StreamExt;
use toka_proto::convert::metadata;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use toka_raft::Member;
use toka_server::{Config, Listeners, Node, Outside};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// Nothing in these tests takes nearly as long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Vault = VaultServiceClient<Channel>;

/// Nodes of one cluster. When it is dropped they are stopped, also by a test that fails, and the data
/// goes: a store that is still open when the process ends would abort it.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    _data: tempfile::TempDir,
}

impl Cluster {
    /// `count` nodes, ready to serve.
    pub(crate) async fn start(count: u64) -> Self {
        let cluster = Self::start_some(count, count, |_| ()).await;
        cluster.wait_until_ready().await;
        cluster
    }

    /// The first `started` nodes of a cluster of `count`, changed by `change`.
    pub(crate) async fn start_some(count: u64, started: u64, change: impl Fn(&mut Config)) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut bound = Vec::new();
        for node_id in 1..=count {
            let mut config = Config::new(node_id, data.path().join(node_id.to_string()));
            for address in [
                &mut config.listen,
                &mut config.raft_listen,
                &mut config.http_listen,
            ] {
                address.set_port(0);
            }
            change(&mut config);
            let listeners = Listeners::bind(&config).await.expect("ports are free");
            bound.push((config, listeners));
        }
        let members: std::collections::BTreeMap<u64, Member> = bound
            .iter()
            .map(|(config, listeners)| {
                let addresses = listeners.addresses().expect("bound");
                let member = Member::new(addresses.raft.to_string(), addresses.client.to_string());
                (config.node_id.expect("given"), member)
            })
            .collect();
        let mut nodes = Vec::new();
        for (mut config, listeners) in bound.into_iter().take(started as usize) {
            config.initial_members = members.clone();
            let node = Node::start_on(listeners, config, Outside::system()).await;
            nodes.push(node.expect("the node starts"));
        }
        Self { nodes, _data: data }
    }

    pub(crate) async fn wait_until_ready(&self) {
        for node in &self.nodes {
            within(node.ready()).await.expect("the node runs");
        }
    }

    /// Index of the leader among the nodes.
    pub(crate) fn leader(&self) -> usize {
        let leader = self.nodes[0]
            .replica()
            .leader()
            .expect("a ready cluster has a leader");
        let is_leader = |node: &Node| node.replica().node_id() == leader.node_id;
        self.nodes
            .iter()
            .position(is_leader)
            .expect("the leader is one of them")
    }

    /// Index of some node that follows.
    pub(crate) fn follower(&self) -> usize {
        (self.leader() + 1) % self.nodes.len()
    }

    /// A client of node `index`.
    pub(crate) fn vault(&self, index: usize) -> Vault {
        VaultServiceClient::new(self.channel(index))
    }

    pub(crate) fn status(&self, index: usize) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel(index))
    }

    pub(crate) fn channel(&self, index: usize) -> Channel {
        let address = self.nodes[index].addresses().client;
        Endpoint::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect_lazy()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stop_all = async {
            for node in self.nodes.drain(..) {
                node.halt().await;
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(stop_all));
    }
}

/// `work`, which must not hang.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("the test hangs")
}

pub(crate) fn event(kind: &str, payload: &str) -> v1::NewEvent {
    let payload = payload.to_owned().into();
    v1::NewEvent {
        kind: kind.to_owned(),
        payload,
        ..Default::default()
    }
}

pub(crate) fn one(event: v1::NewEvent) -> v1::CommitRequest {
    v1::CommitRequest {
        events: vec![event],
        ..Default::default()
    }
}

/// Commits one event; returns its sequence and the revision.
pub(crate) async fn commit(vault: &mut Vault, kind: &str, payload: &str) -> (u64, u64) {
    let reply = within(vault.commit(one(event(kind, payload))))
        .await
        .expect("committed");
    let reply = reply.into_inner();
    (reply.events[0].sequence, reply.revision)
}

pub(crate) fn read(consistency: v1::read_options::Consistency) -> Option<v1::ReadOptions> {
    Some(v1::ReadOptions {
        consistency: Some(consistency),
        ..Default::default()
    })
}

pub(crate) fn at_least(revision: u64) -> Option<v1::ReadOptions> {
    read(v1::read_options::Consistency::AtLeastRevision(revision))
}

pub(crate) fn linearizable() -> Option<v1::ReadOptions> {
    read(v1::read_options::Consistency::Linearizable(
        v1::Linearizable {},
    ))
}

pub(crate) fn sequence(sequence: u64) -> Option<v1::EventSelector> {
    let selector = v1::event_selector::Selector::Sequence(sequence);
    Some(v1::EventSelector {
        selector: Some(selector),
    })
}

/// The leader that a reply names.
pub(crate) fn named_leader<T>(reply: &Response<T>) -> u64 {
    metadata::leader(reply.metadata())
        .expect("every reply names the leader")
        .node_id
}

/// A request that must not be forwarded.
pub(crate) fn to_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    metadata::put_requires_leader(request.metadata_mut());
    request
}

/// The answers of a stream until its end.
pub(crate) async fn drain<T>(stream: Response<Streaming<T>>) -> (Vec<T>, Option<Status>) {
    let mut stream = stream.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = within(stream.next()).await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(status) => return (answers, Some(status)),
        }
    }
    (answers, None)
}
