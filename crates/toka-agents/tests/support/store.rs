//! A vault between which and its agents a test comes.

use std::fmt;
use std::time::Duration;

use toka_agents::store::{Answer, Delivery, Feed, Page, Range};
use toka_agents::{Event, Store, StoreError};
use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::group::{Group, Parked, Settings as GroupSettings, SettleOutcome};
use toka_ledger::{
    ConsumerName, CursorName, EventDraft, EventHeader, Filter, GroupName, Selector, VaultBus,
};

/// What a test has to do with what agents ask of a vault.
pub(crate) trait Hooks: fmt::Debug + Send + Sync + 'static {
    /// Why a commit is not made, if it is not.
    fn refusal(&self, _events: &[EventDraft], _required: &[Precondition]) -> Option<StoreError> {
        None
    }

    /// Something that changes the vault was done; after an error its answer is lost.
    fn done(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A vault, and what a test has to do with it.
#[derive(Debug)]
pub(crate) struct Hooked<H> {
    pub(crate) vault: VaultBus,
    pub(crate) hooks: H,
}

impl<H: Hooks> Hooked<H> {
    async fn told<T>(&self, answer: Answer<'_, T>) -> Result<T, StoreError> {
        let answer = answer.await?;
        self.hooks.done()?;
        Ok(answer)
    }
}

impl<H: Hooks> Store for Hooked<H> {
    fn commit(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Answer<'_, Vec<EventHeader>> {
        match self.hooks.refusal(&events, &preconditions) {
            Some(error) => Box::pin(async move { Err(error) }),
            None => Box::pin(self.told(Store::commit(&self.vault, events, preconditions))),
        }
    }

    fn get(&self, selector: Selector) -> Answer<'_, Option<Event>> {
        Store::get(&self.vault, selector)
    }

    fn list(&self, range: Range) -> Answer<'_, Page> {
        Store::list(&self.vault, range)
    }

    fn follow(&self, after: u64, filter: Filter) -> Answer<'_, Box<dyn Feed>> {
        Store::follow(&self.vault, after, filter)
    }

    fn cursor<'a>(&'a self, name: &'a CursorName) -> Answer<'a, Option<u64>> {
        Store::cursor(&self.vault, name)
    }

    fn save_cursor<'a>(&'a self, name: &'a CursorName, from: u64, to: u64) -> Answer<'a, ()> {
        Box::pin(self.told(Store::save_cursor(&self.vault, name, from, to)))
    }

    fn group<'a>(&'a self, name: &'a GroupName) -> Answer<'a, Option<Group>> {
        Store::group(&self.vault, name)
    }

    fn create_group<'a>(
        &'a self,
        name: &'a GroupName,
        settings: &'a GroupSettings,
        after: u64,
    ) -> Answer<'a, Group> {
        Box::pin(self.told(Store::create_group(&self.vault, name, settings, after)))
    }

    fn pull<'a>(
        &'a self,
        group: &'a GroupName,
        consumer: &'a ConsumerName,
        max: u32,
        wait: Duration,
    ) -> Answer<'a, Vec<Delivery>> {
        Box::pin(self.told(Store::pull(&self.vault, group, consumer, max, wait)))
    }

    fn settle<'a>(&'a self, delivery: &'a Delivery, verdict: Verdict) -> Answer<'a, SettleOutcome> {
        Box::pin(self.told(Store::settle(&self.vault, delivery, verdict)))
    }

    fn parked<'a>(&'a self, group: &'a GroupName, max: usize) -> Answer<'a, Vec<Parked>> {
        Store::parked(&self.vault, group, max)
    }
}
