//! What may be open at the same time. Full is an error with a hint when to retry, never a queue.

use std::sync::Arc;

use toka_proto::convert::status;
use toka_raft::meters::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::config::Limits;
use crate::limits::{BACKUPS_MAX, PULLS_MAX, RETRY_AFTER, VERIFICATIONS_MAX, WALKS_MAX};

/// A bounded number of something.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    max: usize,
    refused: Arc<Counter>,
}

impl Gate {
    fn new(max: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max)),
            max,
            refused: Arc::default(),
        }
    }

    /// One more, until what is returned is dropped.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            self.refused.increment();
            status::overloaded(RETRY_AFTER)
        })
    }

    /// As [`Gate::enter`], where a place is not free soon: the error says to come back another time.
    pub(crate) fn enter_or_leave(
        &self,
        subject: &'static str,
    ) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            self.refused.increment();
            let max = self.max;
            let message = format!("{subject}: {max} at the same time is this node's limit");
            status::limit_reached(subject, &message)
        })
    }

    /// How many there may be.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// How many were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.max.saturating_sub(self.permits.available_permits())
    }
}

/// A node's gates.
#[derive(Clone, Debug)]
pub(crate) struct Gates {
    /// Subscriptions.
    pub(crate) subscriptions: Gate,
    /// Commits outside of streams.
    pub(crate) commits: Gate,
    /// Commit streams.
    pub(crate) commit_streams: Gate,
    /// Copies for backups.
    pub(crate) backups: Gate,
    /// Walks through the graph of events.
    pub(crate) walks: Gate,
    /// Checks of everything.
    pub(crate) verifications: Gate,
    /// Consumers that wait for events of their groups.
    pub(crate) pulls: Gate,
}

impl Gates {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            subscriptions: Gate::new(limits.subscriptions_max),
            commits: Gate::new(limits.commits_max),
            commit_streams: Gate::new(limits.commit_streams_max),
            backups: Gate::new(BACKUPS_MAX),
            walks: Gate::new(WALKS_MAX),
            verifications: Gate::new(VERIFICATIONS_MAX),
            pulls: Gate::new(PULLS_MAX),
        }
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> [(&'static str, &Gate); 7] {
        [
            ("subscriptions", &self.subscriptions),
            ("commits", &self.commits),
            ("commit_streams", &self.commit_streams),
            ("backups", &self.backups),
            ("walks", &self.walks),
            ("verifications", &self.verifications),
            ("pulls", &self.pulls),
        ]
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_full_gate_refuses_with_a_hint_and_opens_again() {
        let gate = Gate::new(1);
        let inside = gate.enter().expect("empty");
        assert_eq!(gate.open(), 1);
        let refusal = gate.enter().expect_err("full");
        assert_eq!(refusal.code(), Code::ResourceExhausted);
        assert_eq!(status::parse(&refusal).retry_after, Some(RETRY_AFTER));
        assert_eq!(gate.refused(), 1);
        drop(inside);
        assert!(gate.enter().is_ok());
    }
}
