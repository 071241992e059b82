//! Clients: they commit until they are told that it is done, read, and subscribe.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_client::{List, Read, Subscribe};
use toka_ledger::command::Commit;
use toka_ledger::feed::Message;
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::{Digest, EventHeader, Filter, Outcome, Selector, Start};
use toka_raft::{CommitError, Consistency};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::host::{Running, World};
use crate::oracle::Floor;
use crate::random::Random;

/// Longest wait for an answer, after which another node is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// Components of embeddings.
const DIMENSION: usize = 8;

/// What all clients share.
#[derive(Default)]
pub(crate) struct Workload {
    /// One more commit and one more read, and then no more.
    pub(crate) is_ending: AtomicBool,
    pub(crate) commits: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// Clients that are not done.
    pub(crate) busy: AtomicU64,
    /// Consumers, keepers of cursors and wardens that are not done.
    pub(crate) consuming: AtomicU64,
    /// Deliveries of a group.
    pub(crate) consumed: AtomicU64,
    /// Changes of tokens and roles, and notes in the audit, that were acknowledged.
    pub(crate) credentials: AtomicU64,
    /// Where each subscriber is.
    pub(crate) subscribers: Mutex<Vec<u64>>,
}

impl Workload {
    /// Whether nobody commits any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed) && self.busy.load(Ordering::Relaxed) == 0
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One client.
pub(crate) struct Client {
    name: String,
    world: World,
    workload: Arc<Workload>,
    random: Random,
    leader: Option<u64>,
    commits: u64,
    /// Its newest event.
    last: Option<Digest>,
    /// Over the network; absent: the replicas are asked.
    pub(crate) remote: Option<toka_client::Client>,
}

impl Client {
    pub(crate) fn new(n: u64, world: &World, workload: &Arc<Workload>, random: Random) -> Self {
        Self {
            name: format!("client {n}"),
            world: world.clone(),
            workload: Arc::clone(workload),
            random,
            leader: None,
            commits: 0,
            last: None,
            remote: None,
        }
    }

    pub(crate) async fn run(mut self) {
        count(&self.workload.busy);
        while !self.workload.is_ending.load(Ordering::Relaxed) {
            self.pause(5, 150).await;
            match self.random.between(0, 9) {
                0..=5 => self.commit().await,
                6..=8 => {
                    self.read().await;
                }
                _ => self.read_at_least().await,
            }
        }
        self.commit().await;
        while !self.read().await {
            self.pause(50, 200).await;
        }
        self.workload.busy.fetch_sub(1, Ordering::Relaxed);
    }

    async fn pause(&mut self, low_ms: u64, high_ms: u64) {
        let ms = self.random.between(low_ms, high_ms);
        sleep(Duration::from_millis(ms)).await;
    }

    fn any_node(&mut self) -> Option<Running> {
        let nodes = self.world.directory.ready();
        self.random.pick(&nodes)
    }

    /// The node that is believed to lead, or any.
    fn node(&mut self) -> Option<Running> {
        let leader = self.leader.take();
        let known = leader.and_then(|leader| self.world.directory.get(leader));
        known
            .filter(|node| node.is_ready)
            .or_else(|| self.any_node())
    }

    fn next_commit(&mut self) -> Vec<EventDraft> {
        let events = match self.random.between(0, 9) {
            0 => 3,
            1 | 2 => 2,
            _ => 1,
        };
        self.commits += 1;
        (0..events).map(|event| self.draft(event)).collect()
    }

    fn draft(&mut self, event: u64) -> EventDraft {
        let mut payload = format!("{} commit {} event {event} ", self.name, self.commits);
        let filler = match self.random.between(0, 19) {
            0 => 20_000,
            1..=5 => 1_000,
            _ => 10,
        };
        payload.extend(std::iter::repeat_n('.', filler));
        let kind = ["sim.a", "sim.b", "sim.c"];
        let kind = self.random.pick(&kind).unwrap_or("sim.a");
        let mut draft = EventDraft::new(kind).payload_bytes(payload);
        if let Some(parent) = self.last.filter(|_| event == 0) {
            draft = draft.parents_by_digest([parent]);
        }
        if self.random.chance(30) {
            let components: Vec<f32> = (0..DIMENSION)
                .map(|_| self.random.between(0, 2_000) as f32 / 1_000.0 - 1.0)
                .collect();
            draft = draft.embedding(&components);
        }
        draft
    }

    /// Commits until it is acknowledged.
    async fn commit(&mut self) {
        let drafts = self.next_commit();
        let commit = prepare_commit(drafts.clone(), vec![], 0).expect("valid");
        let began = self.world.oracle.floor();
        if let Some(client) = self.remote.clone() {
            while !self.attempt_remote(&client, &drafts, &commit, began).await {
                self.pause(10, 200).await;
            }
            return;
        }
        loop {
            if self.random.chance(5)
                && let Some(node) = self.any_node()
            {
                // A request that is sent twice.
                let commit = commit.clone();
                let replica = node.replica.clone();
                node.handle
                    .spawn(async move { replica.commit(commit).await });
            }
            if self.attempt(&commit, began).await {
                return;
            }
            self.pause(10, 200).await;
        }
    }

    /// Whether the commit was acknowledged.
    async fn attempt(&mut self, commit: &Commit, began: Floor) -> bool {
        let Some(node) = self.node() else {
            return false;
        };
        count(&self.workload.attempts);
        let (replica, sent) = (node.replica.clone(), commit.clone());
        let answer = node.handle.spawn(async move { replica.commit(sent).await });
        let result = match timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            // Nobody knows.
            Ok(Err(_)) | Err(_) => Err(CommitError::Unknown),
        };
        let trace = &self.world.trace;
        match result {
            Ok(Outcome::Committed { revision, headers }) => {
                let headers: Vec<EventHeader> = headers
                    .iter()
                    .map(|header| EventHeader::clone(header))
                    .collect();
                self.acknowledged(commit, revision, &headers, began);
                self.leader = Some(node.node_id);
                true
            }
            Ok(outcome) => {
                self.world
                    .oracle
                    .fail(format!("{}: {outcome:?}", self.name));
                true
            }
            Err(error) => {
                trace.line(format_args!("{} node {}: {error}", self.name, node.node_id));
                if let CommitError::NotLeader { leader } = &error {
                    self.leader = leader.as_ref().map(|leader| leader.node_id);
                }
                if matches!(
                    error,
                    CommitError::TooLarge { .. } | CommitError::Invalid(_)
                ) {
                    self.world.oracle.fail(format!("{}: {error}", self.name));
                }
                false
            }
        }
    }

    fn acknowledged(
        &mut self,
        commit: &Commit,
        revision: u64,
        headers: &[EventHeader],
        began: Floor,
    ) {
        let events = commit.events.iter();
        let payloads: Vec<Digest> = events.map(|event| event.payload_digest).collect();
        let World { oracle, trace, .. } = &self.world;
        oracle.acknowledge(&self.name, revision, headers, &payloads, began);
        let sequence = headers.last().map_or(0, |header| header.sequence);
        trace.line(format_args!("{} acknowledged {sequence}", self.name));
        self.last = headers.last().map(|header| header.digest);
        count(&self.workload.commits);
    }

    /// Whether the commit was acknowledged, over the network.
    async fn attempt_remote(
        &mut self,
        client: &toka_client::Client,
        drafts: &[EventDraft],
        commit: &Commit,
        began: Floor,
    ) -> bool {
        count(&self.workload.attempts);
        match client.commit_batch(drafts.to_vec(), vec![]).await {
            Ok(committed) => {
                self.acknowledged(commit, committed.revision, &committed.headers, began);
                true
            }
            Err(error) => {
                self.note(&error);
                false
            }
        }
    }

    /// Only what may succeed later is an answer to a call that nothing is wrong with.
    fn note(&self, error: &toka_client::Error) {
        let World { oracle, trace, .. } = &self.world;
        trace.line(format_args!("{}: {error}", self.name));
        let is_passing = matches!(
            error,
            toka_client::Error::Refused { .. } | toka_client::Error::LimitReached { .. }
        );
        if !error.is_retryable() && !is_passing {
            oracle.fail(format!("{}: {error}", self.name));
        }
    }

    /// As [`Client::read`], over the network: the newest event must not be older than what was acknowledged.
    async fn read_remote(&mut self, client: &toka_client::Client) -> bool {
        let began = self.world.oracle.floor();
        let newest = List {
            descending: true,
            page_size: 1,
            read: Read {
                consistency: toka_client::Consistency::Linearizable,
                ..Read::default()
            },
            ..List::default()
        };
        let page = match client.list(&newest, None).await {
            Ok(page) => page,
            Err(error) => {
                self.note(&error);
                return false;
            }
        };
        count(&self.workload.reads);
        let newest = page.events.first().map(|event| &event.header);
        if let Some(header) = newest {
            self.world.oracle.see(&self.name, header);
        }
        let sequence = newest.map_or(0, |header| header.sequence);
        let World { oracle, trace, .. } = &self.world;
        trace.line(format_args!("{} reads up to {sequence}", self.name));
        oracle.read_up_to(&self.name, sequence, began);
        true
    }

    /// Reads at what is acknowledged, and something that is; whether it could.
    async fn read(&mut self) -> bool {
        if let Some(client) = self.remote.clone() {
            return self.read_remote(&client).await;
        }
        let Some(node) = self.any_node() else {
            return false;
        };
        let acknowledged: Vec<(u64, Digest)> =
            self.world.oracle.acknowledged().into_iter().collect();
        let wanted = self.random.pick(&acknowledged);
        let began = self.world.oracle.floor();
        let replica = node.replica.clone();
        let answer = node.handle.spawn(async move {
            let deadline = Instant::now() + PATIENCE;
            let position = replica
                .read_barrier(Consistency::Linearizable, deadline)
                .await;
            let selector = wanted.map(|(sequence, _)| Selector::Sequence(sequence));
            let found = selector.map(|selector| replica.reader().header(&selector));
            position.map(|position| (position, found.transpose()))
        });
        let Ok(Ok(Ok((position, found)))) = timeout(2 * PATIENCE, answer).await else {
            return false;
        };
        count(&self.workload.reads);
        let whose = node.node_id.to_string();
        self.world.oracle.read(&whose, &position, began);
        self.world.trace.line(format_args!(
            "{} reads {} of node {whose}",
            self.name, position.revision
        ));
        match (wanted, found) {
            // A node whose disk fails says so elsewhere.
            (_, Err(_)) | (None, _) => {}
            (Some((sequence, digest)), Ok(found)) => {
                let found = found.flatten().map(|header| header.digest);
                if found != Some(digest) {
                    self.world.oracle.fail(format!(
                        "node {whose} has {found:?} at sequence {sequence}, where {digest:?} was acknowledged"
                    ));
                }
            }
        }
        true
    }

    /// Reads its own writes.
    async fn read_at_least(&mut self) {
        let (Some(node), revision) = (self.any_node(), self.world.oracle.floor().revision) else {
            return;
        };
        let replica = node.replica.clone();
        let answer = node.handle.spawn(async move {
            let deadline = Instant::now() + PATIENCE;
            let consistency = Consistency::AtLeast(revision);
            replica.read_barrier(consistency, deadline).await
        });
        let whose = node.node_id.to_string();
        match timeout(2 * PATIENCE, answer).await {
            Ok(Ok(Ok(position))) => {
                count(&self.workload.reads);
                self.world.oracle.at(&whose, &position);
                if position.revision < revision {
                    self.world.oracle.fail(format!(
                        "node {whose} serves a read at least at {revision} at {position:?}"
                    ));
                }
            }
            Ok(Ok(Err(error))) if !error.is_retryable() => {
                // The revision is acknowledged.
                self.world.oracle.fail(format!("node {whose}: {error}"));
            }
            _ => {}
        }
    }
}

/// Follows the whole history, now on this node and now on that one.
pub(crate) struct Subscriber {
    n: usize,
    world: World,
    workload: Arc<Workload>,
    random: Random,
    last: u64,
    /// Over the network; absent: the replicas are asked.
    pub(crate) remote: Option<toka_client::Client>,
}

impl Subscriber {
    pub(crate) fn new(world: &World, workload: &Arc<Workload>, random: Random) -> Self {
        let mut places = workload
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        places.push(0);
        Self {
            n: places.len() - 1,
            world: world.clone(),
            workload: Arc::clone(workload),
            random,
            last: 0,
            remote: None,
        }
    }

    pub(crate) async fn run(mut self) {
        if let Some(client) = self.remote.take() {
            return self.follow_remote(&client).await;
        }
        loop {
            let nodes = self.world.directory.ready();
            if let Some(node) = self.random.pick(&nodes) {
                let time = Duration::from_millis(self.random.between(200, 5_000));
                // It ends when the time is over, or the node.
                let _ = timeout(time, self.follow(&node)).await;
            }
            sleep(Duration::from_millis(self.random.between(10, 100))).await;
        }
    }

    /// One subscription for ever, which changes nodes by itself.
    async fn follow_remote(&mut self, client: &toka_client::Client) {
        loop {
            let start = Subscribe::from(Start::After(self.last));
            let Ok(mut subscription) = client.subscribe(start).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            loop {
                match subscription.next().await {
                    Ok(toka_client::Message::Event(event)) => self.take("a server", &event.header),
                    Ok(toka_client::Message::Checkpoint { sequence, .. }) => {
                        if sequence > self.last {
                            self.world.oracle.fail(format!(
                                "subscriber {} is told of {sequence} before it got it",
                                self.n
                            ));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let (n, trace) = (self.n, &self.world.trace);
                        trace.line(format_args!("subscriber {n}: {error}"));
                        break;
                    }
                }
            }
        }
    }

    async fn follow(&mut self, node: &Running) {
        let (sender, mut messages) = mpsc::channel(16);
        let (reader, start) = (node.replica.reader(), Start::After(self.last));
        node.handle.spawn(async move {
            let mut subscription = reader.subscribe(start, Filter::default());
            while let Ok(message) = subscription.next().await {
                if let Message::Event(header) = message
                    && sender.send(header).await.is_err()
                {
                    return;
                }
            }
        });
        while let Some(header) = messages.recv().await {
            self.take(&format!("node {}", node.node_id), &header);
        }
    }

    fn take(&mut self, place: &str, header: &EventHeader) {
        let (n, last) = (self.n, self.last);
        self.world.trace.line(format_args!(
            "subscriber {n} gets {} of {place}",
            header.sequence
        ));
        let whose = format!("subscriber {n} on {place}");
        self.world.oracle.see(&whose, header);
        if header.sequence != last + 1 {
            self.world.oracle.fail(format!(
                "{whose} gets event {} after event {last}",
                header.sequence
            ));
        }
        self.last = header.sequence;
        count(&self.workload.delivered);
        let places = self.workload.subscribers.lock();
        places.unwrap_or_else(PoisonError::into_inner)[n] = self.last;
    }
}
