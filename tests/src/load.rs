//! Writers that commit one event after the other, each waiting for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use serde_json::json;
use toka_client::{Client, EventDraft, EventHeader};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::history::Acks;
use crate::seed;

/// Writers that share a client and its connections, as those of one program do.
const WRITERS_PER_CLIENT: u64 = 8;
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
            if number % WRITERS_PER_CLIENT == 0 {
                client = cluster.client().await?;
            }
            let (acks, stop) = (load.acks.clone(), Arc::clone(&load.stop));
            let writer = Writer {
                number,
                seed,
                client: client.clone(),
                acks,
                stop,
            };
            load.writers.spawn(writer.run());
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
    seed: u64,
    client: Client,
    acks: Acks,
    stop: Arc<AtomicBool>,
}

impl Writer {
    async fn run(self) -> Result<()> {
        let mut rng = seed::rng(self.seed, self.number);
        // Every other writer's events form a chain.
        let is_chained = self.number.is_multiple_of(2);
        let mut parent: Option<EventHeader> = None;
        for event in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let kind = if rng.random() { "load.a" } else { "load.b" };
            let filler = "x".repeat(rng.random_range(FILLER_BYTES));
            let payload = json!({"writer": self.number, "event": event, "filler": filler});
            let draft = EventDraft::new(kind).payload(&payload).parents(&parent);
            let header = self.client.commit(draft).await;
            let header = header
                .with_context(|| format!("writer {} saw an error at event {event}", self.number))?;
            self.acks.record(self.number, &header);
            parent = is_chained.then_some(header);
        }
        Ok(())
    }
}
