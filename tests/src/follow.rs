//! A subscriber who follows everything from the beginning.

use anyhow::{Context as _, Result, ensure};
use toka_client::{Client, EventHeader, Start, Subscribe};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::PATIENCE;

/// A subscription at work. Whatever happens to nodes, it sees each event once and in order.
#[derive(Debug)]
pub struct Follower {
    position: watch::Receiver<u64>,
    events: JoinHandle<Result<Vec<EventHeader>>>,
    until: watch::Sender<Option<u64>>,
}

impl Follower {
    /// Begins to follow.
    pub async fn start(client: &Client) -> Result<Self> {
        let mut subscription = client.subscribe(Subscribe::from(Start::Beginning)).await?;
        let (seen, position) = watch::channel(0);
        let (until, mut end) = watch::channel(None::<u64>);
        let events = tokio::spawn(async move {
            let mut events: Vec<EventHeader> = Vec::new();
            loop {
                let last = events.last().map_or(0, |event| event.sequence);
                if end.borrow().is_some_and(|end| last >= end) {
                    return Ok(events);
                }
                let event = tokio::select! {
                    event = subscription.next_event() => event.context("the subscription failed")?,
                    _ = end.changed() => continue,
                };
                let sequence = event.header.sequence;
                ensure!(sequence == last + 1, "event {sequence} came after {last}");
                events.push(event.header);
                seen.send_replace(sequence);
            }
        });
        Ok(Self {
            position,
            events,
            until,
        })
    }

    /// Sequence of the last event that it has seen.
    #[must_use]
    pub fn position(&self) -> u64 {
        *self.position.borrow()
    }

    /// Waits until it has seen everything in `log`, and checks that it has seen just that.
    pub async fn finish(self, log: &[EventHeader]) -> Result<()> {
        let last = log.last().map_or(0, |event| event.sequence);
        self.until.send_replace(Some(last));
        let events = tokio::time::timeout(PATIENCE, self.events).await;
        let events = events.context("the subscription does not get to the end")???;
        ensure!(events == log, "the subscription has seen another history");
        Ok(())
    }
}
