//! The state of an agent, as of a place in the order.

use std::fmt;

use toka_ledger::Filter;

use crate::agent::Agent;
use crate::event::Event;
use crate::snapshot;
use crate::store::{PAGE_EVENTS_MAX, Range, Store, StoreError};

/// A state, and up to which event it was folded.
pub struct Fold<A: Agent> {
    state: A::State,
    position: u64,
}

impl<A: Agent> fmt::Debug for Fold<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fold")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<A: Agent> Default for Fold<A> {
    /// Before the first event.
    fn default() -> Self {
        Self {
            state: A::State::default(),
            position: 0,
        }
    }
}

impl<A: Agent> Fold<A> {
    /// From the newest snapshot of the agent of that name that can be used and is not after `until`, or from the beginning.
    /// To be followed by [`Fold::advance`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(store: &dyn Store, agent: &str, until: u64) -> Result<Self, StoreError> {
        let newest = snapshot::newest(store, agent, A::STATE_VERSION, until).await?;
        Ok(newest.map_or_else(Self::default, |(position, state)| Self { state, position }))
    }

    /// The state of an agent as of a sequence.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn at(
        store: &dyn Store,
        agent: &str,
        filter: &Filter,
        sequence: u64,
    ) -> Result<Self, StoreError> {
        let mut fold = Self::open(store, agent, sequence).await?;
        fold.advance(store, filter, sequence).await?;
        Ok(fold)
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> &A::State {
        &self.state
    }

    /// Every wanted event up to this sequence is in the state.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Folds the next event. Those that are in the state already change nothing.
    pub fn apply(&mut self, event: &Event) {
        if event.sequence() > self.position {
            A::apply(&mut self.state, event);
            self.position = event.sequence();
        }
    }

    /// Folds all events that the filter wants, up to a sequence that the vault has reached. Returns how many there were.
    ///
    /// # Errors
    /// [`StoreError`]; what was folded until then is in the state.
    pub async fn advance(
        &mut self,
        store: &dyn Store,
        filter: &Filter,
        until: u64,
    ) -> Result<u64, StoreError> {
        let mut folded = 0;
        let mut next = Some(self.position).filter(|position| *position < until);
        while let Some(after) = next {
            let range = Range {
                after,
                until: Some(until),
                filter: filter.clone(),
                newest_first: false,
                limit: PAGE_EVENTS_MAX,
            };
            let page = store.list(range).await?;
            for event in &page.events {
                self.apply(event);
            }
            folded += page.events.len() as u64;
            next = page.next;
        }
        self.position = self.position.max(until);
        Ok(folded)
    }
}
