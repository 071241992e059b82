//! Runs one agent.

mod calls;
mod cursor;
mod deal;
mod effects;
mod group;
mod guard;
mod parked;
mod place;
mod reader;

use std::sync::Arc;

use toka_ledger::Filter;
use tokio_util::sync::CancellationToken;

use self::calls::Calls;
use crate::agent::Agent;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::settings::{GROUP_AHEAD_MAX, READ_AHEAD_MAX, Settings, Source};
use crate::step::Step;
use crate::store::Store;

/// How an agent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and has dealt with the event that it was at.
    Stopped,
    /// It has dealt with every wanted event up to this sequence, or a later one.
    Reached(u64),
}

/// Runs one agent, until it is told to stop or cannot go on.
///
/// Nothing of it outlives the call: it may be dropped at any point, as if the process had died there.
#[derive(Debug)]
pub struct Runner<A: Agent> {
    agent: A,
    filter: Filter,
    calls: Calls,
}

impl<A: Agent> Runner<A> {
    /// An agent on a vault.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the one that cannot be.
    pub fn new(agent: A, store: Arc<dyn Store>, settings: Settings) -> Result<Self, Error> {
        if !(1..=READ_AHEAD_MAX).contains(&settings.read_ahead) {
            return Err(Error::Setting {
                field: "read_ahead",
                reason: format!("it must be between 1 and {READ_AHEAD_MAX}"),
            });
        }
        let filter = agent.interests().filter();
        if let Source::Group(source) = &settings.source
            && !(1..=GROUP_AHEAD_MAX).contains(&source.ahead)
        {
            return Err(Error::Setting {
                field: "ahead",
                reason: format!("it must be between 1 and {GROUP_AHEAD_MAX}"),
            });
        }
        if matches!(settings.source, Source::Group(_)) && filter.descendants_of.is_some() {
            return Err(Error::Setting {
                field: "interests.descendants_of",
                reason: "a group does not filter by it".to_owned(),
            });
        }
        Ok(Self {
            agent,
            filter,
            calls: Calls::new(store, settings),
        })
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.calls.settings.name()
    }

    /// What it has done, to be kept by whoever exports it.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.calls.metrics)
    }

    /// The agent.
    #[must_use]
    pub const fn agent(&self) -> &A {
        &self.agent
    }

    /// Runs it until it is told to stop. It deals with the event that it is at first, but tries nothing again.
    ///
    /// # Errors
    /// [`Error`]: it cannot go on. Nothing is lost: it may be run again.
    pub async fn run(&self, stop: &CancellationToken) -> Result<Ended, Error> {
        self.go(None, stop).await
    }

    /// Runs it until it has dealt with every wanted event up to a sequence, or is told to stop. With a group: until the
    /// vault has come that far and there is nothing to be had, which does not say that others are done with what they have.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub async fn run_until(&self, sequence: u64, stop: &CancellationToken) -> Result<Ended, Error> {
        self.go(Some(sequence), stop).await
    }

    async fn go(&self, until: Option<u64>, stop: &CancellationToken) -> Result<Ended, Error> {
        let agent = self.name();
        tracing::info!(agent, source = ?self.calls.settings.source, "agent starts");
        let ended = match &self.calls.settings.source {
            Source::Cursor(name) => Box::pin(cursor::run(self, name, until, stop)).await,
            Source::Group(source) => Box::pin(group::run(self, source, until, stop)).await,
        };
        match &ended {
            Ok(ended) => tracing::info!(agent, ?ended, "agent has ended"),
            Err(error) => tracing::error!(agent, %error, "agent cannot go on"),
        }
        ended
    }

    fn reached(&self, step: Step, sequence: u64) {
        self.calls.settings.probe.reached(step, sequence);
    }
}
