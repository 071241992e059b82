//! Clients that commit and read by way of every node, and take notes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use toka_client::{Client, ClusterStatus, EventHeader, List, Read};
use toka_proto::convert::read::Consistency;
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::commits::{committed, draft, excused, kind, names};
use super::streams::Streamer;
use crate::cluster::Cluster;
use crate::linearizable::{Call, Name, Operation, Outcome, Recorder};
use crate::{request, seed};

/// Of each kind: those that know all nodes and ask the leader, and those that ask one node, each time another.
const CLIENTS_PER_KIND: u64 = 4;
/// Beside them, of those that send commits by a stream, many in a message.
const STREAMERS: u64 = 2;
/// Longest that a call takes; its outcome is unknown then.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Beyond that, for a node that does not keep to it.
const CALL_TIMEOUT_OWN: Duration = Duration::from_secs(4);
/// Between two calls of one client, milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=60;
/// Calls in 10 that are commits.
const COMMITS_IN_10: u32 = 6;
/// One node, asked directly.
#[derive(Clone, Debug)]
struct Direct {
    vault: VaultServiceClient<Channel>,
    cluster: ClusterServiceClient<Channel>,
}

type Nodes = Arc<Mutex<Vec<Direct>>>;

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    recorder: Recorder,
    nodes: Nodes,
    stop: Arc<AtomicBool>,
    acknowledged: watch::Sender<u64>,
    tasks: JoinSet<Result<()>>,
}

impl Clients {
    /// Starts them.
    pub async fn start(cluster: &Cluster, seed: u64) -> Result<Self> {
        let mut clients = Self {
            recorder: Recorder::default(),
            nodes: Nodes::default(),
            stop: Arc::default(),
            acknowledged: watch::Sender::new(0),
            tasks: JoinSet::new(),
        };
        clients.know(cluster, &cluster.ids())?;
        for number in 1..=2 * CLIENTS_PER_KIND {
            let smart = Client::builder().timeout(CALL_TIMEOUT);
            let smart = smart.connect(cluster.endpoints()).await?;
            let worker = Worker {
                number,
                rng: seed::rng(seed, number),
                events: 0,
                smart: number.is_multiple_of(2).then_some(smart),
                nodes: Arc::clone(&clients.nodes),
                recorder: clients.recorder.clone(),
                acknowledged: clients.acknowledged.clone(),
                stop: Arc::clone(&clients.stop),
            };
            clients.tasks.spawn(worker.work());
        }
        for number in 2 * CLIENTS_PER_KIND + 1..=2 * CLIENTS_PER_KIND + STREAMERS {
            let client = Client::builder().timeout(CALL_TIMEOUT);
            let streamer = Streamer {
                number,
                rng: seed::rng(seed, number),
                events: 0,
                client: client.connect(cluster.endpoints()).await?,
                recorder: clients.recorder.clone(),
                acknowledged: clients.acknowledged.clone(),
                stop: Arc::clone(&clients.stop),
            };
            clients.tasks.spawn(streamer.work());
        }
        Ok(clients)
    }

    /// Tells them who the members are.
    pub fn know(&self, cluster: &Cluster, members: &[u64]) -> Result<()> {
        ensure!(!members.is_empty(), "a cluster has members");
        let direct = |id: &u64| Direct {
            vault: cluster.node(*id).vault(),
            cluster: cluster.node(*id).cluster(),
        };
        let nodes = members.iter().map(direct).collect();
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
        Ok(())
    }

    /// Waits until so many more commits are acknowledged.
    pub async fn go_on(&self, more: u64, within: Duration) -> Result<()> {
        let mut count = self.acknowledged.subscribe();
        let wanted = *count.borrow_and_update() + more;
        let reached = tokio::time::timeout(within, async {
            count.wait_for(|count| *count >= wanted).await.map(drop)
        });
        let reached = reached.await;
        reached.with_context(|| format!("commits do not go on within {within:?}"))??;
        Ok(())
    }

    /// Waits until each has the answer to its last call, and returns all that they did.
    ///
    /// # Errors
    /// An answer that no fault excuses.
    pub async fn stop(mut self) -> Result<Vec<Operation>> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(worker) = self.tasks.join_next().await {
            worker.context("a client panicked")??;
        }
        Ok(self.recorder.operations())
    }
}

struct Worker {
    number: u64,
    rng: StdRng,
    /// Events made so far.
    events: u64,
    smart: Option<Client>,
    nodes: Nodes,
    recorder: Recorder,
    acknowledged: watch::Sender<u64>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    async fn work(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let commits = self.rng.random_ratio(COMMITS_IN_10, 10);
            let done = match (self.smart.clone(), commits) {
                (Some(client), true) => self.commit_smart(&client).await,
                (Some(client), false) => self.read_smart(&client).await,
                (None, true) => self.commit_direct().await,
                (None, false) => self.read_direct().await,
            };
            done.with_context(|| format!("client {}, event {}", self.number, self.events))?;
            let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    fn names(&mut self) -> Vec<Name> {
        names(self.number, &mut self.events, &mut self.rng)
    }

    fn node(&mut self) -> Direct {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.choose(&mut self.rng);
        node.expect("there are members").clone()
    }

    fn committed(&self, headers: &[EventHeader]) -> Outcome {
        committed(&self.acknowledged, headers)
    }

    async fn commit_smart(&mut self, client: &Client) -> Result<()> {
        let names = self.names();
        let drafts = names.iter().map(draft).collect();
        let ticket = self.recorder.invoke(Call::Commit(names));
        match client.commit_batch(drafts, Vec::new()).await {
            Ok(committed) => ticket.answer(self.committed(&committed.headers)),
            Err(error) => excused(error)?,
        }
        Ok(())
    }

    async fn read_smart(&self, client: &Client) -> Result<()> {
        let newest = List {
            descending: true,
            page_size: 1,
            read: Read {
                consistency: toka_client::Consistency::Linearizable,
                ..Read::default()
            },
            ..List::default()
        };
        let ticket = self.recorder.invoke(Call::Read);
        match client.list(&newest, None).await {
            Ok(page) => ticket.answer(seen(page.events.first().map(|event| &event.header))),
            Err(error) => excused(error)?,
        }
        Ok(())
    }

    async fn commit_direct(&mut self) -> Result<()> {
        let names = self.names();
        let event = |name: &Name| v1::NewEvent {
            salt: name.salt().into(),
            ..request::event(kind(name), &json!({ "number": name.number }))
        };
        let commit = request::commit(names.iter().map(event).collect());
        let mut node = self.node();
        let ticket = self.recorder.invoke(Call::Commit(names));
        let answer = node.vault.commit(request::within(CALL_TIMEOUT, commit));
        let Some(answer) = answered(answer).await? else {
            return Ok(());
        };
        let headers = answer.events.into_iter().map(EventHeader::try_from);
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        ticket.answer(self.committed(&headers));
        Ok(())
    }

    /// Reads the newest event, and then what the same node has by now, and its root.
    ///
    /// The second answer is no linearizable read by itself. Together they are one, if it is not behind the first:
    /// it has all that was acknowledged before the call, and nothing but what is committed.
    async fn read_direct(&mut self) -> Result<()> {
        let mut node = self.node();
        let list = v1::ListRequest {
            order: v1::Order::Descending.into(),
            page_size: 1,
            read: Some(request::read(Consistency::Linearizable)),
            ..v1::ListRequest::default()
        };
        let whole = self.recorder.invoke(Call::Read);
        let newest = self.recorder.invoke(Call::Read);
        let listed = node.vault.list(request::within(CALL_TIMEOUT, list));
        let Some(listed) = answered(listed).await? else {
            return Ok(());
        };
        let event = listed.events.into_iter().next();
        let header = event.map(EventHeader::try_from).transpose()?;
        newest.answer(seen(header.as_ref()));

        let status = v1::GetStatusRequest {
            this_node_only: true,
        };
        let status = node
            .cluster
            .get_status(request::within(CALL_TIMEOUT, status));
        let Some(status) = answered(status).await? else {
            return Ok(());
        };
        let status = ClusterStatus::try_from(status)?;
        let id = status.header.node_id;
        let own = status.nodes.into_iter().find(|own| own.node.node_id == id);
        let own = own.with_context(|| format!("node {id} does not list itself"))?;
        let tail = own.node.sequence;
        // It may have been started again in between, and not have got there yet.
        if tail >= header.map_or(0, |header| header.sequence) {
            whole.answer(Outcome::Seen {
                tail,
                newest: None,
                root: own.history_root,
            });
        }
        Ok(())
    }
}

fn seen(newest: Option<&EventHeader>) -> Outcome {
    Outcome::Seen {
        tail: newest.map_or(0, |header| header.sequence),
        newest: newest.map(|header| header.digest),
        root: None,
    }
}

/// The answer of a node; `None`: there is none, and faults may be why.
async fn answered<M>(
    call: impl Future<Output = Result<tonic::Response<M>, Status>>,
) -> Result<Option<M>> {
    match tokio::time::timeout(CALL_TIMEOUT_OWN, call).await {
        Err(_) => Ok(None),
        Ok(Ok(answer)) => Ok(Some(answer.into_inner())),
        Ok(Err(status)) => match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::DataLoss
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated => bail!("no fault excuses {status:?}"),
            _ => Ok(None),
        },
    }
}
