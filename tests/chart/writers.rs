//! Clients that commit without end while a release is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use toka_client::{Client, EventDraft};
use toka_tests::cluster::PATIENCE;
use toka_tests::history::Acks;
use tokio::task::JoinSet;

use crate::release::Release;

/// Few, and with pauses: pods come and go on the same two cores.
const WRITERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Writers {
    acks: Acks,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Writers {
    /// Starts them, with the pods that there are at first.
    pub(crate) async fn start(release: &Release) -> Result<Self> {
        let mut writers = Self {
            acks: Acks::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..WRITERS {
            let client = release.client(release.endpoints()).await?;
            let (acks, stop) = (writers.acks.clone(), Arc::clone(&writers.stop));
            writers.tasks.spawn(write(number, client, acks, stop));
        }
        Ok(writers)
    }

    /// Waits until commits go on.
    pub(crate) async fn go_on(&self) -> Result<()> {
        self.acks.more(4 * WRITERS, PATIENCE).await
    }

    /// What they were told.
    ///
    /// # Errors
    /// The first error that one of them saw: the client should have spared it.
    pub(crate) async fn stop(mut self) -> Result<Acks> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(written) = self.tasks.join_next().await {
            written.context("a writer panicked")??;
        }
        Ok(self.acks)
    }
}

async fn write(number: u64, client: Client, acks: Acks, stop: Arc<AtomicBool>) -> Result<()> {
    let mut event = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        event += 1;
        let payload = json!({ "writer": number, "event": event });
        let draft = EventDraft::new("chart.load").payload(&payload);
        let committed = client.commit_batch(vec![draft], Vec::new()).await;
        let committed = committed.with_context(|| format!("writer {number}, event {event}"))?;
        for header in &committed.headers {
            acks.record(number, header);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
