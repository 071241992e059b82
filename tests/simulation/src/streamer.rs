//! A streamer: a client over the network that sends commit after commit without waiting for the answers, so that many go
//! in one message, and that sends what has none again, in the same order, by another stream.
//!
//! Each commit that is acknowledged has to be there once, behind all that it has sent before.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use toka_client::{Client, Committed};
use toka_ledger::Digest;
use toka_ledger::prepare::{EventDraft, prepare_commit};

use crate::hand::{Hand, count};
use crate::host::World;
use crate::oracle::Floor;

/// Commits that are sent without waiting for an answer, at most.
const ROUND_COMMITS_MAX: u64 = 24;
const KIND: &str = "sim.stream";

/// A commit that has no answer.
struct Sent {
    drafts: Vec<EventDraft>,
    payloads: Vec<Digest>,
    /// What had been acknowledged before it was sent for the first time.
    began: Floor,
}

/// One streamer.
pub(crate) struct Streamer {
    hand: Hand,
    client: Client,
    commits: u64,
    /// Its last event that was acknowledged.
    last: u64,
}

impl Streamer {
    pub(crate) fn new(hand: Hand, client: Client) -> Self {
        Self {
            hand,
            client,
            commits: 0,
            last: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        while !self.hand.workload.is_ending.load(Ordering::Relaxed) {
            self.hand.pause(1_000, 4_000).await;
            self.round().await;
        }
        self.round().await;
        self.hand.workload.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sends some commits until each of them is acknowledged.
    async fn round(&mut self) {
        let commits = self.hand.random.between(1, ROUND_COMMITS_MAX);
        let mut unanswered: VecDeque<Sent> = (0..commits).map(|_| self.next_commit()).collect();
        loop {
            self.attempt(&mut unanswered).await;
            if unanswered.is_empty() {
                return;
            }
            self.hand.pause(10, 200).await;
        }
    }

    fn next_commit(&mut self) -> Sent {
        self.commits += 1;
        let events = self.hand.random.between(1, 3);
        let filler = match self.hand.random.between(0, 29) {
            // Frames of the Raft log that no file is filled ahead of.
            0 => 40_000,
            1..=5 => 1_000,
            _ => 10,
        };
        let drafts: Vec<EventDraft> = (0..events)
            .map(|event| {
                let mut payload =
                    format!("{} commit {} event {event} ", self.hand.name, self.commits);
                payload.extend(std::iter::repeat_n('.', filler));
                EventDraft::new(KIND).payload_bytes(payload)
            })
            .collect();
        let commit = prepare_commit(drafts.clone(), vec![], 0).expect("valid");
        let events = commit.events.iter();
        Sent {
            payloads: events.map(|event| event.payload_digest).collect(),
            drafts,
            began: self.hand.world.oracle.floor(),
        }
    }

    /// Sends what has no answer by a stream, and takes answers as long as they come.
    async fn attempt(&mut self, unanswered: &mut VecDeque<Sent>) {
        let stream = self.client.commit_stream();
        let mut answers = VecDeque::new();
        for sent in &*unanswered {
            count(&self.hand.workload.attempts);
            match stream.send(sent.drafts.clone(), vec![]).await {
                Ok(answer) => answers.push_back(answer),
                Err(error) => {
                    self.hand.note(&error);
                    break;
                }
            }
        }
        // Now and then it goes away in between, and what it has sent goes on without it.
        let leaves_at = match self.hand.random.chance(10) {
            true => self.hand.random.between(0, ROUND_COMMITS_MAX),
            false => u64::MAX,
        };
        for (at, answer) in (0..).zip(answers) {
            if at == leaves_at {
                return;
            }
            match answer.await {
                Ok(committed) => {
                    if let Some(sent) = unanswered.pop_front() {
                        self.acknowledged(&sent, &committed);
                    }
                }
                Err(error) => return self.hand.note(&error),
            }
        }
    }

    fn acknowledged(&mut self, sent: &Sent, committed: &Committed) {
        let (name, headers) = (&self.hand.name, &committed.headers);
        let World { oracle, trace, .. } = &self.hand.world;
        oracle.acknowledge(
            name,
            committed.revision,
            headers,
            &sent.payloads,
            sent.began,
        );
        for (at, header) in headers.iter().enumerate() {
            let sequence = header.sequence;
            if sequence <= self.last {
                oracle.fail(format!(
                    "{name}: event {sequence} is before event {}, which was sent before it",
                    self.last
                ));
            }
            if at > 0 && sequence != self.last + 1 {
                oracle.fail(format!("{name}: a commit was torn before {sequence}"));
            }
            self.last = sequence;
        }
        trace.line(format_args!("{name} acknowledged {}", self.last));
        count(&self.hand.workload.commits);
    }
}
