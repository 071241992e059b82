//! Writers that commit without end, and note what they are told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use toka_client::{Acknowledgement, Client, EventDraft, EventHeader};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::history::Acks;
use crate::seed;

/// Writers that share a client and its connections, as those of one program do.
const WRITERS_PER_CLIENT: u64 = 8;
/// Of so many writers one uses a commit stream; the others wait for each answer.
const WRITERS_PER_STREAM: u64 = 8;
/// Commits without an answer that a stream's writer allows itself.
const STREAM_WINDOW: usize = 16;
/// Events of one commit.
const BATCH_EVENTS: std::ops::RangeInclusive<u16> = 1..=3;
/// Sizes of payloads, bytes.
const FILLER_BYTES: std::ops::Range<usize> = 0..400;

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    acks: Acks,
    stop: Arc<AtomicBool>,
    writers: JoinSet<Result<()>>,
}

impl Load {
    /// Starts `writers` writers, who know all nodes. Their events have the kinds `load.a` and `load.b`.
    pub async fn start(cluster: &Cluster, writers: u64, seed: u64) -> Result<Self> {
        let mut load = Self {
            acks: Acks::default(),
            stop: Arc::default(),
            writers: JoinSet::new(),
        };
        let mut client = cluster.client().await?;
        for number in 0..writers {
            if number.is_multiple_of(WRITERS_PER_CLIENT) {
                client = cluster.client().await?;
            }
            let writer = Writer {
                number,
                rng: seed::rng(seed, number),
                client: client.clone(),
                acks: load.acks.clone(),
                stop: Arc::clone(&load.stop),
                events: 0,
            };
            if number % WRITERS_PER_STREAM == WRITERS_PER_STREAM - 1 {
                load.writers.spawn(writer.stream());
            } else {
                load.writers.spawn(writer.commit());
            }
        }
        Ok(load)
    }

    /// What the writers were told so far.
    pub fn acks(&self) -> &Acks {
        &self.acks
    }

    /// Waits until every writer has the answer to its last event, and returns what they were told.
    ///
    /// # Errors
    /// The first error that a writer saw: the client should have spared it.
    pub async fn stop(mut self) -> Result<Acks> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(writer) = self.writers.join_next().await {
            writer.context("a writer panicked")??;
        }
        Ok(self.acks)
    }
}

struct Writer {
    number: u64,
    rng: StdRng,
    client: Client,
    acks: Acks,
    stop: Arc<AtomicBool>,
    /// Made so far.
    events: u64,
}

impl Writer {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An event as there is no other.
    fn event(&mut self) -> EventDraft {
        let kind = if self.rng.random() {
            "load.a"
        } else {
            "load.b"
        };
        let filler = "x".repeat(self.rng.random_range(FILLER_BYTES));
        self.events += 1;
        let payload = json!({"writer": self.number, "event": self.events, "filler": filler});
        EventDraft::new(kind).payload(&payload)
    }

    /// Commits small batches, each after the answer to the one before. The events of every other writer
    /// form a chain.
    async fn commit(mut self) -> Result<()> {
        let is_chained = self.number.is_multiple_of(2);
        let mut last: Option<EventHeader> = None;
        while !self.is_stopped() {
            let count = self.rng.random_range(BATCH_EVENTS);
            let mut batch = vec![self.event().parents(&last)];
            for earlier in 0..count - 1 {
                batch.push(self.event().parent_in_batch(earlier));
            }
            let committed = self.client.commit_batch(batch, Vec::new()).await;
            let seen = || {
                format!(
                    "writer {} saw an error at event {}",
                    self.number, self.events
                )
            };
            let headers = committed.with_context(seen)?.headers;
            for pair in headers.windows(2) {
                let (one, next) = (pair[0].sequence, pair[1].sequence);
                ensure!(one + 1 == next, "a batch was torn: {one}, {next}");
            }
            for header in &headers {
                self.acks.record(self.number, header);
            }
            last = headers.into_iter().next_back().filter(|_| is_chained);
        }
        Ok(())
    }

    /// Sends events one after the other, and takes the answers as they come.
    async fn stream(mut self) -> Result<()> {
        let stream = self.client.commit_stream();
        let mut unanswered = VecDeque::new();
        while !self.is_stopped() {
            let event = self.event();
            unanswered.push_back(stream.send(vec![event], Vec::new()).await?);
            if unanswered.len() >= STREAM_WINDOW {
                self.take_answer(&mut unanswered).await?;
            }
        }
        while !unanswered.is_empty() {
            self.take_answer(&mut unanswered).await?;
        }
        Ok(stream.finish().await?)
    }

    async fn take_answer(&self, unanswered: &mut VecDeque<Acknowledgement>) -> Result<()> {
        let Some(answer) = unanswered.pop_front() else {
            return Ok(());
        };
        let seen = || format!("stream of writer {} saw an error", self.number);
        for header in &answer.await.with_context(seen)?.headers {
            self.acks.record(self.number, header);
        }
        Ok(())
    }
}
