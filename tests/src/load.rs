//! Writers that commit without end, and note what they are told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use toka_client::{Acknowledgement, Client, Error, EventDraft, EventHeader};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::history::Acks;
use crate::{seed, wait};

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
/// Of so many events of a writer one has an embedding.
const EVENTS_PER_EMBEDDING: u64 = 3;

/// Dimension of the embeddings; whatever else a test commits beside a load has to have the same.
pub const DIMENSION: usize = 16;
/// Directions that events are about: few, so that the same centroids move all the time.
const TOPICS: usize = 5;
/// How far a component may be from its direction.
const NOISE: f32 = 0.1;

/// Arguments of a cluster that saves the centroids of its intents every few embedded events: then they
/// stand in what snapshots and backups carry, and not only the embeddings that they are made from.
pub const SAVE_OFTEN: [&str; 2] = ["--intents-save-events", "64"];

/// The embedding of a writer's event, shape `[DIMENSION]`: the same whenever it is asked for.
pub fn embedding(writer: u64, event: u64) -> Vec<f32> {
    let mut rng = seed::rng(writer, event);
    let topic = rng.random_range(0..TOPICS);
    let component = |at: usize| if at == topic { 1.0 } else { 0.0 };
    (0..DIMENSION)
        .map(|at| component(at) + rng.random_range(-NOISE..NOISE))
        .collect()
}

/// What writers make of a commit that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// An error ends them: the client should have spared them that.
    Strict,
    /// They repeat it until it is taken, as a disk that is full will have room again. None uses a stream.
    Patient,
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    acks: Acks,
    stop: Arc<AtomicBool>,
    writers: JoinSet<Result<()>>,
}

/// How writers work.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many there are.
    pub writers: u64,
    /// What each waits between two commits.
    pub pause: Duration,
    /// What they make of a refusal.
    pub manner: Manner,
}

impl Pace {
    /// As hard as they can.
    #[must_use]
    pub const fn full(writers: u64) -> Self {
        Self {
            writers,
            pause: Duration::ZERO,
            manner: Manner::Strict,
        }
    }
}

impl Load {
    /// Starts `writers` writers, who know all nodes. Their events have the kinds `load.a` and `load.b`, and
    /// some have embeddings.
    pub async fn start(cluster: &Cluster, writers: u64, seed: u64) -> Result<Self> {
        Self::go_on(Acks::default(), 0, cluster, Pace::full(writers), seed).await
    }

    /// As [`Load::start`], after an earlier load whose writers were told `acks`, and were `before` in
    /// number.
    pub async fn go_on(
        acks: Acks,
        before: u64,
        cluster: &Cluster,
        pace: Pace,
        seed: u64,
    ) -> Result<Self> {
        let mut load = Self {
            acks,
            stop: Arc::default(),
            writers: JoinSet::new(),
        };
        let mut client = cluster.client().await?;
        for number in before..before + pace.writers {
            if number.is_multiple_of(WRITERS_PER_CLIENT) {
                client = cluster.client().await?;
            }
            let writer = Writer {
                load: seed,
                number,
                rng: seed::rng(seed, number),
                client: client.clone(),
                acks: load.acks.clone(),
                stop: Arc::clone(&load.stop),
                pause: pace.pause,
                events: 0,
                manner: pace.manner,
            };
            let streams = number % WRITERS_PER_STREAM == WRITERS_PER_STREAM - 1;
            if streams && pace.manner == Manner::Strict {
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
    /// Seed of the load: a later load's writers have the same numbers, and must not make the same events.
    load: u64,
    number: u64,
    rng: StdRng,
    client: Client,
    acks: Acks,
    stop: Arc<AtomicBool>,
    pause: Duration,
    /// Made so far.
    events: u64,
    manner: Manner,
}

impl Writer {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn pause(&self) {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
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
        let payload = json!({
            "load": self.load, "writer": self.number, "event": self.events, "filler": filler
        });
        let draft = EventDraft::new(kind).payload(&payload);
        if self.events.is_multiple_of(EVENTS_PER_EMBEDDING) {
            draft.embedding(&embedding(self.number, self.events))
        } else {
            draft
        }
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
            let committed = self.put(batch).await;
            let seen = || {
                format!(
                    "writer {} saw an error at event {}",
                    self.number, self.events
                )
            };
            let headers = committed.with_context(seen)?;
            for pair in headers.windows(2) {
                let (one, next) = (pair[0].sequence, pair[1].sequence);
                ensure!(one + 1 == next, "a batch was torn: {one}, {next}");
            }
            for header in &headers {
                self.acks.record(self.number, header);
            }
            last = headers.into_iter().next_back().filter(|_| is_chained);
            self.pause().await;
        }
        Ok(())
    }

    /// Commits a batch. Repeated, it is the same one: events that were stored before are found.
    async fn put(&self, batch: Vec<EventDraft>) -> Result<Vec<EventHeader>, Error> {
        loop {
            let committed = self.client.commit_batch(batch.clone(), Vec::new()).await;
            let passes =
                |error: &Error| matches!(error, Error::LimitReached { .. }) || error.is_retryable();
            match committed {
                Err(error) if self.manner == Manner::Patient && passes(&error) => {
                    tokio::time::sleep(wait::STEP).await;
                }
                committed => return Ok(committed?.headers),
            }
        }
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
            self.pause().await;
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
