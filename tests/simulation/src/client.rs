//! Clients: they commit until they are told that it is done, read, and subscribe.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use toka_client::{List, Read, Subscribe};
use toka_ledger::command::Commit;
use toka_ledger::feed::Message;
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::{Digest, EventHeader, Filter, Outcome, Selector, Start};
use toka_raft::{CommitError, Consistency};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::hand::{Hand, Workload, count};
use crate::host::{Running, World};
use crate::oracle::Floor;
use crate::random::Random;

/// Longest wait for an answer, after which another node is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// Components of embeddings.
const DIMENSION: usize = 8;

/// One client.
pub(crate) struct Client {
    hand: Hand,
    leader: Option<u64>,
    commits: u64,
    /// Its newest event.
    last: Option<Digest>,
    /// Over the network; absent: the replicas are asked.
    pub(crate) remote: Option<toka_client::Client>,
}

impl Client {
    pub(crate) fn new(hand: Hand) -> Self {
        Self {
            hand,
            leader: None,
            commits: 0,
            last: None,
            remote: None,
        }
    }

    pub(crate) async fn run(mut self) {
        count(&self.hand.workload.busy);
        while !self.hand.workload.is_ending.load(Ordering::Relaxed) {
            self.hand.pause(5, 150).await;
            match self.hand.random.between(0, 9) {
                0..=5 => self.commit().await,
                6..=8 => {
                    self.read().await;
                }
                _ => self.read_at_least().await,
            }
        }
        self.commit().await;
        while !self.read().await {
            self.hand.pause(50, 200).await;
        }
        self.hand.workload.busy.fetch_sub(1, Ordering::Relaxed);
    }

    fn any_node(&mut self) -> Option<Running> {
        let nodes = self.hand.world.directory.ready();
        self.hand.random.pick(&nodes)
    }

    /// The node that is believed to lead, or any.
    fn node(&mut self) -> Option<Running> {
        let leader = self.leader.take();
        let known = leader.and_then(|leader| self.hand.world.directory.get(leader));
        known
            .filter(|node| node.is_ready)
            .or_else(|| self.any_node())
    }

    fn next_commit(&mut self) -> Vec<EventDraft> {
        let events = match self.hand.random.between(0, 9) {
            0 => 3,
            1 | 2 => 2,
            _ => 1,
        };
        self.commits += 1;
        (0..events).map(|event| self.draft(event)).collect()
    }

    fn draft(&mut self, event: u64) -> EventDraft {
        let mut payload = format!("{} commit {} event {event} ", self.hand.name, self.commits);
        let filler = match self.hand.random.between(0, 19) {
            0 => 20_000,
            1..=5 => 1_000,
            _ => 10,
        };
        payload.extend(std::iter::repeat_n('.', filler));
        let kind = ["sim.a", "sim.b", "sim.c"];
        let kind = self.hand.random.pick(&kind).unwrap_or("sim.a");
        let mut draft = EventDraft::new(kind).payload_bytes(payload);
        if let Some(parent) = self.last.filter(|_| event == 0) {
            draft = draft.parents_by_digest([parent]);
        }
        if self.hand.random.chance(30) {
            let components: Vec<f32> = (0..DIMENSION)
                .map(|_| self.hand.random.between(0, 2_000) as f32 / 1_000.0 - 1.0)
                .collect();
            draft = draft.embedding(&components);
        }
        draft
    }

    /// Commits until it is acknowledged.
    async fn commit(&mut self) {
        let drafts = self.next_commit();
        let commit = prepare_commit(drafts.clone(), vec![], 0).expect("valid");
        let began = self.hand.world.oracle.floor();
        if let Some(client) = self.remote.clone() {
            while !self.attempt_remote(&client, &drafts, &commit, began).await {
                self.hand.pause(10, 200).await;
            }
            return;
        }
        loop {
            if self.hand.random.chance(5)
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
            self.hand.pause(10, 200).await;
        }
    }

    /// Whether the commit was acknowledged.
    async fn attempt(&mut self, commit: &Commit, began: Floor) -> bool {
        let Some(node) = self.node() else {
            return false;
        };
        count(&self.hand.workload.attempts);
        let (replica, sent) = (node.replica.clone(), commit.clone());
        let answer = node.handle.spawn(async move { replica.commit(sent).await });
        let result = match timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            // Nobody knows.
            Ok(Err(_)) | Err(_) => Err(CommitError::Unknown),
        };
        let trace = &self.hand.world.trace;
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
                self.hand
                    .world
                    .oracle
                    .fail(format!("{}: {outcome:?}", self.hand.name));
                true
            }
            Err(error) => {
                trace.line(format_args!(
                    "{} node {}: {error}",
                    self.hand.name, node.node_id
                ));
                if let CommitError::NotLeader { leader } = &error {
                    self.leader = leader.as_ref().map(|leader| leader.node_id);
                }
                if matches!(
                    error,
                    CommitError::TooLarge { .. } | CommitError::Invalid(_)
                ) {
                    self.hand
                        .world
                        .oracle
                        .fail(format!("{}: {error}", self.hand.name));
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
        let World { oracle, trace, .. } = &self.hand.world;
        oracle.acknowledge(&self.hand.name, revision, headers, &payloads, began);
        let sequence = headers.last().map_or(0, |header| header.sequence);
        trace.line(format_args!("{} acknowledged {sequence}", self.hand.name));
        self.last = headers.last().map(|header| header.digest);
        count(&self.hand.workload.commits);
    }

    /// Whether the commit was acknowledged, over the network.
    async fn attempt_remote(
        &mut self,
        client: &toka_client::Client,
        drafts: &[EventDraft],
        commit: &Commit,
        began: Floor,
    ) -> bool {
        count(&self.hand.workload.attempts);
        match client.commit_batch(drafts.to_vec(), vec![]).await {
            Ok(committed) => {
                self.acknowledged(commit, committed.revision, &committed.headers, began);
                true
            }
            Err(error) => {
                self.hand.note(&error);
                false
            }
        }
    }

    /// As [`Client::read`], over the network: the newest event must not be older than what was acknowledged.
    async fn read_remote(&mut self, client: &toka_client::Client) -> bool {
        let began = self.hand.world.oracle.floor();
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
                self.hand.note(&error);
                return false;
            }
        };
        count(&self.hand.workload.reads);
        let newest = page.events.first().map(|event| &event.header);
        if let Some(header) = newest {
            self.hand.world.oracle.see(&self.hand.name, header);
        }
        let sequence = newest.map_or(0, |header| header.sequence);
        let World { oracle, trace, .. } = &self.hand.world;
        trace.line(format_args!("{} reads up to {sequence}", self.hand.name));
        oracle.read_up_to(&self.hand.name, sequence, began);
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
            self.hand.world.oracle.acknowledged().into_iter().collect();
        let wanted = self.hand.random.pick(&acknowledged);
        let began = self.hand.world.oracle.floor();
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
        count(&self.hand.workload.reads);
        let whose = node.node_id.to_string();
        self.hand.world.oracle.read(&whose, &position, began);
        self.hand.world.trace.line(format_args!(
            "{} reads {} of node {whose}",
            self.hand.name, position.revision
        ));
        match (wanted, found) {
            // A node whose disk fails says so elsewhere.
            (_, Err(_)) | (None, _) => {}
            (Some((sequence, digest)), Ok(found)) => {
                let found = found.flatten().map(|header| header.digest);
                if found != Some(digest) {
                    self.hand.world.oracle.fail(format!(
                        "node {whose} has {found:?} at sequence {sequence}, where {digest:?} was acknowledged"
                    ));
                }
            }
        }
        true
    }

    /// Reads its own writes.
    async fn read_at_least(&mut self) {
        let (Some(node), revision) = (self.any_node(), self.hand.world.oracle.floor().revision)
        else {
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
                count(&self.hand.workload.reads);
                self.hand.world.oracle.at(&whose, &position);
                if position.revision < revision {
                    self.hand.world.oracle.fail(format!(
                        "node {whose} serves a read at least at {revision} at {position:?}"
                    ));
                }
            }
            Ok(Ok(Err(error))) if !error.is_retryable() => {
                // The revision is acknowledged.
                self.hand
                    .world
                    .oracle
                    .fail(format!("node {whose}: {error}"));
            }
            _ => {}
        }
    }
}

/// Follows the whole history, now on this node and now on that one.
pub(crate) struct Subscriber {
    n: usize,
    hand: Hand,
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
        let n = places.len() - 1;
        Self {
            n,
            hand: Hand::new(format!("subscriber {n}"), world, workload, random),
            last: 0,
            remote: None,
        }
    }

    pub(crate) async fn run(mut self) {
        if let Some(client) = self.remote.take() {
            return self.follow_remote(&client).await;
        }
        loop {
            let nodes = self.hand.world.directory.ready();
            if let Some(node) = self.hand.random.pick(&nodes) {
                let time = Duration::from_millis(self.hand.random.between(200, 5_000));
                // It ends when the time is over, or the node.
                let _ = timeout(time, self.follow(&node)).await;
            }
            self.hand.pause(10, 100).await;
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
                            self.hand.world.oracle.fail(format!(
                                "{} is told of {sequence} before it got it",
                                self.hand.name
                            ));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let Hand { name, world, .. } = &self.hand;
                        world.trace.line(format_args!("{name}: {error}"));
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
        let (Hand { name, world, .. }, last) = (&self.hand, self.last);
        world
            .trace
            .line(format_args!("{name} gets {} of {place}", header.sequence));
        let whose = format!("{name} on {place}");
        world.oracle.see(&whose, header);
        if header.sequence != last + 1 {
            world.oracle.fail(format!(
                "{whose} gets event {} after event {last}",
                header.sequence
            ));
        }
        self.last = header.sequence;
        count(&self.hand.workload.delivered);
        let places = self.hand.workload.subscribers.lock();
        places.unwrap_or_else(PoisonError::into_inner)[self.n] = self.last;
    }
}
