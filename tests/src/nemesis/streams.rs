//! Clients that send commit after commit by a stream, many in a message, and take notes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use toka_client::{Acknowledgement, Client};
use tokio::sync::watch;

use super::commits::{committed, draft, excused, names};
use crate::linearizable::{Call, Name, Recorder, Ticket};

/// Commits that are sent without waiting for an answer.
const ROUND_COMMITS: std::ops::RangeInclusive<u64> = 2..=12;
/// Between two rounds, milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 100..=600;

/// One client with a stream.
pub(super) struct Streamer {
    pub(super) number: u64,
    pub(super) rng: StdRng,
    /// Events made so far.
    pub(super) events: u64,
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) acknowledged: watch::Sender<u64>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Streamer {
    pub(super) async fn work(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let done = self.round().await;
            done.with_context(|| format!("streamer {}, event {}", self.number, self.events))?;
            let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    fn names(&mut self) -> Vec<Name> {
        names(self.number, &mut self.events, &mut self.rng)
    }

    /// Sends some commits, and takes their answers. Of those that get none the outcome is unknown.
    async fn round(&mut self) -> Result<()> {
        let stream = self.client.commit_stream();
        let mut unanswered: VecDeque<(Ticket, Acknowledgement)> = VecDeque::new();
        for _ in 0..self.rng.random_range(ROUND_COMMITS) {
            let names = self.names();
            let drafts = names.iter().map(draft).collect();
            let ticket = self.recorder.invoke(Call::Commit(names));
            match stream.send(drafts, Vec::new()).await {
                Ok(answer) => unanswered.push_back((ticket, answer)),
                Err(error) => {
                    excused(error)?;
                    break;
                }
            }
        }
        let mut last = 0;
        for (ticket, answer) in unanswered {
            match answer.await {
                Ok(answer) => {
                    let headers = answer.headers;
                    for header in &headers {
                        let sequence = header.sequence;
                        ensure!(last < sequence, "event {sequence} is before event {last}");
                        last = sequence;
                    }
                    ticket.answer(committed(&self.acknowledged, &headers));
                }
                Err(error) => excused(error)?,
            }
        }
        Ok(())
    }
}
