//! Acknowledgements, as they come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use toka_client::EventHeader;
use toka_ledger::{Digest, EventId};
use tokio::sync::watch;

/// What a writer was told of one event.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Who waited for it.
    pub writer: u64,
    /// The event's id.
    pub id: EventId,
    /// Its place in the order.
    pub sequence: u64,
    /// Its identity.
    pub digest: Digest,
    /// When.
    pub at: Instant,
}

/// Acknowledgements of many writers; each writer's are in the order in which it was told.
#[derive(Clone, Debug)]
pub struct Acks {
    list: Arc<Mutex<Vec<Ack>>>,
    count: watch::Sender<u64>,
}

impl Default for Acks {
    fn default() -> Self {
        Self {
            list: Arc::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Acks {
    /// Takes note of an answer.
    pub fn record(&self, writer: u64, header: &EventHeader) {
        let EventHeader {
            id,
            sequence,
            digest,
            ..
        } = *header;
        self.list().push(Ack {
            writer,
            id,
            sequence,
            digest,
            at: Instant::now(),
        });
        self.count.send_modify(|count| *count += 1);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits for so many more than there are now.
    pub async fn more(&self, more: u64, within: Duration) -> Result<()> {
        let mut count = self.count.subscribe();
        let wanted = *count.borrow_and_update() + more;
        let reached = tokio::time::timeout(within, async {
            // The guard that this returns must not outlive it: it blocks whoever records.
            count.wait_for(|count| *count >= wanted).await.map(drop)
        });
        let reached = reached.await;
        let count = self.count();
        reached
            .with_context(|| format!("{count} of {wanted} acknowledgements in {within:?}"))??;
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> Vec<Ack> {
        self.list().clone()
    }

    /// The longest time without one, between the first and the last.
    pub fn longest_gap(&self) -> Duration {
        let mut times: Vec<Instant> = self.list().iter().map(|ack| ack.at).collect();
        times.sort_unstable();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
